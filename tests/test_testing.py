"""What a project's tests change: models that stand in for others, and settings."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.test import Client, SimpleTestCase, override_settings
from django.urls import reverse
from ml_base import MLModel, MLModelDecorator
from ml_base.utilities import ModelManager

from models_api import get_model
from models_api.apps import ModelsAPIConfig, current_service
from models_api.exceptions import ModelLoadFailed, ModelNotFound
from models_api.testing import use_models
from tests.fakes.models import Doubled, DoublingModel, TreblingModel

FILE = """
service_title: The file's
models:
  - class_path: tests.fakes.models.DoublingModel
  - class_path: tests.fakes.models.FailingModel
"""
OTHER = """
service_title: The other's
open_inference: {enabled: true}
metrics: {enabled: true}
models:
  - class_path: tests.fakes.models.TreblingModel
"""


class FakeModel(DoublingModel):
    """Predicts what it was made with."""

    qualified_name, version = "fake", "9"

    def __init__(self, value: float = 42.0) -> None:
        self.value = value
        self.asked: list[float] = []

    def predict(self, data: Any) -> Doubled:
        self.asked.append(data.value)
        return Doubled(value=self.value)


@pytest.fixture(autouse=True)
def site(
    app_config: ModelsAPIConfig, model_manager: ModelManager, tmp_path: Path, settings: Any
) -> Iterator[Path]:
    """A project whose setting names a file; put in the place of the tests' own."""
    (tmp_path / "file.yaml").write_text(FILE, encoding="utf-8")
    (tmp_path / "other.yaml").write_text(OTHER, encoding="utf-8")
    settings.REST_CONFIG = tmp_path / "file.yaml"
    # As if it had been there from the start.
    app_config._sources = (settings.REST_CONFIG, *app_config._sources[1:])
    app_config._before_tests = None
    current_service().registry.loads_on_demand = False
    yield tmp_path
    assert app_config._substitutes == []


def predict(name: str, value: float = 1, client: Client | None = None) -> Any:
    response = (client or Client()).post(
        f"/api/models/{name}/prediction", {"value": value}, content_type="application/json"
    )
    return response.json()["value"] if response.status_code == 200 else response.status_code


def test_a_model_stands_in_for_another_everywhere_and_goes_again() -> None:
    before = current_service()
    client, fake = Client(), FakeModel()
    with use_models(doubling=fake):
        assert predict("doubling", 3, client) == 42
        assert get_model("doubling").predict({"value": 4}) == Doubled(value=42)
        rows = {"inputs": [{"value": 5}, {"value": 6}]}
        url = reverse("batch-doubling")
        assert client.post(url, rows, content_type="application/json").status_code == 200
        listed = client.get("/api/models").json()["models"]
        assert [(each["qualified_name"], each["version"]) for each in listed][:1] == [
            ("doubling", "9")
        ]
        assert client.get("/api/health/ready").status_code == 200
    assert fake.asked == [3, 4, 5, 6]
    assert current_service() is before
    assert get_model("doubling").predict({"value": 4}) == Doubled(value=8)


def test_a_model_may_stand_in_for_none_and_has_routes_and_a_place_in_the_document() -> None:
    with use_models({"my fake": FakeModel(7)}, another=FakeModel(8)):
        assert predict("my fake") == 7
        assert predict("another") == 8
        assert reverse("prediction-another") == "/api/models/another/prediction"
        paths = Client().get("/openapi.json").json()["paths"]
        assert {"/api/models/my%20fake/prediction", "/api/models/doubling/prediction"} <= set(paths)
    assert predict("another") == 404
    with pytest.raises(Exception, match="prediction-another"):
        reverse("prediction-another")


def test_models_that_are_not_replaced_are_loaded_when_somebody_asks() -> None:
    with use_models(fake=FakeModel()):
        registry = current_service().registry
        Client().get("/api/models/doubling/metadata")
        assert {model.label: model.state.value for model in registry if model.known_name} == {
            "doubling": "not loaded",
            "failing": "not loaded",
            "fake": "ready",
        }
        assert predict("doubling", 2) == 4
        assert predict("failing") == 503


def test_a_model_that_replaces_one_that_cannot_be_loaded_is_asked() -> None:
    with use_models(failing=FakeModel(3)):
        assert predict("failing") == 3
    with pytest.raises(ModelLoadFailed, match="RuntimeError: the weights are not there"):
        get_model("failing")


def test_models_may_replace_each_other_in_any_nesting() -> None:
    outer, inner = use_models(doubling=FakeModel(1)), use_models(doubling=FakeModel(2))
    with outer:
        assert predict("doubling") == 1
        with inner, use_models(more=FakeModel(3)):
            assert (predict("doubling"), predict("more")) == (2, 3)
        assert (predict("doubling"), predict("more")) == (1, 404)
        with outer:
            assert predict("doubling") == 1
        assert predict("doubling") == 1
    assert get_model("doubling").predict({"value": 1}).value == 2


def test_the_models_go_when_the_test_fails() -> None:
    with pytest.raises(ZeroDivisionError), use_models(doubling=FakeModel()):
        _ = 1 / 0
    assert get_model("doubling").predict({"value": 1}).value == 2


@use_models(doubling=FakeModel(5))
def test_it_decorates_functions_with_fixtures(tmp_path: Path) -> None:
    assert tmp_path.exists()
    assert predict("doubling") == 5


@use_models(doubling=FakeModel(6))
async def _ask() -> float:
    await asyncio.sleep(0)
    return float(get_model("doubling").predict({"value": 1}).value)


def test_it_decorates_coroutines() -> None:
    assert asyncio.run(_ask()) == 6
    assert get_model("doubling").predict({"value": 1}).value == 2


@use_models(doubling=FakeModel(8))
class DecoratedTests(SimpleTestCase):
    """Run by pytest."""

    def test_it_decorates_classes(self) -> None:
        assert predict("doubling", client=self.client) == 8


@pytest.fixture
def fake() -> Iterator[FakeModel]:
    model = FakeModel(9)
    with use_models(doubling=model):
        yield model


def test_it_makes_fixtures(fake: FakeModel, client: Client) -> None:
    assert predict("doubling", 3, client) == 9
    assert fake.asked == [3]


def test_other_threads_see_the_same() -> None:
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(predict("doubling")))
    with use_models(doubling=FakeModel(4)):
        thread.start()
        thread.join()
    assert seen == [4]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (FakeModel, r"use_models\(iris=FakeModel\): write FakeModel\(\)\."),
        (object(), "is no model. Give an instance of a subclass of ml_base.MLModel"),
        (None, "None is no model"),
        ("iris", "'iris' is no model"),
    ],
)
def test_what_is_no_instance_of_a_model_is_refused(wrong: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        use_models(iris=wrong)


def test_a_model_stands_in_for_all_versions_of_another(site: Path, settings: Any) -> None:
    entry = "  - class_path: tests.fakes.models.DoublingModel\n    version: '{}'\n"
    (site / "versions.yaml").write_text(
        f"models:\n{entry.format(1)}    create_endpoint: false\n{entry.format(2)}",
        encoding="utf-8",
    )
    settings.REST_CONFIG = site / "versions.yaml"
    assert [each["version"] for each in Client().get("/api/models").json()["models"]] == ["1", "2"]
    with use_models(doubling=FakeModel()):
        (told,) = Client().get("/api/models").json()["models"]
        assert (told["version"], predict("doubling", 3)) == ("9", 42)
        assert get_model("doubling", "9").predict({"value": 1}).value == 42
    assert predict("doubling", 3) == 6
    assert get_model("doubling", "1").predict({"value": 1}).value == 2


def test_ml_bases_manager_does_not_get_to_know_them() -> None:
    with use_models(doubling=FakeModel()):
        predict("doubling")
    assert [model.qualified_name for model in ModelManager()._models] == []


def test_a_broken_file_leaves_the_models_that_stand_in(site: Path) -> None:
    (site / "broken.yaml").write_text("models: [{class_path: no.Such}]", encoding="utf-8")
    with override_settings(REST_CONFIG=site / "broken.yaml"):
        assert predict("doubling") == 503
        with use_models(doubling=FakeModel()):
            assert predict("doubling") == 42
            assert predict("other") == 404


def test_another_file_is_served_by_routes_documents_and_get_model(site: Path) -> None:
    before, client = current_service(), Client()
    with override_settings(
        REST_CONFIG=site / "other.yaml",
        MODELS_API_METRICS_PERMISSIONS=["rest_framework.permissions.AllowAny"],
    ):
        assert predict("trebling", 2, client) == 6
        assert get_model("trebling").predict({"value": 3}).value == 9
        assert predict("doubling", 2, client) == 404
        assert reverse("prediction-trebling")
        assert client.get("/openapi.json").json()["info"]["title"] == "The other's"
        assert "<title>The other&#x27;s</title>" in client.get("/docs").content.decode()
        assert client.get("/v2").status_code == 200
        assert b'model_predictions_total{model="trebling"' in client.get("/metrics").content
        assert client.get("/api/health/ready").status_code == 200
        with pytest.raises(ModelNotFound, match="There are: trebling"):
            get_model("iris")
    assert current_service() is before
    assert get_model("doubling").predict({"value": 2}).value == 4
    assert client.get("/v2").status_code == 404
    assert client.get("/metrics").status_code == 404


def test_the_fixture_of_pytest_django_does_the_same(site: Path, settings: Any) -> None:
    settings.REST_CONFIG = str(site / "other.yaml")
    assert predict("trebling", 2) == 6
    settings.REST_CONFIG = site / "file.yaml"
    assert predict("doubling", 2) in (4, 503)  # the project's own, which load in the background


def test_an_environment_variable_does_not_hide_the_setting_of_a_test(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REST_CONFIG", str(site / "file.yaml"))
    with override_settings(REST_CONFIG=site / "other.yaml"):
        assert predict("trebling", 2) == 6


def test_the_other_settings_of_the_service_follow_too(settings: Any) -> None:
    rows = {"inputs": [{"value": 5}, {"value": 6}]}

    def ask() -> int:
        url = "/api/models/doubling/prediction/batch"
        return Client().post(url, rows, content_type="application/json").status_code

    with use_models(doubling=FakeModel()):
        assert ask() == 200
        settings.MODELS_API_MAX_BATCH_ROWS = 1
        assert ask() == 400
        settings.MODELS_API_MAX_BATCH_ROWS = 2
        assert ask() == 200


def test_models_that_stand_in_outlive_a_change_of_the_settings(site: Path) -> None:
    with use_models(doubling=FakeModel()):
        with override_settings(REST_CONFIG=site / "other.yaml"):
            assert (predict("doubling"), predict("trebling", 2)) == (42, 6)
        assert predict("doubling") == 42
    with override_settings(REST_CONFIG=site / "other.yaml"):
        with use_models(trebling=FakeModel()):
            assert predict("trebling") == 42
        assert predict("trebling", 2) == 6


def test_the_manager_of_ml_base_forgets_the_models_of_a_test(site: Path) -> None:
    get_model("doubling")
    with override_settings(REST_CONFIG=site / "other.yaml"):
        get_model("trebling")
    assert [model.qualified_name for model in ModelManager()._models] == ["doubling"]


def test_the_fakes_may_derive_from_decorators_and_other_models() -> None:
    assert issubclass(MLModelDecorator, MLModel)
    with use_models(doubling=TreblingModel(), other=MLModelDecorator(FakeModel(5))):
        assert (predict("doubling", 2), predict("other")) == (6, 5)


def test_a_live_server_has_them_from_one_request_to_the_next() -> None:
    with ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler) as server:
        server.set_app(WSGIHandler())
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            _ask_live(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()


def _ask_live(url: str) -> None:
    with httpx.Client(base_url=url) as client:
        for value in (1, 2, 3):
            with use_models(doubling=FakeModel(value), more=FakeModel(value)):
                for name in ("doubling", "more"):
                    answer = client.post(f"/api/models/{name}/prediction", json={"value": 7})
                    assert answer.json() == {"value": value}
            assert client.post("/api/models/more/prediction", json={}).status_code == 404

"""Several versions of one model: how each is asked, listed and described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, unquote

import pytest
from django.test import Client, override_settings
from django.urls import include, path
from openapi_spec_validator import validate
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from models_api.api.answers import Answer, version_header
from models_api.api.openapi import tags
from models_api.api.views import ModelsAPIView
from models_api.configuration.file import ConfigurationFile
from models_api.configuration.sections import ServiceConfiguration
from models_api.exceptions import ConfigurationError, ModelNotFound
from models_api.hosting.assembly import build_registry
from models_api.hosting.registry import ModelRegistry
from models_api.loaded_model import load_model
from models_api.urls import api_patterns, documentation_patterns, open_inference_patterns
from tests.in_process import InProcessService

NAMED = "tests.fakes.named"
ODD = "2 é/<int:a>,%{b}?#;🚀"
CONFIGURATION: dict[str, Any] = {
    "models": [
        {"class_path": f"{NAMED}.Accented", "qualified_name": "rent", "version": "1.0"},
        {
            "class_path": f"{NAMED}.Rocket",  # its schema has the other's name, and is another
            "qualified_name": "rent",
            "version": ODD,
            "aliases": ["next", "a/b c"],
            "display_name": "New rent",
        },
        {
            "class_path": "tests.fakes.models.FailingModel",
            "qualified_name": "rent",
            "version": "0.9",
            "required": False,
        },
        {"class_path": f"{NAMED}.Blank"},
        {"class_path": f"{NAMED}.Odd", "qualified_name": "rent_version_1.0"},
    ]
}
SERVICE = ServiceConfiguration.model_validate({"open_inference": {"enabled": True}})
TENSOR = {"inputs": [{"name": "value", "shape": [1], "datatype": "INT64", "data": [1]}]}


def patterns_of(registry: ModelRegistry) -> list[Any]:
    return [*api_patterns(registry), *open_inference_patterns(registry, SERVICE)]


def urlconf_of(registry: ModelRegistry) -> Any:
    urlconf: Any = ModuleType("urlconf")
    documented = documentation_patterns(registry, "Rents", patterns_of)
    urlconf.urlpatterns = [path("", include(([*patterns_of(registry), *documented], "models_api")))]
    return urlconf


@pytest.fixture(scope="module")
def service() -> InProcessService:
    return InProcessService(CONFIGURATION)


@pytest.fixture(scope="module")
def urlconf(service: InProcessService) -> Any:
    return urlconf_of(service.registry)


@pytest.fixture
def client(urlconf: Any) -> Iterator[Client]:
    with override_settings(ROOT_URLCONF=urlconf):
        yield Client()


def at(version: str, end: str, model: str = "/api/models/rent") -> str:
    return f"{model}/versions/{quote(version, safe='')}{end}"


def post(client: Client, url: str, given: object) -> Any:
    return client.post(url, given, content_type="application/json")


VERSIONS = [("1.0", "1.0"), (ODD, ODD), ("next", ODD), ("a/b c", ODD)]


@pytest.mark.parametrize(("asked", "answering"), VERSIONS)
def test_a_version_is_asked_by_its_name_or_an_alias(
    client: Client, asked: str, answering: str
) -> None:
    single = post(client, at(asked, "/prediction"), {"value": 1})
    many = post(client, at(asked, "/prediction/batch"), {"inputs": [{"value": 1}]})
    tensors = post(client, at(asked, "/infer", "/v2/models/rent"), TENSOR)
    for response in (single, many, tensors):
        assert response.status_code == 200, response.content
        assert unquote(response["X-Model-Version"]) == answering
    assert json.loads(tensors.content)["model_version"] == answering


def test_what_names_no_version_is_answered_by_the_first(client: Client) -> None:
    response = post(client, "/api/models/rent/prediction", {"value": 1})
    assert response["X-Model-Version"] == "1.0"
    tensors = post(client, "/v2/models/rent/infer", TENSOR)
    assert tensors["X-Model-Version"] == "1.0"


def test_errors_of_a_version_say_which_it_is_and_others_none(client: Client) -> None:
    wrong = post(client, at("next", "/prediction"), {"value": "a"})
    assert (wrong.status_code, unquote(wrong["X-Model-Version"])) == (400, ODD)
    failed = post(client, at("0.9", "/prediction"), {"value": 1})
    assert (failed.status_code, failed["X-Model-Version"]) == (503, "0.9")
    assert "rent 0.9" in json.loads(failed.content)["messages"][0]
    for response in (
        post(client, at("3", "/prediction"), {"value": 1}),
        client.get(at("1.0", "/prediction")),
        client.options(at("1.0", "/prediction")),
    ):
        assert "X-Model-Version" not in response


@pytest.mark.parametrize("end", ["/prediction", "/prediction/batch", "/metadata", "/ready"])
def test_an_unknown_version_is_told_of_those_that_there_are(client: Client, end: str) -> None:
    method = client.get if end in ("/metadata", "/ready") else client.post
    response = method(at("3", end))
    assert response.status_code == 404
    (message,) = json.loads(response.content)["messages"]
    assert message == (
        f'The model "rent" has no version "3", but "1.0", "{ODD}", "0.9", "next", "a/b c".'
    )


@pytest.mark.parametrize(("asked", "answering"), VERSIONS)
def test_metadata_and_readiness_are_those_of_the_version(
    client: Client, asked: str, answering: str
) -> None:
    told = client.get(at(asked, "/metadata")).json()
    assert (told["qualified_name"], told["version"]) == ("rent", answering)
    assert told["aliases"] == (["next", "a/b c"] if answering == ODD else [])
    assert ("default" in told["input_schema"]["properties"]["value"]) is (answering == ODD)
    ready = client.get(at(asked, "/ready"))
    assert ready.json() == {
        "qualified_name": "rent",
        "ready": True,
        "version": answering,
        "state": "ready",
    }


def test_a_version_that_failed_is_not_ready_and_the_others_are(client: Client) -> None:
    response = client.get(at("0.9", "/ready"))
    assert (response.status_code, response.json()["state"]) == (503, "failed")
    assert client.get("/api/models/rent/ready").status_code == 200
    assert client.get("/api/health/ready").status_code == 200
    assert client.get(at("0.9", "/ready", "/v2/models/rent")).status_code == 503


def test_the_list_has_each_version_with_its_aliases_share_and_state(client: Client) -> None:
    listed = client.get("/api/models").json()["models"]
    told = [
        (each["version"], each.get("aliases"), each.get("traffic"), each["state"])
        for each in listed
    ]
    assert told == [
        ("1.0", [], 100.0, "ready"),
        (ODD, ["next", "a/b c"], 0.0, "ready"),
        ("0.9", [], 0.0, "failed"),
        ("1.0.0", None, None, "ready"),
        ("1.0.0", None, None, "ready"),
    ]


def test_shares_are_those_of_the_configuration() -> None:
    models = [
        {"class_path": f"{NAMED}.Accented", "version": "1", "traffic": 25},
        {"class_path": f"{NAMED}.Accented", "version": "2", "traffic": 75},
        {"class_path": f"{NAMED}.Accented", "version": "3"},
    ]
    registry = InProcessService({"models": models}).registry
    release = registry.release("prédiction")
    assert [release.percent(model) for model in release.models] == [25, 75, 0]


def test_a_model_with_one_version_says_so_only_where_it_has_an_alias() -> None:
    model = {"class_path": f"{NAMED}.Accented", "aliases": ["stable"]}
    registry = InProcessService({"models": [model]}).registry
    with override_settings(ROOT_URLCONF=urlconf_of(registry)):
        (told,) = Client().get("/api/models").json()["models"]
        assert (told["aliases"], told["traffic"]) == (["stable"], 100.0)
        response = post(
            Client(), at("stable", "/prediction", "/api/models/prédiction"), {"value": 1}
        )
        assert response["X-Model-Version"] == "1.0.0"


def test_the_index_the_metadata_and_the_statistics_of_tensors_have_each_version(
    client: Client,
) -> None:
    index = [
        (each["version"], each["state"])
        for each in post(client, "/v2/repository/index", {}).json()
        if each["name"] == "rent"
    ]
    assert index == [("1.0", "READY"), (ODD, "READY"), ("0.9", "UNAVAILABLE")]
    for url in ("/v2/models/rent", at("next", "", "/v2/models/rent")):
        assert client.get(url).json()["versions"] == ["1.0", ODD, "0.9"]
    counted = client.get("/v2/models/rent/stats").json()["model_stats"]
    assert [each["version"] for each in counted] == ["1.0", ODD, "0.9"]
    before = requests(client, "next")
    post(client, at("a/b c", "/infer", "/v2/models/rent"), TENSOR)
    assert requests(client, ODD) == before + 1


def requests(client: Client, version: str) -> int:
    (told,) = client.get(at(version, "/stats", "/v2/models/rent")).json()["model_stats"]
    count: int = told["inference_stats"]["success"]["count"]
    return count


def operations(document: Any) -> dict[str, str]:
    return {
        operation["operationId"]: route
        for route, methods in document["paths"].items()
        for operation in methods.values()
    }


def test_the_document_has_an_operation_for_the_name_and_for_each_version(client: Client) -> None:
    document = client.get("/openapi.json").json()
    validate(document)
    ids = operations(document)
    assert len(ids) == sum(map(len, document["paths"].values())), "ids are unique"
    odd = "2_20__e9__2f__3c_int_3a_a_3e__2c__25__7b_b_7d__3f__23__3b__1f680_"
    for id_, route in {
        "predict_rent": "/api/models/rent/prediction",
        "predict_batch_rent": "/api/models/rent/prediction/batch",
        "infer_rent": "/v2/models/rent/infer",
        "predict_rent_version_1.0": "/api/models/rent_version_1.0/prediction",
        "predict_rent_version:1.0": at("1.0", "/prediction"),
        f"predict_rent_version:{odd}": at(ODD, "/prediction"),
        f"predict_batch_rent_version:{odd}": at(ODD, "/prediction/batch"),
        f"infer_rent_version:{odd}": at(ODD, "/infer", "/v2/models/rent"),
        "get_model_metadata_version": "/api/models/{qualified_name}/versions/{version}/metadata",
    }.items():
        assert ids[id_] == route
    assert not [route for route in ids.values() if "next" in route], "aliases are not in it"
    assert not [route for route in ids.values() if "house%20prices/versions" in route]


def test_the_document_has_what_each_version_takes(client: Client) -> None:
    document = client.get("/openapi.json").json()
    taken = {}
    for url in ("/api/models/rent/prediction", at("1.0", "/prediction"), at(ODD, "/prediction")):
        content = document["paths"][url]["post"]["requestBody"]["content"]
        name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
        taken[url] = document["components"]["schemas"][name]["properties"]["value"]
    plain, first, new = taken.values()
    assert plain == first
    assert (plain.get("default"), new["default"]) == (None, 0)


def test_the_group_of_a_model_is_called_as_the_version_that_its_name_asks(
    service: InProcessService,
) -> None:
    (tag,) = [tag for tag in tags(service.registry, SERVICE) if tag["name"] == "rent"]
    assert tag["x-displayName"] == "Named"


def test_a_service_of_single_versions_has_none_in_its_document() -> None:
    document = InProcessService({"models": [{"class_path": f"{NAMED}.Blank"}]}).document
    assert not [route for route in document["paths"] if "versions" in route]


class MayAskTheFirst(BasePermission):
    """Lets nobody ask another version than the first."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return view.kwargs.get("version") in (None, "1.0", "1.0.0")


@pytest.fixture
def restricted(urlconf: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(ModelsAPIView, "permission_classes", [MayAskTheFirst])
    with override_settings(ROOT_URLCONF=urlconf):
        yield Client()


@pytest.mark.parametrize("asked", [ODD, "next"])
def test_policies_are_told_the_version_and_no_alias_is_a_way_around(
    restricted: Client, asked: str
) -> None:
    for end in ("/prediction", "/prediction/batch"):
        assert post(restricted, at(asked, end), {}).status_code == 403
    assert restricted.get(at(asked, "/metadata")).status_code == 403
    assert post(restricted, at(asked, "/infer", "/v2/models/rent"), {}).status_code == 403
    assert post(restricted, at("1.0", "/prediction"), {"value": 1}).status_code == 200


def test_versions_that_somebody_may_not_ask_are_in_no_list_and_no_document(
    restricted: Client,
) -> None:
    versions = [each["version"] for each in restricted.get("/api/models").json()["models"]]
    assert set(versions) == {"1.0", "1.0.0"}
    assert restricted.get("/v2/models/rent").json()["versions"] == ["1.0"]
    ids = operations(restricted.get("/openapi.json").json())
    assert {"predict_rent", "predict_rent_version:1.0"} <= set(ids)
    assert not [id_ for id_ in ids if "1f680" in id_]


def test_code_of_the_project_gets_a_version_by_its_name_or_alias(service: InProcessService) -> None:
    registry = service.registry
    assert load_model(registry, "rent").names.version == "1.0"
    assert load_model(registry, "rent", "next").names.version == ODD
    assert load_model(registry, "rent", ODD).predict({"value": 2}).value == 2
    with pytest.raises(ModelNotFound, match='has no version "4"'):
        load_model(registry, "rent", "4")


def test_versions_of_one_name_are_not_said_to_be_one_in_clients(service: InProcessService) -> None:
    assert service.registry.merged_names == []


def test_an_unhealthy_version_is_listed_with_its_version() -> None:
    models = [
        {"class_path": "tests.fakes.health.SickModel", "version": version} for version in ("1", "2")
    ]
    registry = InProcessService({"models": models}).registry
    with override_settings(ROOT_URLCONF=urlconf_of(registry)):
        told = Client().get("/api/health/ready").json()
    assert told["unhealthy_models"] == ["sick/versions/1", "sick/versions/2"]


@pytest.mark.parametrize(
    ("version", "header"),
    [
        ("1.0.0-rc.1+build~5", "1.0.0-rc.1+build~5"),
        (" 1 ", "%201%20"),
        ("é\r\nX: 1", "%C3%A9%0D%0AX:%201"),
        ("50%,a", "50%25%2Ca"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_a_header_can_carry_every_version(version: str, header: str) -> None:
    assert version_header(version) == header
    assert Answer(200, {}, b"").of_version(version).headers == {"X-Model-Version": header}


def test_an_answer_of_no_known_version_has_no_such_header() -> None:
    assert [Answer(200, {}, b"").of_version(each).headers for each in (None, "")] == [{}, {}]


ENTRY = "  - class_path: tests.fakes.models.DoublingModel\n"
LATE = "  - class_path: tests.fakes.models.LateModel\n    qualified_name: late\n"


def found_problems(folder: Path, text: str) -> list[tuple[int | None, str, str, str]]:
    file = folder / "service.yaml"
    file.write_text(f"models:\n{text}", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        build_registry(ConfigurationFile(file))
    return [(each.line, each.key_path, each.message, each.hint) for each in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        (
            f"{ENTRY}    version: '1'\n{ENTRY}    version: '2'\n    aliases: [stable, '1']\n",
            6,
            "models[1].aliases[1]",
            'models[0] is the version "1" of "doubling"',
        ),
        (
            f"{ENTRY}    version: '1'\n    aliases: ['1']\n",
            4,
            "models[0].aliases[0]",
            'models[0] is the version "1" of "doubling"',
        ),
        (
            f"{ENTRY}    version: '1'\n    aliases: [a]\n{ENTRY}    version: '2'\n    aliases:\n"
            "      - b\n      - a\n",
            9,
            "models[1].aliases[1]",
            'models[0] has this alias of "doubling" already',
        ),
        (
            f"{LATE}    version: '1'\n{LATE}",
            5,
            "models[1].class_path",
            'models[0] has the qualified name "late" already',
        ),
    ],
)
def test_names_that_would_stand_for_two_versions_are_problems_of_the_file(
    tmp_path: Path, text: str, line: int, key: str, message: str
) -> None:
    ((found_line, found_key, found, hint),) = found_problems(tmp_path, text)
    assert (found_line, found_key, found) == (line, key, message)
    assert hint


def test_other_models_may_have_the_same_aliases(tmp_path: Path) -> None:
    models = [
        {"class_path": f"tests.fakes.models.{name}", "aliases": ["stable"]}
        for name in ("DoublingModel", "TreblingModel")
    ]
    assert len(InProcessService({"models": models}).registry) == 2


def test_a_version_without_an_endpoint_does_not_take_what_names_none() -> None:
    models = [
        {"class_path": f"{NAMED}.Blank", "version": "1", "create_endpoint": False},
        {"class_path": f"{NAMED}.Blank", "version": "2"},
    ]
    registry = InProcessService({"models": models}).registry
    assert registry.resolve("house prices").version == "2"
    with pytest.raises(ModelNotFound, match="no prediction endpoint"):
        registry.resolve("house prices", "1")


def test_two_versions_share_no_limiter_and_no_backend(service: InProcessService) -> None:
    first, second, _ = service.registry.release("rent").models
    assert first.backend is not second.backend
    assert first.instruments is not second.instruments

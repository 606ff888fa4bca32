"""The routes that a registry makes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType

import pytest
from django.test import Client, override_settings
from django.urls import Resolver404, include, path, resolve, reverse

from models_api.api.views import BatchPredictionView, PredictionView
from models_api.urls import api_patterns, documentation_patterns
from tests.in_process import InProcessService

FAKES = "tests.fakes.misbehaving"
CONFIGURATION = {
    "models": [
        {"class_path": f"{FAKES}.ObedientModel"},
        {"class_path": f"{FAKES}.DottedModel"},
        {"class_path": f"{FAKES}.HiddenModel", "create_endpoint": False},
    ]
}


@pytest.fixture(scope="module")
def urlconf() -> ModuleType:
    registry = InProcessService(CONFIGURATION).registry
    patterns = [*api_patterns(registry), *documentation_patterns(registry, "Title")]
    urlconf = ModuleType("urlconf")
    urlconf.urlpatterns = [path("ml/", include((patterns, "models_api")))]  # type: ignore[attr-defined]
    return urlconf


@pytest.fixture(autouse=True)
def _urlconf(urlconf: ModuleType) -> Iterator[None]:
    with override_settings(ROOT_URLCONF=urlconf):
        yield


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("root", "/ml/"),
        ("docs", "/ml/docs"),
        ("redoc", "/ml/redoc"),
        ("openapi-json", "/ml/openapi.json"),
        ("openapi-yaml", "/ml/openapi.yaml"),
        ("models", "/ml/api/models"),
        ("health", "/ml/api/health"),
        ("readiness", "/ml/api/health/ready"),
        ("startup", "/ml/api/health/startup"),
        ("prediction-obedient", "/ml/api/models/obedient/prediction"),
        ("batch-obedient", "/ml/api/models/obedient/prediction/batch"),
        ("prediction-Dotted.model-1_0", "/ml/api/models/Dotted.model-1_0/prediction"),
    ],
)
def test_every_route_has_a_name(name: str, url: str) -> None:
    assert reverse(f"models_api:{name}") == url
    assert resolve(url).url_name == name


def test_metadata_has_one_route_for_all_models() -> None:
    url = reverse("models_api:metadata", args=["obedient"])
    assert url == "/ml/api/models/obedient/metadata"
    assert resolve(url).kwargs == {"qualified_name": "obedient"}


def test_an_asset_is_in_a_folder_of_its_own() -> None:
    url = reverse("models_api:asset", args=["redoc", "a/b.js"])
    assert url == "/ml/docs/assets/redoc/a/b.js"
    assert resolve(url).kwargs == {"folder": "redoc", "path": "a/b.js"}


@pytest.mark.parametrize(
    "name", ["hidden", "nope", "obedient ", "Obedient", "Dotted-model-1_0", "DottedXmodel-1_0"]
)
def test_other_names_lead_to_the_views_of_whatever_model_which_say_what_is_missing(
    name: str,
) -> None:
    for route, view in (("prediction", PredictionView), ("prediction/batch", BatchPredictionView)):
        url = f"/ml/api/models/{name}/{route}"
        match = resolve(url)
        assert match.func.cls is view  # type: ignore[attr-defined]
        assert match.kwargs == {"qualified_name": name}
        assert match.url_name is None
        answers = [Client().generic(method, url) for method in ("POST", "GET", "PUT", "OPTIONS")]
        assert {answer.status_code for answer in answers} == {404}
        assert {json.loads(answer.content)["type"] for answer in answers} == {"NotFound"}


def test_the_answer_for_an_unknown_model_says_where_they_are_listed() -> None:
    answer = Client().post("/ml/api/models/nope/prediction")
    assert json.loads(answer.content)["messages"] == [
        'There is no model "nope"; GET api/models lists them.'
    ]


def test_the_answer_for_a_model_without_an_endpoint_says_so() -> None:
    answer = Client().post("/ml/api/models/hidden/prediction/batch")
    assert json.loads(answer.content)["messages"] == [
        'The model "hidden" has no prediction endpoint.'
    ]


@pytest.mark.parametrize(
    "url",
    [
        "/ml",
        "/ml/api",
        "/ml/api/",
        "/ml/api/models/",
        "/ml/api/models/obedient",
        "/ml/api/models/obedient/prediction/",
        "/ml/api/models/a/b/metadata",
        "/ml/api/models//metadata",
        "/ml/api/health/",
        "/ml/docs/",
        "/ml/docs/assets/redoc/",
        "/ml/metrics",
        "/docs",
    ],
)
def test_nothing_else_is_a_route(url: str) -> None:
    with pytest.raises(Resolver404):
        resolve(url)

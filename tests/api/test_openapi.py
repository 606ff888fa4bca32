from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, ClassVar

import pytest
from django.test import Client, RequestFactory
from django.urls import path
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, create_model
from rest_framework.authentication import BasicAuthentication
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.throttling import AnonRateThrottle

from models_api.api.documentation import OpenAPIDocument
from models_api.api.openapi import ModelsAPISchemaGenerator, tags
from models_api.api.views import HealthView, ModelsView, PredictionView
from models_api.configuration.sections import ServiceConfiguration
from models_api.prediction.description import ModelSchemas
from models_api.urls import api_patterns
from tests.fakes.awkward import Echo, configuration
from tests.fakes.models import DoublingModel
from tests.in_process import InProcessService, component_name

PREDICTION = "/api/models/numbers/prediction"
METADATA = "/api/models/{qualified_name}/metadata"


@cache
def service() -> InProcessService:
    return InProcessService(configuration())


def operation_at(route: str) -> dict[str, Any]:
    (operation,) = service().document["paths"][route].values()
    assert isinstance(operation, dict)
    return operation


# What the document holds


def test_the_document_is_valid() -> None:
    assert service().document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(service().document).validate()


def test_every_prediction_is_documented_in_the_words_of_its_model() -> None:
    for model in Echo.all:
        name, title = model.qualified_name, model.display_name
        for route, id_, summary in [
            ("prediction", f"predict_{name}", f"Predict with {title}"),
            ("prediction/batch", f"predict_batch_{name}", f"Predict a batch with {title}"),
        ]:
            operation = service().operation(name, route)
            assert operation["operationId"] == id_
            assert operation["summary"] == summary
            assert operation["description"] == model.__doc__
            assert operation["tags"] == [name]
            assert operation["requestBody"]["required"] is True


def test_operation_ids_are_unique() -> None:
    ids = [
        operation["operationId"]
        for item in service().document["paths"].values()
        for operation in item.values()
    ]
    assert len(ids) == len(set(ids)) == 2 * len(Echo.all) + 6


class BatchDoublingModel(DoublingModel):
    qualified_name = "batch_doubling"


class UnderscoredModel(DoublingModel):
    qualified_name = "_batch_doubling"


def test_a_model_whose_name_begins_with_batch_has_operation_ids_of_its_own() -> None:
    models = (DoublingModel, BatchDoublingModel, UnderscoredModel)
    class_paths = [f"{model.__module__}.{model.__name__}" for model in models]
    made = InProcessService({"models": [{"class_path": path} for path in class_paths]})
    OpenAPIV31SpecValidator(made.document).validate()
    assert [
        made.operation(model.qualified_name, route)["operationId"]
        for model in models
        for route in ("prediction", "prediction/batch")
    ] == [
        "predict_doubling",
        "predict_batch_doubling",
        "predict__batch_doubling",
        "predict_batch_batch_doubling",
        "predict___batch_doubling",
        "predict_batch__batch_doubling",
    ]


def test_every_reference_leads_to_a_component() -> None:
    text = json.dumps(service().document)
    found = {part.split('"', 1)[0] for part in text.split("#/components/schemas/")[1:]}
    assert found == set(service().components)


@pytest.mark.parametrize(
    ("route", "statuses"),
    [
        (PREDICTION, ["200", "400", "411", "413", "415", "500", "503", "504"]),
        (f"{PREDICTION}/batch", ["200", "400", "411", "413", "415", "500", "503", "504"]),
        ("/api/models", ["200", "500", "503"]),
        (METADATA, ["200", "404", "500", "503"]),
        ("/api/health", ["200", "503"]),
        ("/api/health/ready", ["200", "503"]),
        ("/api/health/startup", ["200", "503"]),
    ],
)
def test_every_status_that_a_route_can_give_is_documented(route: str, statuses: list[str]) -> None:
    responses = operation_at(route)["responses"]
    assert sorted(responses) == statuses
    for status, response in responses.items():
        assert response["description"]
        name = component_name(response["content"]["application/json"]["schema"])
        is_error = status != "200" and not route.startswith("/api/health")
        assert (name == "Error") is is_error


@pytest.mark.parametrize(
    ("route", "headers"),
    [
        (
            PREDICTION,
            {
                "200": ["X-Model-Version"],
                "415": ["Accept-Encoding"],
                "500": ["X-Request-ID"],
                "503": ["Retry-After"],
            },
        ),
        (METADATA, {"500": ["X-Request-ID"], "503": ["Retry-After"]}),
        ("/api/health", {}),
        ("/api/health/ready", {}),
        ("/api/health/startup", {}),
    ],
)
def test_headers_are_documented_where_they_are_sent(
    route: str, headers: dict[str, list[str]]
) -> None:
    responses = operation_at(route)["responses"]
    assert {
        status: list(response["headers"])
        for status, response in responses.items()
        if "headers" in response
    } == headers


def test_the_parameter_of_the_metadata_is_described() -> None:
    assert operation_at(METADATA)["parameters"] == [
        {
            "description": "Qualified name of the model.",
            "in": "path",
            "name": "qualified_name",
            "required": True,
            "schema": {"type": "string"},
        }
    ]


def test_every_tag_is_described_once() -> None:
    described = tags(service().registry, ServiceConfiguration())
    names = [tag["name"] for tag in described]
    assert names == [*(model.qualified_name for model in Echo.all), "models"]
    assert described[0] == {
        "name": "same_names",
        "x-displayName": "SameNames",
        "description": Echo.all[0].__doc__,
    }
    # A model has the name of a group of the service's own, whose description stays.
    (status,) = (tag for tag in described if tag["name"] == "status")
    assert status["description"] == "Whether the service works and may get traffic."


# Policies of the project


class _Policies:
    authentication_classes: ClassVar = [BasicAuthentication]
    permission_classes: ClassVar = [IsAuthenticated]
    throttle_classes: ClassVar = [AnonRateThrottle]


OPEN: dict[str, Any] = {
    "authentication_classes": [],
    "permission_classes": [],
    "throttle_classes": [],
}


@pytest.mark.parametrize(
    ("policies", "statuses", "headers"),
    [
        ({}, set(), {}),
        ({"permission_classes": [AllowAny]}, set(), {}),
        ({"permission_classes": [IsAuthenticated]}, {"401", "403"}, {}),
        ({"authentication_classes": [BasicAuthentication]}, {"401", "403"}, {}),
        ({"throttle_classes": [AnonRateThrottle]}, {"429"}, {"429": ["Retry-After"]}),
    ],
    ids=["none", "open", "permission", "authentication", "throttle"],
)
def test_the_policies_of_the_project_are_documented(
    policies: dict[str, Any], statuses: set[str], headers: dict[str, list[str]]
) -> None:
    view = PredictionView.as_view(
        registry=service().registry, qualified_name="numbers", **{**OPEN, **policies}
    )
    patterns = [path("prediction", view)]
    document = ModelsAPISchemaGenerator(patterns=patterns).get_schema(public=True)
    responses = document["paths"]["/prediction"]["post"]["responses"]
    without = set(operation_at(PREDICTION)["responses"])
    assert set(responses) - without == statuses
    assert {
        status: list(response["headers"])
        for status, response in responses.items()
        if status in statuses and "headers" in response
    } == headers
    for status in statuses:
        assert component_name(responses[status]["content"]["application/json"]["schema"]) == "Error"


def test_an_authentication_is_documented_as_a_requirement() -> None:
    view = ModelsView.as_view(
        registry=service().registry, **{**OPEN, "authentication_classes": [BasicAuthentication]}
    )
    document = ModelsAPISchemaGenerator(patterns=[path("models", view)]).get_schema(public=True)
    operation = document["paths"]["/models"]["get"]
    assert {"basicAuth": []} in operation["security"]
    assert document["components"]["securitySchemes"] == {
        "basicAuth": {"type": "http", "scheme": "basic"}
    }


# Neighbours


def closure(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The components that an operation leads to."""
    schemas = document["components"]["schemas"]
    found: dict[str, Any] = {}
    waiting = [operation]
    while waiting:
        for part in json.dumps(waiting.pop()).split("#/components/schemas/")[1:]:
            name = part.split('"', 1)[0]
            if name not in found:
                found[name] = schemas[name]
                waiting.append(schemas[name])
    return found


CLASHING = {"same_names", "other_same_names", "identical", "other_identical"}


@pytest.mark.parametrize(
    "model",
    [model for model in Echo.all if model.qualified_name not in CLASHING],
    ids=lambda model: model.qualified_name,
)
def test_a_model_is_documented_alone_as_it_is_among_all_others(model: type[Echo]) -> None:
    name = model.qualified_name
    alone = InProcessService(configuration(model))
    for route in ("prediction", "prediction/batch"):
        among_others = service().operation(name, route)
        assert alone.operation(name, route) == among_others
        assert closure(alone.document, among_others) == closure(service().document, among_others)


@pytest.mark.parametrize("name", sorted(CLASHING))
def test_a_clash_of_names_changes_references_and_nothing_else(name: str) -> None:
    (model,) = (model for model in Echo.all if model.qualified_name == name)
    alone = InProcessService(configuration(model)).operation(name)
    among_others = service().operation(name)
    assert json.loads(json.dumps(among_others).replace(f"schemas/{name}.", "schemas/")) == alone


def test_models_that_share_a_schema_share_that_of_its_batch() -> None:
    schemas = [
        component_name(
            service().operation(name, "prediction/batch")["requestBody"]["content"][
                "application/json"
            ]["schema"]
        )
        for name in ("sharing", "also_sharing", "sharing_input")
    ]
    assert schemas == ["SharedBatch-Input", "SharedBatch-Input", "SharedBatch"]


# Threads and settings


def test_documents_made_by_many_threads_at_once_are_the_same() -> None:
    services = [InProcessService(configuration(model)) for model in Echo.all[:6]]
    expected = [json.dumps(each.make_document()) for each in services]
    barrier = threading.Barrier(len(services))

    def make(each: InProcessService) -> list[str]:
        barrier.wait()
        return [json.dumps(each.make_document()) for _ in range(5)]

    with ThreadPoolExecutor(len(services)) as threads:
        made = list(threads.map(make, services))
    assert made == [[text] * 5 for text in expected]


def test_generators_of_the_project_describe_the_models_the_same_at_once() -> None:
    """A project's own generator is not held up by this app's, nor mixed up with it."""
    patterns = api_patterns(service().registry)
    expected = service().document["paths"]
    barrier = threading.Barrier(4)

    def make(_: int) -> Any:
        barrier.wait()
        return SchemaGenerator(patterns=patterns).parse(None, public=True)

    with ThreadPoolExecutor(4) as threads:
        for paths in threads.map(make, range(4)):
            assert json.loads(json.dumps(paths)) == json.loads(json.dumps(expected))


def test_settings_of_the_projects_own_documents_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from drf_spectacular.settings import spectacular_settings

    def spoil(result: Any, **_: Any) -> Any:
        return {}

    monkeypatch.setattr(spectacular_settings, "POSTPROCESSING_HOOKS", [spoil])
    monkeypatch.setattr(spectacular_settings, "OAS_VERSION", "3.0.3")
    monkeypatch.setattr(spectacular_settings, "TITLE", "Another title")
    assert service().make_document() == service().document


def test_no_document_warns() -> None:
    service().make_document()
    assert not GENERATOR_STATS


# The text


def text_at(url: str) -> bytes:
    response = Client().get(url, headers={"host": "localhost"})
    assert response.status_code == 200
    return response.content


def test_the_text_is_written_once() -> None:
    document = OpenAPIDocument(service().registry, api_patterns)
    text = document.text("", "json")
    assert "servers" not in json.loads(text)
    assert json.loads(document.text("/prefix", "json"))["servers"] == [{"url": "/prefix"}]
    assert document.text("", "json") is text


def test_the_text_is_written_again_once_a_model_says_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = InProcessService(configuration(Echo.all[0]))
    document = OpenAPIDocument(own.registry, api_patterns)
    before = document.text("", "json")
    model = own.registry["same_names"]
    schema: type[BaseModel] = create_model("Changed", x=(int, ...))
    changed = model._description._replace(schemas=ModelSchemas(schema, schema))
    monkeypatch.setattr(model, "_description", changed)
    after = json.loads(document.text("", "json"))
    assert "Changed" not in json.loads(before)["components"]["schemas"]
    assert "Changed" in after["components"]["schemas"]


def test_any_number_of_roots_does_not_fill_the_memory() -> None:
    document = OpenAPIDocument(InProcessService(configuration(Echo.all[0])).registry, api_patterns)
    for number in range(50):
        document.text(f"/{number}", "json")
    assert len(document._texts) < 20


def test_threads_that_ask_at_once_get_the_same_text() -> None:
    document = OpenAPIDocument(service().registry, api_patterns)
    with ThreadPoolExecutor(8) as threads:
        texts = set(threads.map(lambda _: document.text("", "json"), range(16)))
    assert list(map(json.loads, texts)) == [service().document]


def test_json_and_yaml_are_one_document() -> None:
    import yaml

    document = json.loads(text_at("/openapi.json"))
    assert yaml.safe_load(text_at("/openapi.yaml")) == document
    OpenAPIV31SpecValidator(document).validate()


def test_status_endpoints_are_open_whatever_the_policies() -> None:
    view = HealthView.as_view(registry=service().registry)
    assert view(RequestFactory().get("/")).status_code == 200

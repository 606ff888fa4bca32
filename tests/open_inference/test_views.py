"""The protocol's routes: answers as the specification has them, errors, and the policies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.test import Client, override_settings
from django.urls import include, path
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from rest_framework.permissions import AllowAny, IsAuthenticated

from models_api.api.openapi import ModelsAPISchemaGenerator
from models_api.api.views import StatusView
from models_api.configuration.sections import OpenInferenceConfiguration, ServiceConfiguration
from models_api.hosting.registry import ModelRegistry
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.open_inference import repository, views
from models_api.open_inference.statistics import InferenceStatistics
from models_api.urls import open_inference_patterns
from tests.in_process import InProcessService
from tests.open_inference import specification
from tests.open_inference.specification import assert_fits

CONFIGURATION = {
    "models": [
        {"class_path": "tests.fakes.tensors.EchoModel"},
        {"class_path": "tests.fakes.models.FailingModel"},
        {"class_path": "tests.fakes.models.LateModel"},
        {"class_path": "tests.fakes.misbehaving.HiddenModel", "create_endpoint": False},
        {"class_path": "tests.fakes.batching.BatchingModel", "batching": {"max_batch_size": 4}},
    ]
}
SERVICE = ServiceConfiguration(
    service_title="Sensors", version="3.0", open_inference=OpenInferenceConfiguration(enabled=True)
)
INPUTS = [
    {"name": "temperature", "shape": [2], "datatype": "FP64", "data": [21.5, -1]},
    {"name": "count", "shape": [2], "datatype": "INT64", "data": [1, 2]},
    {"name": "active", "shape": [2], "datatype": "BOOL", "data": [True, False]},
    {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["é", ""]},
    {"name": "vector", "shape": [2, 3], "datatype": "FP32", "data": [[1, 2, 3], [4, 5, 6]]},
]


def urlconf_of(registry: ModelRegistry, shared: SharedMemoryMetrics | None = None) -> Any:
    urlconf = ModuleType("urlconf")
    patterns = open_inference_patterns(registry, SERVICE, shared)
    urlconf.urlpatterns = [path("", include((patterns, "models_api")))]  # type: ignore[attr-defined]
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


def body(response: Any) -> Any:
    return json.loads(response.content)


def infer(client: Client, request: Any, model: str = "echo") -> Any:
    return client.post(f"/v2/models/{model}/infer", request, content_type="application/json")


def refused(response: Any, status: int, error: str) -> None:
    assert (response.status_code, body(response)) == (status, {"error": error})
    assert_fits(body(response), specification.ERROR_RESPONSE)


@pytest.mark.parametrize("url", ["/v2", "/v2/"])
def test_the_server_says_what_it_is(client: Client, url: str) -> None:
    answer = body(client.get(url))
    assert_fits(answer, specification.METADATA_SERVER_RESPONSE)
    assert answer == {
        "name": "Sensors",
        "version": "3.0",
        "extensions": [
            "binary_tensor_data",
            "model_configuration",
            "model_repository",
            "statistics",
        ],
    }


def test_a_server_with_a_model_that_failed_is_live_but_not_ready(client: Client) -> None:
    live, ready = client.get("/v2/health/live"), client.get("/v2/health/ready")
    assert_fits(body(live), specification.LIVE_SERVER_RESPONSE)
    assert_fits(body(ready), specification.READY_SERVER_RESPONSE)
    assert (live.status_code, body(live)) == (200, {"live": True})
    assert (ready.status_code, body(ready)) == (503, {"live": True, "ready": False})


def test_a_server_whose_prediction_hangs_is_neither() -> None:
    service = InProcessService({"models": []})
    with override_settings(ROOT_URLCONF=urlconf_of(service.registry)):
        assert body(Client().get("/v2/health/ready")) == {"live": True, "ready": True}
        service.limiter.is_hung = True
        live, ready = Client().get("/v2/health/live"), Client().get("/v2/health/ready")
    assert (live.status_code, body(live)) == (503, {"live": False})
    assert (ready.status_code, body(ready)) == (503, {"live": False, "ready": False})


@pytest.mark.parametrize(("name", "ready"), [("echo", True), ("failing", False), ("late", True)])
def test_a_model_says_whether_it_is_ready(client: Client, name: str, ready: bool) -> None:
    response = client.get(f"/v2/models/{name}/ready")
    assert_fits(body(response), specification.READY_MODEL_RESPONSE)
    assert response.status_code == (200 if ready else 503)
    assert body(response) == {"name": name, "ready": ready}


@pytest.mark.parametrize("name", ["echo", "late", "hidden", "failing", "batching"])
def test_the_metadata_of_each_model_is_as_specified(client: Client, name: str) -> None:
    response = client.get(f"/v2/models/{name}")
    assert response.status_code == 200
    assert_fits(body(response), specification.METADATA_MODEL_RESPONSE)


def test_the_metadata_says_which_tensor_is_which_field(client: Client) -> None:
    parameters = {"required": True, "nullable": False}
    tensors: list[dict[str, Any]] = [
        {"name": "temperature", "datatype": "FP64", "shape": [-1], "parameters": parameters},
        {"name": "count", "datatype": "INT64", "shape": [-1], "parameters": parameters},
        {"name": "active", "datatype": "BOOL", "shape": [-1], "parameters": parameters},
        {
            "name": "label",
            "datatype": "BYTES",
            "shape": [-1],
            "parameters": {**parameters, "content_type": "str"},
        },
        {"name": "vector", "datatype": "FP64", "shape": [-1, 3], "parameters": parameters},
    ]
    # What a model gives may be NaN, which is null in JSON.
    given = [
        {**each, "parameters": {**parameters, "nullable": True}}
        if each["datatype"] == "FP64"
        else each
        for each in tensors
    ]
    assert body(client.get("/v2/models/echo/versions/2.1.0")) == {
        "name": "echo",
        "versions": ["2.1.0"],
        "platform": "ml_base",
        "inputs": tensors,
        "outputs": given,
        "parameters": {"max_rows": 1000},
    }


def test_the_configuration_has_the_form_of_tritons(client: Client) -> None:
    tensors: list[dict[str, Any]] = [
        {"name": "temperature", "data_type": "TYPE_FP64", "dims": [1]},
        {"name": "count", "data_type": "TYPE_INT64", "dims": [1]},
        {"name": "active", "data_type": "TYPE_BOOL", "dims": [1]},
        {"name": "label", "data_type": "TYPE_STRING", "dims": [1]},
        {"name": "vector", "data_type": "TYPE_FP64", "dims": [3]},
    ]
    assert body(client.get("/v2/models/echo/config")) == {
        "name": "echo",
        "platform": "ml_base",
        "backend": "python",
        "max_batch_size": 1000,
        "input": tensors,
        "output": tensors,
    }


@pytest.mark.parametrize("model", ["echo", "echo/versions/2.1.0"])
def test_predictions_are_as_specified(client: Client, model: str) -> None:
    request = {"id": "42", "parameters": {"anything": 1}, "inputs": INPUTS}
    response = infer(client, request, model)
    assert response.status_code == 200, response.content
    assert_fits(body(response), specification.INFERENCE_RESPONSE)
    answer = body(response)
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("echo", "2.1.0", "42")
    assert {each["name"]: each["data"] for each in answer["outputs"]} == {
        "temperature": [21.5, -1.0],
        "count": [1, 2],
        "active": [True, False],
        "label": ["é", ""],
        "vector": [1, 2, 3, 4, 5, 6],
    }


def test_only_what_is_wanted_is_given_and_in_the_order_wanted(client: Client) -> None:
    request = {"inputs": INPUTS, "outputs": [{"name": "label"}, {"name": "count"}]}
    answer = body(infer(client, request))
    assert [output["name"] for output in answer["outputs"]] == ["label", "count"]
    assert "id" not in answer
    wanted = {"inputs": INPUTS, "outputs": [{"name": "labels"}]}
    refused(
        infer(client, wanted),
        400,
        'Output "labels": the model gives none of this name; it gives temperature, count, active, '
        "label, vector.",
    )


def test_a_row_that_does_not_fit_is_refused_by_tensor_and_row(client: Client) -> None:
    inputs = [
        {"name": "count", "shape": [2], "datatype": "FP64", "data": [1, 2.5]},
        *(each for each in INPUTS if each["name"] not in ("count", "label")),
    ]
    refused(
        infer(client, {"inputs": inputs}),
        400,
        'Input "label" is missing; Input "count", row 1: Input should be a valid integer, got a '
        "number with a fractional part",
    )


def test_a_row_alone_may_share_a_batch_and_rows_together_are_one_call(client: Client) -> None:
    def batch_sizes(*values: float) -> Any:
        tensor = {"name": "value", "shape": [len(values)], "datatype": "FP64", "data": values}
        answer = body(infer(client, {"inputs": [tensor]}, "batching"))
        found = {output["name"]: output["data"] for output in answer["outputs"]}
        return found["batch_size"]

    assert batch_sizes(1) == [1]
    assert batch_sizes(1, 2, 3, 4, 5, 6) == [4, 4, 4, 4, 2, 2]


def test_a_model_that_fails_is_an_error_without_its_reason(client: Client) -> None:
    tensor = {"name": "value", "shape": [2], "datatype": "FP64", "data": [1, -2]}
    response = infer(client, {"inputs": [tensor]}, "batching")
    assert response.status_code == 500
    assert_fits(body(response), specification.ERROR_RESPONSE)
    assert body(response)["error"].startswith(
        "Row 1: The model batching failed to make a prediction. The log has the reason under the "
        "request id "
    )


@pytest.mark.parametrize(
    ("method", "url", "status", "error"),
    [
        ("GET", "/v2/models/nobody", 404, 'There is no model "nobody".'),
        ("GET", "/v2/models/nobody/ready", 404, 'There is no model "nobody".'),
        ("GET", "/v2/models/nobody/config", 404, 'There is no model "nobody".'),
        ("GET", "/v2/models/nobody/stats", 404, 'There is no model "nobody".'),
        ("POST", "/v2/models/nobody/infer", 404, 'There is no model "nobody".'),
        (
            "GET",
            "/v2/models/echo/versions/1",
            404,
            'The model "echo" has no version "1", but "2.1.0".',
        ),
        (
            "POST",
            "/v2/models/echo/versions/1/infer",
            404,
            'The model "echo" has no version "1", but "2.1.0".',
        ),
        (
            "POST",
            "/v2/models/hidden/infer",
            404,
            'The model "hidden" has no prediction endpoint.',
        ),
        (
            "POST",
            "/v2/models/failing/infer",
            503,
            "The model failing failed to load; the log of the service says why.",
        ),
        (
            "POST",
            "/v2/models/failing/versions/1.0.0/infer",
            503,
            "The model failing failed to load; the log of the service says why.",
        ),
        ("GET", "/v2/models/echo/infer", 405, 'Method "GET" not allowed; use POST.'),
        ("POST", "/v2/models/echo", 405, 'Method "POST" not allowed; use GET or HEAD.'),
        (
            "POST",
            "/v2/repository/models/echo/other",
            404,
            "There is nothing at /v2/repository/models/echo/other.",
        ),
        ("GET", "/v2/nothing", 404, "There is nothing at /v2/nothing."),
    ],
)
def test_errors_have_the_protocols_form(
    client: Client, method: str, url: str, status: int, error: str
) -> None:
    refused(client.generic(method, url), status, error)


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        (
            {"content_type": "text/csv"},
            415,
            'Unsupported media type "text/csv"; send application/json.',
        ),
        (
            {"content_type": "application/json", "HTTP_CONTENT_ENCODING": "br"},
            415,
            'Unsupported content encoding "br"; send the body uncompressed, or compressed by gzip.',
        ),
        (
            {
                "content_type": "application/octet-stream",
                "HTTP_INFERENCE_HEADER_CONTENT_LENGTH": "-1",
            },
            400,
            "Inference-Header-Content-Length should be a whole number.",
        ),
    ],
)
def test_wrong_headers_are_refused(
    client: Client, headers: dict[str, Any], status: int, error: str
) -> None:
    refused(client.post("/v2/models/echo/infer", b"{}", **headers), status, error)


def test_the_index_lists_the_models_and_how_they_are(client: Client) -> None:
    index = body(client.generic("POST", "/v2/repository/index", content_type=""))
    assert [(each["name"], each["state"]) for each in index] == [
        ("echo", "READY"),
        ("failing", "UNAVAILABLE"),
        ("late", "READY"),
        ("hidden", "READY"),
        ("batching", "READY"),
    ]
    assert index[0]["reason"] == ""
    assert index[1]["reason"].startswith("The model failing failed to load;")
    ready = client.post("/v2/repository/index", {"ready": True}, content_type="application/json")
    assert [each["name"] for each in body(ready)] == ["echo", "late", "hidden", "batching"]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (b"{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
        (b'{"ready": 1}', 'The body should be an object; its key "ready" is true or false.'),
        (b"[]", 'The body should be an object; its key "ready" is true or false.'),
    ],
)
def test_an_index_that_nobody_can_make_is_refused(client: Client, given: bytes, error: str) -> None:
    response = client.post("/v2/repository/index", given, content_type="application/json")
    refused(response, 400, error)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[SharedMemoryMetrics]:
    """What this process and its neighbours count, with nothing counted yet."""
    shared = SharedMemoryMetrics(lambda: tmp_path)
    yield shared
    shared.close()


def test_what_becomes_of_requests_is_counted_by_model(shared: SharedMemoryMetrics) -> None:
    service = InProcessService(CONFIGURATION)
    with override_settings(ROOT_URLCONF=urlconf_of(service.registry, shared)):
        client = Client()
        before = body(client.get("/v2/models/echo/stats"))["model_stats"][0]
        for model in ("echo", "echo/versions/2.1.0"):
            assert infer(client, {"inputs": INPUTS}, model).status_code == 200
        assert infer(client, {"inputs": []}).status_code == 400
        (after,) = body(client.get("/v2/models/echo/stats"))["model_stats"]
        everything = body(client.get("/v2/models/stats"))["model_stats"]
    nothing = {"count": 0, "ns": 0}
    assert before == {
        "name": "echo",
        "version": "2.1.0",
        "last_inference": 0,
        "inference_count": 0,
        "execution_count": 0,
        "inference_stats": {"success": nothing, "fail": nothing},
    }
    assert (after["inference_count"], after["execution_count"]) == (4, 2)
    counts = after["inference_stats"]
    assert (counts["success"]["count"], counts["fail"]["count"]) == (2, 1)
    assert counts["success"]["ns"] > 0
    assert after["last_inference"] > 0
    assert [each["name"] for each in everything] == [
        "echo",
        "failing",
        "late",
        "hidden",
        "batching",
    ]
    assert everything[0] == after


def test_what_other_processes_counted_is_added(shared: SharedMemoryMetrics, tmp_path: Path) -> None:
    service = InProcessService(CONFIGURATION)
    other = SharedMemoryMetrics(lambda: tmp_path)
    theirs, echo = InferenceStatistics(other), service.registry["echo"]
    with theirs.inference(echo) as inference:
        inference.rows = 5
    with suppress(ValueError), theirs.inference(echo):
        raise ValueError
    with override_settings(ROOT_URLCONF=urlconf_of(service.registry, shared)):
        assert infer(Client(), {"inputs": INPUTS}).status_code == 200
        (alive,) = body(Client().get("/v2/models/echo/stats"))["model_stats"]
        other.close()
        (ended,) = body(Client().get("/v2/models/echo/stats"))["model_stats"]
    assert alive == ended
    assert alive["inference_count"] == 7
    outcomes = alive["inference_stats"]
    assert (outcomes["success"]["count"], outcomes["fail"]["count"]) == (2, 1)


# The host project's policies


def test_health_is_open_and_all_else_is_under_the_projects_policies() -> None:
    classes = [each for each in vars(views).values() if isinstance(each, type)]
    found = [each for each in classes if issubclass(each, views.OpenInferenceView)]
    is_open = {each.__name__ for each in found if list(each.permission_classes) == [AllowAny]}
    names = {each.__name__ for each in found if not each.authentication_classes}
    # Nothing is restricted in this project; what is open whatever the project says so itself.
    own = {each.__name__ for each in found if issubclass(each, StatusView)}
    assert own == {"LiveView", "ReadyView"}
    assert own <= is_open & names


@pytest.mark.parametrize("name", ["ServerView", "ModelView", "RepositoryIndexView", "NothingView"])
def test_a_refusal_by_the_project_has_the_protocols_form(
    service: InProcessService, name: str
) -> None:
    from django.test import RequestFactory

    base = getattr(repository if name.startswith("Repository") else views, name)
    restricted: Any = type(name, (base,), {"permission_classes": [IsAuthenticated]})
    request = RequestFactory().get("/v2")
    response = restricted.as_view(registry=service.registry)(request, qualified_name="echo")
    refused(response, 403, "You do not have permission to perform this action.")


# The document


def test_a_hook_of_the_project_changes_only_the_document_that_it_is_given(
    service: InProcessService,
) -> None:
    def make(hooks: list[str]) -> Any:
        patterns = open_inference_patterns(service.registry, SERVICE)
        with patched_settings({"POSTPROCESSING_HOOKS": hooks, "OAS_VERSION": "3.1.0"}):
            return SchemaGenerator(patterns=patterns).get_schema(public=True)

    before = make([])
    make(["drf_spectacular.hooks.postprocess_schema_enums"])
    assert make([]) == before


@pytest.fixture(scope="module")
def document(service: InProcessService) -> Any:
    patterns = open_inference_patterns(service.registry, SERVICE)
    return ModelsAPISchemaGenerator(patterns=patterns).get_schema(public=True)


def test_the_document_is_valid_and_has_every_route(document: Any) -> None:
    OpenAPIV31SpecValidator(document).validate()
    name, version = "{qualified_name}", "{qualified_name}/versions/{version}"
    assert set(document["paths"]) == {
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/repository/index",
        "/v2/models/stats",
        *(
            f"/v2/models/{model}{end}"
            for model in (name, version)
            for end in ("", "/ready", "/config", "/stats")
        ),
        *(
            f"/v2/models/{model}/infer"
            for model in ("echo", "failing", "late", "batching", version)
        ),
    }
    operations = [each for item in document["paths"].values() for each in item.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == 18


def test_inference_with_a_version_is_documented_as_that_without(document: Any) -> None:
    plain = document["paths"]["/v2/models/echo/infer"]["post"]
    versioned = document["paths"]["/v2/models/{qualified_name}/versions/{version}/infer"]["post"]
    assert versioned["operationId"] == "open_inference_infer_version"
    assert versioned["requestBody"] == plain["requestBody"]
    assert {**versioned["responses"], "404": None} == {**plain["responses"], "404": None}
    assert [(each["name"], each["in"]) for each in versioned["parameters"]] == [
        ("Inference-Header-Content-Length", "header"),
        ("qualified_name", "path"),
        ("version", "path"),
    ]


def test_the_document_says_that_tensors_may_be_binary_and_which_there_are(document: Any) -> None:
    operation = document["paths"]["/v2/models/echo/infer"]["post"]
    assert set(operation["requestBody"]["content"]) == {
        "application/json",
        "application/octet-stream",
    }
    success = operation["responses"]["200"]
    assert set(success["content"]) == {"application/json", "application/octet-stream"}
    assert "Inference-Header-Content-Length" in success["headers"]
    (header,) = operation["parameters"]
    assert (header["name"], header["in"]) == ("Inference-Header-Content-Length", "header")
    assert "`vector` (FP64 [-1, 3])" in operation["description"]
    (error,) = operation["responses"]["400"]["content"].values()
    assert error["schema"] == {"$ref": "#/components/schemas/OpenInferenceError"}


def test_answers_fit_the_document(client: Client, document: Any) -> None:
    import jsonschema

    for url, name in [
        ("/v2", "OpenInferenceServer"),
        ("/v2/models/echo", "OpenInferenceModel"),
        ("/v2/models/echo/config", "OpenInferenceConfig"),
        ("/v2/models/stats", "OpenInferenceStatistics"),
    ]:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(body(client.get(url)))


def test_without_the_key_there_are_no_routes(service: InProcessService) -> None:
    disabled = OpenInferenceConfiguration(enabled=False)
    assert open_inference_patterns(service.registry, ServiceConfiguration()) == []
    configuration = ServiceConfiguration(open_inference=disabled)
    assert open_inference_patterns(service.registry, configuration) == []


@pytest.mark.parametrize("change", ["load", "unload"])
@pytest.mark.parametrize("model", ["echo", "unknown", "a b"])
def test_requests_cannot_change_which_models_there_are(
    client: Client, model: str, change: str
) -> None:
    response = client.post(
        f"/v2/repository/models/{model}/{change}", {}, content_type="application/json"
    )
    message = "Models cannot be loaded and unloaded by requests, unless the configuration file of "
    refused(response, 403, f"{message}the service has open_inference.allow_load_unload: true.")
    assert client.get("/v2/models/echo/ready").status_code == 200

"""Requests for predictions, from WSGI's environ to an answer, without Django."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models_api.api.answers import Answer
from models_api.api.predictions import BatchEndpoint, PredictionEndpoint
from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import ConfigurationError, ModelNotFound, ModelNotReady, Problem
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.model_stack import ModelStack
from models_api.hosting.registry import ModelRegistry
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.open_inference.endpoint import InferEndpoint
from models_api.open_inference.statistics import InferenceStatistics
from models_api.prediction.request_context import RequestContext
from tests.fakes.changing import ERRORS
from tests.in_process import InProcessService

FAKES = "tests.fakes.misbehaving"
CONFIGURATION = {
    "models": [
        {"class_path": f"{FAKES}.ObedientModel"},
        {"class_path": f"{FAKES}.HiddenModel", "create_endpoint": False},
        {"class_path": f"{FAKES}.BrokenModel"},
        {"class_path": "tests.fakes.changing.ScalingModel"},
        {"class_path": "tests.fakes.tensors.EchoModel"},
    ]
}


@pytest.fixture(scope="module")
def registry() -> ModelRegistry:
    return InProcessService(CONFIGURATION).registry


def ask(endpoint: PredictionEndpoint, body: bytes, **environ: object) -> tuple[Answer, Any]:
    """Return the answer, and its body."""
    stream = io.BytesIO(body)
    answer = endpoint.answer(
        {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/path",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": stream,
            **environ,
        },
        stream,
    )
    assert stream.read() == b"", "nothing is left of the body"
    return answer, json.loads(answer.body)


@pytest.fixture
def statistics(tmp_path: Path) -> Iterator[InferenceStatistics]:
    shared = SharedMemoryMetrics(lambda: tmp_path)
    yield InferenceStatistics(shared)
    shared.close()


def test_a_prediction_is_answered(registry: ModelRegistry) -> None:
    answer, _ = ask(PredictionEndpoint(registry, "obedient"), b'{"x": 1}')
    assert answer == Answer(
        200,
        {"Content-Type": "application/json", "X-Model-Version": "1.2.3"},
        b'{"x":1.0,"Text":"","anything":null,"twice":2.0}',
    )


def test_predictions_for_many_rows_are_answered(registry: ModelRegistry) -> None:
    answer, body = ask(BatchEndpoint(registry, "obedient"), b'{"inputs": [{"x": 1}, {"x": 2}]}')
    assert answer.status == 200
    assert [each["x"] for each in body["predictions"]] == [1.0, 2.0]


@pytest.mark.parametrize("endpoint", [PredictionEndpoint, BatchEndpoint])
@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("nope", 404, ("NotFound", 'There is no model "nope"; GET api/models lists them.')),
        ("hidden", 404, ("NotFound", 'The model "hidden" has no prediction endpoint.')),
        (
            "broken",
            503,
            (
                "ModelNotReady",
                "The model broken failed to load; the log of the service says why.",
            ),
        ),
    ],
)
def test_a_model_that_cannot_be_asked_is_an_answer_and_the_body_is_read_all_the_same(
    registry: ModelRegistry,
    endpoint: type[PredictionEndpoint],
    name: str,
    status: int,
    error: tuple[str, str],
) -> None:
    answer, body = ask(endpoint(registry, name), b"x" * 100_000)
    assert (answer.status, body) == (status, {"type": error[0], "messages": [error[1]]})
    assert "Retry-After" not in answer.headers


@pytest.mark.parametrize(
    ("body", "environ", "status", "type_"),
    [
        (b"{", {}, 400, "ValidationError"),
        (b"{}", {"CONTENT_LENGTH": "9"}, 400, "ValidationError"),
        (b"{}", {"CONTENT_TYPE": "text/plain"}, 415, "UnsupportedMediaType"),
        (b"{}", {"HTTP_CONTENT_ENCODING": "br"}, 415, "UnsupportedMediaType"),
        (b"{}", {"HTTP_CONTENT_ENCODING": "gzip"}, 400, "ValidationError"),
        (b" " * 10_485_761, {}, 413, "PayloadTooLarge"),
        (b'{"do": "reject"}', {}, 400, "SchemaValidationError"),
        (b'{"do": "raise"}', {}, 500, "ServiceError"),
        (b'{"do": "exit"}', {}, 500, "ServiceError"),
    ],
)
def test_each_error_is_an_answer(
    registry: ModelRegistry, body: bytes, environ: dict[str, object], status: int, type_: str
) -> None:
    answer, told = ask(PredictionEndpoint(registry, "obedient"), body, **environ)
    assert (answer.status, told["type"]) == (status, type_)
    assert answer.headers["Content-Type"] == "application/json"


def test_a_chunked_body_without_an_end_wants_a_length(registry: ModelRegistry) -> None:
    stream = io.BytesIO(b"{}")
    environ = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": stream}
    answer = PredictionEndpoint(registry, "obedient").answer(environ, stream)
    assert answer.status == 411


@pytest.mark.parametrize("error", ERRORS)
def test_whatever_a_model_raises_is_an_answer(
    registry: ModelRegistry, context: RequestContext, error: str
) -> None:
    row = {"values": [1], "alone": error}
    answer, told = ask(PredictionEndpoint(registry, "scaling"), json.dumps(row).encode())
    text = "The model scaling failed to make a prediction. The log has the reason under the "
    assert answer.status == 500
    assert told == {"type": "ServiceError", "messages": [f"{text}request id mine."]}
    assert answer.headers["X-Request-ID"] == "mine"


def test_the_context_knows_the_model_and_when_the_body_had_come(
    registry: ModelRegistry, context: RequestContext
) -> None:
    context.received = context.arrived = 1.0
    ask(PredictionEndpoint(registry, "obedient"), b'{"x": 1}')
    assert (context.model, context.version, context.rows) == ("obedient", "1.2.3", 1)
    assert context.received > context.arrived == 1.0


def test_a_context_knows_the_model_even_if_the_request_is_refused(
    registry: ModelRegistry, context: RequestContext
) -> None:
    ask(PredictionEndpoint(registry, "obedient"), b"{", CONTENT_TYPE="a/b")
    assert (context.model, context.rows) == ("obedient", None)


# Versions


def test_a_version_is_that_of_the_model(registry: ModelRegistry) -> None:
    assert ask(PredictionEndpoint(registry, "obedient", "1.2.3"), b'{"x": 1}')[0].status == 200
    answer, body = ask(PredictionEndpoint(registry, "obedient", "9"), b'{"x": 1}')
    assert answer.status == 404
    assert body["messages"] == ['The model "obedient" has no version "9", but "1.2.3".']


# The Open Inference Protocol


def test_errors_of_the_protocol_have_its_body(
    registry: ModelRegistry, statistics: InferenceStatistics
) -> None:
    answer, body = ask(InferEndpoint(registry, "nope", statistics=statistics), b"{}")
    assert (answer.status, body) == (404, {"error": 'There is no model "nope".'})
    answer, body = ask(InferEndpoint(registry, "broken", statistics=statistics), b"{}")
    assert (answer.status, "Retry-After" in answer.headers) == (503, False)
    assert set(body) == {"error"}
    answer, body = ask(InferEndpoint(registry, "echo", "9", statistics=statistics), b"{}")
    assert body == {"error": 'The model "echo" has no version "9", but "2.1.0".'}


def test_requests_that_reach_a_model_are_counted(
    registry: ModelRegistry, statistics: InferenceStatistics
) -> None:
    endpoint = InferEndpoint(registry, "echo", statistics=statistics)
    ask(endpoint, b'{"inputs": []}')
    ask(endpoint, b"{}", CONTENT_TYPE="a/b")
    counts = statistics.counts(registry["echo"], statistics.read())
    assert (counts.success.requests, counts.failure.requests) == (0, 1)


def test_binary_tensors_come_with_the_length_of_their_json(
    registry: ModelRegistry, statistics: InferenceStatistics
) -> None:
    endpoint = InferEndpoint(registry, "echo", statistics=statistics)
    tensors = [
        {"name": "temperature", "datatype": "FP64", "shape": [1], "data": [21.5]},
        {"name": "count", "datatype": "INT64", "shape": [1], "data": [3]},
        {"name": "active", "datatype": "BOOL", "shape": [1], "data": [True]},
        {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["a"]},
        {"name": "vector", "datatype": "FP64", "shape": [1, 3], "data": [1.0, 2.0, 3.0]},
    ]
    request = {"inputs": tensors, "parameters": {"binary_data_output": True}}
    stream = io.BytesIO(json.dumps(request).encode())
    environ = {"CONTENT_LENGTH": str(len(stream.getvalue())), "wsgi.input": stream}
    answer = endpoint.answer(environ, stream)
    length = int(answer.headers["Inference-Header-Content-Length"])
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/octet-stream")
    assert json.loads(answer.body[:length])["model_name"] == "echo"
    assert len(answer.body) > length


# The registry, asked at each request


def host(name: str) -> HostedModel:
    configuration = ModelConfiguration(class_path=f"{FAKES}.{name}")
    return HostedModel(configuration, ModelStack.from_configuration(configuration))


def test_a_model_is_looked_up_at_each_request() -> None:
    registry = ModelRegistry([host("ObedientModel")])
    endpoint = PredictionEndpoint(registry, "obedient")
    answer, _ = ask(endpoint, b'{"x": 1}')
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    registry.load()
    assert ask(endpoint, b'{"x": 1}')[0].status == 200


def test_a_broken_configuration_is_an_answer() -> None:
    error = ConfigurationError([Problem("id", "file", 1, "", "bad", "mend it")])
    registry = ModelRegistry([], error=error)
    answer, body = ask(PredictionEndpoint(registry, "obedient"), b"{}")
    assert (answer.status, body["type"]) == (503, "ModelNotReady")
    assert "Retry-After" not in answer.headers
    with pytest.raises(ModelNotReady):
        registry.resolve("obedient")


def test_a_model_resolves_by_name_and_version() -> None:
    registry = ModelRegistry([host("ObedientModel")])
    (model,) = registry
    assert registry.resolve("obedient") is registry.resolve("obedient", "1.2.3") is model
    with pytest.raises(ModelNotFound, match=r'^There is no model "x"; try y\.$'):
        registry.resolve("x", hint="; try y.")

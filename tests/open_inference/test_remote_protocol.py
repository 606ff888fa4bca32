"""A model in a service of the Open Inference Protocol, which a script stands for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import pytest

from models_api.configuration.execution import ExecutionConfiguration
from models_api.exceptions import (
    BackendFailed,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    ModelsAPIError,
    PredictionFailed,
    TensorError,
    Unprocessable,
)
from models_api.open_inference.remote_protocol import OpenInferenceProtocol
from models_api.prediction.backends.http_pool import NoAnswer
from models_api.prediction.backends.remote_service import RemoteService
from models_api.prediction.instruments import Instruments
from models_api.schemas.json_schema import json_schema
from tests.prediction.backends.scripted_service import Asked, Script, ScriptedService, answer

pytestmark = pytest.mark.timeout(30)

SERVER = {"name": "triton", "version": "2", "extensions": ["binary_tensor_data"]}
METADATA: dict[str, Any] = {
    "name": "net",
    "versions": ["1", "2"],
    "platform": "onnxruntime_onnx",
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [-1, 2]},
        {"name": "kind", "datatype": "BYTES", "shape": [-1]},
    ],
    "outputs": [
        {"name": "y", "datatype": "FP32", "shape": [-1]},
        {"name": "n", "datatype": "UINT8", "shape": [-1, 1]},
    ],
}
OUTPUTS = [
    {"name": "y", "datatype": "FP32", "shape": [1], "data": [0.5]},
    {"name": "n", "datatype": "UINT8", "shape": [1, 1], "data": [7]},
]
ROW = {"x": [1, 2.5], "kind": "a"}


@contextmanager
def asked(
    infer: Script, metadata: object = METADATA, server: object = SERVER, version: str | None = None
) -> Iterator[tuple[OpenInferenceProtocol, ScriptedService]]:
    def script(seen: Asked) -> bytes | None:
        if seen.method == "POST":
            return infer(seen)
        return answer(server if seen.path == "/v2" else metadata)

    with ScriptedService(script) as service:
        remote = RemoteService(
            ExecutionConfiguration(kind="remote", url=service.url),
            "ours",
            pool_size=1,
            timeout_seconds=None,
            instruments=Instruments(),
            on_change=lambda: None,
        )
        protocol = OpenInferenceProtocol(remote, "net", version)
        yield protocol, service


def predicted(rows: list[object], infer: Script, **given: Any) -> tuple[Any, list[Asked]]:
    with asked(infer, **given) as (protocol, service):
        protocol.describe(1)
        body = json.dumps({"inputs": rows}).encode()
        found = json.loads(protocol.predict_batch(body, len(rows)))["predictions"]
        return found, [each for each in service.asked if each.method == "POST"]


def infer_answer(outputs: object, **more: object) -> bytes:
    return answer({"model_name": "net", "model_version": "2", "outputs": outputs, **more})


def test_its_schemas_are_those_of_its_tensors() -> None:
    with asked(lambda _: None) as (protocol, _):
        names, schemas = protocol.describe(1)
    assert (names.qualified_name, names.version) == ("ours", "2")
    assert json_schema(schemas.input, "validation") == {
        "type": "object",
        "title": "Input",
        "properties": {
            "x": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
            "kind": {"type": "string"},
        },
        "required": ["x", "kind"],
    }
    assert json_schema(schemas.output, "serialization")["properties"] == {
        "y": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "n": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 255},
            "minItems": 1,
            "maxItems": 1,
        },
    }


@pytest.mark.parametrize("extensions", [[], ["binary_tensor_data"]], ids=["JSON", "binary"])
def test_rows_become_tensors_and_tensors_rows(extensions: list[str]) -> None:
    outputs = [
        {"name": "y", "datatype": "FP32", "shape": [2], "data": [0.5, None]},
        {"name": "n", "datatype": "UINT8", "shape": [2, 1], "data": [7, 8]},
    ]
    found, (seen,) = predicted(
        [ROW, {"kind": "ä", "x": [3.0, 4]}],
        lambda _: infer_answer(outputs),
        server={"extensions": extensions},
    )
    assert found == [{"y": 0.5, "n": [7]}, {"y": None, "n": [8]}]
    assert seen.path == "/v2/models/net/infer"
    length = int(seen.headers.get("inference-header-content-length", len(seen.body)))
    request, data = json.loads(seen.body[:length]), seen.body[length:]
    assert [each["shape"] for each in request["inputs"]] == [[2, 2], [2]]
    if extensions:
        numbers = numpy.array([1, 2.5, 3, 4], "<f4").tobytes()
        assert data == numbers + b"\x01\0\0\0a\x02\0\0\0\xc3\xa4"
        assert request["parameters"] == {"binary_data_output": True}
    else:
        assert [each["data"] for each in request["inputs"]] == [[1, 2.5, 3, 4], ["a", "ä"]]


def test_answers_may_be_binary() -> None:
    head = json.dumps(
        {
            "outputs": [
                {
                    "name": name,
                    "datatype": datatype,
                    "shape": shape,
                    "parameters": {"binary_data_size": size},
                }
                for name, datatype, shape, size in [
                    ("y", "FP32", [1], 4),
                    ("n", "UINT8", [1, 1], 1),
                ]
            ]
        }
    ).encode()
    body = head + numpy.array([0.25], "<f4").tobytes() + b"\x09"
    header = f"Inference-Header-Content-Length: {len(head)}"
    told = answer(body, 200, header, kind="application/octet-stream")
    assert predicted([ROW], lambda _: told)[0] == [{"y": 0.25, "n": [9]}]


def test_a_version_is_asked_for() -> None:
    _, (seen,) = predicted([ROW], lambda _: infer_answer(OUTPUTS), version="2")
    assert seen.path == "/v2/models/net/versions/2/infer"


def test_rows_of_several_shapes_go_apart_and_come_back_in_order() -> None:
    metadata = {
        **METADATA,
        "inputs": [{"name": "x", "datatype": "INT64", "shape": [-1, -1]}],
        "outputs": [{"name": "sum", "datatype": "INT64", "shape": [-1]}],
    }

    def infer(seen: Asked) -> bytes:
        (tensor,) = seen.json()["inputs"]
        rows = numpy.array(tensor["data"], int).reshape(tensor["shape"])
        sums = rows.sum(axis=1).tolist()
        shape = [len(sums)]
        return infer_answer([{"name": "sum", "datatype": "INT64", "shape": shape, "data": sums}])

    rows: list[object] = [{"x": [1]}, {"x": [1, 2]}, {"x": [5]}, {"x": []}]
    found, seen = predicted(rows, infer, metadata=metadata, server={})
    assert found == [{"sum": 1}, {"sum": 3}, {"sum": 5}, {"sum": 0}]
    assert len(seen) == 3


def test_a_model_without_a_dimension_of_rows_is_asked_row_by_row() -> None:
    metadata = {
        **METADATA,
        "inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 2]}],
        "outputs": [{"name": "y", "datatype": "FP64", "shape": [1, 1]}],
    }

    def infer(seen: Asked) -> bytes:
        (tensor,) = seen.json()["inputs"]
        assert tensor["shape"] == [1, 2]
        data = [sum(tensor["data"])]
        return infer_answer([{"name": "y", "datatype": "FP64", "shape": [1, 1], "data": data}])

    rows: list[object] = [{"x": [[1, 2]]}, {"x": [[3, 4]]}]
    assert predicted(rows, infer, metadata=metadata, server={})[0] == [
        {"y": [[3.0]]},
        {"y": [[7.0]]},
    ]


@pytest.mark.parametrize(
    ("row", "location"),
    [
        ({"x": [1], "kind": "a"}, ("inputs", 1, "x")),
        ({"x": [1, "2"], "kind": "a"}, ("inputs", 1, "x")),
        ({"x": [1, [2]], "kind": "a"}, ("inputs", 1, "x")),
        ({"x": [1, True], "kind": "a"}, ("inputs", 1, "x")),
        ({"x": [1, 1e300], "kind": "a"}, ("inputs", 1, "x")),
        ({"x": [1, 2], "kind": 5}, ("inputs", 1, "kind")),
        ({"x": [1, 2], "kind": None}, ("inputs", 1, "kind")),
        ({"x": [1, 2]}, ("inputs", 1, "kind")),
        ([1, 2], ("inputs", 1)),
    ],
)
def test_what_has_no_place_in_a_tensor_is_refused_here(row: object, location: Any) -> None:
    with pytest.raises(InvalidInput) as raised:
        predicted([ROW, row], lambda _: infer_answer(OUTPUTS))
    assert raised.value.problems[0].location == location


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        None,
        OUTPUTS[:1],
        [{**OUTPUTS[0], "datatype": "FP64"}, OUTPUTS[1]],
        [{**OUTPUTS[0], "shape": [2], "data": [1, 2]}, OUTPUTS[1]],
        [{**OUTPUTS[0], "shape": [1, 1]}, OUTPUTS[1]],
        [{**OUTPUTS[0], "data": [1, 2]}, OUTPUTS[1]],
        [OUTPUTS[0], {**OUTPUTS[1], "data": [256]}],
        [OUTPUTS[0], {**OUTPUTS[1], "data": [None]}],
        [OUTPUTS[0], {**OUTPUTS[1], "data": ["7"]}],
    ],
)
def test_outputs_that_are_not_as_it_said_are_a_failure(outputs: object) -> None:
    with pytest.raises(BackendFailed):
        predicted([ROW], lambda _: infer_answer(outputs))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidInput),
        (404, ModelNotFound),
        (422, Unprocessable),
        (500, PredictionFailed),
        (503, ModelNotReady),
        (418, BackendFailed),
    ],
)
def test_its_errors_are_those_of_any_model(status: int, kind: type[ModelsAPIError]) -> None:
    with pytest.raises(kind) as raised:
        predicted([ROW], lambda _: answer({"error": "because"}, status))
    assert ("because" in str(raised.value)) is (status in (400, 422))


def test_requests_of_the_protocol_go_there_as_they_are() -> None:
    body = b'{"id": "7", "inputs": [ ]}'
    told = infer_answer(OUTPUTS, id="7")
    with asked(lambda _: told) as (protocol, service):
        protocol.describe(1)
        found = protocol.infer(body, None)
    assert service.asked[-1].body == body
    response = json.loads(found.body)
    assert (response["model_name"], response["id"], found.rows) == ("ours", "7", 1)
    with asked(lambda _: answer({"error": "no"}, 400)) as (protocol, _):
        protocol.describe(1)
        with pytest.raises(TensorError, match="no"):
            protocol.infer(body, None)


@pytest.mark.parametrize(
    ("datatype", "shape", "goes"),
    [("FP64", [-1, 2], True), ("FP32", [-1, 2], False), ("FP64", [1, 2], False)],
)
def test_they_do_where_its_tensors_are_those_that_clients_are_told_of(
    datatype: str, shape: list[int], goes: bool
) -> None:
    tensors = [{"name": "x", "datatype": datatype, "shape": shape}]
    metadata = {**METADATA, "inputs": tensors, "outputs": tensors}
    with asked(lambda _: None, metadata=metadata) as (protocol, _):
        protocol.describe(1)
        assert protocol.infers is goes


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": "net", "platform": "", "inputs": [], "outputs": []},
        {**METADATA, "inputs": [{"name": "x", "datatype": "FP8", "shape": [-1]}]},
        {"error": "x"},
        [],
    ],
)
def test_metadata_that_tell_no_tensors_are_none(metadata: object) -> None:
    with asked(lambda _: None, metadata=metadata) as (protocol, _), pytest.raises(NoAnswer):
        protocol.describe(1)


@pytest.mark.parametrize(
    ("told", "is_ready"),
    [
        (answer(b""), True),
        (answer({"name": "net", "ready": True}), True),
        (answer({"ready": False}), False),
        (answer({}, 400), False),
        (answer(b"<html>"), False),
    ],
)
def test_its_readiness_is_that_of_the_model_there(told: bytes, is_ready: bool) -> None:
    with ScriptedService(lambda _: told) as service:
        remote = RemoteService(
            ExecutionConfiguration(kind="remote", url=service.url),
            "ours",
            pool_size=1,
            timeout_seconds=None,
            instruments=Instruments(),
            on_change=lambda: None,
        )
        fault = OpenInferenceProtocol(remote, "net", None).fault(1)
    assert (fault is None) is is_ready

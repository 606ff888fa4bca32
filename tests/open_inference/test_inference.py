"""Models that predict columns answer as they do by rows."""

from __future__ import annotations

import json
import struct
from random import Random
from typing import Any

import numpy
import pytest

from models_api.exceptions import ModelsAPIError, PredictionFailed, TensorError
from models_api.open_inference.inference import Payload
from models_api.open_inference.inference import infer as infer_tensors
from tests.fakes.changing import ERRORS, WRONG_RESULTS
from tests.fakes.columns import RAISING, SPOILERS, ColumnsModel
from tests.in_process import InProcessService

BATCHING = {"max_batch_size": 4}


def service_of(name: str, **entry: Any) -> InProcessService:
    return InProcessService({"models": [{"class_path": f"tests.fakes.columns.{name}", **entry}]})


@pytest.fixture(scope="module", params=["one call", "chunks"])
def pair(request: pytest.FixtureRequest) -> tuple[InProcessService, InProcessService]:
    """The same model with columns and without."""
    entry = {} if request.param == "one call" else {"batching": BATCHING}
    return service_of("ColumnsModel", **entry), service_of("RowsModel", **entry)


@pytest.fixture(scope="module")
def strict_pair() -> tuple[InProcessService, InProcessService]:
    return service_of("StrictColumnsModel"), service_of("StrictRowsModel")


Pair = tuple[InProcessService, InProcessService]


def infer(service: InProcessService, body: bytes, header_length: int | None = None) -> Any:
    """Ask the only model; how it was asked comes too."""
    (hosted_model,) = service.registry
    calls = hosted_model.ready_model().calls
    calls.clear()
    try:
        answer: Any = infer_tensors(hosted_model, Payload(body, header_length))[0]
    except ModelsAPIError as error:
        answer = type(error), str(error).replace("columns", "rows")
    else:
        if answer.header_length is None:
            answer = json.loads(answer.body)["outputs"]
    return answer, set(calls)


def as_json(inputs: list[dict[str, Any]]) -> bytes:
    return json.dumps({"inputs": inputs}).encode()


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 (nothing secret)


def tensors(random: Random, rows: int) -> list[dict[str, Any]]:
    """Make inputs that fit."""
    heights = [random.choice([random.uniform(0.1, 99), 5, 1e-30, 99.5]) for _ in range(rows)]
    leaves = [random.choice([0, 3, 1000]) for _ in range(rows)]
    return [
        tensor("height", random.choice(["FP64", "FP32"]), heights),
        tensor("leaves", random.choice(["INT64", "UINT16"]), leaves),
        tensor("alive", "BOOL", [random.random() < 0.5 for _ in range(rows)]),
        tensor("plantName", "BYTES", random.choices(["oak", "nan", "infinite", "é", ""], k=rows)),
        tensor("species", "BYTES", random.choices(["setosa", "virginica"], k=rows)),
    ]


def tensor(name: str, datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}


@pytest.mark.parametrize("rows", [2, 4, 5, 9, 50])
@pytest.mark.parametrize("seed", range(3))
def test_columns_get_the_answer_that_rows_get(pair: Pair, seed: int, rows: int) -> None:
    body = as_json(tensors(seeded(seed), rows))
    (found, calls), (expected, _) = (infer(service, body) for service in pair)
    assert calls == {"predict_columns"}
    assert found == expected
    assert len(found[0]["data"]) == rows


def test_a_row_alone_needs_no_columns(pair: Pair) -> None:
    body = as_json(tensors(seeded(0), 1))
    (found, calls), (expected, _) = (infer(service, body) for service in pair)
    assert (found, calls) == (expected, {"predict"})


def test_no_rows_need_no_columns(pair: Pair) -> None:
    body = as_json(tensors(seeded(0), 0))
    (found, calls), (expected, _) = (infer(service, body) for service in pair)
    assert (found, calls) == (expected, set())


@pytest.mark.parametrize("name", RAISING)
@pytest.mark.parametrize("row", [0, 5])
def test_where_columns_raise_rows_tell_what_is_wrong(pair: Pair, name: str, row: int) -> None:
    inputs = tensors(seeded(1), 6)
    inputs[3]["data"][row] = name
    (found, calls), (expected, _) = (infer(service, as_json(inputs)) for service in pair)
    assert found == expected
    assert {"predict_columns", "predict_batch"} <= calls


@pytest.mark.parametrize("name", SPOILERS)
@pytest.mark.parametrize("row", [0, 5])
def test_wrong_columns_are_an_error_and_nothing_is_predicted_again(
    pair: Pair, name: str, row: int
) -> None:
    inputs = tensors(seeded(1), 6)
    inputs[3]["data"][row] = name
    (error, message), calls = infer(pair[0], as_json(inputs))
    assert error is PredictionFailed
    assert message.endswith("The model rows failed to make a prediction.")
    assert calls == {"predict_columns"}


def test_columns_beyond_the_schema_are_what_other_keys_of_a_dict_are(pair: Pair) -> None:
    inputs = tensors(seeded(1), 6)
    inputs[3]["data"][0] = "extra"
    (found, calls), (expected, _) = (infer(service, as_json(inputs)) for service in pair)
    assert (found, calls) == (expected, {"predict_columns"})


def test_columns_that_raise_are_logged_once_with_their_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = service_of("ColumnsModel")
    inputs = tensors(seeded(1), 6)
    for name in ("refused", "raises", "raises", "exits"):
        inputs[3]["data"][2] = name
        infer(service, as_json(inputs))
    (record,) = [each for each in caplog.records if "predict_columns" in each.message]
    assert record.message.startswith("predict_columns of columns raised: the rows are predicted")
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "one of these"


WRONG: list[tuple[int, Any]] = [
    (0, tensor("height", "FP64", [1.0, 100.0, 0.0])),
    (0, tensor("height", "BYTES", ["1.0", "x", "2"])),
    (0, tensor("height", "BOOL", [True, False, True])),
    (0, tensor("other", "FP64", [1.0, 2.0, 3.0])),
    (1, tensor("leaves", "INT64", [1, -1, 2])),
    (1, tensor("leaves", "FP64", [1.0, 1.5, 2.0])),
    (2, tensor("alive", "INT64", [1, 2, 0])),
    (3, tensor("plantName", "BYTES", ["oak", "a long name", "oak"])),
    (4, tensor("species", "BYTES", ["setosa", "oak", "setosa"])),
    (4, tensor("species", "INT64", [1, 2, 3])),
    (4, tensor("species", "BYTES", ["setosa", "virginica"])),
]


@pytest.mark.parametrize(("place", "wrong"), WRONG, ids=str)
def test_wrong_values_are_told_as_without_columns(
    pair: Pair, strict_pair: Pair, place: int, wrong: dict[str, Any]
) -> None:
    for services in (pair, strict_pair):
        inputs = tensors(seeded(2), 3)
        inputs[place] = wrong
        (found, calls), (expected, _) = (infer(each, as_json(inputs)) for each in services)
        assert found == expected
        assert found[0] is TensorError
        assert calls == set()


@pytest.mark.parametrize(
    ("place", "given"),
    [
        (0, tensor("height", "INT64", [1, 2, 3])),
        (0, tensor("height", "BYTES", ["1.0", "3", "2"])),
        (1, tensor("leaves", "FP64", [1.0, 0.0, 2.0])),
        (1, tensor("leaves", "UINT64", [1, 0, 2])),
        (1, tensor("leaves", "UINT64", [1, 2**64 - 1, 2])),
        (2, tensor("alive", "UINT8", [1, 0, 0])),
        (4, {**tensor("species", "BYTES", ["setosa"] * 3), "shape": [3, 1]}),
    ],
    ids=str,
)
def test_values_of_other_types_are_taken_or_refused_as_without_columns(
    pair: Pair, strict_pair: Pair, place: int, given: dict[str, Any]
) -> None:
    for services in (pair, strict_pair):
        inputs = tensors(seeded(3), 3)
        inputs[place] = given
        (found, _), (expected, _) = (infer(each, as_json(inputs)) for each in services)
        assert found == expected


@pytest.mark.parametrize("left_out", range(5))
def test_a_missing_column_is_told_as_without_columns(pair: Pair, left_out: int) -> None:
    inputs = tensors(seeded(4), 3)
    del inputs[left_out]
    (found, calls), (expected, _) = (infer(service, as_json(inputs)) for service in pair)
    assert found == expected
    assert found[0] is TensorError
    assert calls == set()


def test_binary_tensors_are_columns_that_the_model_may_change(pair: Pair) -> None:
    numbers = [1.5, 2.5, 99.0]
    data = struct.pack("<3d", *numbers)
    inputs = tensors(seeded(5), 3)
    inputs[0] = {
        "name": "height",
        "datatype": "FP64",
        "shape": [3],
        "parameters": {"binary_data_size": len(data)},
    }
    request = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    header = json.dumps(request).encode()
    (found, calls), (expected, _) = (infer(each, header + data, len(header)) for each in pair)
    assert calls == {"predict_columns"}
    # But for the model's own name.
    assert _binary(found) == _binary(expected)


def _binary(payload: Payload) -> tuple[Any, bytes]:
    header = json.loads(payload.body[: payload.header_length])
    return header["outputs"], payload.body[payload.header_length :]


def test_a_decorator_that_knows_nothing_of_columns_is_not_skipped() -> None:
    entry: dict[str, Any] = {
        "decorators": [{"class_path": "tests.fakes.columns.ForwardingDecorator"}]
    }
    body = as_json(tensors(seeded(6), 3))
    found, calls = infer(service_of("ColumnsModel", **entry), body)
    assert calls == {"predict"}
    assert found[1]["data"] == [7, 7, 7]


@pytest.mark.parametrize("batching", [None, BATCHING])
def test_a_decorator_that_knows_of_columns_is_asked_for_them(batching: Any) -> None:
    entry: dict[str, Any] = {
        "decorators": [{"class_path": "tests.fakes.columns.ColumnsDecorator"}],
        "batching": batching,
    }
    body = as_json(tensors(seeded(6), 6))
    found, calls = infer(service_of("ColumnsModel", **entry), body)
    assert calls == {"predict_columns"}
    assert found[1]["data"] == [7] * 6
    inner_rows, _ = infer(service_of("RowsModel", **entry), body)
    assert found == inner_rows


def test_the_arrays_are_the_models_own_and_of_one_type_for_each_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, Any] = {}
    original = ColumnsModel.predict_columns

    def watch(self: Any, columns: Any) -> Any:
        seen.update(columns)
        columns["height"] += 1
        return original(self, columns)

    monkeypatch.setattr(ColumnsModel, "predict_columns", watch)
    for datatype, height in (("FP32", [1, 2]), ("FP64", [1, 2]), ("INT8", [1, 2])):
        inputs = tensors(seeded(7), 2)
        inputs[0] = tensor("height", datatype, height)
        inputs[3] = tensor("plantName", "BYTES", ["oak", "é"])
        found, calls = infer(service_of("ColumnsModel"), as_json(inputs))
        assert calls == {"predict_columns"}
        assert found[0]["data"] == [4.0, 6.0]
        kinds = {name: values.dtype for name, values in seen.items()}
        assert kinds == {
            "height": numpy.float64,
            "leaves": numpy.int64,
            "alive": numpy.bool_,
            "name": numpy.object_,
            "species": numpy.object_,
        }
        assert {type(value).__name__ for value in seen["species"]} == {"Species"}
        assert all(values.flags.writeable for values in seen.values())


# Rows and columns that a failed call has changed


@pytest.mark.parametrize("failure", ["", *ERRORS, *WRONG_RESULTS])
@pytest.mark.parametrize("batching", [None, {"max_batch_size": 2}])
@pytest.mark.parametrize("name", ["ScalingModel", "ElementwiseScalingModel"])
def test_rows_of_a_call_that_failed_are_made_anew_from_the_tensors(
    name: str, failure: str, batching: Any
) -> None:
    entry = {"class_path": f"tests.fakes.changing.{name}", "batching": batching}
    service = InProcessService({"models": [entry]})
    values = [255.0, 51.0, 102.0, 0.0, 25.5]
    inputs = [
        {"name": "values", "datatype": "FP64", "shape": [5, 2], "data": [[x, x] for x in values]},
        tensor("failure", "BYTES", [failure] * 5),
    ]
    (model,) = service.registry
    answer, rows = infer_tensors(model, Payload(as_json(inputs)))
    assert json.loads(answer.body)["outputs"][0]["data"] == [1.0, 0.2, 0.4, 0.0, 0.1]
    assert rows == 5


@pytest.mark.parametrize("failure", ["", *ERRORS])
@pytest.mark.parametrize("is_binary", [False, True])
def test_columns_of_a_call_that_failed_are_left_as_they_came(failure: str, is_binary: bool) -> None:
    service = InProcessService(
        {"models": [{"class_path": "tests.fakes.changing.ColumnsInPlaceModel"}]}
    )
    data = struct.pack("<3d", 2.0, 4.0, 6.0)
    value = tensor("value", "FP64", [2.0, 4.0, 6.0])
    if is_binary:
        value = {**value, "parameters": {"binary_data_size": len(data)}}
        del value["data"]
    body = as_json([value, tensor("failure", "BYTES", [failure] * 3)])
    payload = Payload(body + data, len(body)) if is_binary else Payload(body)
    (model,) = service.registry
    outputs = json.loads(infer_tensors(model, payload)[0].body)["outputs"]
    assert [output["data"] for output in outputs] == [[1.0, 2.0, 3.0], [failure] * 3]


def test_columns_that_fail_when_they_are_looked_at_are_an_error() -> None:
    service = InProcessService(
        {"models": [{"class_path": "tests.fakes.changing.PanickingColumnsModel"}]}
    )
    (model,) = service.registry
    inputs = [tensor("value", "FP64", [2.0, 4.0]), tensor("failure", "BYTES", ["", ""])]
    with pytest.raises(PredictionFailed) as caught:
        infer_tensors(model, Payload(as_json(inputs)))
    assert type(caught.value.__cause__).__name__ == "Panic"


def test_a_prediction_that_panics_when_it_is_written_is_told_with_its_row() -> None:
    service = InProcessService(
        {"models": [{"class_path": "tests.fakes.changing.PanickingOutputModel"}]}
    )
    (model,) = service.registry
    inputs = [tensor("value", "FP64", [2.0, -4.0]), tensor("failure", "BYTES", ["", ""])]
    with pytest.raises(PredictionFailed, match=r"^Row 1: The model in_place failed"):
        infer_tensors(model, Payload(as_json(inputs)))


@pytest.mark.parametrize(
    ("name", "batching", "rows"),
    [
        ("AsyncModel", None, [1, 1, 1]),
        ("AsyncRowsModel", None, [3, 3, 3]),
        ("AsyncRowsModel", {"max_batch_size": 2}, [2, 2, 1]),
        ("AsyncColumnsModel", None, [3, 3, 3]),
    ],
)
def test_models_of_coroutines_get_rows_and_columns(
    name: str, batching: Any, rows: list[int]
) -> None:
    entry = {"class_path": f"tests.fakes.asynchronous.{name}", "batching": batching}
    (model,) = InProcessService({"models": [entry]}).registry
    inputs = [tensor("number", "INT64", [1, 2, 3]), tensor("do", "BYTES", ["", "", ""])]
    outputs = json.loads(infer_tensors(model, Payload(as_json(inputs)))[0].body)["outputs"]
    found = {output["name"]: output["data"] for output in outputs}
    assert found["doubled"] == [2, 4, 6]
    assert [int(each) for each in found["rows"]] == rows
    assert {each.strip('"') for each in found["thread"]} == {"event-loop"}

"""How many elements and values an inference request may hold, whatever way they come."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from models_api.exceptions import PayloadTooLarge, TensorError
from models_api.hosting.hosted_model import Resources
from models_api.open_inference.inference import Payload, infer
from tests.in_process import InProcessService

FIELDS = ("bits", "numbers", "strings", "points", "colours", "scalars", "anything")


@cache
def service(maximum_values: int | None = 1_500_000) -> InProcessService:
    models = [{"class_path": f"tests.fakes.costly.{field.title()}Model"} for field in FIELDS]
    return InProcessService({"models": models}, Resources(maximum_values=maximum_values))


def ask(field: str, payload: Payload, maximum_values: int | None = 1_500_000) -> Any:
    model = service(maximum_values).registry.resolve(field)
    answer, _ = infer(model, payload)
    return json.loads(answer.body)


def in_json(field: str, data: list[Any], datatype: str, **parameters: str) -> Payload:
    tensor: dict[str, Any] = {
        "name": field,
        "shape": [1, len(data)],
        "datatype": datatype,
        "data": data,
    }
    if parameters:
        tensor |= {"parameters": parameters, "shape": [len(data)]}
    return Payload(json.dumps({"inputs": [tensor]}).encode())


def in_bytes(*tensors: tuple[str, list[int], str, bytes]) -> Payload:
    inputs = [
        {
            "name": name,
            "shape": shape,
            "datatype": datatype,
            "parameters": {"binary_data_size": len(data)},
        }
        for name, shape, datatype, data in tensors
    ]
    header = json.dumps({"inputs": inputs}).encode()
    return Payload(header + b"".join(data for *_, data in tensors), len(header))


def refused(field: str, payload: Payload, maximum_values: int = 1_500_000) -> str:
    with pytest.raises(PayloadTooLarge) as caught:
        ask(field, payload, maximum_values)
    return str(caught.value)


def test_ten_million_bytes_are_counted_before_they_are_made() -> None:
    payload = in_bytes(("bits", [1, 10_000_000], "INT8", b"\2" * 10_000_000))
    assert refused("bits", payload) == (
        "The tensors hold 10000000 elements, which count 10000000 by the model's input schema; the "
        "limit is 1500000. Send less at a time, or have the model's max_values raised, or "
        "MODELHOST_MAX_JSON_VALUES."
    )


@pytest.mark.parametrize(
    ("field", "payload"),
    [
        ("bits", in_json("bits", [0] * 1001, "INT64")),
        ("bits", in_bytes(("bits", [1, 1001], "UINT8", bytes(1001)))),
        ("numbers", in_bytes(("numbers", [7, 143], "FP64", bytes(8 * 1001)))),
        ("numbers", in_bytes(("numbers", [1, 1001], "BOOL", bytes(1001)))),
        ("strings", in_bytes(("strings", [1, 1001], "BYTES", bytes(4 * 1001)))),
        ("strings", in_json("strings", ["a"] * 1001, "BYTES")),
        ("scalars", in_json("scalars", ["1"] * 300, "BYTES")),
    ],
)
def test_elements_of_every_kind_are_counted(field: str, payload: Payload) -> None:
    assert "the limit is 1000" in refused(field, payload, 1000)


@pytest.mark.parametrize("element", ["[{},%s]" % ",".join(["{}"] * 400), "[%s]" % ("0," * 1001)])  # noqa: UP031
def test_values_of_json_in_elements_are_counted(element: str) -> None:
    data = element.encode()
    sized = len(data).to_bytes(4, "little") + data
    assert "the limit is 1000" in refused("points", in_bytes(("points", [1], "BYTES", sized)), 1000)
    assert "the limit is 1000" in refused(
        "points", in_json("points", [element], "BYTES", content_type="json"), 1000
    )


def test_all_tensors_of_a_request_count_together() -> None:
    half = ("numbers", [1, 600], "FP64", bytes(4800))
    refused("numbers", in_bytes(half, ("more", *half[1:])), 1000)


@pytest.mark.parametrize(
    ("datatype", "size", "described"),
    [("INT8", 1, "2000000 bytes"), ("FP64", 8, "16000000 bytes"), ("BYTES", 4, "at least 8000000")],
)
def test_elements_that_are_not_there_are_told_by_their_shape(
    datatype: str, size: int, described: str
) -> None:
    with pytest.raises(TensorError, match=f"2000000 elements of {datatype}, which are {described}"):
        ask("anything", in_bytes(("anything", [1, 2_000_000], datatype, bytes(size))))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ([1], "the shape has 2000000 elements, but data has 1."),
        ([[1]], "along dimension 1 each array should have 2000000 elements."),
    ],
)
def test_elements_that_are_not_in_the_json_are_told_by_their_shape(
    data: list[Any], told: str
) -> None:
    tensor = {"name": "anything", "shape": [1, 2_000_000], "datatype": "INT64", "data": data}
    with pytest.raises(TensorError, match=told):
        ask("anything", Payload(json.dumps({"inputs": [tensor]}).encode()))


def test_what_is_within_the_limit_is_answered() -> None:
    payload = in_bytes(("numbers", [2, 500], "FP64", bytes(8000)))
    assert ask("numbers", payload, 1000)["outputs"][0]["data"] == [1, 1]
    assert ask("bits", in_json("bits", [0, 1], "INT64"))["outputs"][0]["data"] == [1]
    commas = ["," * 10_000]
    assert ask("strings", in_json("strings", commas, "BYTES"), 1000)["outputs"][0]["data"] == [1]


def test_many_wrong_elements_are_told_by_the_first_of_them() -> None:
    payload = in_bytes(("bits", [1, 1_000_000], "INT8", b"\2" * 1_000_000))
    with pytest.raises(TensorError) as caught:
        ask("bits", payload)
    assert str(caught.value) == (
        'Input "bits", row 0: [0]: Input should be 0 or 1; There may be more problems: of a list '
        "in so large a body, only the first is looked for."
    )

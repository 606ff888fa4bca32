from __future__ import annotations

import json
import re
import tracemalloc
from contextlib import suppress
from struct import pack
from typing import Any

import numpy
import pytest

from models_api.open_inference.datatypes import DATATYPES
from models_api.open_inference.tensors import (
    InferRequest,
    RequestedOutput,
    Tensor,
    TensorError,
    read_infer_request,
    write_infer_response,
)
from tests.open_inference.hostile_requests import (
    GOOD,
    HOSTILE_REQUESTS,
    HostileRequest,
    request,
    sized,
    strings,
    tensor,
)
from tests.open_inference.mutated_requests import mutated_request

SIZE = 30_000
# Values that every numeric datatype holds exactly.
VALUES = [[0, 1, 2], [100, 64, 127]]


def binary_request(*inputs: tuple[dict[str, Any], bytes], **more: Any) -> tuple[bytes, int]:
    header = request(*(description for description, _ in inputs), **more)
    return header + b"".join(data for _, data in inputs), len(header)


def read(body: bytes, header_length: int | None = None) -> Tensor:
    (only,) = read_infer_request(body, header_length).inputs
    return only


def wants(*outputs: RequestedOutput, binary_default: bool = False) -> InferRequest:
    return InferRequest(None, {}, [], list(outputs) or None, binary_default)


@pytest.mark.parametrize("hostile", HOSTILE_REQUESTS, ids=lambda hostile: hostile.name)
def test_a_hostile_request_is_refused_and_told_why(hostile: HostileRequest):
    with pytest.raises(TensorError) as caught:
        read_infer_request(hostile.body, hostile.header_length)
    pattern = re.escape(hostile.error).replace(r"\{\}", ".*")
    assert re.fullmatch(pattern, str(caught.value)), str(caught.value)


def test_the_names_of_hostile_requests_are_unique():
    names = [hostile.name for hostile in HOSTILE_REQUESTS]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("data", [VALUES, [0, 1, 2, 100, 64, 127]], ids=["nested", "flat"])
@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name not in ("BOOL", "BYTES")])
def test_numbers_are_read_from_json(datatype: str, data: list[Any]):
    found = read(request(tensor(datatype, [2, 3], data=data)))
    assert (found.name, found.datatype, found.shape) == ("x", datatype, (2, 3))
    assert found.data.dtype == DATATYPES[datatype].held
    assert found.data.tolist() == VALUES


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("UINT8", pack("<6B", 0, 1, 2, 100, 64, 127)),
        ("UINT16", pack("<6H", 0, 1, 2, 100, 64, 127)),
        ("UINT32", pack("<6I", 0, 1, 2, 100, 64, 127)),
        ("UINT64", pack("<6Q", 0, 1, 2, 100, 64, 127)),
        ("INT8", pack("<6b", 0, 1, 2, 100, 64, 127)),
        ("INT16", pack("<6h", 0, 1, 2, 100, 64, 127)),
        ("INT32", pack("<6i", 0, 1, 2, 100, 64, 127)),
        ("INT64", pack("<6q", 0, 1, 2, 100, 64, 127)),
        ("FP16", pack("<6e", 0, 1, 2, 100, 64, 127)),
        ("FP32", pack("<6f", 0, 1, 2, 100, 64, 127)),
        ("FP64", pack("<6d", 0, 1, 2, 100, 64, 127)),
        # The upper halves of what FP32 has.
        ("BF16", pack("<6H", 0, 0x3F80, 0x4000, 0x42C8, 0x4280, 0x42FE)),
    ],
)
def test_numbers_travel_in_binary_both_ways(datatype: str, data: bytes):
    found = read(*binary_request(sized(datatype, [2, 3], data)))
    assert (found.name, found.datatype, found.shape) == ("x", datatype, (2, 3))
    assert found.data.dtype == DATATYPES[datatype].held
    assert found.data.tolist() == VALUES

    body, length = write_infer_response("m", None, None, [found], wants(binary_default=True))
    assert body[length:] == data
    assert json.loads(body[:length])["outputs"] == [
        {
            "name": "x",
            "datatype": datatype,
            "shape": [2, 3],
            "parameters": {"binary_data_size": len(data)},
        }
    ]


def test_the_limits_of_integers_are_read_exactly():
    for datatype, numbers in [
        ("INT64", [-(2**63), 2**63 - 1]),
        ("UINT64", [0, 2**64 - 1]),
        ("INT8", [-128, 127]),
        ("UINT32", [0, 2**32 - 1]),
    ]:
        found = read(request(tensor(datatype, [2], data=numbers)))
        assert found.data.tolist() == numbers


@pytest.mark.parametrize("data", [[True, False], [[True], [False]]], ids=["flat", "nested"])
def test_booleans_are_read_from_json(data: list[Any]):
    found = read(request(tensor("BOOL", [2, 1], data=data)))
    assert found.data.dtype == bool
    assert found.data.tolist() == [[True], [False]]


def test_booleans_travel_in_binary_both_ways():
    found = read(*binary_request(sized("BOOL", [3], b"\1\0\1")))
    assert found.data.dtype == bool
    assert found.data.tolist() == [True, False, True]
    body, length = write_infer_response("m", None, None, [found], wants(binary_default=True))
    assert body[length:] == b"\1\0\1"


def test_strings_are_read_from_json_as_utf_8():
    found = read(request(tensor("BYTES", [2, 2], data=[["", "a\0"], ["é", "雪\U0001f328"]])))
    assert found.data.dtype == object
    assert found.data.tolist() == [[b"", b"a\0"], ["é".encode(), "雪\U0001f328".encode()]]


def test_bytes_travel_in_binary_both_ways():
    elements = [b"", b"\0", b"\xff\xfe", b"text"]
    found = read(*binary_request(sized("BYTES", [2, 2], strings(*elements))))
    assert found.data.tolist() == [elements[:2], elements[2:]]
    body, length = write_infer_response("m", None, None, [found], wants(binary_default=True))
    assert body[length:] == strings(*elements)


def test_each_tensor_takes_its_part_of_the_binary_data():
    body, length = binary_request(
        sized("BYTES", [1], strings(b"abc")),
        # Between those in binary, and at an odd offset, which no numpy type is aligned to.
        ({**GOOD, "name": "in json"}, b""),
        ({**sized("FP64", [2], pack("<2d", 1.5, -2.5))[0], "name": "y"}, pack("<2d", 1.5, -2.5)),
        ({**sized("INT64", [0], b"")[0], "name": "z"}, b""),
    )
    found = read_infer_request(body, length).inputs
    assert [(each.name, each.data.tolist()) for each in found] == [
        ("x", [b"abc"]),
        ("in json", [1.0]),
        ("y", [1.5, -2.5]),
        ("z", []),
    ]


def test_a_scalar_has_no_dimensions():
    assert read(request(tensor(shape=[], data=[2.5]))).data.tolist() == 2.5
    assert read(*binary_request(sized("FP64", [], pack("<d", 2.5)))).data.tolist() == 2.5


@pytest.mark.parametrize(
    ("shape", "data"), [([0], []), ([0, 5], []), ([2, 0], []), ([2, 0], [[], []]), ([2, 0, 9], [])]
)
@pytest.mark.parametrize("datatype", DATATYPES)
def test_a_tensor_may_have_no_elements(datatype: str, shape: list[int], data: list[Any]):
    in_json = read(request(tensor(datatype, shape, data=data)))
    assert in_json.data.shape == tuple(shape)
    in_binary = read(*binary_request(sized(datatype, shape, b"")))
    assert in_binary.data.shape == tuple(shape)
    assert in_json.data.dtype == in_binary.data.dtype == DATATYPES[datatype].held


def test_data_has_as_many_dimensions_as_every_numpy_holds():
    data: Any = 7
    for _ in range(32):
        data = [data]
    assert read(request(tensor("INT8", [1] * 32, data=data))).data.shape == (1,) * 32


@pytest.mark.parametrize(
    ("number", "rounded"),
    [
        (1.0, 1.0),
        # Halfway between 1 and the next, and between that and the one after: to the even one.
        (1.00390625, 1.0),
        (1.01171875, 1.015625),
        (1.004, 1.0078125),
        (-3.3e38, -248 * 2.0**120),
        (1e-40, 1.010196e-40),
    ],
)
def test_json_is_rounded_to_the_nearest_bf16(number: float, rounded: float):
    found = read(request(tensor("BF16", data=[number])))
    assert found.data.tolist() == [pytest.approx(rounded, rel=1e-6)]


@pytest.mark.parametrize("bits", [0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7FC00000])
def test_a_nan_remains_one_as_bf16(bits: int):
    values = numpy.array([bits], "<u4").view("<f4")
    nan = Tensor("y", "BF16", (1,), values, {})
    body, length = write_infer_response("m", None, None, [nan], wants(binary_default=True))
    assert body[length:] == pack("<H", 0x7FC0)


def test_numbers_of_the_body_are_not_copied_and_cannot_be_changed():
    body, length = binary_request(sized("FP32", [SIZE], bytes(4 * SIZE)))
    tracemalloc.start()
    found = read(body, length)
    copied = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert copied < 20_000
    assert not found.data.flags.writeable


def one_tensor(datatype: str, data: str, *shape: int) -> tuple[bytes, None]:
    description = f'"name": "x", "datatype": "{datatype}", "shape": {list(shape)}, "data": [{data}]'
    return f'{{"inputs": [{{{description}}}]}}'.encode(), None


LARGE_REQUESTS = {
    "empty lists": one_tensor("FP64", ",".join(["[]"] * SIZE), SIZE, 0),
    "lists of one": one_tensor("FP64", ",".join(["[0]"] * SIZE), SIZE, 1),
    "objects": one_tensor("FP64", ",".join(["{}"] * SIZE), SIZE),
    "numbers": one_tensor("FP64", ",".join(["1e9"] * SIZE), SIZE),
    "strings": one_tensor("BYTES", ",".join(f'"{chr(0x10000 + i)}"' for i in range(SIZE)), SIZE),
    "inputs": (
        request(*({**tensor("INT8", [0], data=[]), "name": f"{i}"} for i in range(SIZE // 50))),
        None,
    ),
    "outputs": (request(GOOD, outputs=[{"name": f"{i}"} for i in range(SIZE // 15)]), None),
    "dimensions": (request(tensor(shape=[9] * SIZE, data=[])), None),
    "an id of objects": (request(GOOD, id=[{"": {}}] * SIZE), None),
    "binary booleans": binary_request(sized("BOOL", [SIZE], bytes(SIZE))),
    "binary BF16": binary_request(sized("BF16", [SIZE], bytes(2 * SIZE))),
    "binary empty strings": binary_request(sized("BYTES", [SIZE], bytes(4 * SIZE))),
    "binary strings": binary_request(sized("BYTES", [SIZE], strings(b"ab") * SIZE)),
}


@pytest.mark.parametrize("name", LARGE_REQUESTS)
def test_reading_takes_a_small_multiple_of_the_size_of_the_body(name: str):
    body, header_length = LARGE_REQUESTS[name]
    tracemalloc.start()
    with suppress(TensorError):
        read_infer_request(body, header_length)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A value of two or three bytes of JSON is an object of at least 56 in Python.
    assert peak < len(body) * (10 if header_length else 40)


def test_a_request_says_what_it_wants():
    found = read_infer_request(
        request(
            {**GOOD, "parameters": {"content_type": "np"}},
            id="42",
            parameters={"priority": 1, "binary_data_output": True},
            outputs=[
                {"name": "a"},
                {"name": "b", "parameters": {"binary_data": False, "content_type": "str"}},
                {"name": "c", "parameters": {"binary_data": True, "classification": 0}},
            ],
            unknown=[1],
        ),
        None,
    )
    assert found.id == "42"
    assert found.parameters == {"priority": 1, "binary_data_output": True}
    assert found.inputs[0].parameters == {"content_type": "np"}
    assert found.outputs == [
        RequestedOutput("a", binary=True),
        RequestedOutput("b", binary=False),
        RequestedOutput("c", binary=True),
    ]
    assert found.binary_default


@pytest.mark.parametrize("outputs", [None, []])
def test_a_request_that_names_no_outputs_wants_all_of_them_in_json(outputs: Any):
    found = read_infer_request(request(GOOD, outputs=outputs, id=None, parameters=None), None)
    assert (found.id, found.parameters, found.outputs) == (None, {}, None)
    assert not found.wants_binary("y")


def test_a_response_in_json():
    outputs = [
        Tensor("a", "FP64", (2, 2), numpy.array([[1.5, numpy.nan], [numpy.inf, 4]]), {}),
        Tensor("b", "INT64", (1,), numpy.array([2**63 - 1]), {"content_type": "np"}),
        Tensor("c", "BOOL", (1,), numpy.array([True]), {}),
        Tensor("d", "BYTES", (2,), numpy.array([b"\xc3\xa9", b"\xff"], dtype=object), {}),
    ]
    body, length = write_infer_response("iris", "1.0", "42", outputs, wants())
    assert length is None
    assert json.loads(body) == {
        "model_name": "iris",
        "model_version": "1.0",
        "id": "42",
        "outputs": [
            {"name": "a", "datatype": "FP64", "shape": [2, 2], "data": [1.5, None, None, 4.0]},
            {
                "name": "b",
                "datatype": "INT64",
                "shape": [1],
                "data": [2**63 - 1],
                "parameters": {"content_type": "np"},
            },
            {"name": "c", "datatype": "BOOL", "shape": [1], "data": [True]},
            {"name": "d", "datatype": "BYTES", "shape": [2], "data": ["é", "�"]},
        ],
    }


def test_a_response_names_no_version_and_no_id_that_there_is_not():
    body, _ = write_infer_response("iris", None, None, [], wants())
    assert json.loads(body) == {"model_name": "iris", "outputs": []}


def test_a_response_has_each_output_in_the_format_that_was_asked_for():
    outputs = [
        Tensor("a", "INT16", (2,), numpy.array([1, 2], dtype="<i2"), {"content_type": "np"}),
        Tensor("b", "INT16", (1,), numpy.array([3], dtype="<i2"), {}),
        Tensor("c", "BYTES", (1,), numpy.array([b"xyz"], dtype=object), {}),
    ]
    asked = wants(RequestedOutput("b", binary=False), binary_default=True)
    body, length = write_infer_response("m", None, None, outputs, asked)
    assert body[length:] == pack("<2h", 1, 2) + strings(b"xyz")
    assert json.loads(body[:length])["outputs"] == [
        {
            "name": "a",
            "datatype": "INT16",
            "shape": [2],
            "parameters": {"content_type": "np", "binary_data_size": 4},
        },
        {"name": "b", "datatype": "INT16", "shape": [1], "data": [3]},
        {"name": "c", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 7}},
    ]


def test_a_response_writes_arrays_of_any_layout_in_rows():
    transposed = numpy.array([[1, 2], [3, 4]], dtype=">i8").T
    column = Tensor("y", "INT32", (2, 2), transposed, {})
    in_json, _ = write_infer_response("m", None, None, [column], wants())
    assert json.loads(in_json)["outputs"][0]["data"] == [1, 3, 2, 4]
    body, length = write_infer_response("m", None, None, [column], wants(binary_default=True))
    assert body[length:] == pack("<4i", 1, 3, 2, 4)


def test_mutated_requests_are_read_or_refused_in_little_memory():
    refusals = set()
    for seed in range(1500):
        body, length = mutated_request(seed)
        digits = re.fullmatch("[0-9]{1,18}", length or "")
        header_length = int(digits[0]) if digits else None
        tracemalloc.start()
        try:
            read_infer_request(body, header_length)
        except TensorError as error:
            refusals.add(re.sub("[0-9]+", "0", str(error)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40 * len(body) + 100_000, seed
    # It would be of little use if most were refused for the same few reasons.
    assert len(refusals) > 60

"""Inference requests that no well-behaved client sends, and the error that each is answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from struct import pack
from typing import Any


@dataclass(frozen=True)
class HostileRequest:
    """A body, what the header says about the length of its JSON, and the error."""

    name: str
    body: bytes
    header_length: int | None
    error: str


def tensor(datatype: Any = "FP64", shape: Any = (1,), **more: Any) -> dict[str, Any]:
    """Describe an input named x."""
    return {"name": "x", "datatype": datatype, "shape": shape, **more}


def request(*inputs: Any, **more: Any) -> bytes:
    """Write a request that is JSON alone."""
    return json.dumps({"inputs": inputs, **more}).encode()


def sized(datatype: Any, shape: Any, data: bytes, size: Any = None) -> tuple[dict[str, Any], bytes]:
    """Describe an input whose binary data comes with it; `size` is for one that lies."""
    size = len(data) if size is None else size
    return tensor(datatype, shape, parameters={"binary_data_size": size}), data


def strings(*elements: bytes) -> bytes:
    """Write BYTES as the binary extension wants them."""
    return b"".join(pack("<I", len(element)) + element for element in elements)


def _json(name: str, body: bytes, error: str) -> HostileRequest:
    return HostileRequest(name, body, None, error)


def _tensor(name: str, error: str, *arguments: Any, **more: Any) -> HostileRequest:
    return _json(name, request(tensor(*arguments, **more)), f'Input "x": {error}')


def _output(name: str, error: str, **parameters: Any) -> HostileRequest:
    outputs = [{"name": "y", "parameters": parameters}]
    return _json(name, request(GOOD, outputs=outputs), f'Output "y": {error}')


def _binary(
    name: str, error: str, *inputs: tuple[dict[str, Any], bytes], after: bytes = b""
) -> HostileRequest:
    header = request(*(description for description, _ in inputs))
    data = b"".join(data for _, data in inputs)
    return HostileRequest(f"binary, {name}", header + data + after, len(header), error)


def _sized(name: str, error: str, *arguments: Any, after: bytes = b"") -> HostileRequest:
    return _binary(name, f'Input "x": {error}', sized(*arguments), after=after)


GOOD = tensor(data=[1.0])
NUMBERS = tensor(data=[1.0, 2.0], shape=[2])
DATATYPES = (
    "BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, FP32, FP64, BF16, BYTES"
)
UNKNOWN_DATATYPE = f"the datatype should be one of {DATATYPES}."
NO_INPUTS = "inputs should be an array of at least one tensor."
DATA_OR_SIZE = "there should be either data or a parameter binary_data_size."
NO_SHARED_MEMORY = "shared memory is not supported; send the data in the body."
DIMENSION = "should be a whole number, from 0 to 9223372036854775807."
TOO_LARGE = "the dimensions of the shape are too large."
EMPTY_LISTS = "the shape has no elements, but more than 10000 lists that would hold them."
NESTED = "data is nested otherwise than the shape says: along dimension {} each array should have"
SIZE = "binary_data_size should be a whole number, at least 0."

IN_JSON = [
    _json("nothing", b"", "Invalid JSON: EOF while parsing a value at line 1 column 0"),
    _json("half a request", request(GOOD)[:-1], "Invalid JSON: EOF while parsing an object at {}"),
    _json("two requests", request(GOOD) * 2, "Invalid JSON: trailing characters at {}"),
    _json("not UTF-8", b'{"id": "\xff"}', "Invalid JSON: invalid unicode code point at {}"),
    _json("a lone surrogate", rb'{"id": "\ud800"}', "Invalid JSON: unexpected end of hex {}"),
    _json("a NaN", request(tensor(data=[float("nan")])), "Invalid JSON: expected value at {}"),
    _json("-Infinity", request(tensor(data=[float("-inf")])), "Invalid JSON: invalid number at {}"),
    _json("deep nesting", b"[" * 100_000, "Invalid JSON: recursion limit exceeded at {}"),
    _json(
        "deep nesting of data",
        request(GOOD).replace(b"[1.0]", b"[" * 500 + b"]" * 500),
        "Invalid JSON: recursion limit exceeded at {}",
    ),
    _json(
        "an integer of 5000 digits",
        request(GOOD).replace(b"1.0", b"9" * 5000),
        "Invalid JSON: number out of range at {}",
    ),
    _json("an array", b"[]", "The request should be a JSON object."),
    _json("a number", b"1", "The request should be a JSON object."),
    _json("null", b"null", "The request should be a JSON object."),
    _json("no inputs", b"{}", NO_INPUTS),
    _json("an empty list of inputs", request(), NO_INPUTS),
    _json("inputs that are an object", b'{"inputs": {"x": 1}}', NO_INPUTS),
    _json("an input that is a number", request(GOOD, 5), "inputs[1] should be an object."),
    _json(
        "an input without a name",
        request(GOOD, {}),
        "inputs[1] should have a name, which is a string.",
    ),
    _json(
        "an input whose name is a number",
        request({**GOOD, "name": 5}),
        "inputs[0] should have a name, which is a string.",
    ),
    _json("one name twice", request(GOOD, GOOD), 'Input "x": there are two of this name.'),
    _json("an id that is a number", request(GOOD, id=7), "id should be a string."),
    _json(
        "parameters that are a list",
        request(GOOD, parameters=[]),
        "parameters should be an object.",
    ),
    _json(
        "binary_data_output that is a string",
        request(GOOD, parameters={"binary_data_output": "yes"}),
        "binary_data_output should be true or false.",
    ),
    _json(
        "a name of a megabyte",
        request({**GOOD, "name": "n" * 1_000_000, "data": []}),
        f'Input "{"n" * 100}...": the shape has 1 elements, but data has 0.',
    ),
    _tensor("an unknown datatype", UNKNOWN_DATATYPE, "FP8", data=[1]),
    _tensor("a datatype in lower case", UNKNOWN_DATATYPE, "fp64", data=[1]),
    _tensor("a datatype that is a list", UNKNOWN_DATATYPE, ["FP64"], data=[1]),
    _tensor("no datatype", UNKNOWN_DATATYPE, None, data=[1]),
    _tensor("no shape", "shape should be an array of whole numbers.", shape=None, data=[1]),
    _tensor("a shape that is a number", "shape should be an array of whole numbers.", shape=1),
    _tensor("a negative dimension", f"shape[1] {DIMENSION}", shape=[1, -1], data=[1]),
    _tensor("a dimension with a fraction", f"shape[0] {DIMENSION}", shape=[1.0], data=[1]),
    _tensor("a dimension that is true", f"shape[0] {DIMENSION}", shape=[True], data=[1]),
    _tensor("a dimension that is a string", f"shape[0] {DIMENSION}", shape=["1"], data=[1]),
    _tensor("a dimension beyond 64 bits", f"shape[0] {DIMENSION}", shape=[2**63], data=[1]),
    _tensor("a dimension of 4000 digits", f"shape[0] {DIMENSION}", shape=[10**4000], data=[1]),
    _tensor("dimensions beyond 64 bits", TOO_LARGE, shape=[2**40, 2**40], data=[1]),
    _tensor("dimensions that wrap to 1", TOO_LARGE, shape=[2**32, 2**32], data=[1]),
    _tensor("a count beyond memory", TOO_LARGE, shape=[2**62], data=[1]),
    _tensor("huge dimensions of nothing", TOO_LARGE, shape=[0, 2**62, 2**62], data=[]),
    _tensor("a million empty rows", EMPTY_LISTS, shape=[1_000_000, 0], data=[]),
    _tensor("a million empty lists in a row", EMPTY_LISTS, shape=[1, 1_000_000, 0], data=[]),
    _tensor(
        "a million dimensions",
        "the shape has 1000000 dimensions; at most 32 are supported.",
        shape=[9] * 1_000_000,
        data=[1],
    ),
    _tensor(
        "more elements than the shape", "the shape has 1 elements, but data has 2.", data=[1, 2]
    ),
    _tensor(
        "fewer elements than the shape",
        "the shape has 6 elements, but data has 5.",
        shape=[2, 3],
        data=[1] * 5,
    ),
    _tensor(
        "far fewer elements than the shape",
        "the shape has 1000000000000 elements, but data has 1.",
        shape=[10**12],
        data=[1],
    ),
    _tensor(
        "a scalar without data", "the shape has 1 elements, but data has 0.", shape=[], data=[]
    ),
    _tensor("neither data nor a size", DATA_OR_SIZE),
    _tensor("data that is null", DATA_OR_SIZE, data=None),
    _tensor("data that is a number", "data should be an array, not a whole number.", data=1),
    _tensor("data that is an object", "data should be an array, not an object.", data={"0": 1}),
    _tensor("data that is a string", "data should be an array, not a string.", "BYTES", data="a"),
    _tensor("rows too many", f"{NESTED.format(0)} 1 elements.", shape=[1, 2], data=[[1, 2]] * 2),
    _tensor("rows too short", f"{NESTED.format(1)} 2 elements.", shape=[2, 2], data=[[1, 2], [3]]),
    _tensor(
        "a row too few brackets", f"{NESTED.format(1)} 2 elements.", shape=[2, 2], data=[[1, 2], 3]
    ),
    _tensor("rows too deep", "data[0] is an array; FP64 takes numbers.", data=[[1]]),
    _tensor(
        "rows that are not deep enough",
        f"{NESTED.format(2)} 2 elements.",
        shape=[1, 2, 2],
        data=[[1, 2]],
    ),
    _tensor(
        "a row among numbers", "data[1] is an array; FP64 takes numbers.", shape=[2], data=[1, [2]]
    ),
    _tensor("a string as a number", "data[0] is a string; FP64 takes numbers.", data=["1.5"]),
    _tensor("NaN as a string", "data[0] is a string; FP64 takes numbers.", data=["NaN"]),
    _tensor(
        "null among words",
        "data[1] is a number with a fraction or exponent; INT64 takes whole numbers.",
        "INT64",
        [2],
        data=[None, 1.5],
    ),
    _tensor("true as a number", "data[0] is a boolean; FP64 takes numbers.", data=[True]),
    _tensor("an object as a number", "data[0] is an object; FP64 takes numbers.", data=[{}]),
    _tensor(
        "true as an integer", "data[0] is a boolean; INT8 takes whole numbers.", "INT8", data=[True]
    ),
    _tensor(
        "a fraction as an integer",
        "data[1] is a number with a fraction or exponent; INT64 takes whole numbers.",
        "INT64",
        [2],
        data=[1, 1.5],
    ),
    _tensor(
        "an integer above its range",
        "data[1] is out of range; INT8 takes whole numbers from -128 to 127.",
        "INT8",
        [2],
        data=[127, 128],
    ),
    _tensor(
        "an unsigned integer below zero",
        "data[0] is out of range; UINT64 takes whole numbers from 0 to 18446744073709551615.",
        "UINT64",
        data=[-1],
    ),
    _tensor(
        "an integer of 4000 digits",
        "data[0] is out of range; INT32 takes whole numbers from -2147483648 to 2147483647.",
        "INT32",
        data=[10**4000],
    ),
    _json(
        "1e999",
        request(GOOD).replace(b"1.0", b"1e999"),
        'Input "x": data[0] is not a finite number of FP64.',
    ),
    _tensor(
        "more than FP16 holds",
        "data[1] is not a finite number of FP16.",
        "FP16",
        [2],
        data=[1, 1e5],
    ),
    _tensor("more than FP32 holds", "data[0] is not a finite number of FP32.", "FP32", data=[1e39]),
    _tensor(
        "more than BF16 holds", "data[0] is not a finite number of BF16.", "BF16", data=[3.4e38]
    ),
    _tensor(
        "an integer too large for FP64",
        "data holds a number that is too large for FP64.",
        data=[10**400],
    ),
    _tensor(
        "a number as a boolean",
        "data[0] is a whole number; BOOL takes true and false.",
        "BOOL",
        data=[1],
    ),
    _tensor(
        "a number as a string", "data[0] is a whole number; BYTES takes strings.", "BYTES", data=[1]
    ),
    _tensor(
        "parameters that are a string", "parameters should be an object.", data=[1], parameters="a"
    ),
    _tensor(
        "shared memory",
        NO_SHARED_MEMORY,
        parameters={"shared_memory_region": "r", "shared_memory_byte_size": 8},
    ),
    _tensor(
        "binary data without a length of the JSON",
        "binary_data_size needs the HTTP header Inference-Header-Content-Length.",
        parameters={"binary_data_size": 8},
    ),
    _json("outputs that are an object", request(GOOD, outputs={}), "outputs should be an array."),
    _json(
        "an output that is a string",
        request(GOOD, outputs=["y"]),
        "outputs[0] should be an object.",
    ),
    _json(
        "an output without a name",
        request(GOOD, outputs=[{}]),
        "outputs[0] should have a name, which is a string.",
    ),
    _json(
        "one output twice",
        request(GOOD, outputs=[{"name": "y"}] * 2),
        'Output "y": there are two of this name.',
    ),
    _output("binary_data that is a number", "binary_data should be true or false.", binary_data=1),
    _output("an output in shared memory", NO_SHARED_MEMORY, shared_memory_region="r"),
    _output(
        "classification",
        "classification is not supported; ask for the output itself.",
        classification=3,
    ),
]

IN_BINARY = [
    HostileRequest(
        "binary, a JSON longer than the body",
        request(GOOD),
        10_000,
        f"Inference-Header-Content-Length is 10000, but the body has {len(request(GOOD))} bytes.",
    ),
    HostileRequest(
        "binary, no JSON at all",
        pack("<d", 1),
        0,
        "Invalid JSON: EOF while parsing a value at line 1 column 0",
    ),
    HostileRequest(
        "binary, a JSON that breaks off",
        request(GOOD),
        len(request(GOOD)) - 5,
        "Invalid JSON: EOF while parsing {}",
    ),
    _binary(
        "bytes after no tensor",
        "The body goes on for 3 bytes after the data of all inputs.",
        (GOOD, b"abc"),
    ),
    _binary(
        "bytes after the last tensor",
        "The body goes on for 1 bytes after the data of all inputs.",
        sized("FP64", [1], pack("<d", 1)),
        after=b"\0",
    ),
    _binary(
        "both data and a size",
        f'Input "x": {DATA_OR_SIZE}',
        (tensor(data=[1], parameters={"binary_data_size": 8}), pack("<d", 1)),
    ),
    _binary(
        "one name twice",
        'Input "x": there are two of this name.',
        sized("FP64", [1], pack("<d", 1)),
        sized("FP64", [1], pack("<d", 1)),
    ),
    _binary(
        "two tensors that claim the same bytes",
        'Input "second": binary_data_size is 8, but only 0 bytes are left.',
        sized("FP64", [1], pack("<d", 1)),
        ({**sized("FP64", [1], pack("<d", 1))[0], "name": "second"}, b""),
    ),
    _sized("a negative size", SIZE, "FP64", [1], b"", -8),
    _sized("a size with a fraction", SIZE, "FP64", [1], pack("<d", 1), 8.0),
    _sized("a size that is true", SIZE, "BOOL", [1], b"\1", True),
    _sized("a size that is a string", SIZE, "FP64", [1], pack("<d", 1), "8"),
    _sized(
        "a truncated tensor",
        "binary_data_size is 8, but only 7 bytes are left.",
        "FP64",
        [1],
        pack("<d", 1)[:-1],
        8,
    ),
    _sized(
        "a size beyond 64 bits",
        f"binary_data_size is {2**64}, but only 8 bytes are left.",
        "FP64",
        [1],
        pack("<d", 1),
        2**64,
    ),
    _sized(
        "a size larger than the shape",
        "the shape has 1 elements of FP64, which are 8 bytes, but binary_data_size is 16.",
        "FP64",
        [1],
        pack("<2d", 1, 2),
    ),
    _sized(
        "a size smaller than the shape",
        "the shape has 3 elements of INT16, which are 6 bytes, but binary_data_size is 4.",
        "INT16",
        [3],
        pack("<2h", 1, 2),
    ),
    _sized(
        "a shape far larger than its data",
        f"the shape has {10**15} elements of FP32, which are {4 * 10**15} bytes, "
        "but binary_data_size is 4.",
        "FP32",
        [10**15],
        pack("<f", 1),
    ),
    _sized("a count beyond memory", TOO_LARGE, "UINT8", [2**63 - 1, 2], b"\1"),
    _sized("a million empty rows", EMPTY_LISTS, "FP64", [1_000_000, 0], b""),
    _sized(
        "data of an empty tensor",
        "the shape has 0 elements of FP64, which are 0 bytes, but binary_data_size is 8.",
        "FP64",
        [0],
        pack("<d", 1),
    ),
    _sized("a negative dimension", f"shape[0] {DIMENSION}", "FP64", [-1], pack("<d", 1)),
    _sized("an unknown datatype", UNKNOWN_DATATYPE, "STRING", [1], strings(b"a")),
    _sized(
        "infinity", "data[0] is not a finite number of FP32.", "FP32", [1], pack("<f", float("inf"))
    ),
    _sized("infinity of half", "data[0] is not a finite number of FP16.", "FP16", [1], b"\x00\xfc"),
    _sized(
        "infinity of a quarter",
        "data[2] is not a finite number of BF16.",
        "BF16",
        [3],
        b"\0\0\0\0\x80\x7f",
    ),
    _sized(
        "a boolean of 2", "data[1] is neither 0 nor 1, as a BOOL should be.", "BOOL", [2], b"\1\2"
    ),
    _sized(
        "strings without lengths",
        "the shape has 2 elements of BYTES, which are at least 8 bytes, but binary_data_size is 2.",
        "BYTES",
        [2],
        b"ab",
    ),
    _sized(
        "a thousand million strings",
        f"the shape has {10**9} elements of BYTES, which are at least {4 * 10**9} bytes, "
        "but binary_data_size is 4.",
        "BYTES",
        [10**9],
        strings(b""),
    ),
    _sized(
        "a string that goes on after the data",
        "the binary data ends within data[0], of 4294967295 bytes.",
        "BYTES",
        [1],
        pack("<I", 2**32 - 1) + b"ab",
    ),
    _sized(
        "a string that takes the length of the next",
        "the binary data ends before data[1].",
        "BYTES",
        [2],
        pack("<I", 5) + b"abcde",
    ),
    _sized(
        "fewer strings than there are",
        "the binary data goes on for 5 bytes after its 1 elements.",
        "BYTES",
        [1],
        strings(b"a", b"b"),
    ),
    _binary(
        "a string that goes on in the next tensor",
        'Input "x": the binary data ends within data[0], of 3 bytes.',
        (tensor("BYTES", parameters={"binary_data_size": 6}), strings(b"abc")),
        ({**tensor("BYTES", parameters={"binary_data_size": 1}), "name": "second"}, b""),
    ),
]

HOSTILE_REQUESTS = [*IN_JSON, *IN_BINARY]

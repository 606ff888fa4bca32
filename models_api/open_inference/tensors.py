"""An inference request from the bytes of a body, and its response to bytes.

The body is a JSON object, and after it, where the client says how long the JSON is, the binary
data of those tensors whose data is not in the JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from pydantic_core import from_json, to_json

from models_api.exceptions import TensorError
from models_api.open_inference.binary_tensors import read_binary, require_size, write_binary
from models_api.open_inference.datatypes import DATATYPES, Array, Datatype, datatype
from models_api.open_inference.json_tensors import flat_elements, read_json, write_json
from models_api.prediction.value_limit import ValueLimit

__all__ = [
    "InferRequest",
    "InferResponse",
    "RequestLimits",
    "RequestedOutput",
    "Tensor",
    "TensorError",
    "read_infer_request",
    "read_infer_response",
    "write_infer_response",
]

T = TypeVar("T")

# What every numpy can hold; the newest takes 64.
_MAXIMUM_DIMENSIONS = 32
_MAXIMUM_INT64 = 2**63 - 1
# A shape such as [1000000000, 0] has no elements, and yet as a list it would take gigabytes.
_MAXIMUM_EMPTY_LISTS = 10_000
_SHOWN_CHARACTERS = 100


@dataclass(slots=True)
class Tensor:
    """Elements of one datatype, in the shape that it says; the first dimension counts rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Array
    """Of the shape, perhaps read-only. BF16 is held as float32, BYTES as objects of type bytes."""
    parameters: dict[str, Any]


@dataclass(slots=True)
class RequestedOutput:
    """An output that the client wants."""

    name: str
    binary: bool
    """Whether its data should come after the JSON, as bytes."""


@dataclass(slots=True)
class InferRequest:
    """What a client asks for."""

    id: str | None
    parameters: dict[str, Any]
    inputs: list[Tensor]
    outputs: list[RequestedOutput] | None
    """None where the client wants all that there are."""
    binary_default: bool
    """Whether outputs that the client does not name should come as bytes."""

    def wants_binary(self, output: str) -> bool:
        """Whether the data of this output should come as bytes."""
        for requested in self.outputs or ():
            if requested.name == output:
                return requested.binary
        return self.binary_default


class InferResponse(NamedTuple):
    """What a service gives."""

    header: dict[str, Any]
    """Its JSON, but for the data of the tensors."""
    outputs: list[Tensor]


class RequestLimits(NamedTuple):
    """How much one request may hold."""

    json: ValueLimit | None = None
    """Of its JSON."""
    elements: ValueLimit | None = None
    """Of all of its tensors together."""


NO_LIMITS = RequestLimits()


def read_infer_request(
    body: bytes, header_length: int | None, limits: RequestLimits = NO_LIMITS
) -> InferRequest:
    """Read a request; `header_length` is the number of bytes of its JSON, None if it is all JSON.

    Raises:
        TensorError: it is malformed; it says which tensor, and why.
        PayloadTooLarge: it holds more than the limits.
    """
    header = _read_header(body, header_length, limits.json)
    request_id = header.get("id")
    if not isinstance(request_id, str | None):
        raise TensorError("id should be a string.")
    parameters = _read_parameters(header)
    binary_default = _read_flag(parameters, "binary_data_output", False)
    return InferRequest(
        id=request_id,
        parameters=parameters,
        inputs=_read_tensors(header, "inputs", _BinaryData(body, header_length), _Elements(limits)),
        outputs=_read_outputs(header, binary_default),
        binary_default=binary_default,
    )


def read_infer_response(body: bytes, header_length: int | None) -> InferResponse:
    """Read the response of another service; arguments as for `read_infer_request`.

    Raises:
        TensorError: it is none.
    """
    header = _read_header(body, header_length, None)
    binary_data = _BinaryData(body, header_length)
    return InferResponse(
        header, _read_tensors(header, "outputs", binary_data, _Elements(NO_LIMITS))
    )


def write_infer_response(
    model_name: str,
    model_version: str | None,
    request_id: str | None,
    outputs: list[Tensor],
    request: InferRequest,
) -> tuple[bytes, int | None]:
    """Write a response, each output in JSON or as bytes as the request wants it.

    NaN and infinities are null in JSON. The number of bytes of the JSON comes too where data
    follows it, else None.
    """
    binary: list[bytes] = []
    written = [_write_output(tensor, request, binary) for tensor in outputs]
    response: dict[str, object] = {"model_name": model_name}
    if model_version is not None:
        response["model_version"] = model_version
    if request_id is not None:
        response["id"] = request_id
    response["outputs"] = written
    header = to_json(response, inf_nan_mode="null")
    return (b"".join([header, *binary]), len(header)) if binary else (header, None)


def _write_output(tensor: Tensor, request: InferRequest, binary: list[bytes]) -> dict[str, object]:
    """Describe an output; data that the request wants as bytes is added to `binary`."""
    description: dict[str, object] = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": tensor.shape,
    }
    parameters = tensor.parameters
    if request.wants_binary(tensor.name):
        data = write_binary(tensor.data, DATATYPES[tensor.datatype])
        binary.append(data)
        parameters = {**parameters, "binary_data_size": len(data)}
    else:
        description["data"] = write_json(tensor.data, DATATYPES[tensor.datatype])
    if parameters:
        description["parameters"] = parameters
    return description


class _BinaryData:
    """What follows the JSON of a request; each tensor takes its part of it, in order."""

    def __init__(self, body: bytes, start: int | None) -> None:
        self.body = body
        self._position = start

    def take(self, size: Any) -> int:
        """Take so many bytes, and say where in the body they begin.

        Raises:
            TensorError: there are fewer.
        """
        if type(size) is not int or size < 0:
            raise TensorError("binary_data_size should be a whole number, at least 0.")
        if self._position is None:
            raise TensorError(
                "binary_data_size needs the HTTP header Inference-Header-Content-Length."
            )
        start = self._position
        if size > len(self.body) - start:
            left = len(self.body) - start
            raise TensorError(f"binary_data_size is {size}, but only {left} bytes are left.")
        self._position += size
        return start

    def require_end(self) -> None:
        """Refuse bytes that no tensor took."""
        if self._position is not None and self._position < len(self.body):
            left = len(self.body) - self._position
            raise TensorError(f"The body goes on for {left} bytes after the data of all inputs.")


class _Elements:
    """Those of all tensors of a request so far, counted before there are any."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limit = limits.elements
        self._count = 0

    def add(self, count: int, dimensions: int) -> None:
        """Count those of another tensor.

        Raises:
            PayloadTooLarge: they are too many.
        """
        self._count += count
        if self._limit is not None:
            self._limit.check_elements(self._count, dimensions)


def _read_header(body: bytes, length: int | None, limit: ValueLimit | None) -> dict[str, Any]:
    if length is not None and not 0 <= length <= len(body):
        raise TensorError(
            f"Inference-Header-Content-Length is {length}, but the body has {len(body)} bytes."
        )
    json = body if length is None else body[:length]
    if limit is not None and len(json) > limit.harmless_bytes:
        limit.check(json)
    try:
        header = from_json(json, allow_inf_nan=False)
    except ValueError as error:
        raise TensorError(f"Invalid JSON: {error}") from None
    if not isinstance(header, dict):
        raise TensorError("The request should be a JSON object.")
    return header


def _read_tensors(
    header: dict[str, Any], key: str, binary_data: _BinaryData, elements: _Elements
) -> list[Tensor]:
    descriptions = header.get(key)
    if not isinstance(descriptions, list) or not descriptions:
        raise TensorError(f"{key} should be an array of at least one tensor.")
    tensors = _read_named(
        key.removesuffix("s").title(),
        descriptions,
        lambda name, description: _read_tensor(name, description, binary_data, elements),
    )
    binary_data.require_end()
    return tensors


def _read_tensor(
    name: str, description: dict[str, Any], binary_data: _BinaryData, elements: _Elements
) -> Tensor:
    kind = datatype(description.get("datatype"))
    shape = _read_shape(description.get("shape"))
    count = _count(shape, kind)
    parameters = _read_parameters(description)
    _refuse_shared_memory(parameters)
    # Taken out, so that the memory of the list is free again once the array is made.
    data = description.pop("data", None)
    size = parameters.get("binary_data_size")
    if (data is None) == (size is None):
        raise TensorError("there should be either data or a parameter binary_data_size.")
    # Counted before they are made, but not before it is certain that they are there.
    if size is None:
        listed = flat_elements(data, shape, count)
        elements.add(count, len(shape))
        array = read_json(listed, kind)
    else:
        start = binary_data.take(size)
        require_size(size, kind, count)
        elements.add(count, len(shape))
        array = read_binary(binary_data.body, start, size, kind, count)
    return Tensor(name, kind.name, shape, array.reshape(shape), parameters)


def _read_outputs(header: dict[str, Any], binary_default: bool) -> list[RequestedOutput] | None:
    descriptions = header.get("outputs")
    if not isinstance(descriptions, list | None):
        raise TensorError("outputs should be an array.")
    outputs = _read_named(
        "Output",
        descriptions or [],
        lambda name, description: _read_output(name, description, binary_default),
    )
    return outputs or None


def _read_output(name: str, description: dict[str, Any], binary_default: bool) -> RequestedOutput:
    parameters = _read_parameters(description)
    _refuse_shared_memory(parameters)
    if parameters.get("classification"):
        raise TensorError("classification is not supported; ask for the output itself.")
    binary = _read_flag(parameters, "binary_data", binary_default)
    return RequestedOutput(name, binary)


def _read_named(kind: str, descriptions: list[Any], read: Callable[[str, Any], T]) -> list[T]:
    """Read inputs or outputs, no two of one name; an error begins with the one that it concerns."""
    found: dict[str, T] = {}
    for index, description in enumerate(descriptions):
        name = _name(description, f"{kind.lower()}s", index)
        try:
            if name in found:
                raise TensorError("there are two of this name.")
            found[name] = read(name, description)
        except TensorError as error:
            shown = name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}..."
            raise TensorError(f'{kind} "{shown}": {error}') from None
    return list(found.values())


def _name(description: Any, key: str, index: int) -> str:
    if not isinstance(description, dict):
        raise TensorError(f"{key}[{index}] should be an object.")
    name = description.get("name")
    if not isinstance(name, str):
        raise TensorError(f"{key}[{index}] should have a name, which is a string.")
    return name


def _read_parameters(description: dict[str, Any]) -> dict[str, Any]:
    parameters = description.get("parameters")
    if not isinstance(parameters, dict | None):
        raise TensorError("parameters should be an object.")
    return parameters or {}


def _read_flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    flag = parameters.get(name, default)
    if not isinstance(flag, bool):
        raise TensorError(f"{name} should be true or false.")
    return flag


def _refuse_shared_memory(parameters: dict[str, Any]) -> None:
    if any(name.startswith("shared_memory_") for name in parameters):
        raise TensorError("shared memory is not supported; send the data in the body.")


def _read_shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list):
        raise TensorError("shape should be an array of whole numbers.")
    if len(shape) > _MAXIMUM_DIMENSIONS:
        raise TensorError(
            f"the shape has {len(shape)} dimensions; at most {_MAXIMUM_DIMENSIONS} are supported."
        )
    for index, dimension in enumerate(shape):
        if type(dimension) is not int or not 0 <= dimension <= _MAXIMUM_INT64:
            raise TensorError(
                f"shape[{index}] should be a whole number, from 0 to {_MAXIMUM_INT64}."
            )
    return tuple(shape)


def _count(shape: tuple[int, ...], datatype: Datatype) -> int:
    """Multiply the dimensions, where memory can hold what they say."""
    count = math.prod(shape)
    # Not the count alone: numpy refuses [0, 2**62, 2**62] too.
    if (count or math.prod(filter(None, shape))) * datatype.held.itemsize > _MAXIMUM_INT64:
        raise TensorError("the dimensions of the shape are too large.")
    if not count and math.prod(shape[: shape.index(0)]) > _MAXIMUM_EMPTY_LISTS:
        raise TensorError(
            "the shape has no elements, but more than "
            f"{_MAXIMUM_EMPTY_LISTS} lists that would hold them."
        )
    return count

"""Columns and outputs, of what MLflow calls column specs, tensor specs and parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from models_api.exceptions import ArtefactError
from models_api.runtimes.mlmodel import Specs
from models_api.runtimes.signature import Column, Output, Shape, ValueType

FEATURES = "features"
"""Name of the only input where it has none."""
VALUE = "value"
"""Name of the only output where it has none."""

_TYPES: dict[str, ValueType] = {
    "boolean": "boolean",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "string": "string",
    "binary": "binary",
    "datetime": "datetime",
}
_GREATEST = {
    "float": 3.4028234663852886e38,
    "float32": 3.4028234663852886e38,
    "float16": 65504.0,
}
"""Beyond, a number would be infinite."""
_BITS = {"integer": 32, "int8": 8, "int16": 16, "int32": 32, "uint8": 8, "uint16": 16, "uint32": 32}


def is_tensor(specs: Specs) -> bool:
    """Return whether specs are of tensors, not of columns."""
    return specs[0].get("type") == "tensor"


def is_optional(spec: Mapping[str, Any]) -> bool:
    """Return whether a column may be missing; the older MLflow said it the other way round."""
    return spec.get("required") is False or spec.get("optional") is True


def columns_of(inputs: Specs, params: Specs = ()) -> tuple[Column, ...]:
    """Return the columns that a model takes, parameters after all others.

    Raises:
        ArtefactError: one of them has no JSON, or no rows.
    """
    columns = _tensor_columns(inputs) if is_tensor(inputs) else _columns(inputs)
    return (*columns, *_params(params, {column.name for column in columns}))


def outputs_of(outputs: Specs | None) -> tuple[Output, ...]:
    """Return what a prediction has."""
    if not outputs:
        return (Output(VALUE, "any", description="What is predicted."),)
    names = names_of(outputs, VALUE)
    return tuple(_output(name, spec) for name, spec in zip(names, outputs, strict=True))


def names_of(specs: Specs, only: str) -> list[str]:
    """Return a name for each of the specs, of which all have one, or none."""
    if len(specs) == 1:
        return [str(specs[0].get("name") or only)]
    named = [spec.get("name") for spec in specs]
    prefix = "x" if only == FEATURES else only
    return [f"{prefix}{i}" if name is None else str(name) for i, name in enumerate(named)]


def _columns(inputs: Specs) -> tuple[Column, ...]:
    types = {str(spec.get("type")) for spec in inputs}
    is_one = len(inputs) > 1 and len(types) == 1 and all(s.get("name") is None for s in inputs)
    if is_one and types & {"double", "float", "long", "integer"}:
        shape = (len(inputs),)
        return (_column(FEATURES, inputs[0], shape, f"{len(inputs)} columns, in their order."),)
    names = names_of(inputs, FEATURES)
    return tuple(_column(name, spec) for name, spec in zip(names, inputs, strict=True))


def _column(name: str, spec: Mapping[str, Any], shape: Shape = (), about: str = "") -> Column:
    kind, inner = _unfolded(spec)
    type_ = _TYPES.get(kind, "any")
    may_miss = is_optional(spec)
    minimum, maximum = _limits(kind)
    return Column(
        name,
        type_,
        () if type_ == "any" else (*shape, *inner),
        nullable=may_miss,
        minimum=minimum,
        maximum=maximum,
        optional=may_miss,
        description=about or (_told(spec) if type_ == "any" else ""),
    )


def _unfolded(spec: Mapping[str, Any]) -> tuple[str, Shape]:
    """Return the type of the items of a list, and a dimension for each list around them."""
    kind, dimensions = spec, list[None]()
    while kind.get("type") == "array" and isinstance(kind.get("items"), dict):
        kind = kind["items"]
        dimensions.append(None)
    return str(kind.get("type")), tuple(dimensions)


def _told(spec: Mapping[str, Any]) -> str:
    """Return in words what MLflow says of an object, a map or anything."""
    kind = str(spec.get("type"))
    if kind == "array":
        return f"list of {_told(spec['items'])}"
    if kind == "map":
        return f"mapping to {_told(spec['values'])}"
    if kind != "object":
        return _TYPES.get(kind, kind)
    told = (
        f"{name}: {_told(inner)}{' (may be missing)' if is_optional(inner) else ''}"
        for name, inner in spec["properties"].items()
    )
    return f"{{{', '.join(told)}}}"


def _limits(kind: str) -> tuple[float | None, float | None]:
    if kind in _GREATEST:
        return -_GREATEST[kind], _GREATEST[kind]
    bits = _BITS.get(kind)
    if kind.startswith("uint"):
        return 0, None if bits is None else 2**bits - 1
    return (None, None) if bits is None else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _tensor_columns(inputs: Specs) -> tuple[Column, ...]:
    names = names_of(inputs, FEATURES)
    return tuple(_tensor_column(name, spec) for name, spec in zip(names, inputs, strict=True))


def _tensor_column(name: str, spec: Mapping[str, Any]) -> Column:
    dtype, shape = _tensor(spec)
    if not shape or shape[0] not in (-1, 1):
        message = f"its input {name} has the shape {list(shape)}, in which nothing counts rows"
        raise ArtefactError(message, "Save it with a signature whose first dimension is -1.")
    minimum, maximum = _limits(dtype)
    return Column(name, _kind(dtype), _sizes(shape), minimum=minimum, maximum=maximum)


def _tensor(spec: Mapping[str, Any]) -> tuple[str, tuple[int, ...]]:
    found = spec["tensor-spec"]
    return str(found["dtype"]), tuple(int(size) for size in found["shape"])


def _kind(dtype: str) -> ValueType:
    """Return of which type the values of an array are; objects may be of any."""
    kinds: dict[str, ValueType] = {"float": "number", "int": "integer", "uint": "integer"}
    named: dict[str, ValueType] = {"bool": "boolean", "str": "string", "object": "unknown"}
    return named.get(dtype) or kinds.get(dtype.rstrip("0123456789"), "unknown")


def _sizes(shape: tuple[int, ...]) -> Shape:
    return tuple(None if size < 0 else size for size in shape[1:])


def _params(params: Specs, taken: set[str]) -> Iterator[Column]:
    for spec in params:
        name = str(spec["name"])
        if name in taken:
            continue  # nobody could say which of the two a value is for
        type_ = _TYPES.get(str(spec.get("type") or spec.get("dtype")), "any")
        shape: Shape = (None,) if spec.get("shape") and type_ != "any" else ()
        about = f"A parameter of the model; without it, {spec.get('default')}."
        yield Column(name, type_, shape, nullable=True, optional=True, description=about)


def _output(name: str, spec: Mapping[str, Any]) -> Output:
    if spec.get("type") == "tensor":
        dtype, shape = _tensor(spec)
        type_ = _kind(dtype)
        if type_ == "unknown" or not shape:
            return Output(name, "any", description="What is predicted.")
        return Output(name, type_, _sizes(shape), description="What is predicted.")
    kind, inner = _unfolded(spec)
    type_ = _TYPES.get(kind, "any")
    sizes = () if type_ == "any" else inner
    return Output(name, type_, sizes, nullable=is_optional(spec))

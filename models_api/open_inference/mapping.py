"""Between tensors and rows: what a client sends, and what a model gives.

Values are those that JSON has, so that a model's schema says the same of them as of any other
request.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from typing import Any, NamedTuple

import numpy
from pydantic_core import from_json, to_json

from models_api.configuration.document import key_path
from models_api.exceptions import InputProblem, InvalidInput, TensorError
from models_api.open_inference.columns import ANY_LENGTH, Column, Columns
from models_api.open_inference.datatypes import DATATYPES, Array, missing
from models_api.open_inference.tensors import Tensor
from models_api.prediction.value_limit import ValueLimit

_CONTENT_TYPES = ("np", "pd", "str", "datetime", "base64", "json", "pd_json")
_KINDS: dict[str, type] = {"b": bool, "i": int, "u": int, "f": float}
"""Types of Python, by numpy's kinds."""
_NUMPY_KINDS = {"BOOL": "b", "INT64": "i"}
_NUMPY_TYPES = {"BOOL": "?", "INT64": "<i8", "FP64": "<f8", "BYTES": "O"}
_MAXIMUM_PROBLEMS = 10


class Values(NamedTuple):
    """What tensors hold, field by field."""

    values: dict[str, Array]
    """By the name of the field, its values, rows first."""
    kinds: dict[str, type | None]
    """Likewise, the type of the elements that are not None; None where only JSON can tell."""


class Rows(NamedTuple):
    """What tensors hold, row by row."""

    values: list[Any]
    """Objects by the names of the fields, or whatever a model takes that is no object."""
    kinds: dict[str, type | None]
    """As of Values."""


Field = tuple[Column, Tensor]
"""A field of the model's, and the tensor that holds its values."""


def checked_fields(
    tensors: Sequence[Tensor], columns: Columns, maximum_rows: int
) -> Sequence[Field]:
    """Find which field each tensor holds, and see to it that all have as many rows.

    Tensors that the model ignores are left out, which may be all of them.

    Args:
        tensors: At least one.
        columns: What the model takes.
        maximum_rows: More are refused.

    Raises:
        TensorError: a tensor is none of the model's, or has other rows than it should.
    """
    fields = _fields(tensors, columns)
    _check_rows([tensor for _, tensor in fields] or tensors, maximum_rows)
    return fields


def number_of_rows(fields: Sequence[Field], tensors: Sequence[Tensor]) -> int:
    """Return how many rows the tensors hold, after `checked_fields` found their fields."""
    tensor = fields[0][1] if fields else tensors[0]
    return tensor.shape[0]


def rows_from_fields(
    fields: Sequence[Field], tensors: Sequence[Tensor], columns: Columns, content_type: object
) -> Rows:
    """List the rows that the tensors hold.

    Args:
        fields: Those of the tensors.
        tensors: As they were sent.
        columns: What the model takes.
        content_type: What the request says of all tensors; one of MLServer's names, or None.

    Raises:
        TensorError: values have no place in their field.
    """
    if not fields:
        return Rows([{} for _ in range(number_of_rows(fields, tensors))], {})
    if _is_of_columns(fields, tensors):
        # The columns of one tensor: its rows are there already.
        names, kind = [column.name for column, _ in fields], _kind(tensors[0].data.dtype)
        return Rows(_objects_of(names, tensors[0].data.tolist()), dict.fromkeys(names, kind))
    values, kinds = values_of_fields(fields, content_type)
    listed = [data.tolist() for data in values.values()]
    rows = listed[0] if columns.is_whole else _objects_of(list(values), zip(*listed, strict=True))
    return Rows(rows, kinds)


def _is_of_columns(fields: Sequence[Field], tensors: Sequence[Tensor]) -> bool:
    """Return whether the fields are columns of one tensor of values as they are."""
    first, *_ = tensors
    return len(fields) > 1 == len(tensors) and not (
        first.datatype == "BYTES" or missing(first.data) is not None
    )


def values_of_fields(fields: Sequence[Field], content_type: object) -> Values:
    """Find the values that the tensors hold; arguments and errors as for `rows_from_fields`."""
    found = [(column.name, *_values(tensor, column, content_type)) for column, tensor in fields]
    return Values(
        {name: values for name, values, _ in found}, {name: kind for name, _, kind in found}
    )


def require_few_values(fields: Sequence[Field], content_type: object, limit: ValueLimit) -> None:
    """Refuse elements whose JSON holds too many values, before any of these are made.

    Raises:
        PayloadTooLarge: it does.
        TensorError: as for `rows_from_fields`.
    """
    json = b",".join(
        b",".join(tensor.data.ravel())
        for column, tensor in fields
        if tensor.datatype == "BYTES" and _decoder_of(tensor, column, content_type) is _from_json
    )
    if len(json) > limit.harmless_bytes:
        limit.check(json)


def _objects_of(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    # All in C: that is most of the work for a request of many rows.
    return list(map(dict, map(zip, repeat(names), rows)))


def columns_from_predictions(predictions: Sequence[Any], columns: Columns) -> dict[str, list[Any]]:
    """List the values of each column, from predictions that were parsed from their JSON."""
    if columns.is_whole:
        return {column.name: list(predictions) for column in columns}
    return {name: [each.get(name) for each in predictions] for name in columns.by_name}


def rows_from_columns(
    values: Mapping[str, Sequence[Any]], columns: Columns, rows: int
) -> list[Any]:
    """List the predictions of which these are the columns."""
    if columns.is_whole:
        (whole,) = values.values()
        return list(whole)
    if not values:
        return [{} for _ in range(rows)]
    return _objects_of(list(values), zip(*values.values(), strict=True))


def tensor_from_values(values: Sequence[Any], column: Column) -> Tensor:
    """Make the tensor of an output from its values, as JSON has them.

    Raises:
        TensorError: no one tensor can hold them.
    """
    array = None
    with suppress(ValueError, TypeError, OverflowError):
        array = _array(values, column)
    if array is None or array.ndim != 1 + len(column.dimensions):
        raise TensorError(
            f'Output "{column.name}": these predictions do not fit into one tensor of '
            f"{column.datatype}, because lists differ in length or a number is too large; ask for "
            "one row at a time, or for other outputs."
        )
    parameters = {"content_type": column.content_type} if column.content_type else {}
    return Tensor(column.name, column.datatype, array.shape, array, parameters)


def tensor_error(error: InvalidInput, columns: Columns) -> TensorError:
    """Say which tensors and rows do not fit the model's schema, where the error tells of JSON."""
    whole = next(iter(columns)).name if columns.is_whole else None
    messages = list(dict.fromkeys(_message(problem, whole) for problem in error.problems))
    if len(messages) > _MAXIMUM_PROBLEMS:
        more = len(messages) - _MAXIMUM_PROBLEMS
        messages = [*messages[:_MAXIMUM_PROBLEMS], f"and {more} more"]
    *others, last = messages
    return TensorError("; ".join([*(each.removesuffix(".") for each in others), last]))


def _message(problem: InputProblem, whole: str | None) -> str:
    # The first two parts of a location are "inputs" and the index of the row.
    row, *path = problem.location[1:] or (None,)
    if row is None:
        return problem.message
    if whole is not None:
        path = [whole, *path]
    elif problem.type == "missing" and len(path) == 1:
        return f'Input "{path[0]}" is missing.'
    if not path:
        return f"Row {row}: {problem.message}"
    name, *rest = path
    where = f"{key_path(rest)}: " if rest else ""
    return f'Input "{name}", row {row}: {where}{problem.message}'


def _fields(tensors: Sequence[Tensor], columns: Columns) -> list[Field]:
    unknown = [tensor for tensor in tensors if tensor.name not in columns.by_name]
    if not unknown or (columns.takes_others and len(tensors) > 1):
        return [(_column(tensor, columns), tensor) for tensor in tensors]
    (first, *_), names = unknown, ", ".join(columns.by_name)
    if columns.is_whole and len(tensors) == 1:
        return [(column, first) for column in columns]
    if len(tensors) > 1:
        if columns.is_whole or columns.refuses_others:
            raise TensorError(
                f'Input "{first.name}": the model has none of this name; it has {names}.'
            )
        known = [tensor for tensor in tensors if tensor.name in columns.by_name]
        return [(_column(tensor, columns), tensor) for tensor in known]
    positional = columns.positional(first.shape[1]) if len(first.shape) == 2 else None
    if positional is None:
        if columns.takes_others:
            return [(_column(first, columns), first)]
        if not columns.refuses_others and not any(column.is_required for column in columns):
            return []
        raise TensorError(
            f'Input "{first.name}": the model has none of this name, and the shape '
            f"{list(first.shape)} is not that of rows with one element for each of {names}."
        )
    return [(column, _slice(first, index)) for index, column in enumerate(positional)]


def _column(tensor: Tensor, columns: Columns) -> Column:
    # A field that the model does not name takes whatever the datatype and the shape say.
    shape = tensor.shape[1:]
    unnamed = Column(tensor.name, tensor.datatype, shape, is_nullable=True, holds_null=True)
    return columns.by_name.get(tensor.name) or unnamed


def _slice(tensor: Tensor, index: int) -> Tensor:
    data = tensor.data[:, index]
    return Tensor(tensor.name, tensor.datatype, data.shape, data, tensor.parameters)


def _check_rows(tensors: Sequence[Tensor], maximum: int) -> None:
    first, *others = tensors
    for tensor in tensors:
        if not tensor.shape:
            raise TensorError(f'Input "{tensor.name}": the first dimension should be that of rows.')
    count = first.shape[0]
    for tensor in others:
        if tensor.shape[0] != count:
            raise TensorError(
                f'Input "{tensor.name}" has {tensor.shape[0]} rows, '
                f'but input "{first.name}" has {count}.'
            )
    if count > maximum:
        raise TensorError(f"There are {count} rows; a request may have at most {maximum}.")


def _kind(dtype: numpy.dtype[Any]) -> type | None:
    # Not every conversion takes integers beyond 63 bits to the same number.
    return None if dtype == "<u8" else _KINDS.get(dtype.kind)


def _values(tensor: Tensor, column: Column, content_type: object) -> tuple[Array, type | None]:
    """Find the value of each row, and say of which type their elements are."""
    decode = _decoder_of(tensor, column, content_type)
    data = tensor.data
    # MLServer's clients send a column as a table of one column.
    holds_values = column.is_scalar or decode is _from_json
    if data.shape[1:] == (1,) and (holds_values or (decode and not column.dimensions)):
        data = data[:, 0]
    if column.content_type != "json" and decode is not _from_json:
        _require_shape(tensor, data.shape, column)
    kind = _kind(data.dtype)
    where = missing(data)
    if where is not None:
        kind = _kind(DATATYPES[tensor.datatype].held)
        data = _with_nulls(tensor, column, data, where)
    if decode is not None:
        data = _decoded(tensor.name, data, decode)
        kind = None if decode is _from_json else str
    return data, kind


def _with_nulls(tensor: Tensor, column: Column, data: Array, where: Array) -> Array:
    """Return the elements with None in place of those that are missing, if that may be."""
    takes_null = column.holds_null if column.dimensions else column.is_nullable
    if not takes_null and column.content_type != "json":
        raise TensorError(
            f'Input "{tensor.name}": data[{where.argmax()}] is null or NaN, '
            "and the field takes neither."
        )
    data = data.astype(object)
    data[where] = None
    return data


def _require_shape(tensor: Tensor, shape: tuple[int, ...], column: Column) -> None:
    """Refuse other lists than the field takes, before what holds them takes much memory."""
    expected = (ANY_LENGTH, *column.dimensions)
    if len(shape) != len(expected) or any(
        wanted not in (ANY_LENGTH, given) for wanted, given in zip(expected, shape, strict=True)
    ):
        raise TensorError(
            f'Input "{tensor.name}": the shape {list(tensor.shape)} is not {list(expected)}, '
            "where -1 is any length."
        )


def _decoder_of(
    tensor: Tensor, column: Column, content_type: object
) -> Callable[[bytes], Any] | None:
    """Return what makes values of the elements; None if they are values already."""
    if tensor.datatype != "BYTES":
        return None
    return _decoder(tensor, column, tensor.parameters.get("content_type", content_type))


def _decoder(tensor: Tensor, column: Column, content_type: object) -> Callable[[bytes], Any]:
    if content_type is not None and content_type not in _CONTENT_TYPES:
        known = ", ".join(_CONTENT_TYPES)
        raise TensorError(f'Input "{tensor.name}": content_type should be one of {known}.')
    is_json = column.content_type == "json" and content_type != "str"
    if is_json or content_type in ("json", "pd_json"):
        return _from_json
    # A field that is base64 itself takes it as it comes.
    if content_type == "base64" and column.content_type != "base64":
        return _from_base64
    return bytes.decode


def _decoded(name: str, data: Array, decode: Callable[[bytes], Any]) -> Array:
    decoded = numpy.empty(data.size, dtype=object)
    for index, element in enumerate(data.ravel().tolist()):
        if element is None:
            continue
        try:
            decoded[index] = decode(element)
        except UnicodeDecodeError:
            raise TensorError(f'Input "{name}": data[{index}] is not UTF-8.') from None
        except binascii.Error:
            raise TensorError(f'Input "{name}": data[{index}] is not base64.') from None
        except ValueError as error:
            raise TensorError(f'Input "{name}": data[{index}] is not JSON: {error}') from None
    return decoded.reshape(data.shape)


def _from_json(element: bytes) -> Any:
    return from_json(element, allow_inf_nan=False)


def _from_base64(element: bytes) -> str:
    return base64.b64decode(element, validate=True).decode()


def _array(values: Sequence[Any], column: Column) -> Array:
    if not values:
        dimensions = (max(0, dimension) for dimension in column.dimensions)
        return numpy.empty((0, *dimensions), dtype=_NUMPY_TYPES[column.datatype])
    return _strings(values, column) if column.datatype == "BYTES" else _numbers(values, column)


def _numbers(values: Sequence[Any], column: Column) -> Array:
    dtype = _NUMPY_TYPES[column.datatype]
    if column.datatype == "FP64":
        # None, which is what JSON makes of NaN, is NaN again.
        return numpy.array(values, dtype=dtype)
    array = numpy.array(values)
    # Whatever is something else would be converted, and not always to the same value.
    if array.size and array.dtype.kind != _NUMPY_KINDS[column.datatype]:
        raise ValueError(array.dtype)
    return array.astype(dtype, copy=False)


def _strings(values: Sequence[Any], column: Column) -> Array:
    if column.content_type == "json":
        return _objects(list(map(to_json, values)))
    if not column.dimensions:
        return _objects(list(map(str.encode, values)))
    array = numpy.array(values, dtype=object)
    return _objects(list(map(str.encode, array.ravel().tolist()))).reshape(array.shape)


def _objects(values: list[bytes]) -> Array:
    array = numpy.empty(len(values), dtype=object)
    array[:] = values
    return array

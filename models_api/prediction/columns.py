"""Between rows and columns: the arrays that `predict_columns` takes, and what it returns.

Only models that take columns need numpy, which is imported for the first of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from models_api.prediction.foreign_values import Unwritable, by_name
from models_api.prediction.plain_values import plain
from models_api.schemas.array_types import ArrayType, array_types
from models_api.schemas.plain_fields import PlainValues

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_HELD: dict[str, set[type]] = {"?": {bool}, "i8": {int}, "f8": {float, int, type(None)}}
"""Types of the values that an array holds as they are, or as their equals."""
_FLOATS = frozenset({float, type(None)})
_FLOAT_ARRAY = ArrayType("f8")


class ColumnsError(Exception):
    """What `predict_columns` returned is no column for each field with a value for each row."""


def arrays_of_rows(rows: Sequence[object], schema: type[BaseModel]) -> dict[str, Array] | None:
    """Return an array for each field, by its name; None if one cannot hold the values.

    Args:
        rows: What the schema made of the rows of a request.
        schema: What the model takes.
    """
    try:
        columns = {name: [getattr(row, name) for row in rows] for name in array_types(schema)}
    except Exception:  # noqa: BLE001 (validators may return anything)
        return None
    return arrays_of_columns(columns, schema)


def arrays_of_columns(
    columns: Mapping[str, Array | PlainValues], schema: type[BaseModel]
) -> dict[str, Array] | None:
    """Return the model's own arrays of these values; None if one cannot hold them.

    Args:
        columns: By the name of the field, a value for each row, as the schema makes them.
        schema: What the model takes.
    """
    import numpy  # noqa: PLC0415

    types, found = array_types(schema), {}
    for name, values in columns.items():
        # Most columns are such, and for a single row all else takes twice the time.
        is_plain = types[name] == _FLOAT_ARRAY and _FLOATS.issuperset(map(type, values))
        array = numpy.array(values, float) if is_plain else _array(values, types[name])
        if array is None:
            return None
        found[name] = array
    return found


def listed_columns(
    predictions: object, rows: int, schema: type[BaseModel]
) -> dict[str, PlainValues]:
    """Return what `predict_columns` returned as lists of Python's values.

    Args:
        predictions: What it returned.
        rows: How many it was called with.
        schema: What a prediction should be.

    Raises:
        ColumnsError: it is something else; the message says what.
    """
    named = by_name(predictions)
    columns = predictions if named is None else named
    if not isinstance(columns, Mapping):
        raise ColumnsError(
            f"predict_columns returned {_described(predictions)}; "
            "it should return a dict of an array for each field of the output schema."
        )
    fields = schema.model_fields.items()
    missing = [
        name
        for name, field in fields
        if field.is_required() and not {name, field.validation_alias} & columns.keys()
    ]
    if missing:
        raise ColumnsError(
            f"predict_columns returned no column for {', '.join(missing)}, "
            f"but for {', '.join(map(str, columns)) or 'nothing'}."
        )
    return {name: _listed(name, values, rows) for name, values in columns.items()}


def _array(values: Array | PlainValues, kind: ArrayType) -> Array | None:
    import numpy  # noqa: PLC0415

    if kind.dtype == "O":
        listed = values if isinstance(values, list) else values.tolist()
        return numpy.fromiter(listed, object, len(listed))
    if not isinstance(values, list):
        return numpy.array(values, kind.dtype)
    try:
        if kind.dimensions:
            return _table(values, kind)
        return numpy.array(values, kind.dtype) if _fit(values, kind.dtype) else None
    except (ValueError, OverflowError):  # lists that differ in length, or beyond 64 bits
        return None


def _table(values: PlainValues, kind: ArrayType) -> Array | None:
    import numpy  # noqa: PLC0415

    array = numpy.array(values)
    is_right = array.dtype == kind.dtype and array.shape == (len(values), *kind.dimensions)
    return array if is_right else None


def _fit(values: PlainValues, dtype: str) -> bool:
    kinds = set(map(type, values))
    if dtype == "f8" and int in kinds:  # a default that nobody validated
        return kinds <= _HELD["f8"] and all(float(each) == each for each in values if each)
    return kinds <= _HELD[dtype]


def _listed(name: str, values: object, rows: int) -> PlainValues:
    """Return Python's values of an array, or of a sequence of numpy's or Python's values."""
    is_sequence = isinstance(values, Sequence) and not isinstance(values, str | bytes)
    listed = plain(values) if is_sequence or hasattr(values, "tolist") else values
    if isinstance(listed, Unwritable):
        raise ColumnsError(f"predict_columns returned for {name}: {listed.message}")
    if not isinstance(listed, Sequence) or isinstance(listed, str | bytes):
        raise ColumnsError(
            f"predict_columns returned {_described(values)} for {name}; "
            "it should be an array or a list with a value for each row."
        )
    if len(listed) != rows:
        raise ColumnsError(
            f"predict_columns returned {len(listed)} values for {name}, but there are {rows} rows."
        )
    return list(listed)


def _described(value: object) -> str:
    return "None" if value is None else f"a value of {type(value).__name__}"

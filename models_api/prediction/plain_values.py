"""What a model gives as Python's own values, validated by a schema.

Instances of pydantic's classes may hold anything, as whatever is put into them later is not
validated.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from math import isnan
from typing import Any, cast

from pydantic import BaseModel, RootModel, ValidationError

from models_api.prediction.foreign_values import by_name, is_foreign, python_value
from models_api.schemas.core_nodes import fields_with_own_serializers
from models_api.schemas.fail_fast import fail_fast_list_validator

SEQUENCES = (list, tuple, set, frozenset, deque)
_LEAVES = {
    *(type(None), bool, int, float, str, bytes, complex),
    *(datetime, date, time, timedelta, Decimal),
}
"""Types of Python that hold nothing else."""
# Pydantic itself goes no deeper.
_MAXIMUM_DEPTH = 255


def validated(prediction: object, schema: type[BaseModel]) -> BaseModel:
    """Validate what a model gave, whatever it is.

    Raises:
        pydantic.ValidationError: it does not fit.
    """
    first_error = None
    for reading in _readings(prediction, schema):
        try:
            return _validate(reading, schema, may_change=reading is not prediction)
        except ValidationError as error:
            first_error = first_error or error
    raise cast(ValidationError, first_error)


def validated_together(
    predictions: Sequence[object], schema: type[BaseModel]
) -> list[BaseModel] | None:
    """Validate what a model gave for many rows, as Python's values; None if one does not fit."""
    validate = fail_fast_list_validator(schema).validate_python
    try:
        found: list[BaseModel] = validate(
            predictions, from_attributes=True, by_alias=True, by_name=True
        )
    except BaseException:  # noqa: BLE001 (`validated` finds which it is, and why)
        return None
    return found


def holds_foreign(value: object) -> bool:
    """Return whether a value of numpy's or pandas' is in it, however deep.

    What a field's own serializer writes is left to that.
    """
    if "numpy" not in sys.modules:
        return False
    if type(value) is dict and _LEAVES.issuperset(map(type, chain(value, value.values()))):
        return False
    level = [value]
    for _ in range(_MAXIMUM_DEPTH):
        openers = {kind: _opener(kind) for kind in set(map(type, level)) - _LEAVES}
        if None in openers.values():
            return True
        # Once each: something may contain itself.
        holders = {id(each): each for each in level if type(each) in openers}
        contents = (openers[type(each)](each) for each in holders.values())  # type: ignore[misc]
        level = list(chain.from_iterable(contents))
        if not level:
            return False
    return False


def plain(value: object) -> object:
    """Return it with Python's values in place of others, however deep, and models validated anew.

    A missing value is None or NaN. What has no exact equal becomes `Unwritable`.
    """
    kind = type(value)
    if kind in _LEAVES:
        return value
    if isinstance(value, BaseModel):
        return _plain_model(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, SEQUENCES):
        items = value if _LEAVES.issuperset(map(type, value)) else map(plain, value)
        # A named tuple takes its values one by one.
        return tuple(items) if isinstance(value, tuple) else kind(items)  # type: ignore[call-arg]
    return python_value(value)


def attributes(model: BaseModel) -> dict[str, object]:
    """Return the values that a model holds, by name."""
    return {**vars(model), **(model.model_extra or {})}


class _PlainAttributes:
    """The attributes of an object, as plain values."""

    def __init__(self, owner: object) -> None:
        self._owner = owner

    def __getattr__(self, name: str) -> object:
        found = plain(getattr(self._owner, name))
        # Where it may be changed, and is found the next time.
        vars(self)[name] = found
        return found

    def __dir__(self) -> Iterable[str]:
        return dir(self._owner)


def _readings(prediction: object, schema: type[BaseModel]) -> Iterator[object]:
    """Yield a prediction in the ways in which it may be meant, the likeliest first."""
    is_object = "numpy" in sys.modules and _has_attributes_only(prediction)
    if is_object and not issubclass(schema, RootModel):
        yield _PlainAttributes(prediction)
        return
    if not holds_foreign(prediction):
        yield prediction
    yield plain(prediction)
    named = prediction._asdict() if hasattr(prediction, "_asdict") else by_name(prediction)
    if named is not None:
        yield plain(named)


def _has_attributes_only(value: object) -> bool:
    return not (
        type(value).__module__ == "builtins"
        or isinstance(value, (BaseModel, Mapping, type, *SEQUENCES))
        or is_dataclass(value)
        or hasattr(value, "tolist")
        or is_foreign(type(value))  # type: ignore[arg-type]
    )


def _validate(value: object, schema: type[BaseModel], *, may_change: bool = True) -> BaseModel:
    """Validate a value; NaN is None where no number can be NaN, if the value may be changed.

    Libraries have it in place of whatever is missing, be it a number, a date or a string.
    """
    validate = schema.__pydantic_validator__.validate_python
    found: BaseModel
    try:
        found = validate(value, from_attributes=True, by_alias=True, by_name=True)
    except ValidationError as error:
        if not may_change or not _put_nulls(value, error):
            raise
        found = validate(value, from_attributes=True, by_alias=True, by_name=True)
    return found


def _put_nulls(value: object, error: ValidationError) -> bool:
    found = error.errors(include_url=False, include_context=False)
    return any([_put_null(value, each["loc"]) for each in found if _is_nan(each)])  # noqa: C419


def _is_nan(details: Mapping[str, Any]) -> bool:
    return isinstance(details["input"], float) and isnan(details["input"])


def _put_null(value: Any, location: tuple[str | int, ...]) -> bool:
    """Put None in the place of NaN; return whether it is there."""
    if isinstance(value, _PlainAttributes):
        value = vars(value)
    for part in location:
        # Others than keys tell which type of several did not fit.
        is_key = isinstance(value, dict) and part in value
        if is_key or (isinstance(value, list) and isinstance(part, int) and part < len(value)):
            if isinstance(value[part], float) and isnan(value[part]):
                value[part] = None
                return True
            value = value[part]
    return False


@lru_cache(maxsize=1024)
def _opener(kind: type) -> Callable[[Any], Iterable[object]] | None:
    """Return what gives the contents of values of this type; None if it is foreign."""
    if is_foreign(kind):
        return None
    if issubclass(kind, BaseModel):
        return _held_by_model
    if issubclass(kind, Mapping):
        return lambda value: chain(value, value.values())
    if issubclass(kind, SEQUENCES):
        return iter
    if is_dataclass(kind):
        names = [field.name for field in fields(kind)]
        return lambda value: [getattr(value, name, None) for name in names]
    return lambda _: ()


def _held_by_model(model: BaseModel) -> Iterable[object]:
    own = fields_with_own_serializers(type(model))
    if not own and not model.__pydantic_extra__:
        return vars(model).values()
    return [item for name, item in attributes(model).items() if name not in own]


def _plain_model(model: BaseModel) -> BaseModel:
    if isinstance(model, RootModel):
        return _validate(plain(model.root), type(model))
    own = fields_with_own_serializers(type(model))
    content = {
        name: item if name in own else plain(item)
        for name, item in attributes(model).items()
        if not _is_default(model, name, item)
    }
    return _validate(content, type(model))


def _is_default(model: BaseModel, name: str, value: object) -> bool:
    """Return whether validating would put in the same, which may be none of the field's type."""
    field = type(model).model_fields.get(name)
    return field is not None and field.default is value

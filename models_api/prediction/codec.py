"""JSON in and out: a request's bytes to validated data, a prediction to bytes."""

from __future__ import annotations

import cmath
import math
import re
import sys
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from typing import Literal, TypeVar

from pydantic import BaseModel, RootModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, SchemaSerializer, from_json, to_json

from models_api.exceptions import InputProblem, InvalidInput
from models_api.prediction.value_limit import ValueLimit
from models_api.schemas.fail_fast import fail_fast_validator
from models_api.schemas.plain_fields import plain_schema

_ZERO_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
# With fewer digits and a smaller exponent no number reaches 1.8e308, the greatest finite one.
_MANY_DIGITS = b"0" * 200
_LARGE_EXPONENT = re.compile(rb"e\+?[0-9]{3}")
# A string that may be a number, however that is written.
_NUMBER_LINES = re.compile(
    r"^(?:[\d \t\r\f\v.+\-()ej]|nan|inf(?:inity)?)+$", re.ASCII | re.IGNORECASE | re.MULTILINE
)
_FINITE_KINDS = {float, int, bool, str, bytes, type(None)}
_LISTS = {list, tuple, set, frozenset, deque}
_FEW_FIELDS = 16
# A body of 10 MB can hold millions of problems, and describing them all takes gigabytes.
_LISTED_PROBLEMS = 100
_DESCRIBABLE_PROBLEMS = 10_000
_TOO_MANY_PROBLEMS = InputProblem(
    (), "too_many_problems", "There are too many problems to list them all."
)
_PERHAPS_MORE = InputProblem(
    (),
    "perhaps_more_problems",
    "There may be more problems: of a list in so large a body, only the first is looked for.",
)

Location = tuple[str | int, ...]

T = TypeVar("T")


def parse(body: bytes, schema: type[BaseModel], limit: ValueLimit | None = None) -> BaseModel:
    """Validate JSON against the schema; no number in the result is NaN or infinite.

    Raises:
        InvalidInput: the body is not JSON, does not fit, or holds a number that is not finite.
        PayloadTooLarge: it holds more than the limit for values of this schema.
    """
    validator, collects = schema.__pydantic_validator__, True
    if limit is not None and len(body) > limit.harmless_bytes:
        collects = limit.check(body)
        validator = validator if collects else fail_fast_validator(schema)
    disguised = _may_hold_non_finite(body) and _holds_disguised_non_finite(body)
    try:
        data: BaseModel = validator.validate_json(body)
    except ValidationError as error:
        raise _invalid_input(error, collects=collects) from None
    except (ValueError, RecursionError) as error:
        # Not every schema wraps what its own validators raise.
        raise InvalidInput([InputProblem((), "value_error", str(error))]) from error
    if disguised:
        _refuse_non_finite(data)
    return data


def serialise(prediction: object, schema: type[BaseModel]) -> bytes:
    """Write a prediction as its schema documents it: by alias, NaN and infinities as null.

    What is not an instance of the schema is validated first; numpy scalars and arrays become JSON
    numbers and lists.

    Raises:
        pydantic.ValidationError: the prediction does not fit the schema.
        pydantic_core.PydanticSerializationError: some value has no JSON.
    """
    if not isinstance(prediction, schema):
        prediction = _validated(prediction, schema)
    try:
        # `warnings="error"` raises where a field holds what its type does not allow. It costs more
        # than the serialising, and lets other threads run meanwhile.
        warnings: Literal[False, "error"] = (
            False if _is_as_declared(prediction, schema) else "error"
        )
        written = schema.__pydantic_serializer__.to_json(
            prediction, by_alias=True, warnings=warnings, fallback=_from_numpy
        )
    except PydanticSerializationError:
        prediction = _validated(_plain(prediction), schema)
        written = schema.__pydantic_serializer__.to_json(
            prediction, by_alias=True, fallback=_from_numpy
        )
    if b"NaN" in written or b"Infinity" in written:
        # pydantic writes them where a model's configuration says ser_json_inf_nan="constants".
        return to_json(from_json(written), inf_nan_mode="null")
    return written


def _is_as_declared(prediction: BaseModel, schema: type[BaseModel]) -> bool:
    """Return whether all fields surely hold what they declare."""
    declared = _declared_types(schema)
    if declared is None or type(prediction) is not schema:
        return False
    names, types = declared
    return list(map(type, map(prediction.__dict__.get, names))) == types


@lru_cache(maxsize=1024)
def _declared_types(schema: type[BaseModel]) -> tuple[list[str], list[type]] | None:
    plain = plain_schema(schema, "serialization_alias")
    # Checking each element of a list, or very many fields, costs more than pydantic's warnings.
    if plain is None or len(plain.fields) > _FEW_FIELDS or not plain.is_flat:
        return None
    names = [field.name for field in plain.fields]
    return names, [field.enum or field.holds for field in plain.fields]


def serialise_together(predictions: Sequence[object], schema: type[BaseModel]) -> bytes | None:
    """Write many predictions as a JSON array, in a fraction of the time that it takes one by one.

    Return None if some of them need more than pydantic's own serialisation, as `serialise` does it.
    """
    if not all(isinstance(prediction, schema) for prediction in predictions):
        return None
    try:
        written = _list_serializer(schema).to_json(
            predictions, by_alias=True, warnings="error", fallback=_from_numpy
        )
    except Exception:  # noqa: BLE001 (`serialise` finds which prediction it is, and why)
        return None
    return None if b"NaN" in written or b"Infinity" in written else written


# A service has few schemas, and a loaded model may change its own.
@lru_cache(maxsize=1024)
def _list_serializer(schema: type[BaseModel]) -> SchemaSerializer:
    # Some settings are read from the outermost schema, and hold for all that is within.
    return TypeAdapter(list[schema], config=schema.model_config).serializer  # type: ignore[valid-type]


def _validated(prediction: object, schema: type[BaseModel]) -> BaseModel:
    try:
        return _validate(prediction, schema)
    except ValidationError:
        plain = _plain(prediction)
    return _validate(plain, schema)


def _validate(value: object, schema: type[BaseModel]) -> BaseModel:
    validate = schema.__pydantic_validator__.validate_python
    return validate(value, from_attributes=True, by_alias=True, by_name=True)  # type: ignore[no-any-return]


def _plain(value: object) -> object:
    """Return numpy's values as Python's, however deep they are, with models validated anew."""
    if isinstance(value, BaseModel):
        content = value.root if isinstance(value, RootModel) else _attributes(value)
        return _validate(_plain(content), type(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, list | set | frozenset | deque):
        return type(value)(map(_plain, value))
    return value.tolist() if hasattr(value, "tolist") else value


def _from_numpy(value: object) -> object:
    # Scalars and arrays of numpy, and tensors, without importing any of these libraries.
    if not hasattr(value, "tolist"):
        raise PydanticSerializationError(f"{type(value).__name__} has no JSON")
    return value.tolist()


def _may_hold_non_finite(body: bytes) -> bool:
    """Return whether a closer look is due; cheap, and rarely true without such a number."""
    # pydantic reads numbers in strings without their underscores: "n_an" is NaN.
    plain = body.lower().replace(b"_", b"")
    return (
        b"nan" in plain
        or b"inf" in plain
        or b"\\u00" in plain
        or _LARGE_EXPONENT.search(plain) is not None
        or (len(plain) > len(_MANY_DIGITS) and _MANY_DIGITS in plain.translate(_ZERO_DIGITS))
    )


def _holds_disguised_non_finite(body: bytes) -> bool:
    """Return whether a string or an integer in it is NaN or infinite where a float is expected.

    Raises:
        InvalidInput: the body is not JSON, or holds a number that is not finite.
    """
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        problem = InputProblem((), "json_invalid", f"Invalid JSON: {error}")
        raise InvalidInput([problem]) from None
    _refuse_non_finite(value)
    return any(map(_hold_disguised_non_finite, _collections(value)))


def _collections(value: object) -> Iterator[Collection[object]]:
    """Yield the values of each list and object in what JSON was parsed to, and the keys."""
    left = [[value]]
    while left:
        values = left.pop()
        yield values
        for each in values:
            if type(each) is list:
                left.append(each)
            elif type(each) is dict:
                yield each
                left.append([*each.values()])


def _hold_disguised_non_finite(values: Collection[object]) -> bool:
    kinds = set(map(type, values))
    if int in kinds and any(abs(each) > sys.float_info.max for each in _only(int, values)):
        return True
    # Neither of which is in any number, so that text which has them is left out.
    texts = "\n".join(set(_only(str, values))).replace("_", "") if str in kinds else ""
    return any(map(_is_non_finite_text, _NUMBER_LINES.findall(texts)))


def _only(kind: type[T], values: Iterable[object]) -> Iterator[T]:
    return (each for each in values if type(each) is kind)


def _refuse_non_finite(value: object) -> None:
    problems = _listed(
        InputProblem(location, "finite_number", "Input should be a finite number")
        for location, leaf in _leaves(value, ())
        if _is_non_finite(leaf)
    )
    if problems:
        raise InvalidInput(problems)


def _is_non_finite(leaf: object) -> bool:
    if isinstance(leaf, Decimal):
        return not leaf.is_finite()
    return isinstance(leaf, float | complex) and not cmath.isfinite(leaf)


def _is_non_finite_text(text: str) -> bool:
    try:
        return not cmath.isfinite(complex(text))
    except ValueError:
        return False


def _are_finite(values: Collection[object]) -> bool:
    """Return whether there surely is no non-finite number in them; quick where they are many."""
    kinds = set(map(type, values))
    return kinds <= _FINITE_KINDS and (
        float not in kinds or all(map(math.isfinite, _only(float, values)))
    )


def _leaves(value: object, location: Location) -> Iterator[tuple[Location, object]]:
    """Yield what is in the value, keys included, with its location; not all that is finite."""
    while isinstance(value, RootModel):
        value = value.root
    if _are_finite(_held(value)):
        return
    if isinstance(value, dict):
        yield from (((*location, str(key), "[key]"), key) for key in value)
    items = _items(value)
    if items is None:
        yield location, value
        return
    for part, item in items:
        # Most are plain, and of these all but few are finite.
        if type(item) not in _FINITE_KINDS:
            yield from _leaves(item, (*location, part))
        elif type(item) is float and not math.isfinite(item):
            yield (*location, part), item


def _held(value: object) -> Collection[object]:
    if isinstance(value, BaseModel) and value.model_extra is None:
        return vars(value).values()
    if type(value) is dict:
        return [*value, *value.values()]
    return value if type(value) in _LISTS else [value]  # type: ignore[return-value]


def _items(value: object) -> Iterable[tuple[str | int, object]] | None:
    if isinstance(value, BaseModel):
        items = _attributes(value).items()
        # A default that is NaN did not come from the client.
        return [(_key(value, name), item) for name, item in items if name in value.model_fields_set]
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name, None)) for field in fields(value)]
    if isinstance(value, dict):
        return [(str(key), item) for key, item in value.items()]
    if isinstance(value, list | tuple | set | frozenset | deque):
        return enumerate(value)
    return None


def _attributes(model: BaseModel) -> dict[str, object]:
    return {**vars(model), **(model.model_extra or {})}


def _key(model: BaseModel, name: str) -> str:
    """Return the key of a field in the JSON."""
    field = type(model).model_fields.get(name)
    alias = field.validation_alias if field else None
    return alias if isinstance(alias, str) else name


def _listed(problems: Iterable[InputProblem]) -> list[InputProblem]:
    """Return the first of the problems, and one that there are more."""
    iterator = iter(problems)
    listed = list(islice(iterator, _LISTED_PROBLEMS))
    return listed if next(iterator, None) is None else [*listed, _TOO_MANY_PROBLEMS]


def _invalid_input(error: ValidationError, *, collects: bool) -> InvalidInput:
    if error.error_count() > _DESCRIBABLE_PROBLEMS:
        return InvalidInput([_TOO_MANY_PROBLEMS])
    problems = _listed(
        InputProblem(details["loc"], details["type"], details["msg"])
        for details in error.errors(include_url=False, include_context=False, include_input=False)
    )
    # A body that is no JSON has no further problems.
    is_json = problems[0].type != "json_invalid"
    return InvalidInput(problems if collects or not is_json else [*problems, _PERHAPS_MORE])

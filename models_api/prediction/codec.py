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
from pydantic_core import (
    PydanticSerializationError,
    SchemaSerializer,
    SchemaValidator,
    from_json,
    to_json,
)

from models_api.exceptions import DescriptionError, InputProblem, InvalidInput
from models_api.prediction.foreign_values import Unwritable, python_value
from models_api.prediction.hints import with_hints
from models_api.prediction.plain_values import (
    SEQUENCES,
    attributes,
    holds_foreign,
    plain,
    validated,
)
from models_api.prediction.value_limit import ValueLimit
from models_api.schemas.core_nodes import has_undescribed_serializers
from models_api.schemas.declared_types import declared_types
from models_api.schemas.fail_fast import fail_fast_validator
from models_api.schemas.json_schema import definitions_of, json_schema
from models_api.schemas.json_validator import json_validator
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
    try:
        disguised = _may_hold_non_finite(body) and _holds_disguised_non_finite(body)
        data: BaseModel = validator.validate_json(body)
    except ValidationError as error:
        found = _invalid_input(error, collects=collects)
        raise InvalidInput(with_hints(found.problems, body, schema)) from None
    except InvalidInput as error:
        raise InvalidInput(with_hints(error.problems, body, schema)) from None
    except (ValueError, RecursionError) as error:
        # Not every schema wraps what its own validators raise.
        raise InvalidInput([InputProblem((), "value_error", str(error))]) from error
    if disguised:
        _refuse_non_finite(data)
    return data


def parse_given(given: object, schema: type[BaseModel]) -> BaseModel:
    """Validate what code of this process gives for one row; what comes of it is the model's own.

    Args:
        given: An instance of the schema, JSON as text or bytes, or whatever pydantic takes for the
            schema, a mapping as a rule, with values of numpy and pandas too.
        schema: That of the model's input.

    Raises:
        InvalidInput: it does not fit, or holds a number that is not finite.
    """
    if isinstance(given, schema):
        return given.model_copy(deep=True)
    if isinstance(given, str | bytes | bytearray):
        return parse(given.encode() if isinstance(given, str) else bytes(given), schema)
    try:
        data = validated(given, schema)
    except ValidationError as error:
        raise _invalid_input(error, collects=True) from None
    _refuse_non_finite(data)
    return data


def as_instance(prediction: object, schema: type[BaseModel]) -> BaseModel:
    """Return a prediction as an instance of its schema; it fits where its JSON does.

    Raises:
        pydantic.ValidationError, pydantic_core.PydanticSerializationError: as for `serialise`.
    """
    found = prediction if isinstance(prediction, schema) else validated(prediction, schema)
    if _is_as_declared(found, schema):
        return found
    serialise(found, schema)
    return validated(plain(found), schema) if holds_foreign(found) else found


def serialise(prediction: object, schema: type[BaseModel]) -> bytes:
    """Write a prediction as its schema documents it: by alias, NaN and infinities as null.

    What is not an instance of the schema is validated first; values of numpy and pandas are
    written by what they mean.

    Raises:
        pydantic.ValidationError: the prediction, or what is written of it, does not fit.
        pydantic_core.PydanticSerializationError: some value has no JSON.
    """
    if not isinstance(prediction, schema):
        prediction = validated(prediction, schema)
    try:
        return _written(prediction, schema)
    except (PydanticSerializationError, ValidationError):
        # Anew, because instances may hold whatever was put into them after they were validated.
        return _as_documented(_to_json(validated(plain(prediction), schema), schema, False), schema)


def _written(prediction: BaseModel, schema: type[BaseModel]) -> bytes:
    """Write an instance of the schema that holds what its fields declare.

    Raises:
        pydantic.ValidationError, pydantic_core.PydanticSerializationError: it holds anything else.
    """
    if _is_as_declared(prediction, schema):
        written = _to_json(prediction, schema, False)
        return _as_documented(written, schema) if b"null" in written else written
    if holds_foreign(prediction):
        raise PydanticSerializationError("a value is one of numpy's or pandas'")
    # `warnings="error"` raises where a field holds what its type does not allow. It costs more
    # than the serialising, and lets other threads run meanwhile.
    return _as_documented(_to_json(prediction, schema, "error"), schema)


def _to_json(
    prediction: BaseModel, schema: type[BaseModel], warnings: Literal[False, "error"]
) -> bytes:
    written = schema.__pydantic_serializer__.to_json(
        prediction, by_alias=True, warnings=warnings, fallback=_fallback
    )
    if b"NaN" in written or b"Infinity" in written:
        # pydantic writes them where a model's configuration says ser_json_inf_nan="constants".
        return to_json(from_json(written), inf_nan_mode="null")
    return written


def _as_documented(written: bytes, schema: type[BaseModel]) -> bytes:
    """Return what is written of a prediction.

    Raises:
        pydantic.ValidationError: it is not what the schema's description says.
    """
    if (validator := _answer_validator(schema)) is not None:
        validator.validate_json(written)
    return written


# A service has few schemas, and a loaded model may change its own.
@lru_cache(maxsize=1024)
def _answer_validator(schema: type[BaseModel], is_list: bool = False) -> SchemaValidator | None:
    if has_undescribed_serializers(schema):
        return None
    try:
        document = json_schema(schema, "serialization")
    except DescriptionError:
        return None
    node = {"type": "array", "items": document} if is_list else document
    return json_validator({"title": schema.__name__, **node}, definitions_of(document))


def _is_as_declared(prediction: BaseModel, schema: type[BaseModel]) -> bool:
    """Return whether all fields surely hold what they declare, but perhaps NaN."""
    flat = _flat_types(schema)
    if flat is None:
        return _are_as_declared([prediction], schema)
    names, types = flat
    return (
        type(prediction) is schema and list(map(type, map(prediction.__dict__.get, names))) == types
    )


@lru_cache(maxsize=1024)
def _flat_types(schema: type[BaseModel]) -> tuple[list[str], list[type]] | None:
    plain = plain_schema(schema, "serialization_alias")
    types = [field.only_type for field in plain.fields] if plain is not None else [None]
    if plain is None or None in types:
        return None
    return [field.name for field in plain.fields], [kind for kind in types if kind is not None]


def _are_as_declared(predictions: Sequence[object], schema: type[BaseModel]) -> bool:
    check = declared_types(schema)
    return check is not None and check(predictions)


def serialise_together(predictions: Sequence[object], schema: type[BaseModel]) -> bytes | None:
    """Write many predictions as a JSON array, in a fraction of the time that it takes one by one.

    Return None if some of them need more than pydantic's own serialisation, as `serialise` does it.
    """
    if not all(isinstance(prediction, schema) for prediction in predictions):
        return None
    is_declared = _are_as_declared(predictions, schema)
    if not is_declared and holds_foreign(predictions):
        return None
    try:
        written = _list_serializer(schema).to_json(
            predictions,
            by_alias=True,
            warnings=False if is_declared else "error",
            fallback=_fallback,
        )
        validator = _answer_validator(schema, is_list=True)
        if validator is not None and not (is_declared and b"null" not in written):
            validator.validate_json(written)
    except Exception:  # noqa: BLE001 (`serialise` finds which prediction it is, and why)
        return None
    return None if b"NaN" in written or b"Infinity" in written else written


# A service has few schemas, and a loaded model may change its own.
@lru_cache(maxsize=1024)
def _list_serializer(schema: type[BaseModel]) -> SchemaSerializer:
    # Some settings are read from the outermost schema, and hold for all that is within.
    return TypeAdapter(list[schema], config=schema.model_config).serializer  # type: ignore[valid-type]


def _fallback(value: object) -> object:
    """Return what stands for a value that pydantic does not know."""
    found = python_value(value)
    if isinstance(found, Unwritable):
        raise PydanticSerializationError(found.message)
    if found is value:
        raise PydanticSerializationError(f"{type(value).__name__} has no JSON")
    return found


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
        items = attributes(value).items()
        # A default that is NaN did not come from the client.
        return [(_key(value, name), item) for name, item in items if name in value.model_fields_set]
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name, None)) for field in fields(value)]
    if isinstance(value, dict):
        return [(str(key), item) for key, item in value.items()]
    if isinstance(value, SEQUENCES):
        return enumerate(value)
    return None


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

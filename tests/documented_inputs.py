"""Inputs made from a documented schema, by nothing but what the schema says."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from hypothesis import strategies as st

Schema = Mapping[str, Any]
Strategy = st.SearchStrategy[Any]

_REFERENCE = "#/components/schemas/"
_DEPTH = 3
"""How often a schema is entered within itself before what is optional has to end it."""
_ANNOTATIONS = {
    "default",
    "deprecated",
    "description",
    "discriminator",
    "examples",
    "readOnly",
    "title",
}
_ANY_DECIMAL = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?$"

_characters = st.characters(codec="utf-8")
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(_characters)
)
_anything: Strategy = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(_characters), inner, max_size=3)
    ),
    max_leaves=5,
)


def documented_inputs(schema: Schema, components: Mapping[str, Schema]) -> Strategy:
    """Make values that fit a schema of the OpenAPI document.

    A keyword that it does not know is an error, so that nothing which is documented is overlooked.
    """
    return _Maker(components).strategy(schema, ())


class _Maker:
    def __init__(self, components: Mapping[str, Schema]) -> None:
        self._components = components

    def strategy(self, schema: Schema | bool, inside: tuple[str, ...]) -> Strategy:
        """Make what fits; nothing at all where the schema is within itself too often."""
        if isinstance(schema, bool):
            return _anything if schema else st.nothing()
        keywords = {
            key: value
            for key, value in schema.items()
            if key not in _ANNOTATIONS and not key.startswith("x-")
        }
        make: dict[str, Callable[[Schema, tuple[str, ...]], Strategy]] = {
            "$ref": self._referenced,
            "anyOf": self._any_of,
            "oneOf": self._any_of,
            "const": lambda schema, _: st.just(schema["const"]),
            "enum": lambda schema, _: st.sampled_from(schema["enum"]),
            "type": self._typed,
        }
        for keyword, maker in make.items():
            if keyword in keywords:
                return maker(keywords, inside)
        assert not keywords, keywords
        return _anything

    def _referenced(self, schema: Schema, inside: tuple[str, ...]) -> Strategy:
        assert schema.keys() == {"$ref"}, schema
        name = schema["$ref"].removeprefix(_REFERENCE)
        if inside.count(name) >= _DEPTH:
            return st.nothing()
        return self.strategy(self._components[name], (*inside, name))

    def _any_of(self, schema: Schema, inside: tuple[str, ...]) -> Strategy:
        (keyword,) = schema
        choices = schema[keyword]
        bounds = {"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"}
        if any(bounds & choice.keys() for choice in choices):
            # Decimals with bounds: of a string JSON Schema can limit the digits, not the value.
            choices = [choice for choice in choices if choice.get("pattern") != _ANY_DECIMAL]
        return st.one_of([self.strategy(choice, inside) for choice in choices])

    def _typed(self, schema: Schema, inside: tuple[str, ...]) -> Strategy:
        makers: dict[str, Callable[..., Strategy]] = {
            "array": partial(self._array, inside),
            "boolean": st.booleans,
            "integer": _integer,
            "null": st.none,
            "number": _number,
            "object": partial(self._object, inside),
            "string": _string,
        }
        # As keyword arguments, so that one which is not known is an error.
        keywords = {key: value for key, value in schema.items() if key != "type"}
        return makers[schema["type"]](**keywords)

    def _array(
        self,
        inside: tuple[str, ...],
        *,
        items: Schema | bool = True,
        prefixItems: list[Schema] | None = None,  # noqa: N803
        minItems: int = 0,  # noqa: N803
        maxItems: int | None = None,  # noqa: N803
        uniqueItems: bool = False,  # noqa: N803
    ) -> Strategy:
        if prefixItems is not None:
            places = [self.strategy(item, inside) for item in prefixItems]
            assert maxItems == len(places)
            lengths = range(minItems, maxItems + 1)
            return st.one_of([st.tuples(*places[:length]).map(list) for length in lengths])
        strategy = self.strategy(items, inside)
        if strategy.is_empty:
            return st.nothing() if minItems else st.just([])
        unique = _identity if uniqueItems else None
        most = maxItems if maxItems is not None else minItems + 4
        return st.lists(strategy, min_size=minItems, max_size=most, unique_by=unique)

    def _object(
        self,
        inside: tuple[str, ...],
        *,
        properties: Mapping[str, Schema] | None = None,
        required: list[str] | None = None,
        additionalProperties: Schema | bool = True,  # noqa: N803
        patternProperties: Mapping[str, Schema] | None = None,  # noqa: N803
        propertyNames: Schema | None = None,  # noqa: N803
        maxProperties: int | None = None,  # noqa: N803
    ) -> Strategy:
        named = {name: self.strategy(schema, inside) for name, schema in (properties or {}).items()}
        known = st.fixed_dictionaries(
            {name: named[name] for name in required or []},
            optional={
                name: made
                for name, made in named.items()
                if name not in (required or []) and not made.is_empty
            },
        )
        names = self._names(propertyNames, inside).filter(lambda name: name not in named)
        others = [st.dictionaries(names, self.strategy(additionalProperties, inside), max_size=2)]
        for pattern, schema in (patternProperties or {}).items():
            others.append(
                st.dictionaries(_matching(pattern), self.strategy(schema, inside), max_size=3)
            )
        made = st.tuples(known, *others).map(_merged)
        return made.filter(lambda value: maxProperties is None or len(value) <= maxProperties)

    def _names(self, schema: Schema | None, inside: tuple[str, ...]) -> Strategy:
        if schema is None:
            return st.text(_characters)
        names = schema if "$ref" in schema or "enum" in schema else {"type": "string", **schema}
        return self.strategy(names, inside)


def _merged(parts: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in reversed(parts):
        merged |= part
    return merged


def _integer(
    minimum: int | None = None,
    maximum: int | None = None,
    exclusiveMinimum: int | None = None,  # noqa: N803
    exclusiveMaximum: int | None = None,  # noqa: N803
    multipleOf: int = 1,  # noqa: N803
) -> Strategy:
    least = minimum if exclusiveMinimum is None else exclusiveMinimum + 1
    most = maximum if exclusiveMaximum is None else exclusiveMaximum - 1
    exact = st.integers(
        None if least is None else -(-least // multipleOf),
        None if most is None else most // multipleOf,
    ).map(lambda number: number * multipleOf)
    # JSON Schema calls 1.0 an integer, too.
    return exact | exact.filter(lambda number: abs(number) < 2**53).map(float)


def _number(
    minimum: float | None = None,
    maximum: float | None = None,
    exclusiveMinimum: float | None = None,  # noqa: N803
    exclusiveMaximum: float | None = None,  # noqa: N803
    multipleOf: float | None = None,  # noqa: N803
    **other: Any,
) -> Strategy:
    assert other in ({}, {"not": {"const": 0}})

    least = minimum if exclusiveMinimum is None else exclusiveMinimum
    most = maximum if exclusiveMaximum is None else exclusiveMaximum
    if multipleOf is None:
        numbers = st.floats(
            least,
            most,
            allow_nan=False,
            allow_infinity=False,
            exclude_min=exclusiveMinimum is not None,
            exclude_max=exclusiveMaximum is not None,
        )
    else:
        step = Decimal(str(multipleOf))
        # Beyond these, floating point has no places left.
        lowest = Decimal(str(-1e9 if least is None else least))
        highest = Decimal(str(1e9 if most is None else most))
        numbers = st.integers(int(lowest / step), int(highest / step)).map(
            lambda count: float(count * step)
        )

    def fits(number: float) -> bool:
        return number not in (exclusiveMinimum, exclusiveMaximum, 0 if other else None)

    return numbers.filter(fits).map(_sometimes_whole)


def _sometimes_whole(number: float) -> float:
    # What JSON writes without a point.
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _string(
    minLength: int = 0,  # noqa: N803
    maxLength: int | None = None,  # noqa: N803
    pattern: str | None = None,
    format: str | None = None,  # noqa: A002
    allOf: list[Schema] | None = None,  # noqa: N803
) -> Strategy:
    patterns = [schema["pattern"] for schema in allOf or []]
    if format is not None:
        strings = _FORMATS[format]
        patterns += [pattern] if pattern else []
    elif pattern is not None:
        strings = _matching(pattern)
    elif patterns:
        strings = _matching(patterns[0])
    else:
        strings = st.text(_characters, min_size=minLength, max_size=maxLength)

    def fits(text: str) -> bool:
        long_enough = minLength <= len(text) and (maxLength is None or len(text) <= maxLength)
        return long_enough and all(re.search(_in_python(each), text) for each in patterns)

    return strings.filter(fits)


def _matching(pattern: str) -> st.SearchStrategy[str]:
    return st.from_regex(_in_python(pattern), alphabet=_characters)


def _in_python(pattern: str) -> str:
    # Patterns are those of ECMA-262, where `$` means the end and nothing else.
    return re.sub(r"\$$", r"\\Z", pattern)


def _offset(seconds: int) -> str:
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"{'-' if seconds < 0 else '+'}{hours:02}:{minutes:02}"


_offsets = st.just("Z") | st.integers(-86340, 86340).map(_offset)


def _with_offset(moment: datetime | time, offset: str) -> str:
    return f"{moment.isoformat()}{offset}"


def _duration(length: timedelta) -> str:
    hours, seconds = divmod(length.seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    return f"P{length.days}DT{hours}H{minutes}M{seconds}S"


# What the name of a format means, of which JSON Schema says no more than the name. Python's types
# set limits that it has no words for: years from 1 to 9999, no leap seconds, durations of up to
# 999999999 days.
_FORMATS: dict[str, st.SearchStrategy[str]] = {
    "base64": st.binary().map(lambda data: base64.b64encode(data).decode()),
    "base64url": st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()),
    "date": st.dates().map(str),
    "date-time": st.builds(_with_offset, st.datetimes(), _offsets),
    "date-time-local": st.datetimes().map(datetime.isoformat),
    "duration": st.timedeltas(timedelta(0)).map(_duration),
    "time": st.builds(_with_offset, st.times(), _offsets),
    "uuid": st.uuids().map(str),
    "uuid4": st.uuids(version=4).map(str),
}


def _identity(value: Any) -> str:
    """The same text for values that are equal in JSON Schema, where 0 and 0.0 are."""

    def plain(item: Any) -> Any:
        if isinstance(item, float) and item.is_integer():
            return int(item)
        if isinstance(item, list):
            return [plain(part) for part in item]
        if isinstance(item, dict):
            return {key: plain(part) for key, part in item.items()}
        return item

    return json.dumps(plain(value), sort_keys=True)

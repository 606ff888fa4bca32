"""Where two JSON Schemas do not accept the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from models_api.schemas.documented import DEFINITION_PREFIX
from models_api.schemas.json_schema import JSONSchema

_WORDS = {
    "$comment",
    "$schema",
    "default",
    "deprecated",
    "description",
    "example",
    "examples",
    "title",
}
"""Keywords that change nothing about what is accepted."""
_ORDERLESS = {"allOf", "anyOf", "enum", "oneOf", "required", "type"}
_SCHEMAS_BY_NAME = {"dependentSchemas", "patternProperties", "properties"}
_DATA = {"const", "enum"}
_SHOWN_CHARACTERS = 60


class Difference(NamedTuple):
    """One place where two schemas differ."""

    path: tuple[str, ...]
    """Names of the fields that lead there; none for the whole."""
    keyword: str
    one: object
    """None where one of them does not have the keyword."""
    other: object

    def __str__(self) -> str:
        place = ".".join(self.path) or "the whole"
        return f"{place}: {self.keyword} is {_shown(self.one)}, there {_shown(self.other)}"


def difference(one: JSONSchema, other: JSONSchema) -> Difference | None:
    """Return the first difference of what two schemas accept; None if there is none.

    Titles, descriptions, examples, defaults, and the order of fields are none.
    """
    return _compare(_plain(one, one), _plain(other, other), ())


def _compare(one: Any, other: Any, path: tuple[str, ...]) -> Difference | None:
    for keyword in dict.fromkeys([*one, *other]):
        here, there = one.get(keyword), other.get(keyword)
        if here == there:
            continue
        if keyword in _SCHEMAS_BY_NAME and here is not None and there is not None:
            return _compare_named(here, there, path)
        if keyword in ("items", "additionalProperties") and _are_objects(here, there):
            return _compare(here, there, (*path, "[]" if keyword == "items" else "*"))
        return Difference(path, keyword, here, there)
    return None


def _compare_named(
    one: Mapping[str, Any], other: Mapping[str, Any], path: tuple[str, ...]
) -> Difference:
    name = next(name for name in [*one, *other] if one.get(name) != other.get(name))
    here, there = one.get(name), other.get(name)
    found = _compare(here, there, (*path, name)) if _are_objects(here, there) else None
    return found or Difference((*path, name), "the field", here, there)


def _are_objects(*schemas: object) -> bool:
    return all(isinstance(schema, dict) for schema in schemas)


def _plain(schema: Any, document: JSONSchema, inside: tuple[str, ...] = ()) -> Any:
    """Return a schema without words, and with what it refers to in it, in one order."""
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference in inside:
            return {"$ref": inside.index(reference)}
        name = reference.removeprefix(DEFINITION_PREFIX)
        target = {**document.get("$defs", {}).get(name, {}), **schema}
        del target["$ref"]
        return _plain(target, document, (*inside, reference))
    found = {
        keyword: _plain_value(keyword, value, document, inside)
        for keyword, value in schema.items()
        if keyword not in _WORDS and keyword != "$defs" and value != []
    }
    only = found.get("allOf")
    if isinstance(only, list) and len(only) == 1:
        return {**only[0], **{key: value for key, value in found.items() if key != "allOf"}}
    return found


def _plain_value(keyword: str, value: Any, document: JSONSchema, inside: tuple[str, ...]) -> Any:
    if keyword in _SCHEMAS_BY_NAME and isinstance(value, dict):
        return {name: _plain(each, document, inside) for name, each in sorted(value.items())}
    if keyword in _DATA or not isinstance(value, dict | list):
        plain = value
    elif isinstance(value, list):
        plain = [_plain(each, document, inside) for each in value]
    else:
        plain = _plain(value, document, inside)
    if keyword in _ORDERLESS and isinstance(plain, list):
        plain = sorted(plain, key=lambda each: json.dumps(each, sort_keys=True))
    return plain


def _shown(value: object) -> str:
    if value is None:
        return "missing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."

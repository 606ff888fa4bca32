"""What a client may have meant whose data does not fit: the rest of a sentence for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import get_args

from pydantic import AliasChoices, AliasPath, BaseModel, RootModel
from pydantic.fields import FieldInfo
from pydantic_core import from_json

from models_api.exceptions import InputProblem

_LARGEST_BODY = 64 * 1024
"""In bytes; larger ones are no slips of somebody who tries it out."""
_MOST_PROBLEMS = 10
_MOST_NAMES = 100
"""To compare with each other, which takes some 10 microseconds for each."""
_SHOWN_NAMES = 8
_OBJECT_EXPECTED = {"model_type", "model_attributes_type", "dataclass_type", "dict_type"}
_JSON_HINTS = (
    ("trailing characters", "send one JSON value, and nothing behind it"),
    ("trailing comma", "remove that comma"),
    ("key must be a string", "write keys and strings in double quotes"),
    ("EOF while parsing", "it ends too early: close what is open"),
    ("recursion limit", "nest less deeply"),
    ("number out of range", "send a smaller number, or a string"),
    ("unicode", "encode the body in UTF-8"),
    ("escape", "escape characters as JSON does, or send them as they are, in UTF-8"),
    ("control character", "write line breaks and tabs in strings as \\n and \\t"),
    ("invalid number", "write numbers as JSON does, such as 0.5, 12 or 1e3"),
)
_WORDS = {b"True": "true", b"False": "false", b"None": "null"}


def with_hints(
    problems: Sequence[InputProblem], body: bytes, schema: type[BaseModel]
) -> list[InputProblem]:
    """Return the problems with what their client may have meant, as far as that can be guessed."""
    if len(body) > _LARGEST_BODY or len(problems) > _MOST_PROBLEMS:
        return list(problems)
    if problems[0].type == "json_invalid":
        hint = _json_hint(problems[0].message, body, schema)
        return [replace(problems[0], hint=hint), *problems[1:]]
    try:
        data = from_json(body)
    except ValueError:  # such as text that is no Unicode
        data = None
    return [replace(each, hint=_hint(each, data, schema)) for each in problems]


def _json_hint(message: str, body: bytes, schema: type[BaseModel]) -> str:
    text = body.strip()
    found = f"send {_wanted(schema)}"
    if not text:
        found = f"the body is empty: {found}"
    elif text.startswith(b"\xef\xbb\xbf"):
        found = "remove the byte order mark before it"
    elif text.startswith(b"\x1f\x8b"):
        found = "it is compressed: say so by Content-Encoding: gzip"
    elif any(each in text for each in (b"NaN", b"Infinity")):
        found = "JSON has neither NaN nor Infinity: send null, or leave the field out"
    elif b"=" in text and text[:1].isalnum():
        found = f"it looks like a form: {found}"
    elif "expected" in message and (words := [word for word in _WORDS if word in text]):
        found = f"write {_WORDS[words[0]]} for {words[0].decode()}"
    else:
        found = next((hint for said, hint in _JSON_HINTS if said in message), found)
    return found


def _wanted(schema: type[BaseModel]) -> str:
    names = _names(schema)
    return f"an object with {_listed(names)}" if names else "JSON"


def _hint(problem: InputProblem, data: object, schema: type[BaseModel]) -> str:
    holder = _schema_at(schema, problem.location[:-1])
    if problem.type in _OBJECT_EXPECTED:
        at = _schema_at(schema, problem.location)
        found = f"send {_wanted(at)}" if at is not None else ""
    elif holder is None or not problem.location:
        found = ""
    elif problem.type == "missing":
        found = _misspelt(str(problem.location[-1]), _at(data, problem.location[:-1]), holder)
    elif problem.type == "extra_forbidden":
        nearest = _nearest(str(problem.location[-1]), _names(holder))
        found = f'did you mean "{nearest}"?' if nearest else f"there are {_listed(_names(holder))}"
    else:
        found = ""
    return found


def _misspelt(missing: str, given: object, schema: type[BaseModel]) -> str:
    unknown = set(given) - set(_names(schema)) if isinstance(given, dict) else set()
    nearest = _nearest(missing, sorted(map(str, unknown)))
    return f'did you mean it by "{nearest}"?' if nearest else ""


def _at(data: object, location: Iterable[str | int]) -> object:
    for part in location:
        try:
            data = data[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _schema_at(schema: type[BaseModel], location: Iterable[str | int]) -> type[BaseModel] | None:
    """Return the class of the object at a place; None if there is none, or one of several."""
    found: type[BaseModel] | None = schema
    for part in location:
        if isinstance(part, int):
            continue
        field = _fields(found).get(part) if found is not None else None
        inner = _classes_within(field.annotation) if field is not None else []
        found = inner[0] if len(inner) == 1 else None
    return found


def _classes_within(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for inner in get_args(annotation) for each in _classes_within(inner)]


def _names(schema: type[BaseModel]) -> list[str]:
    return list(_fields(schema))


def _fields(schema: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields by the keys that they have in JSON."""
    if issubclass(schema, RootModel):
        return {}
    return {_key(name, field): field for name, field in schema.model_fields.items()}


def _key(name: str, field: FieldInfo) -> str:
    alias: object = field.validation_alias
    if isinstance(alias, AliasChoices):
        alias = alias.choices[0]
    if isinstance(alias, AliasPath):
        alias = alias.path[0]
    return str(alias or name)


def _listed(names: Sequence[str]) -> str:
    shown = [*names[:_SHOWN_NAMES], *(["..."] if len(names) > _SHOWN_NAMES else [])]
    return f"the field{'s' if len(names) > 1 else ''} {', '.join(shown)}"


def _nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name[:100], list(known)[:_MOST_NAMES], n=1)), None)

"""Pydantic's errors as problems of the YAML file: what is wrong, and how to mend it."""

from __future__ import annotations

import datetime
import difflib
import textwrap
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from models_api.configuration.document import Key, YAMLDocument
from models_api.configuration.qualified_names import INVALID_NAME, shortened
from models_api.configuration.section import IN_OWN_WORDS, fields_by_key
from models_api.exceptions import Problem

INVALID_VALUE = "models_api.E003"
HEADER_NAME_HINT = "Use letters, digits and hyphens, as in X-Tenant."

_EXPECTED = {
    "string_type": "a string",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
}

_NAMES: tuple[tuple[type | UnionType, str], ...] = (
    (type(None), "an empty value"),
    (dict, "a mapping"),
    (list, "a list"),
    (bool, "the boolean {}"),
    (int | float, "the number {}"),
    (datetime.date, "the date {}"),
)


def explain(error: ValidationError, document: YAMLDocument, root: type[BaseModel]) -> list[Problem]:
    """Return what keeps the document from being a `root`; a value has its first problem only."""
    return list(_Explanation(document, root).problems(error))


class _Explanation:
    def __init__(self, document: YAMLDocument, root: type[BaseModel]) -> None:
        self._document = document
        self._root = root

    def problems(self, error: ValidationError) -> Iterator[Problem]:
        errors = [
            details
            for details in error.errors(include_url=False)
            if not self._document.is_broken(details["loc"])
        ]
        misspelt = {self._meant(details["loc"]) for details in errors if _is_unknown(details)}
        mappings = [_mapping_of_odd_keys(details) for details in errors]
        for mapping in dict.fromkeys(mappings):
            if mapping is not None:
                yield from self._odd_keys(mapping)
        for details, mapping in zip(errors, mappings, strict=True):
            has_another_name = details["type"] == "missing" and details["loc"] in misspelt
            if mapping is None and not has_another_name:
                message, hint = self._explained(details)
                yield self._document.problem(INVALID_VALUE, details["loc"], message, hint)

    def _odd_keys(self, mapping: Sequence[Key]) -> Iterator[Problem]:
        for line, written in self._document.odd_keys(mapping):
            message = f'YAML does not read the key "{written}" as a string'
            yield self._document.problem_on(
                line, INVALID_VALUE, (*mapping, written), message, f'Quote it: "{written}"'
            )

    def _explained(self, details: ErrorDetails) -> tuple[str, str]:
        keys, kind, value = details["loc"], details["type"], details["input"]
        if kind in ("extra_forbidden", "missing"):
            return self._misplaced(keys, kind)
        shown = self._shown(keys, value)
        if not keys:
            message = f"this should be a mapping of keys to values, not {shown}"
            return message, f"Begin with one of the keys {', '.join(self._known_keys(()))}."
        if value is None:
            return "there is no value here", self._empty_hint(keys)
        if kind in ("string_pattern_mismatch", INVALID_NAME, IN_OWN_WORDS):
            return _in_own_words(details, self._document.written(keys) or "")
        if kind in _EXPECTED:
            hint = self._type_hint(keys, kind, value)
            return f"this should be {_EXPECTED[kind]}, not {shown}", hint
        return f"{details['msg'].replace('Input', 'this', 1)}, not {shown}", self._meaning(keys)

    def _misplaced(self, keys: Sequence[Key], kind: str) -> tuple[str, str]:
        if kind == "missing":
            return f'the key "{keys[-1]}" is missing', f"Add it. {self._meaning(keys)}"
        nearest = self._meant(keys)
        if nearest is not None:
            hint = f'Did you mean "{nearest[-1]}"?'
        else:
            hint = f"Known keys here: {', '.join(self._known_keys(keys[:-1]))}."
        return f'unknown key "{keys[-1]}"', hint

    def _shown(self, keys: Sequence[Key], value: object) -> str:
        """Return what YAML takes the value for, and the value as it stands in the file."""
        written = textwrap.shorten(self._document.written(keys) or "", 60, placeholder="...")
        if isinstance(value, str):
            return f'the string "{written}"'
        return next(
            (name.format(written) for type_, name in _NAMES if isinstance(value, type_)), written
        )

    def _type_hint(self, keys: Sequence[Key], kind: str, value: object) -> str:
        written, field = self._document.written(keys), self._field(keys)
        if kind == "string_type" and written is not None and not (field and field.examples):
            name = f"{keys[-1]}: " if isinstance(keys[-1], str) else ""
            return f'Quote it: {name}"{written}"'
        if kind == "list_type":
            return f"Write a list, with a dash before each item. {self._meaning(keys)}"
        if kind == "model_type" and isinstance(value, str) and isinstance(keys[-1], int):
            return f"Write it as class_path: {written}"
        if kind == "model_type":
            return f"Its keys are {', '.join(self._known_keys(keys))}."
        return self._meaning(keys)

    def _empty_hint(self, keys: Sequence[Key]) -> str:
        if isinstance(keys[-1], int):
            return f"Write one, or remove the dash. {self._meaning(keys)}"
        field = self._field(keys)
        removable = field is not None and not field.is_required()
        return f"Write one{', or remove the key' if removable else ''}. {self._meaning(keys)}"

    def _meant(self, keys: Sequence[Key]) -> tuple[Key, ...] | None:
        """Return the known key that is spelt nearly as the last of these."""
        known = self._known_keys(keys[:-1])
        nearest = difflib.get_close_matches(str(keys[-1]), known, n=1, cutoff=0.5)
        return (*keys[:-1], nearest[0]) if nearest else None

    def _meaning(self, keys: Sequence[Key]) -> str:
        """Return what the value at these keys means, with an example where there is one."""
        named = [position for position, key in enumerate(keys) if isinstance(key, str)]
        for position in reversed(named):
            field = self._field(keys[: position + 1])
            if field is not None:
                return f"{keys[position]}: {field.description}{_example(field)}"
        return "See the configuration reference."

    def _field(self, keys: Sequence[Key]) -> FieldInfo | None:
        section = self._section(keys[:-1])
        return fields_by_key(section).get(str(keys[-1])) if section else None

    def _known_keys(self, keys: Sequence[Key]) -> list[str]:
        section = self._section(keys)
        return list(fields_by_key(section)) if section else []

    def _section(self, keys: Sequence[Key]) -> type[BaseModel] | None:
        """Return the class that describes the mapping at these keys; None if none does."""
        section: type[BaseModel] = self._root
        for key in keys:
            if isinstance(key, int):
                continue
            field = fields_by_key(section).get(key)
            if field is None:
                return None
            inner = _section_within(field.annotation)
            if inner is None:
                return None
            section = inner
        return section


def _example(field: FieldInfo) -> str:
    if not field.examples:
        return ""
    example = field.examples[0]
    if not isinstance(example, str):
        example = yaml.safe_dump(example, default_flow_style=True).strip()
    return f" For example {example}."


def _section_within(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_within, get_args(annotation))), None)


def _is_unknown(details: ErrorDetails) -> bool:
    return details["type"] == "extra_forbidden"


def _mapping_of_odd_keys(details: ErrorDetails) -> tuple[Key, ...] | None:
    """Return the keys of the mapping that has a key which is no string, if that is the error."""
    if details["type"] == "invalid_key":
        return details["loc"][:-1]
    return details["loc"][:-2] if details["loc"][-1:] == ("[key]",) else None


def _in_own_words(details: ErrorDetails, written: str) -> tuple[str, str]:
    if details["type"] == IN_OWN_WORDS:
        return details["msg"], details["ctx"]["hint"]
    if details["type"] != INVALID_NAME:
        return f'"{written}" is no name of a header', HEADER_NAME_HINT
    context = details["ctx"]
    return f'the qualified name "{shortened(written)}" {context["reason"]}', context["hint"]

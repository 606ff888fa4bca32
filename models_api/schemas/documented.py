"""Schemas of which there is only a JSON Schema document: those of models of other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from pydantic import BaseModel, ConfigDict, RootModel

DEFINITION_PREFIX = "#/$defs/"

_classes: dict[tuple[str, str], type[BaseModel]] = {}
_readers: dict[type[BaseModel], _Reader] = {}


def documented_schema(name: str, document: dict[str, Any]) -> type[BaseModel]:
    """Return a class for values that another program validates, by the JSON Schema of these.

    It validates nothing, and keeps every value as it came: instances have the members of an object
    as attributes, those of the objects in it too, and any other value as their `root`.
    `json_schema` gives the document back. Equal documents have the same class.

    Args:
        name: Name of the class.
        document: With all that it refers to in `$defs`.
    """
    key = (name, json.dumps(document, sort_keys=True))
    if key not in _classes:
        base = _Object if "properties" in described_by(document) else _Other
        made = type(name, (base,), {"__module__": __name__})
        _readers[made] = _Reader(deepcopy(document))
        _classes.setdefault(key, made)
    return _classes[key]


def document_of(schema: type[BaseModel]) -> dict[str, Any] | None:
    """Return the document that a class was made from; None for any other class."""
    reader = _readers.get(schema)
    return None if reader is None else deepcopy(reader.document)


def described_by(document: dict[str, Any]) -> dict[str, Any]:
    """Return what a document says of the value, whose class may be one of its definitions."""
    definitions = document.get("$defs", {})
    for _ in definitions:
        if set(document) - {"$defs"} != {"$ref"}:
            break
        reference = document["$ref"].removeprefix(DEFINITION_PREFIX)
        document = definitions.get(reference, document)
    return {key: value for key, value in document.items() if key != "$defs"}


class _Reader:
    """Makes instances of the objects in what a document describes."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._definitions: dict[str, Any] = document.get("$defs", {})
        self._properties: dict[str, Any] = described_by(document).get("properties", {})
        self._classes: dict[int, type[BaseModel]] = {}
        """By the ids of what describes them, which are parts of the document."""

    def member(self, name: str, value: object) -> object:
        """Return the value of a member of an object."""
        return self.value(value, self._properties.get(name))

    def value(self, value: object, node: object) -> object:
        """Return a value with instances in place of the objects that have names for members."""
        described = self._resolved(node)
        choices = described.get("anyOf") or described.get("oneOf") or ()
        nodes = [described, *map(self._resolved, choices)]
        if isinstance(value, dict):
            found = next((each for each in nodes if _fits(each, value)), None)
            if found is not None:
                return self._class_of(found).model_validate(value)
            members = next((each["additionalProperties"] for each in nodes if _MORE in each), None)
            return {name: self.value(each, members) for name, each in value.items()}
        if isinstance(value, list):
            items = next((each["items"] for each in nodes if "items" in each), None)
            return [self.value(each, items) for each in value]
        return value

    def _class_of(self, node: dict[str, Any]) -> type[BaseModel]:
        if id(node) not in self._classes:
            document = {**node, "$defs": self._definitions}
            self._classes[id(node)] = documented_schema(node.get("title", "Object"), document)
        return self._classes[id(node)]

    def _resolved(self, node: object) -> dict[str, Any]:
        for _ in range(len(self._definitions) + 1):
            if not isinstance(node, dict) or "$ref" not in node:
                break
            node = self._definitions.get(node["$ref"].removeprefix(DEFINITION_PREFIX))
        return node if isinstance(node, dict) else {}


_MORE = "additionalProperties"


def _fits(node: Mapping[str, Any], value: Mapping[str, object]) -> bool:
    return "properties" in node and value.keys() >= set(node.get("required", ()))


class _Object(BaseModel):
    model_config = ConfigDict(extra="allow")

    def model_post_init(self, context: object) -> None:
        members, reader = self.__pydantic_extra__ or {}, _readers[type(self)]
        for name, value in members.items():
            if isinstance(value, dict | list):
                members[name] = reader.member(name, value)

    def __getattribute__(self, name: str) -> Any:
        # A member may have the name of a method of pydantic's, such as `copy`.
        if not name.startswith(("_", "model_")):
            members = self.__pydantic_extra__
            if members and name in members:
                return members[name]
        return super().__getattribute__(name)


class _Other(RootModel[Any]):
    def model_post_init(self, context: object) -> None:
        if isinstance(self.root, dict | list):
            reader = _readers[type(self)]
            self.root = reader.value(self.root, reader.document)

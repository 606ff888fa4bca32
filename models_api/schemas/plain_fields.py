"""Which schemas are plain: they validate a value alike whether it comes as JSON or from Python.

Plain are numbers, booleans, strings, enums and literals of one of these, what may be None in their
place, and lists of them. Others, such as dates in a strict schema, may not be.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import BaseModel

from models_api.schemas.core_nodes import CoreNode, core_schema

PlainValues = list[Any]
"""Values of one plain field."""

# Keys of pydantic's core schemas that change nothing here. Whatever else is there might.
_NEUTRAL = {"type", "ref", "metadata", "schema", "strict"}
_NUMBER = {"gt", "ge", "lt", "le", "multiple_of", "allow_inf_nan"}
_TEXT = {"pattern", "min_length", "max_length", "strip_whitespace", "to_lower", "to_upper"}
_KEYS = {
    "bool": _NEUTRAL,
    "int": _NEUTRAL | _NUMBER,
    "float": _NEUTRAL | _NUMBER,
    "str": _NEUTRAL | _TEXT | {"regex_engine"},
    "enum": _NEUTRAL | {"cls", "members", "sub_type", "missing"},
    "literal": _NEUTRAL | {"expected"},
    "list": _NEUTRAL | {"items_schema", "min_length", "max_length"},
    "nullable": _NEUTRAL,
    "default": _NEUTRAL | {"default"},
    "model": _NEUTRAL | {"cls", "config", "custom_init", "root_model", "post_init"},
    "model-fields": _NEUTRAL | {"fields", "model_name", "computed_fields"},
    "model-field": _NEUTRAL | {"validation_alias", "serialization_alias"},
    "definition-ref": _NEUTRAL | {"schema_ref"},
}
_CONFIGURATION = {"title", "strict", "frozen", "extra_fields_behavior"}

_SCALARS: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
_TAKEN: dict[type, set[type]] = {bool: {bool}, int: {int}, float: {float, int}, str: {str}}
"""Types of the values that a field takes, by what it holds."""


class Field(NamedTuple):
    """A plain field of a model."""

    name: str
    """In Python."""
    key: str
    """In JSON."""
    holds: type
    """bool, int, float or str."""
    enum: type[Enum] | None
    choices: frozenset[object] | None
    """All values that a literal has; None for what is none."""
    is_nullable: bool
    """Whether it holds None, too."""
    is_list: bool
    """Whether it holds lists of these."""
    scalar: CoreNode
    """Pydantic's core schema of these."""
    around: tuple[CoreNode, ...]
    """Those of the lists of these, and of None in their place, from the outermost."""
    members: Mapping[int, object]
    """Value of each member of the enum, by the member's `id`."""

    @property
    def takes(self) -> set[type]:
        """Types of the values that it takes without JSON between."""
        is_exact = self.enum is not None or self.choices is not None
        return {self.holds} if is_exact else _TAKEN[self.holds]

    @property
    def only_type(self) -> type | None:
        """The type that all values have which it may hold; None if that alone does not tell."""
        is_certain = self.choices is None and not self.is_nullable and not self.is_list
        return (self.enum or self.holds) if is_certain else None


class PlainSchema(NamedTuple):
    """A model whose fields are all plain."""

    fields: list[Field]
    is_strict: bool
    """Whether pydantic converts nothing, but for fields with settings of their own."""
    has_hook: bool
    """Whether instances run code of their own when they are made."""


# A service has few schemas, and a loaded model may change its own.
@lru_cache(maxsize=1024)
def plain_schema(schema: type[BaseModel], alias: str) -> PlainSchema | None:
    """Return the fields of a schema that is plain; None for any other.

    Args:
        schema: The pydantic model.
        alias: What pydantic calls the keys in JSON: `validation_alias` or `serialization_alias`.
    """
    found = core_schema(schema)
    if found is None:
        return None
    try:
        return _Reader(*found).read(alias)
    except _NotPlainError:
        return None


class _NotPlainError(Exception):
    """Something in a schema is not plain."""


class _Reader:
    """Reads pydantic's core schema of a model."""

    def __init__(self, schema: CoreNode, definitions: Mapping[str, CoreNode]) -> None:
        self._schema = schema
        self._definitions = definitions

    def read(self, alias: str) -> PlainSchema:
        model = self._resolved(self._schema)
        fields = self._resolved(model.get("schema", {}))
        configuration = model.get("config", {})
        is_changed = (
            (model["type"], fields["type"]) != ("model", "model-fields")
            or model.get("custom_init")
            or model.get("root_model")
            or fields.get("computed_fields")
            or configuration.keys() - _CONFIGURATION
            or configuration.get("extra_fields_behavior") == "allow"
        )
        if is_changed:
            raise _NotPlainError
        found = [
            self._field(name, self._resolved(field), alias)
            for name, field in fields["fields"].items()
        ]
        return PlainSchema(found, bool(configuration.get("strict")), "post_init" in model)

    def _field(self, name: str, field: CoreNode, alias: str) -> Field:
        key = field.get(alias, name)
        node, around = self._resolved(field["schema"]), list[CoreNode]()
        while node["type"] in ("default", "nullable", "list"):
            around += [node] if node["type"] != "default" else []
            node = self._resolved(node.get("schema") or node.get("items_schema", {}))
        choices = frozenset(node.get("expected", ()))
        holds, kinds = _held(node), {each["type"] for each in around}
        if holds is None or not isinstance(key, str):
            raise _NotPlainError
        return Field(
            name,
            key,
            holds,
            enum=node["cls"] if node["type"] == "enum" else None,
            choices=choices - {None} if choices else None,
            is_nullable="nullable" in kinds or None in choices,
            is_list="list" in kinds,
            scalar=node,
            around=tuple(around),
            # Reading `value` of a member costs more than all else that is done with it.
            members={id(member): member.value for member in node.get("members", ())},
        )

    def _resolved(self, node: CoreNode) -> CoreNode:
        """Return the node, or what it refers to, if all of its keys are known.

        Raises:
            _NotPlainError: one is not.
        """
        kind = node.get("type")
        if kind not in _KEYS or node.keys() - _KEYS[kind]:
            raise _NotPlainError
        if kind == "definition-ref":
            return self._resolved(self._definitions[node["schema_ref"]])
        return node


def _held(node: CoreNode) -> type | None:
    """Return the type of a scalar's values, or of an enum's or literal's if all have the same."""
    if node["type"] == "enum":
        kinds = {type(member.value) for member in node["members"]}
    elif node["type"] == "literal":
        kinds = {type(value) for value in node["expected"] if value is not None}
    else:
        return _SCALARS.get(node["type"])
    return kinds.pop() if len(kinds) == 1 and kinds <= _TAKEN.keys() else None

"""Whether an instance holds exactly the types that its class declares, found out quickly.

Exactly: no subclasses, and nothing that pydantic would convert. Only for what is written as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache

from pydantic import BaseModel

from models_api.schemas.plain_fields import CoreNode

Check = Callable[[object], bool]

_TYPES: dict[str, type] = {
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "datetime": datetime,
    "date": date,
    "time": time,
    "timedelta": timedelta,
    "decimal": Decimal,
}


# A service has few schemas, and a loaded model may change its own.
@lru_cache(maxsize=1024)
def declared_types(schema: type[BaseModel]) -> Check | None:
    """Return what tells of an instance whether all of it surely has the declared types.

    It may be NaN where it is a float, and of a length that is not allowed. None for a schema of
    which that is not known.
    """
    try:
        return _Compiler(schema.__pydantic_core_schema__).check()
    except (_UncertainError, KeyError):
        return None


class _UncertainError(Exception):
    """Something in a schema may hold other types."""


class _Compiler:
    def __init__(self, schema: object) -> None:
        if not isinstance(schema, dict):
            raise _UncertainError
        self._schema: CoreNode = schema
        self._definitions: dict[str, CoreNode] = {}
        self._checks: dict[str, Check] = {}
        if schema["type"] == "definitions":
            self._definitions = {each["ref"]: each for each in schema["definitions"]}
            self._schema = schema["schema"]

    def check(self) -> Check:
        for reference, node in self._definitions.items():
            self._checks[reference] = self._of(node)
        return self._of(self._schema)

    def _of(self, node: CoreNode) -> Check:
        kind = node["type"]
        if (exact := _exact_type(node)) is not None:
            return lambda value: type(value) is exact
        makers: dict[str, Callable[[CoreNode], Check]] = {
            "default": lambda node: self._of(node["schema"]),
            "nullable": self._of_nullable,
            "list": self._of_list,
            "dict": self._of_dict,
            "model": self._of_model,
            "definition-ref": self._of_reference,
        }
        if kind not in makers or "serialization" in node:
            raise _UncertainError
        return makers[kind](node)

    def _of_reference(self, node: CoreNode) -> Check:
        checks, reference = self._checks, node["schema_ref"]
        if reference not in self._definitions:
            raise _UncertainError

        def check(value: object) -> bool:
            # What is recursive is there only now.
            return checks[reference](value)

        return check

    def _of_nullable(self, node: CoreNode) -> Check:
        check = self._of(node["schema"])
        return lambda value: value is None or check(value)

    def _of_list(self, node: CoreNode) -> Check:
        check_all = self._of_all(node["items_schema"])
        return lambda value: type(value) is list and check_all(value)

    def _of_dict(self, node: CoreNode) -> Check:
        check_keys = self._of_all(node["keys_schema"])
        check_values = self._of_all(node["values_schema"])

        def check(value: object) -> bool:
            return type(value) is dict and check_keys(value) and check_values(value.values())

        return check

    def _of_all(self, node: CoreNode) -> Callable[..., bool]:
        """Return what checks several values, in C where their types say enough."""
        if (exact := _exact_type(node)) is not None:
            return lambda values: {exact}.issuperset(map(type, values))
        check = self._of(node)
        return lambda values: all(map(check, values))

    def _of_model(self, node: CoreNode) -> Check:
        cls, fields = node["cls"], node["schema"]
        is_known = (
            fields["type"] == "model-fields"
            and not fields.get("computed_fields")
            and "serialization" not in fields
            and fields.get("extra_behavior") != "allow"
            and node.get("config", {}).get("extra_fields_behavior") != "allow"
        )
        if not is_known:
            raise _UncertainError
        inner = {name: _within(field["schema"]) for name, field in fields["fields"].items()}
        exact = {name: kind for name, node in inner.items() if (kind := _exact_type(node))}
        names, types = list(exact), list(exact.values())
        others = [(name, self._of(inner[name])) for name in inner if name not in exact]

        def check(value: object) -> bool:
            if type(value) is not cls:
                return False
            held = value.__dict__
            return list(map(type, map(held.get, names))) == types and all(
                name in held and is_right(held[name]) for name, is_right in others
            )

        return check


def _within(node: CoreNode) -> CoreNode:
    """Return what a field holds, whether it has a default or not."""
    is_default = node["type"] == "default" and "serialization" not in node
    return _within(node["schema"]) if is_default else node


def _exact_type(node: CoreNode) -> type | None:
    """Return the only type that values have; None if they may have others."""
    if "serialization" in node:
        return None
    return node["cls"] if node["type"] == "enum" else _TYPES.get(node["type"])

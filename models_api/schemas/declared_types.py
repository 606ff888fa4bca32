"""Whether instances hold exactly the types that their class declares, found out quickly.

Exactly: no subclasses, and nothing that pydantic would convert. Only for what is written as it is.
All values of a field are looked at together, in C, however many instances there are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from typing import Any

from pydantic import BaseModel

from models_api.schemas.core_nodes import CoreNode, core_schema

Check = Callable[[Collection[Any]], bool]
"""Whether all of the values have the right types."""

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
_ABSENT = object()


# A service has few schemas, and a loaded model may change its own.
@lru_cache(maxsize=1024)
def declared_types(schema: type[BaseModel]) -> Check | None:
    """Return what tells of instances whether all in them surely has the declared types.

    There may be NaN where there is a float, and a length that is not allowed. None for a schema of
    which that is not known.
    """
    found = core_schema(schema)
    if found is None:
        return None
    try:
        return _Compiler(*found).check()
    except (_UncertainError, KeyError):
        return None


class _UncertainError(Exception):
    """Something in a schema may hold other types."""


class _Compiler:
    def __init__(self, schema: CoreNode, definitions: Mapping[str, CoreNode]) -> None:
        self._schema = schema
        self._definitions = definitions
        self._checks: dict[str, Check] = {}

    def check(self) -> Check:
        for reference, node in self._definitions.items():
            self._checks[reference] = self._of(node)
        return self._of(self._schema)

    def _of(self, node: CoreNode) -> Check:
        kind = node["type"]
        if (exact := _exact_type(node)) is not None:
            return lambda values: list(map(type, values)).count(exact) == len(values)
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

        # What is recursive is there only when values are, and ends where there are none.
        return lambda values: not values or checks[reference](values)

    def _of_nullable(self, node: CoreNode) -> Check:
        if (exact := _exact_type(node["schema"])) is not None:
            either = {exact, type(None)}
            return lambda values: either.issuperset(map(type, values))
        check = self._of(node["schema"])
        return lambda values: check([value for value in values if value is not None])

    def _of_list(self, node: CoreNode) -> Check:
        check = self._of(node["items_schema"])

        def check_lists(values: Collection[Any]) -> bool:
            return {list}.issuperset(map(type, values)) and check(_joined(values))

        return check_lists

    def _of_dict(self, node: CoreNode) -> Check:
        check_keys, check_values = self._of(node["keys_schema"]), self._of(node["values_schema"])

        def check(values: Collection[Any]) -> bool:
            return (
                {dict}.issuperset(map(type, values))
                and check_keys(_joined(values))
                and check_values(_joined([value.values() for value in values]))
            )

        return check

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

        def check(values: Collection[Any]) -> bool:
            if not {cls}.issuperset(map(type, values)):
                return False
            held = [value.__dict__ for value in values]
            found = (
                map(held[0].get, names)
                if len(held) == 1
                else [each.get(name) for each in held for name in names]
            )
            if list(map(type, found)) != types * len(held):
                return False
            for name, is_right in others:  # in a loop, which costs less than `all` does
                if not is_right([each.get(name, _ABSENT) for each in held]):
                    return False
            return True

        return check


def _joined(values: Collection[Any]) -> Collection[Any]:
    if len(values) != 1:
        return list(chain.from_iterable(values))
    (only,) = values
    return only  # type: ignore[no-any-return]


def _within(node: CoreNode) -> CoreNode:
    """Return what a field holds, whether it has a default or not."""
    is_default = node["type"] == "default" and "serialization" not in node
    return _within(node["schema"]) if is_default else node


def _exact_type(node: CoreNode) -> type | None:
    """Return the only type that values have; None if they may have others."""
    if "serialization" in node:
        return None
    return node["cls"] if node["type"] == "enum" else _TYPES.get(node["type"])

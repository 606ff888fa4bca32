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
from operator import attrgetter, itemgetter
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
_LIST, _DICT = frozenset({list}), frozenset({dict})
_DICT_OF = attrgetter("__dict__")


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
        check = _Compiler(*found).check()
    except (_UncertainError, KeyError):
        return None

    def check_present(values: Collection[Any]) -> bool:
        try:
            return check(values)
        except KeyError:  # a field that is not there
            return False

    return check_present


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
            only = frozenset({exact})
            return lambda values: only.issuperset(map(type, values))
        makers: dict[str, Callable[[CoreNode], Check]] = {
            "default": lambda node: self._of(node["schema"]),
            "nullable": self._of_nullable,
            "literal": _of_literal,
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
            either = frozenset({exact, type(None)})
            return lambda values: either.issuperset(map(type, values))
        check = self._of(node["schema"])
        return lambda values: check([value for value in values if value is not None])

    def _of_list(self, node: CoreNode) -> Check:
        check = self._of(node["items_schema"])
        return lambda values: _LIST.issuperset(map(type, values)) and check(_joined(values))

    def _of_dict(self, node: CoreNode) -> Check:
        check_keys, check_values = self._of(node["keys_schema"]), self._of(node["values_schema"])

        def check(values: Collection[Any]) -> bool:
            return (
                _DICT.issuperset(map(type, values))
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
        return _model_check(cls, exact, {name: self._of(node) for name, node in inner.items()})


def _model_check(
    cls: type[BaseModel], exact: Mapping[str, type], checks: Mapping[str, Check]
) -> Check:
    """Return what checks instances of a class, by what checks the values of its fields.

    Args:
        cls: The class.
        exact: By the name of a field, the only type of its values, where there is one.
        checks: By the name of each field, what checks its values.
    """
    only, names, types = frozenset({cls}), list(exact), list(exact.values())
    columns = [(itemgetter(name), check) for name, check in checks.items()]
    others = [(itemgetter(name), checks[name]) for name in checks if name not in exact]

    def check_one(value: Any) -> bool:
        held = value.__dict__
        for get, is_right in others:  # in a loop, which costs less than `all` does
            if not is_right((get(held),)):
                return False
        return list(map(type, map(held.get, names))) == types

    def check(values: Collection[Any]) -> bool:
        if len(values) == 1:
            (value,) = values
            return type(value) is cls and check_one(value)
        if not only.issuperset(map(type, values)):
            return False
        held = list(map(_DICT_OF, values))
        return all(is_right(list(map(get, held))) for get, is_right in columns)

    return check


def _of_literal(node: CoreNode) -> Check:
    choices, types = frozenset(node["expected"]), frozenset(map(type, node["expected"]))
    if len(types - {type(None)}) > 1:  # of which some may equal others, as 1 does True
        raise _UncertainError
    return lambda values: types.issuperset(map(type, values)) and choices.issuperset(values)


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

"""What it costs to validate a JSON value, estimated from the schema before there is any value.

A unit is what a number may cost that stands in a list of numbers: 0.3 microseconds and 330 bytes,
which is more than it takes. The other prices were measured by `python -m benchmarks --comparisons
validation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import BaseModel

CoreNode = Mapping[str, Any]
"""A core schema of pydantic's, or a part of one, read by its keys whatever kind it is of."""

_MAXIMUM_DEPTH = 255
"""No JSON that pydantic reads is nested deeper."""
_LEVELS_OF_A_CYCLE = 40
"""A schema that holds itself does so within so many levels."""
_ENDLESS = 1e12
"""Of what costs that much, no more has to be known."""
_UNREAD_KEYS = {"metadata", "serialization", "default", "cls", "config", "function", "definitions"}
_ALTERNATIVES = {"tagged-union", "lax-or-strict", "json-or-python"}
"""One of what they hold validates the value."""
_WRAPPERS = {
    *("union", "nullable", "default", "model", "dataclass", "chain", "custom-error", "json"),
    *("function-before", "function-after", "function-wrap", "definitions"),
    *("model-field", "typed-dict-field", "dataclass-field"),
}
"""Each of what they hold validates the value."""
_RECORDS = {"model-fields", "typed-dict", "dataclass-args"}
_INSTANCE, _FIELD, _CALL, _FACTORY, _URL = 5.0, 0.2, 3.0, 2.0, 4.0
_COPIED_INSTANCE, _COPIED_LIST = 20.0, 5.0
_CHOICES_PER_PROBLEM = 10


class Cost(NamedTuple):
    """What a value costs, whether it is a JSON object or another one."""

    object: float = 0.0
    other: float = 0.0
    object_problems: float = 0.0
    """Errors that pydantic may have to tell of one that does not fit."""
    other_problems: float = 0.0


class Costs(NamedTuple):
    """What the values of a JSON document cost."""

    by_depth: tuple[Cost, ...]
    """Of the dearest values that are nested so deep or less; the last, of all that are deeper."""
    reads_strings: bool
    """Whether there may be JSON in strings."""

    def up_to(self, depth: int) -> Cost:
        """Return the cost of the dearest value that is nested no deeper."""
        return self.by_depth[min(depth, len(self.by_depth) - 1)]

    @property
    def dearest(self) -> Cost:
        """The cost of the dearest value of all."""
        return self.by_depth[-1]

    @property
    def is_endless(self) -> bool:
        """Whether the price grows with the depth, as where a union's choices hold that union."""
        return max(self.dearest) >= _ENDLESS


PLAIN = Costs((Cost(1.0, 1.0, 1.0, 1.0),), reads_strings=False)
"""Of JSON that is read without a schema."""


# A service has few schemas, and a loaded model may change its own.
@lru_cache(maxsize=1024)
def costs_of(schema: type[BaseModel]) -> Costs:
    """Return what JSON costs that is validated against a pydantic model."""
    reader = _Reader()
    # Of the outermost value there is only one, which no limit can spare.
    found = [*PLAIN.by_depth]
    last_rise = 0
    for depth in range(1, _MAXIMUM_DEPTH):
        cost = reader.cost(schema.__pydantic_core_schema__, depth)
        found.append(_greatest([found[-1], cost]))
        last_rise = depth if found[-1] != found[-2] else last_rise
        if cost == Cost() or depth - last_rise > _LEVELS_OF_A_CYCLE or max(cost) >= _ENDLESS:
            break
    return Costs(tuple(found), reader.reads_strings)


def _total(costs: Iterable[Cost]) -> Cost:
    return Cost(*map(sum, zip(Cost(), *costs, strict=True)))


def _greatest(costs: Iterable[Cost]) -> Cost:
    return Cost(*map(max, zip(Cost(), *costs, strict=True)))


def _nested(value: object) -> Iterator[CoreNode]:
    """Yield the core schemas that a part of one holds directly."""
    if isinstance(value, dict):
        # A field may have the name "type", too.
        if isinstance(value.get("type"), str):
            yield value
        else:
            for each in value.values():
                yield from _nested(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _nested(each)


class _Reader:
    """Reads pydantic's core schemas."""

    def __init__(self) -> None:
        self.reads_strings = False
        self._definitions: dict[str, CoreNode] = {}
        self._known: dict[tuple[int, int], Cost] = {}

    def cost(self, node: CoreNode, depth: int) -> Cost:
        """Return what a value costs that is nested so deep in one that the node validates."""
        key = (id(node), depth)
        if key not in self._known:
            # A default that makes itself has no end.
            self._known[key] = Cost()
            self._known[key] = self._cost(node, depth)
        return self._known[key]

    def _cost(self, node: CoreNode, depth: int) -> Cost:
        kind = node["type"]
        self.reads_strings |= kind == "json"
        self._definitions |= {each["ref"]: each for each in node.get("definitions", ())}
        if kind == "definition-ref":
            return self.cost(self._definitions[node["schema_ref"]], depth)
        held = list(self._held(node))
        if kind in _ALTERNATIVES:
            return _greatest(self.cost(each, depth) for each in held)
        if kind in _WRAPPERS:
            inner = _total(self.cost(each, depth) for each in held)
            return inner if depth else _wrapped(node, inner)
        if depth == 0:
            return self._record(held) if kind in _RECORDS else _own(node)
        costs = [self.cost(each, depth - 1) for each in held]
        if kind in _RECORDS:
            # Of these there is one for each field, which the object has paid for.
            costs = [each if depth > 1 else each._replace(other=0.0) for each in costs]
            return _greatest(costs)
        if "keys_schema" in node and len(costs) > 1 and depth == 1:
            # A plain key is in the price of its value.
            costs[0] = costs[0]._replace(object=0.0, other=max(0.0, costs[0].other - 1.0))
        return _total(costs) if "keys_schema" in node else _greatest(costs)

    def _held(self, node: CoreNode) -> Iterator[CoreNode]:
        return _nested([value for key, value in node.items() if key not in _UNREAD_KEYS])

    def _record(self, fields: list[CoreNode]) -> Cost:
        missing = [self._missing(field) for field in fields]
        # It is counted once as a value already.
        given = sum(max(0.0, self._scalar(field) - 1.0) for field in fields)
        price = given + sum(_FIELD + (each or 0.0) for each in missing)
        return Cost(price, object_problems=max(1.0, sum(each is None for each in missing)))

    def _scalar(self, node: CoreNode) -> float:
        """Return what a value costs that is neither an object nor a list."""
        kind = node["type"]
        if kind == "definition-ref":
            return self._scalar(self._definitions[node["schema_ref"]])
        if kind in _RECORDS:
            return 0.0
        if kind in _ALTERNATIVES:
            return max(map(self._scalar, self._held(node)), default=0.0)
        if kind in _WRAPPERS:
            called = _CALL if kind.startswith("function-") else 0.0
            return called + sum(map(self._scalar, self._held(node)))
        return _own(node).other

    def _missing(self, node: CoreNode) -> float | None:
        """Return what it costs that the field is not given; None if it has to be."""
        while node["type"] in _WRAPPERS and node["type"] != "default":
            if node.get("required") is False:
                return 0.0
            node = next(self._held(node), {"type": "any"})
        if node["type"] != "default":
            return None
        price = self._default(node)
        if node.get("validate_default"):
            price += self._scalar(node["schema"]) * _elements(node.get("default"))
        return price

    def _default(self, node: CoreNode) -> float:
        factory = node.get("default_factory")
        if factory is None:
            return _copied(node.get("default"))
        if isinstance(factory, type) and issubclass(factory, BaseModel):
            return _FACTORY + self.cost(factory.__pydantic_core_schema__, 0).object
        return _FACTORY


def _own(node: CoreNode) -> Cost:
    kind = node["type"]
    price = 1.0
    if kind == "function-plain":
        price = 1.0 + _CALL
    elif "url" in kind:
        price = _URL
    choices = len(node.get("expected", node.get("members", ())))
    problems = 1.0 + choices // _CHOICES_PER_PROBLEM
    return Cost(price, price, problems, problems)


def _wrapped(node: CoreNode, inner: Cost) -> Cost:
    kind = node["type"]
    if kind in ("model", "dataclass"):
        price = _INSTANCE + _CALL * (bool(node.get("custom_init")) + bool(node.get("post_init")))
        other = inner.other + price if node.get("root_model") else 0.0
        problems = inner.other_problems or 1.0
        return Cost(inner.object + price, other, inner.object_problems, problems)
    if kind == "function-after":
        return inner._replace(
            object=inner.object + _CALL, other=inner.other + _CALL if inner.other else 0.0
        )
    if kind in ("function-before", "function-wrap"):
        # It may make an object of something else.
        price = max(inner.object, inner.other) + _CALL
        return inner._replace(object=price, other=price)
    return inner


def _copied(value: object) -> float:
    """Return what it costs to copy a default, with all that is in it, unless it is immutable."""
    with suppress(TypeError):
        hash(value)
        return 0.0
    if isinstance(value, BaseModel):
        return _COPIED_INSTANCE + sum(map(_copied, vars(value).values()))
    items = _items(value)
    return _COPIED_LIST + sum(1.0 + _copied(each) for each in items or ())


def _elements(value: object) -> float:
    items = _items(value)
    return 1.0 if items is None else 1.0 + sum(map(_elements, items))


def _items(value: object) -> Iterable[object] | None:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple | set | frozenset) else None

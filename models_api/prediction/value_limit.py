"""How much one request may hold, counted before any of it is made.

What counts is what validating costs: a number in a list counts one, an object that becomes an
instance of a pydantic model more, by its schema.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from math import ceil, inf
from typing import NamedTuple

from models_api.exceptions import PayloadTooLarge
from models_api.schemas.costs import Cost, Costs

DEFAULT_MAXIMUM_VALUES = 1_500_000
_COLLECTED_PROBLEMS = 100_000
"""So many take some 50 MB, before the first of them are told."""
_MOST_BYTES = 1 << 40
_PART_BYTES = 65536
_NO_PUNCTUATION = bytes(set(range(256)) - set(b"[]{},"))


class _Price(NamedTuple):
    """What values cost, and how many problems they may have."""

    units: float = 0.0
    problems: float = 0.0


class _Values(NamedTuple):
    """How many values there are, or may be at most."""

    objects: int = 0
    others: int = 0

    def price(self, cost: Cost) -> _Price:
        return _Price(
            self.objects * cost.object + self.others * cost.other,
            self.objects * cost.object_problems + self.others * cost.other_problems,
        )


class ValueLimit:
    """The limit of what requests may hold whose values cost the same. Safe to use from threads."""

    def __init__(self, costs: Costs, maximum: int | None) -> None:
        """Make it.

        Args:
            costs: Of the values of a request.
            maximum: What they may cost together; None for any price.
        """
        self._costs = costs
        self._maximum = inf if maximum is None else maximum
        self.harmless_bytes = bisect_left(range(_MOST_BYTES), True, key=self._may_harm) - 1
        """JSON of no more bytes is within the limit, and has few problems, whatever it holds."""

    def check(self, json: bytes) -> bool:
        """Return whether it is certain that the JSON has no more problems than can be collected.

        Raises:
            PayloadTooLarge: its values are above the limit.
        """
        # Quick, but takes the content of strings for values, too.
        values = _beginnings(json)
        if self._costs.reads_strings:
            # Any character of JSON in a string may be escaped.
            values = values._replace(objects=values.objects + json.count(b"\\u"))
        price = values.price(self._costs.dearest)
        is_dear = self._is_above(price) or price.problems > _COLLECTED_PROBLEMS
        if is_dear and (self._costs.is_endless or not self._costs.reads_strings):
            values, price = self._counted(json)
        if self._is_above(price):
            found = f"The body holds {values.objects} objects and {values.others} other values"
            raise PayloadTooLarge.of_values(found, ceil(price.units), ceil(self._maximum))
        return price.problems <= _COLLECTED_PROBLEMS

    def check_elements(self, count: int, dimensions: int) -> None:
        """Refuse too many elements of tensors of so many dimensions, the first of which is rows.

        Raises:
            PayloadTooLarge: they are above the limit.
        """
        # A row is in the list of rows, and its field in the row.
        price = _Values(0, count).price(self._costs.up_to(dimensions + 2))
        if self._is_above(price):
            found = f"The tensors hold {count} elements"
            raise PayloadTooLarge.of_values(found, ceil(price.units), ceil(self._maximum))

    def _may_harm(self, length: int) -> bool:
        # An empty list, which counts as two, takes three bytes with the comma that follows.
        number, cost = length * 2 // 3 + 1, self._costs.up_to(length)
        prices = _Values(number, 0).price(cost), _Values(0, number).price(cost)
        return any(self._is_above(each) or each.problems > _COLLECTED_PROBLEMS for each in prices)

    def _is_above(self, price: _Price) -> bool:
        return price.units > self._maximum

    def _counted(self, json: bytes) -> tuple[_Values, _Price]:
        values = _total(map(_beginnings, _outside_strings(json)))
        # Only deep values are that dear, and perhaps there are none.
        if self._costs.is_endless and not self._is_above(values.price(self._costs.up_to(1))):
            return values, self._price_by_depth(json)
        return values, values.price(self._costs.dearest)

    def _price_by_depth(self, json: bytes) -> _Price:
        price = _Price()
        for depth, values in _beginnings_by_depth(json).items():
            units, problems = values.price(self._costs.up_to(depth))
            # Nothing stops a union at its first problem, and each tells how to get there.
            price = _Price(price.units + units + problems * depth, price.problems + problems)
        return price


def _beginnings(json: bytes) -> _Values:
    """Count what stands before every value, but for a first one that is in nothing else."""
    return _Values(json.count(b"{"), json.count(b",") + json.count(b"["))


def _beginnings_by_depth(json: bytes) -> dict[int, _Values]:
    depth = 0
    found: Counter[tuple[int, bool]] = Counter()
    for part in _outside_strings(json):
        for byte in part.translate(None, _NO_PUNCTUATION):
            # What follows the bracket of a list has no comma of its own.
            deeper = depth + (byte in b"[{")
            if byte in b"[{,":
                found[depth if byte in b"{" else deeper, byte in b"{"] += 1
            depth = deeper - (byte in b"]}")
    depths = {depth for depth, _ in found}
    return {depth: _Values(found[depth, True], found[depth, False]) for depth in depths}


def _total(values: Iterable[_Values]) -> _Values:
    return _Values(*map(sum, zip(_Values(), *values, strict=True)))


def _outside_strings(json: bytes) -> Iterator[bytes]:
    """Yield the JSON without the content of its strings."""
    unescaped = json.replace(b"\\\\", b"").replace(b'\\"', b"")
    is_in_string = False
    # A part at a time, because there may be millions of pieces.
    for start in range(0, len(unescaped), _PART_BYTES):
        pieces = unescaped[start : start + _PART_BYTES].split(b'"')
        yield b"".join(pieces[is_in_string::2])
        is_in_string ^= len(pieces) % 2 == 0

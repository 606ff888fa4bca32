"""Counter, Gauge and Histogram, whose numbers are in memory that others can read.

Without prometheus_client, which looks, once it is imported, whether it is to share its own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, Protocol


class Key(NamedTuple):
    """What a record counts."""

    kind: str
    labels: tuple[str, ...]


class Memory(Protocol):
    """Where the numbers are."""

    @property
    def values(self) -> memoryview[float]:
        """The numbers of all records, one behind the other; ask for it each time, as it moves."""

    def add_record(self, key: Key, size: int) -> int:
        """Add a record of zeros, and return where it begins."""


class _Sharded:
    """Has a record for each thread that writes at the same time, a shard.

    Each shard has a single writer at a time, which therefore needs no lock: to take one from a list
    and to append it are atomic. Whoever reads adds the shards up.
    """

    __slots__ = ("_first", "_free", "_key", "_memory", "_size")

    def __init__(self, memory: Memory, key: Key, size: int) -> None:
        self._memory = memory
        self._key = key
        self._size = size
        self._first = self._another()
        self._free = [self._first]

    def _another(self) -> int:
        return self._memory.add_record(self._key, self._size)


class Counter(_Sharded):
    """A number that grows."""

    __slots__ = ()

    def __init__(self, memory: Memory, key: Key) -> None:
        super().__init__(memory, key, 1)

    def inc(self, amount: float = 1) -> None:
        """Add to the number."""
        free = self._free
        try:
            shard = free.pop()
        except IndexError:
            shard = self._another()
        self._memory.values[shard] += amount
        free.append(shard)


class Gauge(Counter):
    """A number that is either set, or counted up and down; not both."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Replace the number."""
        self._memory.values[self._first] = value


class Histogram(_Sharded):
    """How often a value was within which limits, and the sum of all values.

    Further quantities that belong to the same events are added up beside it.
    """

    __slots__ = ("_limits", "_sums")

    def __init__(self, memory: Memory, key: Key, limits: Sequence[float], more: int = 0) -> None:
        """Make it.

        Args:
            memory: Where its numbers are to be.
            key: What it counts.
            limits: The highest value that belongs in each bucket but the last, which is for those
                beyond.
            more: Number of further quantities.
        """
        self._limits = limits
        self._sums = len(limits) + 1
        super().__init__(memory, key, self._sums + 1 + more)

    def observe(self, value: float, *more: float) -> None:
        """Count a value, and add to the sums of the further quantities."""
        free = self._free
        try:
            shard = free.pop()
        except IndexError:
            shard = self._another()
        values = self._memory.values
        values[shard + bisect_left(self._limits, value)] += 1
        place = shard + self._sums
        values[place] += value
        for amount in more:
            place += 1
            values[place] += amount
        free.append(shard)

    def add(self, quantity: int, amount: float) -> None:
        """Add to one of the further quantities, for a value that was observed before."""
        free = self._free
        try:
            shard = free.pop()
        except IndexError:
            shard = self._another()
        self._memory.values[shard + self._sums + 1 + quantity] += amount
        free.append(shard)


@dataclass(frozen=True, slots=True)
class HistogramValues:
    """What a histogram with these limits has counted."""

    limits: Sequence[float]
    counts: Sequence[float]
    """What is in each bucket alone."""
    sum: float
    more: Sequence[float]
    """Sums of the further quantities."""

    @classmethod
    def read(cls, limits: Sequence[float], record: Sequence[float]) -> HistogramValues:
        """Read them from the numbers of its record."""
        end = len(limits) + 1
        return cls(limits, record[:end], record[end], record[end + 1 :])

    @property
    def count(self) -> float:
        """Number of values."""
        return sum(self.counts)

    def buckets(self) -> list[tuple[str, float]]:
        """Return the buckets as Prometheus has them: each with all that is in those before."""
        names = [*map(str, self.limits), "+Inf"]
        return list(zip(names, accumulate(self.counts), strict=True))

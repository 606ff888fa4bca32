"""Which version of a model takes a request: the shares of a canary, sticky where a key says so."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from random import random
from typing import NamedTuple
from zlib import crc32

from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import TrafficError
from models_api.hosting.hosted_model import HostedModel, LoadState
from models_api.hosting.traffic_keys import TrafficKey
from models_api.logs import SafeLogger
from models_api.schemas.differences import difference
from models_api.schemas.json_schema import json_schema

logger = SafeLogger(__name__)

Observer = Callable[[HostedModel, str, float, int], None]
"""Hears of a prediction: by which version, its outcome, its seconds, and its rows."""
SUCCESS = "success"
"""Outcome of a prediction that was made."""
_ROUNDING_PERCENT = 0.02
"""By which sums may differ from 100: thirds are written as 33.33."""
_PRIME = (1 << 61) - 1
"""Points that keys may have; prime, as https://en.wikipedia.org/wiki/Universal_hashing says."""


class Share(NamedTuple):
    """A version and how much of the traffic it gets."""

    model: HostedModel
    percent: float


class _Interval(NamedTuple):
    end: float
    """In percent, and not of it; it begins where the one before ends."""
    owner: int


class _Table(NamedTuple):
    """Who takes what part of the traffic, for numbers of chance and for points of keys."""

    ends: Sequence[float]
    points: Sequence[int]
    owners: Sequence[HostedModel]


class Traffic:
    """Splits the requests for one name among its versions. Safe to use from many threads.

    Each key has a point between 0 and 100, the same in every process and on every host. Each
    version but the first has an interval that begins at a point of its own and grows at its end, so
    that it keeps the keys that it has; the first one takes what the others leave.
    """

    def __init__(
        self, qualified_name: str, shares: Sequence[Share], key: TrafficKey | None = None
    ) -> None:
        """Make it.

        Args:
            qualified_name: Lets the same keys be in the canaries of some models, not of all.
            shares: In the order of the configuration; their percents add up to 100.
            key: What says with which version a request stays; by default chance alone decides.
        """
        self.shares = tuple(shares)
        self.key = key or TrafficKey()
        self.observe: Observer | None = None
        """Called once for each prediction that a version of the split was asked for, if it is set.

        From many threads, on the way of the request: it has to be quick, and must not raise.
        """
        self.reasons: Mapping[str, str] = {}
        """Why versions were taken back; see `take_back`."""
        digest = blake2b(qualified_name.encode(), digest_size=8).digest()
        self._multiplier = int.from_bytes(digest, "big") % _PRIME
        self._intervals = _intervals([share.percent for share in shares])
        self._unfit: Mapping[str, str] = {}
        self._change_table()

    def __repr__(self) -> str:
        shares = ", ".join(f"{share.model.version}: {share.percent:g} %" for share in self.shares)
        return f"<Traffic {shares}>"

    @property
    def taken_back(self) -> frozenset[str]:
        """Versions that get no traffic any more."""
        return frozenset(self.reasons)

    def take_back(self, reasons: Mapping[str, str]) -> None:
        """Let these versions, and no others, have no traffic; the others share theirs.

        Keys of the others stay where they are. May be called at any time, by one thread.

        Args:
            reasons: Why, by the versions.
        """
        if reasons != self.reasons:
            self.reasons = dict(reasons)
            self._change_table()

    @property
    def unfit(self) -> Mapping[str, str]:
        """Versions that can get no traffic, and why; the others have theirs, by proportion.

        Known once the loading has ended: see `settle`.
        """
        return self._unfit

    def settle(self) -> None:
        """Leave out what failed to load, and what takes other input than the first version."""
        unfit: dict[str, str] = {}
        for share in self.shares:
            reason = _why_unfit(share, self.shares[0].model)
            if reason is not None:
                unfit[share.model.version or ""] = reason
        for version in unfit.keys() - self._unfit.keys():
            label = self.shares[0].model.label
            logger.warning("%s %s gets no traffic: %s", label, version, unfit[version])
        self._unfit = unfit
        self._change_table()

    def choose(self, key: bytes | None) -> HostedModel:
        """Return who takes a request: by its key, or by chance if it has none."""
        table = self._table
        if key is None:
            return table.owners[bisect_right(table.ends, random())]  # noqa: S311 (no secret)
        point = crc32(key) * self._multiplier % _PRIME
        return table.owners[bisect_right(table.points, point)]

    def percents(self) -> list[float]:
        """Return how much of the traffic each version gets now, in the order of `shares`."""
        starts, found = [0.0, *self._table.ends, 1.0], [0.0] * len(self.shares)
        places = {id(share.model): place for place, share in enumerate(self.shares)}
        for start, end, owner in zip(starts, starts[1:], self._table.owners, strict=False):
            found[places[id(owner)]] += (end - start) * 100
        return found

    def _change_table(self) -> None:
        self._table = self._make_table()
        for share, now in zip(self.shares, self.percents(), strict=True):
            share.model.instruments.traffic(share.percent, now)

    def _make_table(self) -> _Table:
        intervals = [*_shared_out(self._intervals, self._weights())]
        # Whatever lies behind the last end is the last one's: sums of floats need not be 100.
        ends = [interval.end for interval in intervals[:-1]]
        return _Table(
            [end / 100 for end in ends],
            [round(end / 100 * _PRIME) for end in ends],
            [self.shares[each.owner].model for each in intervals],
        )

    def _weights(self) -> list[float]:
        """Return the percents of those that still get traffic, 0 for the others."""
        closed = {*self.reasons, *self._unfit}
        is_open = [share.model.version not in closed for share in self.shares]
        if not any(is_open):
            is_open[0] = True
        weights = [
            share.percent if each else 0.0 for share, each in zip(self.shares, is_open, strict=True)
        ]
        if not any(weights):
            weights[is_open.index(True)] = 100.0
        return weights


def traffic_of(qualified_name: str, models: Sequence[HostedModel]) -> Traffic | None:
    """Return how the requests for a name are split among its versions.

    Args:
        qualified_name: The name.
        models: All its versions, in the order of the configuration.

    Returns:
        None if one of them takes all: the first, where the configuration says nothing of traffic.

    Raises:
        TrafficError: the configuration says of it what cannot be.
    """
    percents = shared_percents(qualified_name, [model.configuration for model in models])
    if percents is None:
        return None
    shares = [
        Share(model, percent)
        for model, percent in zip(models, percents, strict=True)
        if percent is not None
    ]
    keys = [model.configuration.traffic_key for model in models]
    if len(shares) < 2:
        return None
    key = TrafficKey(next(filter(None, keys), None), shares[0].model.maximum_values)
    return Traffic(qualified_name, shares, key)


def shared_percents(
    qualified_name: str, configurations: Sequence[ModelConfiguration]
) -> list[float | None] | None:
    """Return the percent that each version of a name gets, None for those that get no requests.

    Returns:
        None if the configuration says nothing of traffic.

    Raises:
        TrafficError: what it says cannot be.
    """
    _check_traffic_keys(qualified_name, configurations)
    _check_shadows(qualified_name, configurations)
    _check_trials(qualified_name, configurations)
    given = {
        place: each.traffic for place, each in enumerate(configurations) if each.traffic is not None
    }
    if not given:
        return None
    unsaid = [
        place
        for place, each in enumerate(configurations)
        if each.create_endpoint and not each.shadow and each.traffic is None
    ]
    left = _left(qualified_name, given, unsaid)
    found: list[float | None] = [given.get(place) for place in range(len(configurations))]
    for place in unsaid:
        found[place] = left
    return found


def _left(qualified_name: str, given: Mapping[int, float], unsaid: Sequence[int]) -> float:
    """Return what is left for the versions of which nothing is said."""
    last, total = max(given), sum(given.values())
    message = f'the traffic of the versions of "{qualified_name}" adds up to {total:g} %'
    left = 0.0 if abs(100 - total) < _ROUNDING_PERCENT else 100 - total
    if left < 0:
        hint = "Lower the traffic of one of them, so that all add up to 100."
        raise TrafficError(message, hint, version=last)
    if left and not unsaid:
        hint = "Raise the traffic of one of them, or leave it out for the one that takes the rest."
        raise TrafficError(message, hint, version=last)
    if left and len(unsaid) > 1:
        message = f"{message}, and {len(unsaid)} of them have none"
        hint = "Write the traffic of all of them but one, which takes the rest: 0 for none."
        raise TrafficError(message, hint, version=last)
    return left


def _check_traffic_keys(qualified_name: str, configurations: Sequence[ModelConfiguration]) -> None:
    keys = {each.traffic_key: place for place, each in enumerate(configurations)}
    keys.pop(None, None)
    if len(keys) > 1:
        message = f'the versions of "{qualified_name}" have {len(keys)} traffic keys'
        hint = "Write the same for each of them, or for one of them only."
        raise TrafficError(message, hint, version=max(keys.values()), key="traffic_key")
    for place, each in enumerate(configurations):
        if each.traffic is not None and not each.create_endpoint:
            message = "traffic does not go with create_endpoint: false"
            hint = "Remove one of the two: a model without an endpoint takes no requests."
            raise TrafficError(message, hint, version=place)


def _check_shadows(qualified_name: str, configurations: Sequence[ModelConfiguration]) -> None:
    for place, each in enumerate(configurations):
        if each.shadow and each.traffic is not None:
            message = "traffic does not go with shadow"
            hint = (
                "Remove one of the two: a shadow gets a copy of the traffic, and answers nothing."
            )
            raise TrafficError(message, hint, version=place)
        if each.tolerance is not None and not each.shadow:
            message = "tolerance goes with shadow: true only"
            raise TrafficError(message, "Remove it.", version=place, key="tolerance")
    if configurations[0].shadow:
        message = f'the first version of "{qualified_name}" is a shadow'
        hint = "Write the version that answers before its shadow."
        raise TrafficError(message, hint, version=0, key="shadow")


def schema_difference(model: HostedModel, first: HostedModel) -> str | None:
    """Return where the input of a version is not that of the first one; None where it is.

    Raises:
        ModelNotReady, DescriptionError: one of them does not tell its schemas, or cannot.
    """
    if model is first or model.configuration.allow_schema_change:
        return None
    one, other = (json_schema(each.schemas.input, "validation") for each in (model, first))
    found = difference(one, other)
    return None if found is None else f"it takes other input than version {first.version}: {found}"


def _why_unfit(share: Share, first: HostedModel) -> str | None:
    model = share.model
    if model.state is LoadState.FAILED:
        return "it failed to load"
    if not share.percent or not (model.is_described and first.is_described):
        return None
    return schema_difference(model, first)


def _check_trials(qualified_name: str, configurations: Sequence[ModelConfiguration]) -> None:
    on_trial = [place for place, each in enumerate(configurations) if each.abort is not None]
    if not on_trial:
        return
    if all(each.traffic is None for each in configurations):
        message = f'abort goes with traffic, and no version of "{qualified_name}" has that'
        hint = "Write how many percent of the requests the version gets, such as traffic: 5"
        raise TrafficError(message, hint, version=on_trial[0], key="abort")
    if all(each.abort is not None or each.shadow for each in configurations):
        message = f'all versions of "{qualified_name}" have abort'
        hint = "Remove it from the version with which the others are to be compared."
        raise TrafficError(message, hint, version=on_trial[0], key="abort")


def _intervals(percents: Sequence[float]) -> list[_Interval]:
    """Return who takes what part of the traffic: canaries from their beginnings on, as far as
    nobody before them has that part, and the first version what is left.
    """
    free = [(0.0, 100.0)]
    taken: list[tuple[float, float, int]] = []
    for owner, percent in enumerate(percents[1:], 1):
        parts, free = _take(free, _beginning(owner), percent)
        taken += [(*part, owner) for part in parts]
    taken += [(*part, 0) for part in free]
    return [_Interval(end, owner) for _, end, owner in sorted(taken)]


def _take(
    free: Sequence[tuple[float, float]], beginning: float, percent: float
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Take so much of what is free, from a beginning on and around; return it, and what is left."""
    halves = [
        part
        for start, end in free
        for part in ((start, min(end, beginning)), (max(start, beginning), end))
        if part[0] < part[1]
    ]
    halves.sort(key=lambda part: (part[0] < beginning, part))
    taken, left = [], []
    for start, end in halves:
        middle = min(end, start + percent)
        percent -= middle - start
        taken += [(start, middle)] if start < middle else []
        left += [(middle, end)] if middle < end else []
    return taken, left


def _beginning(canary: int) -> float:
    """Return where a canary begins: 0, 50, 25, 75, 12.5 and so on, as far apart as can be.

    So that neither another canary moves those before it, nor growing runs into the next one soon.
    """
    number, point, step = canary - 1, 0.0, 50.0
    while number:
        point += step * (number & 1)
        number, step = number >> 1, step / 2
    return point


def _shared_out(intervals: Iterable[_Interval], weights: Sequence[float]) -> Iterable[_Interval]:
    """Yield the intervals, those of whom has no weight shared out among the others."""
    total, start = sum(weights), 0.0
    for end, owner in intervals:
        if weights[owner]:
            yield _Interval(end, owner)
        else:
            ends = [start + (end - start) * part / total for part in accumulate(weights)]
            parts = [_Interval(*each) for each in zip(ends, range(len(weights)), strict=True)]
            yield from [part for part in parts if weights[part.owner]]
        start = end

"""Whether a version is worse than the others: when that is found out, and how often wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from statistics import median
from typing import NamedTuple

import pytest

from models_api.configuration.sections import AbortConfiguration
from models_api.hosting.canary import Evidence, reason_to_abort, slowness

DEFAULT = AbortConfiguration()
ENOUGH = 500
"""Requests of its own after which a version that is much worse is to be out."""


class RollOut(NamedTuple):
    """How a version and the others are, and how much of the traffic it gets."""

    share: float
    error_rate: float = 0.01
    more_errors: float = 0.0
    slower: float = 1.0
    spread: float = 0.5
    """Of the logarithm of latencies."""

    def requests_until_aborted(
        self, chance: Random, at_most: int, abort: AbortConfiguration = DEFAULT
    ) -> int | None:
        """Return how many requests the version got before it was taken back, if it was."""
        for number, (evidence, others) in enumerate(self._evidence(chance, abort), 1):
            if number % 10 == 0 and reason_to_abort(evidence, others, abort) is not None:
                return number
            if number == at_most:
                break
        return None

    def _evidence(
        self, chance: Random, abort: AbortConfiguration
    ) -> Iterator[tuple[Evidence, Evidence]]:
        of_version, of_others = Evidence(), Evidence()
        window: list[float] = []
        while True:
            seconds, is_of_version = chance.lognormvariate(0, self.spread), False
            if chance.random() < self.share:
                is_of_version = True
                seconds *= self.slower
            rate = self.error_rate + self.more_errors * is_of_version
            noted = Evidence(1, chance.random() < rate)
            if not is_of_version:
                of_others += noted
                window.append(seconds)
                continue
            if window and abort.max_latency_ratio is not None:
                winnings = slowness(seconds, window[-32:], abort.max_latency_ratio)
                noted, window = noted._replace(winnings=winnings), []
            of_version += noted
            yield of_version, of_others


@pytest.mark.parametrize(
    "roll_out",
    [
        RollOut(share=0.05, more_errors=0.05),
        RollOut(share=0.2, more_errors=0.05),
        RollOut(share=0.5, more_errors=0.05, error_rate=0.005),
        RollOut(share=0.05, slower=2.0),
        RollOut(share=0.2, slower=2.0, spread=1.0),
        RollOut(share=0.5, slower=2.0),
    ],
    ids=str,
)
def test_a_version_that_is_much_worse_is_out_soon(roll_out: RollOut) -> None:
    chance = Random(7)  # noqa: S311 (no secret)
    found = [roll_out.requests_until_aborted(chance, 2 * ENOUGH) for _ in range(9)]
    assert median(number or 10 * ENOUGH for number in found) <= ENOUGH, found


@pytest.mark.long
@pytest.mark.parametrize("error_rate", [0.01, 0.2])
def test_a_version_that_is_no_worse_stays_in_99_of_100_roll_outs(error_rate: float) -> None:
    chance = Random(11)  # noqa: S311 (no secret)
    roll_out = RollOut(share=0.2, error_rate=error_rate)
    strict = AbortConfiguration(max_error_ratio=1, max_latency_ratio=1)
    found = [roll_out.requests_until_aborted(chance, ENOUGH, strict) for _ in range(1000)]
    assert sum(number is not None for number in found) < 10


def test_nothing_is_decided_before_there_are_enough_requests() -> None:
    bad, others = Evidence(49, 49), Evidence(1000, 0)
    assert reason_to_abort(bad, others, DEFAULT) is None
    assert reason_to_abort(bad + Evidence(1, 1), others, DEFAULT) == (
        "50 of its 50 predictions failed, and 0 of 1000 of the others"
    )


def test_what_may_differ_in_any_way_is_not_looked_at() -> None:
    any_errors = AbortConfiguration(max_error_ratio=None)
    assert reason_to_abort(Evidence(100, 100), Evidence(1000), any_errors) is None
    winnings = tuple(100 * each for each in slowness(9.0, [1.0], 2.0))
    slow = Evidence(100, 0, winnings)
    assert reason_to_abort(slow, Evidence(1000), AbortConfiguration(max_latency_ratio=2.0)) == (
        "it is more than 2 times as slow as the others"
    )
    any_latency = AbortConfiguration(max_latency_ratio=None)
    assert reason_to_abort(slow, Evidence(1000), any_latency) is None


def test_a_version_that_is_as_slow_as_its_ratio_allows_wins_no_bet() -> None:
    assert all(each == 0 for each in slowness(2.0, [1.0, 1.0], 2.0))
    assert all(each < 0 for each in slowness(1.9, [1.0, 1.0], 2.0))
    assert all(each > 0 for each in slowness(2.1, [1.0, 1.0], 2.0))


def test_without_others_to_compare_with_nothing_is_decided() -> None:
    assert reason_to_abort(Evidence(1000, 1000), Evidence(), DEFAULT) is None

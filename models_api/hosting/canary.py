"""Whether a version is worse than the others: a sequential test of its errors and its latency.

Both halves are tests by betting, which may be looked at as often as one likes: the wealth of a bet
that wins nothing on average where the version is as good as the others exceeds `1 / level` with a
probability of at most `level`, at whatever moment (Ville's inequality; see Ramdas, Gruenwald, Vovk
and Shafer, "Game-Theoretic Statistics and Safe Anytime-Valid Inference", 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from models_api.configuration.sections import AbortConfiguration

LEVEL = 0.005
"""Probability of a false alarm of each half, over the whole life of a version."""
_ENOUGH = math.log(1 / LEVEL)
_FACTORS = (1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 1000.0)
"""So many times the errors that are allowed are betted on, each with an equal part of the money."""
STAKES = (0.15, 0.3, 0.6, 0.95)
"""Parts of the money that are staked on the next request being slow, likewise."""


class Evidence(NamedTuple):
    """What the requests of one version show. Those of several workers add up."""

    requests: float = 0
    errors: float = 0
    winnings: tuple[float, ...] = (0.0,) * len(STAKES)
    """Logarithm of what has become of one unit of money, for each of the stakes."""

    def __add__(self, other: tuple[object, ...]) -> Evidence:
        """Return both together."""
        if not isinstance(other, Evidence):
            return NotImplemented
        winnings = [a + b for a, b in zip(self.winnings, other.winnings, strict=True)]
        return Evidence(self.requests + other.requests, self.errors + other.errors, tuple(winnings))


def slowness(seconds: float, others: Sequence[float], ratio: float) -> tuple[float, ...]:
    """Return what one request adds to the winnings.

    Which of the requests at the same time were faster, even if they had taken `ratio` times as
    long, is a rank; where the version is not slower than that, the rank is on average one half.

    Args:
        seconds: How long it took.
        others: How long some requests of the other versions took, which no other request of the
            version is compared with; at least one.
        ratio: How many times as long it may take.
    """
    faster = sum((ratio * each < seconds) + (ratio * each == seconds) / 2 for each in others)
    odds = 2 * faster / len(others) - 1
    return tuple([math.log1p(stake * odds) for stake in STAKES])


def has_more_errors(canary: Evidence, others: Evidence, ratio: float) -> bool:
    """Return whether a version errs more than `ratio` times as often as the others.

    Of all errors, each is the version's with a probability that the numbers of requests tell,
    however the errors come and go with time (Lindon and Malek, "Anytime-Valid Inference for
    Multinomial Count Data", 2022).
    """
    if not canary.errors or not others.requests:
        return False
    bets = []
    for factor in _FACTORS:
        allowed, alternative = (
            of * canary.requests / (of * canary.requests + others.requests)
            for of in (ratio, ratio * factor)
        )
        bets.append(
            canary.errors * math.log(alternative / allowed)
            + others.errors * math.log((1 - alternative) / (1 - allowed))
        )
    return _wealth(bets) > _ENOUGH


def is_slower(canary: Evidence) -> bool:
    """Return whether the version is slower than its ratio allows."""
    return _wealth(canary.winnings) > _ENOUGH


def _wealth(logarithms: Sequence[float]) -> float:
    """Return the logarithm of the mean."""
    most = max(logarithms)
    return most + math.log(sum(math.exp(each - most) for each in logarithms) / len(logarithms))


def reason_to_abort(canary: Evidence, others: Evidence, abort: AbortConfiguration) -> str | None:
    """Return in a few words why a version should get no requests any more; None if it should."""
    if canary.requests < abort.min_requests:
        return None
    if abort.max_error_ratio is not None and has_more_errors(canary, others, abort.max_error_ratio):
        return (
            f"{canary.errors:.0f} of its {canary.requests:.0f} predictions failed, and"
            f" {others.errors:.0f} of {others.requests:.0f} of the others"
        )
    if abort.max_latency_ratio is not None and is_slower(canary):
        return f"it is more than {abort.max_latency_ratio:g} times as slow as the others"
    return None

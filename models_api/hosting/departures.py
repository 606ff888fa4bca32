"""Models that are hosted no more: what they hold is given back once their last request has ended.

Whoever predicts with a model holds it, so that it is Python's count of its references that says
when that is; nothing is counted on the way of a request.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence

from models_api.hosting.hosted_model import HostedModel, Remains
from models_api.logs import SafeLogger
from models_api.prediction.limiter import WorkerLimiter

logger = SafeLogger(__name__)

_LONGEST_SECONDS = 60.0
"""For which a model may be held by what is no request."""
_SECONDS_TO_COLLECT = 5.0
"""Between two searches for circles that hold a model: each stops this process for a moment."""


class Departures:
    """Gives back what models held that have left. For one thread."""

    def __init__(self, limiter: WorkerLimiter) -> None:
        self._limiter = limiter
        self._remains: list[Remains] = []
        self._began = self._collected = 0.0

    def __bool__(self) -> bool:
        return bool(self._remains)

    def add(self, models: Sequence[HostedModel]) -> None:
        """Let models go that no request will find any more."""
        self._remains += [model.retire() for model in models]
        self._began, self._collected = time.monotonic(), 0.0

    def settle(self) -> None:
        """Give back what is left of models whose requests have ended; returns at once."""
        if not self._remains:
            return
        now = time.monotonic()
        if now - self._collected > _SECONDS_TO_COLLECT and any(map(_is_idle, self._remains)):
            self._collected = now
            _collect(self._remains)
        is_late = now - self._began > _LONGEST_SECONDS
        done = [each for each in self._remains if not each.is_held or (is_late and _is_idle(each))]
        self._remains = [each for each in self._remains if each not in done]
        for each in done:
            self._give_back(each)

    def _give_back(self, remains: Remains) -> None:
        for limiter in remains.limiters:
            self._limiter.remove_model(limiter)
        remains.leaving.close()
        if remains.is_held:
            logger.warning(
                "%s has no request any more, but something holds it, and its memory", remains.label
            )
        elif remains.backend is not None:
            logger.info("Unloaded %s", remains.label)


def _is_idle(remains: Remains) -> bool:
    return not any(limiter.in_hand for limiter in remains.limiters)


def _collect(remains: Sequence[Remains]) -> None:
    """Free what nothing but circles holds."""
    gc.collect()
    instances = [each.instance for each in remains if not each.is_held]
    if any(instance is not None and instance() is not None for instance in instances):
        # It is from before the start, which is hidden from the collector.
        gc.unfreeze()
        gc.collect()
        gc.freeze()

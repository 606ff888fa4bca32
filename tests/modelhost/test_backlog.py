"""When a prediction is too much: a worker on a clock of its own, and clients who ask it."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator

import pytest

from modelhost.backlog import Backlog

THREADS = 16


class Worker:
    """Predicts for so many at once, so many seconds each; who comes first is served first."""

    def __init__(self, at_once: int, seconds: float, maximum: int = 0) -> None:
        self.seconds = seconds
        self._at_once = at_once
        self._free = [0.0] * at_once
        self._ends: list[float] = []
        self.clients = 10_000
        self._backlog = Backlog(
            THREADS, maximum, running=self._running, clients=lambda: self.clients
        )

    @property
    def capacity(self) -> float:
        """Predictions a second."""
        return self._at_once / self.seconds

    def ask(self, now: float) -> float | None:
        """Return when the prediction ends, or None if it is refused."""
        while self._ends and self._ends[0] <= now:
            self._backlog.end(heapq.heappop(self._ends))
        if not self._backlog.take(now):
            return None
        end = max(now, heapq.heappop(self._free)) + self.seconds
        heapq.heappush(self._free, end)
        heapq.heappush(self._ends, end)
        return end

    def is_held_up(self, now: float, seconds: float) -> None:
        """Do nothing for some seconds."""
        self._free = [max(now, free) + seconds for free in self._free]
        self._ends = [end + seconds for end in self._ends]

    def _running(self) -> int:
        return min(len(self._ends), THREADS, self._at_once)


def moments(rate: float, seconds: float) -> Iterator[float]:
    """Follow chance, as those of many clients do."""
    chance = random.Random(7)  # noqa: S311
    now = chance.expovariate(rate)
    while now < seconds:
        yield now
        now += chance.expovariate(rate)


def under_load(worker: Worker, multiple: float, percent: float = 99) -> tuple[float, float]:
    """Return a percentile of the seconds of those taken in a minute, and their rate."""
    taken = []
    for now in moments(multiple * worker.capacity, 60):
        end = worker.ask(now)
        if end is not None:
            taken.append(end - now)
    taken.sort()
    return taken[math.ceil(len(taken) * percent / 100) - 1], len(taken) / 60


def refusals(
    worker: Worker, clients: int, seconds: float, held_up: float = 0, begin: float = 0
) -> int:
    """Count those of clients who ask again as soon as they have an answer."""
    asks = [begin] * clients
    refused = 0
    worker.clients = clients
    while (now := heapq.heappop(asks)) < seconds:
        end = worker.ask(now)
        refused += end is None
        heapq.heappush(asks, now + 0.001 if end is None else end)
        if held_up and now > seconds / 2:
            worker.is_held_up(now, held_up)
            asks = [ask + held_up for ask in asks]
            held_up = 0
    return refused


# At ten times the capacity more comes until the overload is seen.
@pytest.mark.parametrize(("multiple", "percent"), [(2, 99), (10, 95)])
@pytest.mark.parametrize(("at_once", "seconds"), [(1, 0.01), (2, 0.02), (2, 0.1), (16, 0.1)])
def test_who_is_taken_under_overload_is_answered_about_as_soon_as_without(
    at_once: int, seconds: float, multiple: float, percent: float
) -> None:
    usual, _ = under_load(Worker(at_once, seconds), 0.8, 99)
    percentile, rate = under_load(Worker(at_once, seconds), multiple, percent)
    assert percentile < 3 * usual
    assert rate == pytest.approx(Worker(at_once, seconds).capacity, rel=0.03)


@pytest.mark.parametrize(("at_once", "seconds"), [(1, 0.01), (2, 0.02), (2, 0.1), (16, 0.1)])
def test_below_the_capacity_nothing_is_refused(at_once: int, seconds: float) -> None:
    worker = Worker(at_once, seconds)
    _, rate = under_load(worker, 0.8)
    assert rate == len(list(moments(0.8 * worker.capacity, 60))) / 60


@pytest.mark.parametrize("clients", [64, 256])
@pytest.mark.parametrize("held_up", [0, 0.5])
def test_clients_of_a_fast_model_are_not_refused_however_many_they_are(
    clients: int, held_up: float
) -> None:
    assert refusals(Worker(1, 0.0002), clients, 2, held_up) == 0


def test_two_clients_for_each_thread_are_not_refused_however_slow_the_model_is() -> None:
    assert refusals(Worker(2, 1), 2 * THREADS, 300) == 0


def test_a_burst_is_taken_again_soon_after_an_overload() -> None:
    worker = Worker(1, 0.01)
    under_load(worker, 10)
    later = 60 + 2
    assert all(worker.ask(later) for _ in range(40))


def test_an_overload_ends_when_few_clients_are_left_even_if_they_ask_at_once_again() -> None:
    worker = Worker(2, 0.02)
    under_load(worker, 2)
    assert refusals(worker, 20, 61, begin=60) < 100
    assert refusals(worker, 20, 63, begin=62) == 0
    worker.clients = 10_000
    overloaded_again = [worker.ask(64 + ask / 1000) for ask in range(2000)]
    assert overloaded_again.count(None) > 1500


def test_predictions_that_do_not_end_are_soon_too_many() -> None:
    worker = Worker(THREADS, 30)
    taken = [worker.ask(ask / 100) is not None for ask in range(1000)]
    # Until a tenth of a second after what would be a wait of a quarter.
    assert sum(taken) < 50
    assert not any(taken[60:])


def test_a_maximum_holds_whatever_the_wait() -> None:
    worker = Worker(1, 0.0001, maximum=5)
    assert [worker.ask(1) is not None for _ in range(7)] == [True] * 5 + [False] * 2
    slow = Worker(1, 1000, maximum=50)
    assert all(slow.ask(ask) for ask in range(50))
    assert slow.ask(50) is None

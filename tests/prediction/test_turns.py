"""Predictions that wait for their turn, or need not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from models_api.prediction import turns
from models_api.prediction.turns import Turns


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes whoever looks find that it was woken up late, as among threads that compute."""
    monkeypatch.setattr(turns, "_LATE_SECONDS", -60)


def test_predictions_that_wait_for_something_all_run_at_once(threads: ThreadPoolExecutor) -> None:
    some_turns, all_are_there = Turns(), threading.Barrier(16)

    def predict() -> None:
        with some_turns:
            all_are_there.wait(60)

    for future in [threads.submit(predict) for _ in range(16)]:
        future.result(60)


@pytest.mark.usefixtures("busy")
def test_predictions_that_compute_run_few_at_a_time_and_each_gets_its_turn(
    threads: ThreadPoolExecutor,
) -> None:
    some_turns, lock = Turns(), threading.Lock()
    running = most = 0

    def predict(_: int) -> int:
        nonlocal running, most
        with some_turns:
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.0001)
            with lock:
                running -= 1
        return 1

    assert sum(threads.map(predict, range(800))) == 800
    assert 1 <= most <= 2
    assert (some_turns._running, len(some_turns._queue)) == (0, 0)


@pytest.mark.usefixtures("busy")
def test_the_first_in_the_queue_is_told_of_an_end(threads: ThreadPoolExecutor) -> None:
    some_turns, ends = Turns(), [threading.Event() for _ in range(3)]
    begun: list[int] = []

    def predict(number: int) -> None:
        with some_turns:
            begun.append(number)
            assert ends[number].wait(60)

    futures: list[Future[None]] = []
    for number in range(3):
        futures.append(threads.submit(predict, number))
        while len(begun) < min(2, number + 1) or (number == 2 and not some_turns._queue):
            time.sleep(0.001)
    assert begun == [0, 1]
    ends[1].set()
    while len(begun) < 3:
        time.sleep(0.001)
    for end in ends:
        end.set()
    for future in futures:
        future.result(60)


def test_a_prediction_that_fails_gives_its_turn_back(threads: ThreadPoolExecutor) -> None:
    some_turns = Turns()

    def predict() -> None:
        with some_turns:
            raise ValueError("bad")

    for future in [threads.submit(predict) for _ in range(50)]:
        with pytest.raises(ValueError, match="bad"):
            future.result(60)
    assert (some_turns._running, len(some_turns._queue)) == (0, 0)


def test_whatever_comes_none_is_forgotten(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sometimes in time, sometimes not.
    monkeypatch.setattr(turns, "_LATE_SECONDS", 0.0002)
    some_turns = Turns()

    def predict(number: int) -> None:
        with some_turns:
            if number % 3 == 0:
                time.sleep(0.0005)

    for _ in threads.map(predict, range(1500)):
        pass
    assert (some_turns._running, len(some_turns._queue)) == (0, 0)

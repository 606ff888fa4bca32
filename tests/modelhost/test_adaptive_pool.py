"""How many threads work at a time, on jobs that compute, wait, or are done together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from modelhost.adaptive_pool import AdaptivePool, Demand

MANY = 5000


def test_jobs_are_done_in_their_order() -> None:
    done: list[int] = []
    end = threading.Event()
    pool = AdaptivePool(1)
    for number in range(100):
        pool.submit(done.append, number)
    pool.submit(lambda _: end.set(), None)
    pool.wake()
    assert end.wait(60)
    assert done == list(range(100))
    assert not pool.is_behind


def test_jobs_that_wait_for_something_are_done_side_by_side() -> None:
    pool = AdaptivePool(8)
    pool._demand.threads = 2
    together = threading.Barrier(9, timeout=60)
    for _ in range(8):
        pool.submit(lambda _: together.wait(), None)
    pool.wake()
    look_until(pool, lambda: not pool.is_behind)
    together.wait()


def test_no_more_threads_are_started_than_allowed() -> None:
    pool = AdaptivePool(3)
    names: set[int] = set()
    end = threading.Event()

    def note(_: object) -> None:
        names.add(threading.get_ident())
        end.wait(60)

    for _ in range(10):
        pool.submit(note, None)
    pool.wake()
    for _ in range(20):
        pool.look()
    look_until(pool, lambda: len(names) == 3)
    assert pool.is_behind
    end.set()
    look_until(pool, lambda: not pool.is_behind)
    assert len(names) == 3


def test_a_thread_that_had_nothing_to_do_takes_the_next_job() -> None:
    pool = AdaptivePool(2)
    for _ in range(50):
        end = threading.Event()
        pool.submit(lambda _, end=end: end.set(), None)  # type: ignore[misc]
        pool.wake()
        assert end.wait(60)


def test_a_job_waits_until_the_system_has_room_for_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    end = threading.Event()
    pool = AdaptivePool(2)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", start)
        pool.submit(lambda _: end.set(), None)
        pool.wake()
        pool.look()
    assert (pool.is_behind, pool.at_work) == (True, 0)
    look_until(pool, end.is_set)


def test_nothing_begins_before_the_threads_are_woken() -> None:
    end = threading.Event()
    pool = AdaptivePool(2)
    pool.submit(lambda _: end.set(), None)
    assert not end.wait(0.05)
    assert (pool.is_behind, pool.at_work) == (True, 0)
    pool.wake()
    assert end.wait(60)


def test_a_wait_ends_once_the_last_job_has_a_thread() -> None:
    for _ in range(10):
        pool = AdaptivePool(1)
        for _ in range(10):
            pool.submit(lambda _: time.sleep(0.005), None)
        pool.wake()
        begun = time.monotonic()
        pool.wait_until_taken(60)
        assert not pool.is_behind
        assert time.monotonic() < begun + 30


def test_nobody_waits_for_longer_than_asked_or_for_nothing() -> None:
    pool = AdaptivePool(1)
    pool.wait_until_taken(60)
    end = threading.Event()
    for _ in range(2):
        pool.submit(lambda _: end.wait(60), None)
    pool.wake()
    pool.wait_until_taken(0.001)
    assert pool.is_behind
    end.set()


def test_all_threads_are_wanted_before_anything_is_known() -> None:
    assert Demand(16).threads == 16


def test_few_threads_are_wanted_for_jobs_that_only_compute() -> None:
    demand = Demand(16)
    for _ in range(MANY):
        # Each has the interpreter for its share of the time.
        demand.learn(0.001 * demand.threads, 0.001, False)
    assert demand.threads == 2


def test_what_jobs_that_compute_wait_for_a_main_loop_wants_no_more_threads() -> None:
    demand = Demand(16)
    for _ in range(MANY):
        demand.learn(0.0012 * demand.threads, 0.001, False)
    assert demand.threads == 2
    demand.want_more()
    for _ in range(MANY):
        demand.learn(0.0012 * demand.threads, 0.001, False)
    assert demand.threads == 2


def test_some_threads_are_wanted_for_jobs_that_wait_for_something_else_part_of_the_time() -> None:
    demand = Demand(16)
    # Of two milliseconds of waiting and one of computing, by mean value analysis.
    seconds = {2: 0.00333, 3: 0.0038, 4: 0.00442}
    for _ in range(MANY):
        demand.learn(seconds.get(demand.threads, 0.001 * demand.threads), 0.001, False)
    assert demand.threads == 3


def test_many_threads_are_wanted_for_jobs_that_wait_for_something_else() -> None:
    demand = Demand(16)
    demand.threads = 2
    for _ in range(MANY):
        demand.learn(0.1, 0.001, False)
    assert demand.threads == 16


def test_many_threads_are_wanted_for_jobs_that_are_done_together() -> None:
    demand = Demand(16)
    for _ in range(MANY):
        demand.learn(0.001, 0.001, True)
    assert demand.threads == 16


def test_one_thread_stays_one() -> None:
    demand = Demand(1)
    demand.learn(0.001, 0.001, False)
    demand.want_more()
    assert demand.threads == 1


def look_until(pool: AdaptivePool, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        pool.look()
        time.sleep(0.001)

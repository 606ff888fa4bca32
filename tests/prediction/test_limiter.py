"""Predictions in hand: counted, bounded by model and by process, and refused above the bounds."""

from __future__ import annotations

import gc
import multiprocessing
import random
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import DeadlineExceeded, Overloaded
from models_api.prediction.instruments import Instruments
from models_api.prediction.limiter import (
    GUARANTEED_PLACES,
    Bounds,
    ConcurrencyLimiter,
    Slot,
    WorkerLimiter,
)
from models_api.prediction.request_context import RequestContext, current_request

BUSY = "The service is busy with other predictions already."
WIDE = Bounds(max_concurrency=10_000, max_queue_size=0)


def limiter_of(
    bounds: Bounds, *, places: int | None = None, instruments: Instruments | None = None
) -> ConcurrencyLimiter:
    """Make the limiter of the only model of a process."""
    return WorkerLimiter(places).add_model("iris", bounds, instruments or Instruments())


def limiters_of(places: int | None, models: int) -> list[ConcurrencyLimiter]:
    """Make those of models that the process alone bounds."""
    worker = WorkerLimiter(places)
    return [worker.add_model(f"model-{number}", WIDE, Instruments()) for number in range(models)]


def take_all(limiter: ConcurrencyLimiter) -> list[Slot]:
    """Take places until one is refused."""
    slots: list[Slot] = []
    with suppress(Overloaded):
        while len(slots) < 1000:
            slots.append(limiter.acquire())
    return slots


def release_all(slots: list[Slot]) -> None:
    for slot in slots:
        slot.release()


def assert_idle(worker: WorkerLimiter, *limiters: ConcurrencyLimiter) -> None:
    assert (worker.slots, worker._in_hand) == (set(), 0)
    assert worker._unused == worker._guaranteed * len(worker._models)
    for limiter in limiters:
        assert (limiter.in_hand, limiter._running, len(limiter._waiting)) == (0, 0, 0)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Caller(threading.Thread):
    """Asks for a slot in a thread of its own, and keeps what it gets."""

    def __init__(
        self, limiter: ConcurrencyLimiter, name: str = "", context: RequestContext | None = None
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._limiter, self._context = limiter, context
        self.outcome: Any = None
        self.seconds = 0.0

    def run(self) -> None:
        current_request.set(self._context)
        began = time.monotonic()
        try:
            self.outcome = self._limiter.acquire()
        except Exception as error:  # noqa: BLE001 (whatever comes is the outcome)
            self.outcome = error
        self.seconds = time.monotonic() - began


def _has_queued(limiter: ConcurrencyLimiter, requests: int) -> bool:
    return len(limiter._waiting) >= requests


def queue_up(limiter: ConcurrencyLimiter, *names: str) -> list[Caller]:
    callers = []
    for name in names:
        before = len(limiter._waiting)
        caller = Caller(limiter, name)
        caller.start()
        wait_until(partial(_has_queued, limiter, before + 1))
        callers.append(caller)
    return callers


# The places of a process


@pytest.mark.parametrize(
    ("places", "models", "first", "others"),
    [
        (60, 1, 60, []),
        (60, 2, 56, [4]),
        (60, 5, 44, [4] * 4),
        (60, 10, 33, [3] * 9),
        (60, 30, 31, [1] * 29),
        # More models than half of the places: half is left to those that have none yet.
        (60, 100, 30, [1] * 30 + [0] * 69),
        (28, 1, 28, []),
        (28, 2, 24, [4]),
        (28, 5, 20, [2] * 4),
        (12, 5, 8, [1] * 4),
        (12, 100, 6, [1] * 6 + [0] * 93),
        (3, 2, 2, [1]),
        (2, 1, 2, []),
        (2, 2, 1, [1]),
        (1, 1, 1, []),
        (1, 2, 1, [0]),
    ],
)
def test_each_model_has_places_that_no_other_takes_and_one_may_take_the_rest(
    places: int, models: int, first: int, others: list[int]
) -> None:
    greedy, *rest = limiters_of(places, models)
    taken = take_all(greedy)
    assert len(taken) == first
    found = [take_all(each) for each in rest]
    assert [len(slots) for slots in found] == others
    release_all([*taken, *(slot for slots in found for slot in slots)])
    assert_idle(greedy._worker, greedy, *rest)


def test_what_is_refused_for_the_sake_of_others_says_that_the_service_is_busy() -> None:
    greedy, _ = limiters_of(20, 2)
    take_all(greedy)
    with pytest.raises(Overloaded) as refused:
        greedy.acquire()
    assert str(refused.value) == BUSY
    assert refused.value.retry_after_seconds == 1


def test_a_place_that_ends_is_free_at_once() -> None:
    one, other = limiters_of(20, 2)
    slots = take_all(one)
    slots.pop().release()
    slots.append(one.acquire())
    with pytest.raises(Overloaded):
        one.acquire()
    guaranteed = take_all(other)
    assert len(guaranteed) == GUARANTEED_PLACES
    release_all([*slots, *guaranteed])
    assert_idle(one._worker, one, other)


def test_shared_places_go_to_whoever_comes_first() -> None:
    one, other = limiters_of(20, 2)
    found = take_all(one)[:10]
    assert len(found) == 10
    assert len(one._worker.slots) == 16
    release_all(list(one._worker.slots)[:6])
    assert len(take_all(other)) == 10


def test_without_places_nothing_is_refused() -> None:
    one, other = limiters_of(None, 2)
    slots = [limiter.acquire() for limiter in (one, other) * 500]
    assert len(one._worker.slots) == 1000
    release_all(slots)
    assert_idle(one._worker, one, other)


@pytest.mark.parametrize(
    ("threads", "places"),
    [(1, None), (2, 2), (3, 3), (4, 3), (8, 6), (12, 9), (16, 12), (32, 28), (64, 60), (256, 252)],
)
def test_a_worker_keeps_a_few_threads_for_all_that_is_no_prediction(
    threads: int, places: int | None
) -> None:
    (limiter,) = limiters_of(None, 1)
    limiter._worker.use_threads(threads)
    assert limiter._worker.places == places
    assert len(take_all(limiter)) == (1000 if places is None else places)


def test_fewer_places_hold_once_predictions_have_ended() -> None:
    one, other = limiters_of(40, 2)
    slots = [one.acquire() for _ in range(30)]
    one._worker.resize(10)
    with pytest.raises(Overloaded):
        one.acquire()
    release_all(slots[:20])
    with pytest.raises(Overloaded):
        other.acquire()
    release_all(slots[20:])
    assert (len(take_all(one)), len(take_all(other))) == (8, 2)


@pytest.mark.parametrize("places", [30, None])
def test_more_places_are_there_at_once(places: int | None) -> None:
    (limiter,) = limiters_of(2, 1)
    slots = take_all(limiter)
    limiter._worker.resize(places)
    slots += take_all(limiter)
    assert len(slots) == (30 if places else 1002)
    release_all(slots)
    assert_idle(limiter._worker, limiter)


def test_a_model_that_comes_later_has_its_places_too() -> None:
    (first,) = limiters_of(20, 1)
    slots = [first.acquire() for _ in range(10)]
    later = first._worker.add_model("later", WIDE, Instruments())
    slots += take_all(first)
    assert len(slots) == 16
    slots += take_all(later)
    assert len(slots) == 20
    release_all(slots)
    assert_idle(first._worker, first, later)


# Those of a model


@pytest.mark.parametrize(
    ("keys", "bounds"),
    [
        ({}, Bounds(4, 8, None)),
        ({"timeout_seconds": 2.5}, Bounds(4, 8, 2.5)),
        ({"concurrency": {"max_concurrency": 3}}, Bounds(3, 6)),
        ({"concurrency": {"max_queue_size": 7}}, Bounds(4, 7)),
        ({"concurrency": {"max_concurrency": 3, "max_queue_size": 0}}, Bounds(3, 0)),
        ({"batching": {"max_batch_size": 8}}, Bounds(8, 1024, is_batched=True)),
        (
            {"batching": {"max_batch_size": 8, "max_queue_size": 5}},
            Bounds(8, 5, is_batched=True),
        ),
        (
            {"batching": {"max_batch_size": 8}, "concurrency": {"max_concurrency": 2}},
            Bounds(2, 1024, is_batched=True),
        ),
        (
            {"batching": {"max_batch_size": 8}, "concurrency": {"max_queue_size": 0}},
            Bounds(8, 0, is_batched=True),
        ),
    ],
)
def test_the_bounds_are_those_of_the_configuration(keys: dict[str, Any], bounds: Bounds) -> None:
    assert Bounds.of(ModelConfiguration(class_path="a.B", **keys)) == bounds
    assert bounds.in_hand == bounds.max_concurrency + bounds.max_queue_size


@pytest.mark.parametrize("queue", [0, 1, 3])
def test_what_is_above_its_queue_is_refused_at_once(queue: int) -> None:
    limiter = limiter_of(Bounds(2, queue, timeout_seconds=60))
    slots = [limiter.acquire(), limiter.acquire()]
    callers = queue_up(limiter, *"abc"[:queue])
    began = time.monotonic()
    with pytest.raises(Overloaded) as refused:
        limiter.acquire()
    assert time.monotonic() - began < 1
    assert str(refused.value) == (
        f"The model is busy, and {queue} requests are waiting for it already."
    )
    assert refused.value.retry_after_seconds == 1
    for caller in callers:
        slots.pop(0).release()
        caller.join(30)
        slots.append(caller.outcome)
    release_all(slots)
    assert_idle(limiter._worker, limiter)


def test_those_that_wait_run_in_the_order_in_which_they_came() -> None:
    limiter = limiter_of(Bounds(2, 9))
    running = [limiter.acquire(), limiter.acquire()]
    callers = queue_up(limiter, *"abcdef")
    for caller in callers:
        running.pop(0).release()
        caller.join(30)
        assert isinstance(caller.outcome, Slot)
        running.append(caller.outcome)
        left = [each for each in callers if each.outcome is None]
        assert left == callers[callers.index(caller) + 1 :]
    release_all(running)
    assert_idle(limiter._worker, limiter)


def test_nobody_overtakes_those_that_wait() -> None:
    limiter = limiter_of(Bounds(1, 5))
    running = limiter.acquire()
    (first,) = queue_up(limiter, "first")
    running.release()
    (second,) = queue_up(limiter, "second")
    first.join(30)
    assert isinstance(first.outcome, Slot)
    assert not isinstance(second.outcome, Slot)
    first.outcome.release()
    second.join(30)
    second.outcome.release()
    assert_idle(limiter._worker, limiter)


def test_rows_of_a_model_with_batching_wait_in_the_batcher_and_count_all_the_same() -> None:
    limiter = limiter_of(Bounds(2, 3, is_batched=True))
    slots = take_all(limiter)
    assert len(slots) == 5
    with pytest.raises(Overloaded, match="busy, and 3 requests are waiting for it already"):
        limiter.acquire()
    release_all(slots)
    assert_idle(limiter._worker, limiter)


def test_those_that_wait_have_a_place_of_the_process() -> None:
    worker = WorkerLimiter(3)
    one = worker.add_model("one", Bounds(1, 10), Instruments())
    slot = one.acquire()
    callers = queue_up(one, "a", "b")
    with pytest.raises(Overloaded, match=BUSY):
        one.acquire()
    for caller in callers:
        slot.release()
        caller.join(30)
        slot = caller.outcome
    slot.release()
    assert_idle(worker, one)


# Deadlines


def came(seconds_ago: float) -> RequestContext:
    context = RequestContext("id")
    context.received = time.monotonic() - seconds_ago
    return context


@pytest.mark.parametrize(
    ("seconds_ago", "least"), [(None, 0.2), (-0.1, 0.25), (0.05, 0.1), (1, 0), (1e9, 0)]
)
def test_a_request_waits_until_its_timeout_after_it_came(
    seconds_ago: float | None, least: float
) -> None:
    limiter = limiter_of(Bounds(1, 5, timeout_seconds=0.2))
    context = None if seconds_ago is None else came(seconds_ago)
    slot = limiter.acquire()
    caller = Caller(limiter, context=context)
    caller.start()
    caller.join(30)
    assert isinstance(caller.outcome, DeadlineExceeded)
    assert str(caller.outcome) == "The model was busy for more than 0.2 s."
    assert least <= caller.seconds < least + 5
    assert (limiter.in_hand, len(limiter._waiting)) == (1, 0)
    slot.release()
    assert_idle(limiter._worker, limiter)


def test_who_leaves_the_queue_leaves_the_turns_of_the_others_alone() -> None:
    limiter = limiter_of(Bounds(1, 5, timeout_seconds=60))
    slot = limiter.acquire()
    (first,) = queue_up(limiter, "first")
    late = Caller(limiter, context=came(1e9))
    late.start()
    late.join(30)
    (last,) = queue_up(limiter, "last")
    assert isinstance(late.outcome, DeadlineExceeded)
    for caller in (first, last):
        slot.release()
        caller.join(30)
        slot = caller.outcome
    slot.release()
    assert_idle(limiter._worker, limiter)


def test_a_turn_that_comes_at_the_very_end_is_taken() -> None:
    limiter = limiter_of(Bounds(1, 5, timeout_seconds=60))
    running = limiter.acquire()
    given_up = threading.Lock()
    given_up.acquire()
    with limiter._worker.lock:
        limiter._worker.admit(limiter)
        limiter._waiting.append(given_up)
    (next_,) = queue_up(limiter, "next")
    running.release()
    assert not given_up.locked()
    assert not limiter._leave_queue(given_up)
    Slot(limiter, None, None).release()
    next_.join(30)
    next_.outcome.release()
    assert_idle(limiter._worker, limiter)


@pytest.mark.parametrize("timeout_seconds", [1e12, 1e300])
def test_a_deadline_may_be_further_away_than_the_system_can_count(timeout_seconds: float) -> None:
    limiter = limiter_of(Bounds(1, 5, timeout_seconds=timeout_seconds))
    slot = limiter.acquire()
    (caller,) = queue_up(limiter, "patient")
    slot.release()
    caller.join(30)
    assert isinstance(caller.outcome, Slot)


def test_a_request_that_need_not_wait_is_not_asked_how_long_it_may() -> None:
    limiter = limiter_of(Bounds(1, 5, timeout_seconds=0.2))
    token = current_request.set(came(60))
    try:
        limiter.acquire().release()
    finally:
        current_request.reset(token)
    assert_idle(limiter._worker, limiter)


# What is told of predictions


class Heard(Instruments):
    """Keeps what it hears of waiting."""

    def __init__(self) -> None:
        self.depths = [0]
        self.waits: list[tuple[int, float]] = []

    def queue(self, change: int) -> None:
        self.depths.append(self.depths[-1] + change)

    def waited(self, began: float, seconds: float) -> None:
        super().waited(began, seconds)
        assert began + seconds <= time.monotonic()
        self.waits.append((threading.get_ident(), seconds))


def test_instruments_hear_of_waiting_on_the_thread_that_waited() -> None:
    heard = Heard()
    limiter = limiter_of(Bounds(1, 5, timeout_seconds=60), instruments=heard)
    slot = limiter.acquire()
    assert (heard.depths, heard.waits) == ([0], [])
    callers = queue_up(limiter, "a", "b")
    wait_until(lambda: heard.depths[-1] == 2)
    time.sleep(0.02)
    for caller in callers:
        slot.release()
        caller.join(30)
        slot = caller.outcome
    assert heard.depths == [0, 1, 2, 1, 0]
    assert [thread for thread, _ in heard.waits] == [caller.ident for caller in callers]
    assert all(seconds >= 0.02 for _, seconds in heard.waits)


def test_a_request_that_gives_up_has_waited_too(context: RequestContext) -> None:
    heard = Heard()
    limiter = limiter_of(Bounds(1, 5, timeout_seconds=0.05), instruments=heard)
    limiter.acquire()
    with pytest.raises(DeadlineExceeded):
        limiter.acquire()
    assert heard.depths == [0, 1, 0]
    ((_, seconds),) = heard.waits
    assert context.queue_seconds == seconds > 0


def test_a_running_prediction_says_what_it_is(context: RequestContext) -> None:
    limiter = limiter_of(Bounds(3, timeout_seconds=2.5))
    waiting, slot = limiter.acquire(), limiter.acquire()
    with slot:
        assert limiter._worker.running() == [slot]
        assert (slot.model, slot.timeout_seconds, slot.request) == ("iris", 2.5, context)
        assert slot.thread == threading.get_ident()
        assert 0 <= time.monotonic() - slot.began < 5
    assert limiter._worker.slots == {waiting}
    assert limiter._worker.running() == []


@pytest.mark.parametrize(
    "error", [ValueError("bad"), SystemExit(1), KeyboardInterrupt(), GeneratorExit()]
)
def test_a_prediction_that_fails_gives_its_slot_back(error: BaseException) -> None:
    limiter = limiter_of(Bounds(1, 0), places=1)
    for _ in range(3):
        slot = limiter.acquire()
        with pytest.raises(type(error)), slot:
            raise error
    assert_idle(limiter._worker, limiter)


def test_a_prediction_that_nobody_waits_for_has_its_place_until_it_has_ended() -> None:
    limiter = limiter_of(Bounds(1, 0))
    end = threading.Event()

    def predict(slot: Slot) -> None:
        with slot:
            assert end.wait(30)

    thread = threading.Thread(target=predict, args=(limiter.acquire(),))
    thread.start()
    wait_until(limiter._worker.running)
    with pytest.raises(Overloaded):
        limiter.acquire()
    end.set()
    thread.join(30)
    limiter.acquire().release()
    assert_idle(limiter._worker, limiter)


def test_a_limiter_that_nobody_uses_any_more_is_forgotten() -> None:
    worker = WorkerLimiter(5)
    worker.add_model("iris", WIDE, Instruments()).acquire().release()
    reference = weakref.ref(worker)
    del worker
    gc.collect()
    assert reference() is None


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork"
)
def test_a_forked_child_begins_with_all_places_free() -> None:
    worker = WorkerLimiter(12)
    limiter = worker.add_model("iris", Bounds(1, 5), Instruments())
    other = worker.add_model("other", WIDE, Instruments())
    slots = [limiter.acquire(), *take_all(other)]
    callers = queue_up(limiter, "a")
    fork = multiprocessing.get_context("fork")
    found = fork.SimpleQueue()

    def look() -> None:
        assert_idle(worker, limiter, other)
        limiter.acquire().release()
        found.put((len(take_all(other)), worker.is_hung))

    worker.is_hung = True
    child = fork.Process(target=look)
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert found.get() == (9, False)
    release_all(slots)
    callers[0].join(30)
    callers[0].outcome.release()
    assert_idle(worker, limiter, other)


# Whatever comes

Step = tuple[str, int]


def steps(models: int) -> st.SearchStrategy[list[Step]]:
    """Sequences of what may happen to so many models."""
    admit = st.tuples(st.just("admit"), st.integers(0, models - 1))
    release = st.tuples(st.just("release"), st.integers(0, 1000))
    return st.lists(st.one_of(admit, admit, release), max_size=200)


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[Bounds], list[Step]]:
    places = draw(st.integers(1, 40))
    models = draw(st.integers(1, 12))
    bounds = st.builds(Bounds, st.integers(1, 20), st.integers(0, 20), is_batched=st.just(True))
    return places, draw(st.lists(bounds, min_size=models, max_size=models)), draw(steps(models))


def check_refusal(worker: WorkerLimiter, limiter: ConcurrencyLimiter, text: str) -> None:
    """See to it that there was a reason to refuse a prediction."""
    guaranteed, models = worker._guaranteed, worker._models
    assert worker.places is not None
    if text != BUSY:
        assert limiter.in_hand == limiter._bounds.in_hand
    elif limiter.in_hand < guaranteed:
        # Not everybody's can be kept where they are more than half of all.
        assert guaranteed * len(models) > worker.places // 2
        assert worker._in_hand == worker.places
    else:
        kept = sum(max(0, guaranteed - each.in_hand) for each in models)
        assert worker._in_hand + min(kept, worker.places // 2) >= worker.places


@settings(max_examples=150, deadline=None)
@given(histories())
def test_whatever_comes_the_bounds_hold_and_all_places_come_back(
    history: tuple[int, list[Bounds], list[Step]],
) -> None:
    places, bounds, sequence = history
    worker = WorkerLimiter(places)
    limiters = [
        worker.add_model(str(index), each, Instruments()) for index, each in enumerate(bounds)
    ]
    slots: list[Slot] = []
    for what, number in sequence:
        if what == "release":
            if slots:
                slots.pop(number % len(slots)).release()
        else:
            try:
                slots.append(limiters[number].acquire())
            except Overloaded as error:
                check_refusal(worker, limiters[number], str(error))
        in_hand = Counter(slot.model for slot in slots)
        assert [limiter.in_hand for limiter in limiters] == [
            in_hand[each.name] for each in limiters
        ]
        assert all(each.in_hand <= each._bounds.in_hand for each in limiters)
        assert len(worker.slots) == worker._in_hand == len(slots) <= places
        assert worker._unused == sum(max(0, worker._guaranteed - each.in_hand) for each in limiters)
    release_all(slots)
    assert_idle(worker, *limiters)


class Watched:
    """A model that sees to it that no more predictions run than may."""

    def __init__(self, limiter: ConcurrencyLimiter, most: int) -> None:
        self.limiter, self._most = limiter, most
        self._running = 0
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()

    def ask(self, chance: random.Random) -> None:
        context = RequestContext("id")
        context.received -= chance.random() / 20
        current_request.set(context)
        try:
            with self.limiter.acquire():
                self._predict(chance.random() / 500)
        except (Overloaded, DeadlineExceeded) as error:
            outcome = type(error).__name__
        else:
            outcome = "predicted"
        with self._lock:
            self.outcomes[outcome] += 1

    def _predict(self, seconds: float) -> None:
        with self._lock:
            self._running += 1
            assert self._running <= self._most
        time.sleep(seconds)
        with self._lock:
            self._running -= 1


@pytest.mark.parametrize("requests", [40, pytest.param(1000, marks=pytest.mark.long)])
def test_under_stress_no_place_is_lost_and_no_bound_broken(requests: int) -> None:
    worker = WorkerLimiter(20)
    models = [
        Watched(worker.add_model(str(most), Bounds(most, 5, 0.05), Instruments()), most)
        for most in (1, 2, 3, 4)
    ]

    def ask(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 (nothing secret)
        for _ in range(requests):
            chance.choice(models).ask(chance)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    total: Counter[str] = sum((model.outcomes for model in models), Counter())
    assert sum(total.values()) == 32 * requests
    assert set(total) == {"predicted", "Overloaded", "DeadlineExceeded"}
    assert_idle(worker, *(model.limiter for model in models))

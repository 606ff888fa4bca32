"""Callers who get an answer in time, whatever the prediction does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from models_api.exceptions import DeadlineExceeded, Overloaded
from models_api.prediction.deadline import DeadlineThreads
from models_api.prediction.instruments import Instruments
from models_api.prediction.limiter import Bounds, WorkerLimiter

colour: ContextVar[str] = ContextVar("colour", default="none")


class Timed:
    """Calls a predictor as Predictor.admit does: in a slot, and no longer than it may take."""

    def __init__(
        self, predict: Callable[..., Any], timeout_seconds: float, places: int | None = None
    ) -> None:
        self.worker = WorkerLimiter(places)
        bounds = Bounds(timeout_seconds=timeout_seconds)
        self.limiter = self.worker.add_model("model", bounds, Instruments())
        self.threads = DeadlineThreads(timeout_seconds)
        self.predict = predict

    def __call__(self, body: Any, seconds_left: float | None = None) -> Any:
        seconds = self.threads.timeout_seconds if seconds_left is None else seconds_left
        return self.threads.call(seconds, self.limiter.acquire(), self.predict, body)

    def wait_until_idle(self) -> None:
        deadline = time.monotonic() + 60
        while self.limiter.in_hand or self.worker.slots:
            assert time.monotonic() < deadline
            time.sleep(0.001)


class Held:
    """A predictor that does not end before it is told to."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.ended = threading.Event()

    def __call__(self, body: bytes) -> bytes:
        assert self.end.wait(60)
        self.ended.set()
        return body


@pytest.fixture
def held() -> Held:
    return Held()


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "prediction"}


def test_what_comes_in_time_is_passed_on() -> None:
    assert Timed(bytes.upper, 60)(b"abc") == b"ABC"


def fail(body: bytes) -> bytes:
    raise ValueError(body)


def stop(body: bytes) -> bytes:
    raise SystemExit(body)


def cancel(body: bytes) -> bytes:
    raise asyncio.CancelledError(body)


@pytest.mark.parametrize(
    ("predictor", "error"),
    [(fail, ValueError), (stop, SystemExit), (cancel, asyncio.CancelledError)],
)
def test_an_error_that_comes_in_time_is_raised_with_its_traceback(
    predictor: Callable[[bytes], bytes], error: type[BaseException]
) -> None:
    predict = Timed(predictor, 60)
    for _ in range(3):
        with pytest.raises(error, match="bad") as raised:
            predict(b"bad")
        assert raised.traceback[-1].name == predictor.__name__


def test_a_late_prediction_is_not_waited_for(held: Held) -> None:
    with pytest.raises(DeadlineExceeded, match=r"^The model was busy for more than 0\.05 s\.$"):
        Timed(held, 0.05)(b"")
    assert not held.ended.is_set()
    held.end.set()
    assert held.ended.wait(60)


def test_a_late_prediction_keeps_its_slot_until_it_ends(held: Held) -> None:
    predict = Timed(held, 0.05, places=1)
    with pytest.raises(DeadlineExceeded):
        predict(b"first")
    (slot,) = predict.worker.running()
    assert slot.thread != threading.get_ident()
    with pytest.raises(Overloaded):
        predict(b"second", 60)
    held.end.set()
    predict.wait_until_idle()
    assert predict.worker.running() == []
    assert predict(b"third", 60) == b"third"


def test_there_are_never_more_threads_than_slots(held: Held) -> None:
    before = threads()
    predict = Timed(held, 0.01, places=3)
    late, refused = 0, 0
    for _ in range(50):
        try:
            predict(b"")
        except DeadlineExceeded:
            late += 1
        except Overloaded:
            refused += 1
    assert (late, refused, len(threads() - before)) == (3, 47, 3)
    held.end.set()
    predict.wait_until_idle()


@pytest.mark.parametrize("seconds_left", [0, -0.1, -1e9])
def test_what_nobody_waits_for_any_more_is_not_begun(seconds_left: float) -> None:
    begun: list[bytes] = []
    predict, before = Timed(begun.append, 2, places=1), threads()
    for _ in range(3):
        with pytest.raises(DeadlineExceeded, match=r"^The model was busy for more than 2 s\.$"):
            predict(b"late", seconds_left)
    assert (begun, predict.limiter.in_hand, threads() - before) == ([], 0, set())
    predict(b"in time")
    assert begun == [b"in time"]


def test_where_the_system_has_no_thread_left_the_slot_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    predict = Timed(bytes.upper, 60, places=1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            with pytest.raises(Overloaded):
                predict(b"abc")
    assert predict(b"abc") == b"ABC"


def test_one_caller_after_the_other_needs_one_thread() -> None:
    before = threads()
    predict = Timed(lambda body: body, 60)
    for _ in range(200):
        predict(b"")
    assert len(threads() - before) == 1


def test_a_thread_whose_caller_has_left_is_used_again(held: Held) -> None:
    before = threads()
    predict = Timed(held, 0.05)
    with pytest.raises(DeadlineExceeded):
        predict(b"")
    held.end.set()
    while not predict.threads._idle:
        held.ended.wait(0.01)
    assert predict(b"again", 60) == b"again"
    assert len(threads() - before) == 1


def test_the_context_of_the_caller_is_there_and_stays_as_it_was() -> None:
    def look(new: str) -> str:
        before = colour.get()
        colour.set(new)
        return before

    predict = Timed(look, 60)
    colour.set("red")
    assert predict("blue") == "red"
    assert predict("green") == "red"
    assert colour.get() == "red"


@pytest.mark.parametrize("timeout_seconds", [1e12, 1e300])
def test_a_deadline_may_be_further_away_than_the_system_can_count(timeout_seconds: float) -> None:
    assert Timed(bytes.upper, timeout_seconds)(b"a") == b"A"


def test_its_threads_end_with_it() -> None:
    before = set(threading.enumerate())
    threads = DeadlineThreads(5)
    limiter = WorkerLimiter().add_model("a", Bounds(), Instruments())
    assert threads.call(5, limiter.acquire(), lambda: 1) == 1
    (thread,) = set(threading.enumerate()) - before
    del threads
    thread.join(10)
    assert not thread.is_alive()

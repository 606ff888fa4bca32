"""Callers who get an answer in time, whatever the prediction does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar

import pytest
from models_api.prediction.admission import Admission, Admitted

from models_api.exceptions import DeadlineExceeded, Overloaded
from models_api.prediction.deadline import WithDeadline

colour: ContextVar[str] = ContextVar("colour", default="none")


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


def threads() -> int:
    return sum(thread.name == "prediction" for thread in threading.enumerate())


def test_what_comes_in_time_is_passed_on() -> None:
    assert WithDeadline(bytes.upper, 60)(b"abc") == b"ABC"


def fail(body: bytes) -> bytes:
    raise ValueError(body)


def stop(body: bytes) -> bytes:
    raise SystemExit(body)


@pytest.mark.parametrize(("predictor", "error"), [(fail, ValueError), (stop, SystemExit)])
def test_an_error_that_comes_in_time_is_raised_with_its_traceback(
    predictor: Callable[[bytes], bytes], error: type[BaseException]
) -> None:
    predict = WithDeadline(predictor, 60)
    for _ in range(3):
        with pytest.raises(error, match="bad") as raised:
            predict(b"bad")
        assert raised.traceback[-1].name == predictor.__name__


def test_a_late_prediction_is_not_waited_for(held: Held) -> None:
    with pytest.raises(DeadlineExceeded, match=r"^The model was busy for more than 0\.05 s\.$"):
        WithDeadline(held, 0.05)(b"")
    assert not held.ended.is_set()
    held.end.set()
    assert held.ended.wait(60)


def test_a_late_prediction_keeps_its_slot_until_it_ends(held: Held) -> None:
    admission = Admission(1)
    predict = WithDeadline(Admitted(held, admission, "model", 0.05), 0.05)
    with pytest.raises(DeadlineExceeded):
        predict(b"first")
    (slot,) = admission.running()
    assert slot.thread != threading.get_ident()
    with pytest.raises(Overloaded):
        WithDeadline(Admitted(held, admission, "model"), 60)(b"second")
    held.end.set()
    while admission.running():
        held.ended.wait(0.01)
    assert WithDeadline(Admitted(held, admission, "model"), 60)(b"third") == b"third"


def test_one_caller_after_the_other_needs_one_thread() -> None:
    before = threads()
    predict = WithDeadline(lambda body: body, 60)
    for _ in range(200):
        predict(b"")
    assert threads() == before + 1


def test_a_thread_whose_caller_has_left_is_used_again(held: Held) -> None:
    before = threads()
    predict = WithDeadline(held, 0.05)
    with pytest.raises(DeadlineExceeded):
        predict(b"")
    held.end.set()
    while not predict._idle:
        held.ended.wait(0.01)
    assert predict(b"again") == b"again"
    assert threads() == before + 1


def test_the_context_of_the_caller_is_there_and_stays_as_it_was() -> None:
    def look(new: str) -> str:
        before = colour.get()
        colour.set(new)
        return before

    predict = WithDeadline(look, 60)
    colour.set("red")
    assert predict("blue") == "red"
    assert predict("green") == "red"
    assert colour.get() == "red"


@pytest.mark.parametrize("timeout_seconds", [1e12, 1e300])
def test_a_deadline_may_be_further_away_than_the_system_can_count(timeout_seconds: float) -> None:
    assert WithDeadline(bytes.upper, timeout_seconds)(b"a") == b"A"

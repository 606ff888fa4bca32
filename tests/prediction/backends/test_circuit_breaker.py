"""What leaves another service alone that does not answer."""

from __future__ import annotations

import logging

import pytest

from models_api.prediction.backends import circuit_breaker
from models_api.prediction.backends.circuit_breaker import CircuitBreaker, CircuitOpen


class Clock:
    """The time, as a test says it."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(circuit_breaker, "time", clock)
    return clock


@pytest.fixture
def changes() -> list[bool]:
    return []


@pytest.fixture
def breaker(clock: Clock, changes: list[bool]) -> CircuitBreaker:
    made = CircuitBreaker(3, 5.0, "there", lambda: changes.append(made.is_open))
    return made


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.begin()
        breaker.failed("refused")


def test_calls_go_through_while_some_have_an_answer(breaker: CircuitBreaker) -> None:
    for _ in range(5):
        fail(breaker, 2)
        breaker.begin()
        breaker.succeeded()
    assert not breaker.is_open


def test_after_several_failures_in_a_row_calls_are_refused(
    breaker: CircuitBreaker, clock: Clock, changes: list[bool]
) -> None:
    fail(breaker, 3)
    clock.now += 2
    with pytest.raises(CircuitOpen) as refused:
        breaker.begin()
    assert refused.value.seconds == 3
    assert changes == [True]


def test_then_one_call_tries_and_the_others_are_still_refused(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker, 3)
    clock.now += 5
    breaker.begin()
    with pytest.raises(CircuitOpen):
        breaker.begin()


def test_an_answer_closes_it(breaker: CircuitBreaker, clock: Clock, changes: list[bool]) -> None:
    fail(breaker, 3)
    clock.now += 5
    breaker.begin()
    breaker.succeeded()
    breaker.begin()
    assert changes == [True, False]


def test_a_try_that_fails_keeps_it_open_for_as_long_again(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker, 3)
    clock.now += 5
    fail(breaker, 1)
    clock.now += 4.9
    with pytest.raises(CircuitOpen):
        breaker.begin()


def test_a_try_that_never_ends_keeps_nobody_from_the_next_one(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker, 3)
    clock.now += 5
    breaker.begin()
    clock.now += 5
    breaker.begin()


def test_the_log_says_it_once(
    breaker: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        fail(breaker, 3)
        for _ in range(4):
            clock.now += 5
            fail(breaker, 1)
        clock.now += 5
        breaker.begin()
        breaker.succeeded()
    opened, closed = [record.getMessage() for record in caplog.records]
    assert opened.startswith("there does not answer (refused): requests for it are refused at once")
    assert closed == "there answers again"

"""Predictions in hand: counted, bounded, and refused above the bound."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from models_api.exceptions import Overloaded
from models_api.prediction.admission import Admission, Admitted


class Held:
    """A predictor that keeps its callers until it is told to let them go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self._end = threading.Event()

    def __call__(self, body: bytes) -> bytes:
        self.begun.release()
        assert self._end.wait(60)
        return body.upper()

    def wait_for(self, callers: int) -> None:
        for _ in range(callers):
            assert self.begun.acquire(timeout=60)

    def let_go(self) -> None:
        self._end.set()


def echo(body: bytes) -> bytes:
    return body


def test_what_is_above_the_maximum_is_refused_until_a_prediction_ends() -> None:
    admission, held = Admission(2), Held()
    predict = Admitted(held, admission, "model")
    with ThreadPoolExecutor(2) as threads:
        futures = [threads.submit(predict, body) for body in (b"a", b"b")]
        held.wait_for(2)
        with pytest.raises(Overloaded) as refused:
            predict(b"c")
        assert str(refused.value) == "The service is busy with other predictions already."
        assert refused.value.retry_after_seconds == 1
        held.let_go()
        assert [future.result(60) for future in futures] == [b"A", b"B"]
    assert predict(b"c") == b"C"


def test_models_share_the_slots() -> None:
    admission, held = Admission(1), Held()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(Admitted(held, admission, "one"), b"")
        held.wait_for(1)
        with pytest.raises(Overloaded, match=r"busy with other predictions already\."):
            Admitted(echo, admission, "other")(b"")
        held.let_go()


def test_without_a_maximum_nothing_is_refused() -> None:
    admission, held = Admission(), Held()
    predict = Admitted(held, admission, "model")
    with ThreadPoolExecutor(20) as threads:
        futures = [threads.submit(predict, b"x") for _ in range(20)]
        held.wait_for(20)
        assert len(admission.running()) == 20
        held.let_go()
        assert [future.result(60) for future in futures] == [b"X"] * 20
    assert admission.running() == []


def fail(body: bytes) -> bytes:
    raise ValueError(body)


def stop(body: bytes) -> bytes:
    raise SystemExit(body)


@pytest.mark.parametrize(("predictor", "error"), [(fail, ValueError), (stop, SystemExit)])
def test_a_prediction_that_fails_gives_its_slot_back(
    predictor: Callable[[bytes], bytes], error: type[BaseException]
) -> None:
    predict = Admitted(predictor, Admission(1), "model")
    for _ in range(3):
        with pytest.raises(error, match="bad"):
            predict(b"bad")


def test_a_running_prediction_says_what_it_is() -> None:
    admission, held = Admission(3), Held()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(Admitted(held, admission, "iris", 2.5), b"")
        held.wait_for(1)
        (slot,) = admission.running()
        assert (slot.model, slot.timeout_seconds) == ("iris", 2.5)
        assert slot.thread in {thread.ident for thread in threading.enumerate()}
        assert slot.thread != threading.get_ident()
        held.let_go()


def test_as_many_as_the_maximum_run_at_once_however_many_come() -> None:
    admission = Admission(3)
    lock = threading.Lock()
    seen = most = 0

    def count(body: bytes) -> bytes:
        nonlocal seen, most
        with lock:
            seen += 1
            most = max(most, seen)
        with lock:
            seen -= 1
        return body

    predict = Admitted(count, admission, "model")

    def ask(_: int) -> bool:
        try:
            return predict(b"x") == b"x"
        except Overloaded:
            return False

    with ThreadPoolExecutor(12) as threads:
        outcomes = list(threads.map(ask, range(2000)))
    assert 1 <= most <= 3
    assert outcomes.count(True) >= 3
    assert admission.running() == []
    assert [len(admission._free), admission.maximum] == [3, 3]


def test_a_new_maximum_holds_whatever_is_running() -> None:
    admission, held = Admission(1), Held()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(Admitted(held, admission, "model"), b"")
        held.wait_for(1)
        admission.limit(2)
        held.let_go()
    slots = [admission.enter(), admission.enter()]
    assert len(slots) == admission.maximum == 2
    with pytest.raises(Overloaded):
        admission.enter()


def _ask_in_child(predict: Admitted[[bytes], bytes], found: multiprocessing.Queue[object]) -> None:
    found.put(predict(b"child"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_all_slots() -> None:
    admission, held = Admission(1), Held()
    context = multiprocessing.get_context("fork")
    found: multiprocessing.Queue[object] = context.Queue()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(Admitted(held, admission, "model"), b"")
        held.wait_for(1)
        child = context.Process(target=_ask_in_child, args=(Admitted(echo, admission, "m"), found))
        child.start()
        answer = found.get(timeout=60)
        held.let_go()
    child.join(60)
    assert answer == b"child"

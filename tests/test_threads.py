"""Where the service cleans up after the code of models."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar

import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async

from models_api.configuration.sections import ModelConfiguration
from models_api.databases import DatabaseCleanup
from models_api.exceptions import DeadlineExceeded
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.model_stack import ModelStack
from models_api.prediction.deadline import DeadlineThreads
from models_api.prediction.event_loop import EventLoop
from models_api.prediction.instruments import Instruments
from models_api.prediction.limiter import Bounds, Slot, WorkerLimiter
from models_api.threads import Cleanup, cleanup, use_cleanup

told: ContextVar[str] = ContextVar("told", default="nothing")


class Recording(Cleanup):
    """Writes down what it hears, and on which thread."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def note(self, what: str) -> None:
        self.heard.append((what, threading.current_thread().name.partition("_")[0]))

    def between_requests(self) -> None:
        self.note("between")

    def at_the_end(self) -> None:
        self.note("end")

    @property
    def own(self) -> list[tuple[str, str]]:
        """Without the ends of threads that other tests have left idle."""
        return [each for each in self.heard if each != ("end", "prediction")]

    async def before_coroutine(self) -> None:
        self.note(f"coroutine begins, told {told.get()}")

    async def after_coroutine(self) -> None:
        self.note("coroutine has ended")


def wait_for_those_that_end() -> None:
    """Wait until the threads have ended whose owners other tests have left to be collected."""
    gc.collect()
    before: set[threading.Thread] = set()
    while (now := set(threading.enumerate())) != before:
        before = now
        time.sleep(0.05)


@pytest.fixture
def recording() -> Iterator[Recording]:
    wait_for_those_that_end()
    before, recording = cleanup(), Recording()
    use_cleanup(recording)
    yield recording
    use_cleanup(before)


def slot() -> Slot:
    bounds = Bounds(timeout_seconds=10)
    return WorkerLimiter().add_model("model", bounds, Instruments()).acquire()


BETWEEN = ("between", "prediction")


def test_a_thread_of_predictions_is_cleaned_up_around_each(recording: Recording) -> None:
    threads = DeadlineThreads(10)
    for count in (1, 2):
        threads.call(10, slot(), recording.note, "predicts")
        assert recording.own == [BETWEEN, ("predicts", "prediction"), BETWEEN] * count


def test_so_it_is_where_the_prediction_fails(recording: Recording) -> None:
    def fail() -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        DeadlineThreads(10).call(10, slot(), fail)
    assert recording.own == [BETWEEN, BETWEEN]


def test_so_it_is_once_a_late_prediction_has_ended(recording: Recording) -> None:
    gate, threads = threading.Event(), DeadlineThreads(0.01)
    with pytest.raises(DeadlineExceeded):
        threads.call(0.01, slot(), gate.wait, 10)
    assert recording.own == [BETWEEN]
    gate.set()
    while len(recording.own) < 2:
        gate.wait(0.01)
    assert recording.own == [BETWEEN, BETWEEN]


@pytest.mark.parametrize("fails", [False, True])
def test_a_coroutine_is_surrounded_in_its_own_context(fails: bool, recording: Recording) -> None:
    async def predict() -> None:
        recording.note("predicts")
        if fails:
            raise LookupError

    told.set("something")
    try:
        EventLoop().run(predict())
    except LookupError:
        assert fails
    heard = ["coroutine begins, told something", "predicts", "coroutine has ended"]
    assert recording.own == [(what, "event-loop") for what in heard]


def test_threads_that_a_coroutine_asks_for_are_cleaned_up(recording: Recording) -> None:
    async def predict() -> None:
        await asyncio.to_thread(recording.note, "asks")

    EventLoop().run(predict())
    _, *heard, _ = recording.own
    assert heard == [("between", "asyncio"), ("asks", "asyncio"), ("between", "asyncio")]


def test_threads_that_load_models_or_ask_for_their_health_are_cleaned_up_at_their_end(
    recording: Recording,
) -> None:
    configuration = ModelConfiguration(class_path="tests.fakes.health.SickModel")
    model = HostedModel(configuration, ModelStack.from_configuration(configuration))
    model.load_apart()
    assert recording.own == [("end", "model-loading")]
    assert model.health is not None
    asked = model.health.ask()
    assert asked is not None
    while len(recording.own) < 2:
        threading.Event().wait(0.01)
    assert recording.own[1] == ("end", "health")


# What Django's coroutines need of the context in which they run


async def on_which_thread() -> str:
    return await sync_to_async(lambda: threading.current_thread().name)()


def ask() -> str:
    assert isinstance(cleanup(), DatabaseCleanup)
    return EventLoop().run(on_which_thread())


@pytest.mark.timeout(30)
def test_a_coroutine_waits_for_no_thread_that_waits_for_it() -> None:
    async def view() -> str:
        async with ThreadSensitiveContext():  # as in Django's handler for ASGI
            return await sync_to_async(ask)()

    assert asyncio.run(view()) == ask()


@pytest.mark.timeout(30)
def test_nor_for_the_thread_that_runs_an_event_loop_for_a_middleware() -> None:
    async def middleware() -> str:
        return await sync_to_async(ask)()

    assert async_to_sync(middleware)() == ask()

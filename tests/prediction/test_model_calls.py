"""How methods of models are called that are coroutine functions, or that fork."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from models_api.exceptions import DeadlineExceeded, PredictionFailed
from models_api.hosting.hosted_model import HostedModel
from models_api.prediction.event_loop import EventLoop
from models_api.prediction.model_calls import ModelCalls, is_asynchronous, synchronous
from models_api.prediction.predictor import Predictor
from models_api.prediction.request_context import RequestContext
from tests.fakes import asynchronous
from tests.fakes.asynchronous import spoken
from tests.fakes.changing import ERRORS
from tests.prediction.test_predictor import Caller, inputs, loaded, outcomes, wait_until

MODELS = "tests.fakes.asynchronous"
REPOSITORY = Path(__file__).parents[2]


def of(name: str, *decorators: str, **keys: Any) -> HostedModel:
    configured = [{"class_path": f"{MODELS}.{each}"} for each in decorators]
    return loaded(f"{MODELS}.{name}", decorators=configured, **keys)


def ask(predictor: Predictor, number: int = 1, do: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(predictor.predict(task(number, do)))
    return found


def task(number: int = 1, do: str = "") -> bytes:
    return json.dumps({"number": number, "do": do}).encode()


def ask_many(predictor: Predictor, *tasks: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(predictor.predict_batch(inputs(*tasks)))["predictions"]
    return found


@pytest.mark.parametrize("keys", [{}, {"timeout_seconds": 60}])
@pytest.mark.parametrize("name", ["AsyncModel", "AsyncRowsModel", "WrappedModel", "DisguisedModel"])
def test_coroutines_run_on_one_event_loop_in_one_thread(name: str, keys: dict[str, Any]) -> None:
    predictor = of(name, **keys).predictor
    first, second = ask(predictor, 2), ask(predictor, 3)
    assert (first["doubled"], second["doubled"]) == (4, 6)
    assert first["thread"] == second["thread"] == "event-loop"
    assert first["loop"] == second["loop"]


def test_a_model_without_coroutines_has_nothing_around_it_and_no_thread() -> None:
    before = set(threading.enumerate())
    model = of("PlainModel", "ReadingDecorator")
    assert ask(model.predictor)["doubled"] == 3
    assert type(model.ready_model()) is asynchronous.ReadingDecorator
    assert type(model.ready_model()._model) is asynchronous.PlainModel
    assert set(threading.enumerate()) <= before


def test_the_context_of_the_request_is_visible(context: RequestContext) -> None:
    predictor = of("AsyncRowsModel").predictor
    spoken.set("hello")
    try:
        found = ask(predictor)
        rows = ask_many(predictor, {"number": 1}, {"number": 2})
    finally:
        spoken.set("")
    assert [(each["request"], each["spoken"]) for each in (found, *rows)] == [("mine", "hello")] * 3
    assert ask(predictor)["spoken"] == ""


def test_requests_wait_at_the_same_time_on_the_loop() -> None:
    predictor = of("AsyncModel", concurrency={"max_concurrency": 4}).predictor
    # None of them ends before all four have begun.
    callers = [Caller(predictor.predict, task(number, "meet")) for number in range(4)]
    assert [each["doubled"] for each in outcomes(*callers)] == [0, 2, 4, 6]


@pytest.mark.parametrize("name", ["AsyncModel", "AsyncRowsModel", "DisguisedModel"])
@pytest.mark.parametrize("do", ERRORS)
def test_whatever_a_coroutine_raises_is_its_own_and_the_loop_goes_on(name: str, do: str) -> None:
    predictor = of(name).predictor
    loop = ask(predictor)["loop"]
    with pytest.raises(PredictionFailed) as caught:
        ask(predictor, 1, do)
    # A coroutine makes another error of this one.
    expected = RuntimeError if do == "StopIteration" else ERRORS[do]
    assert type(caught.value.__cause__) is expected
    with pytest.raises(PredictionFailed, match=r"^inputs\[1\]: "):
        ask_many(predictor, {"number": 1}, {"number": 2, "do": do})
    assert ask(predictor)["loop"] == loop


@pytest.mark.parametrize("do", ["cancel", "stop", "leave"])
def test_what_a_model_does_to_its_loop_ends_no_later_prediction(do: str) -> None:
    model = of("AsyncModel")
    try:
        ask(model.predictor, 1, do)
    except PredictionFailed:
        assert do == "cancel"
    assert [ask(model.predictor, number)["doubled"] for number in (2, 3)] == [4, 6]


def test_a_late_coroutine_is_not_waited_for() -> None:
    model = of("AsyncModel", timeout_seconds=0.1)
    with pytest.raises(DeadlineExceeded):
        ask(model.predictor, 1, "hang")
    assert ask(model.predictor, 4)["doubled"] == 8
    assert len(model._resources.limiter.slots) == 1


# Rows and columns


@pytest.mark.parametrize(("name", "rows"), [("AsyncModel", 1), ("AsyncRowsModel", 2)])
def test_rows_that_come_together_are_predicted_together_where_the_model_can(
    name: str, rows: int
) -> None:
    found = ask_many(of(name).predictor, {"number": 1}, {"number": 2})
    assert [(each["doubled"], each["rows"]) for each in found] == [(2, rows), (4, rows)]


def test_a_generator_of_rows_is_as_good_as_a_list() -> None:
    for batching in (None, {"max_batch_size": 8}):
        predictor = of("YieldingRowsModel", batching=batching).predictor
        found = ask_many(predictor, {"number": 1}, {"number": 2})
        assert [(each["doubled"], each["rows"]) for each in found] == [(2, 2), (4, 2)]


def together(model: HostedModel, *numbers: int) -> list[Any]:
    """Ask for single predictions while one more holds the model up."""
    batcher = next(_batchers(model.ready_model()))
    first = Caller(model.predictor.predict, task(0, "wait"))
    wait_until(lambda: model.ready_model().waiting)
    callers = []
    for count, number in enumerate(numbers, start=1):
        callers.append(Caller(model.predictor.predict, task(number)))
        wait_until(partial(_has_queued, batcher, count))
    return outcomes(first, *callers)[1:]


def _has_queued(batcher: Any, rows: int) -> bool:
    return bool(batcher.queue_depth == rows)


def _batchers(model: Any) -> Any:
    while model is not None:
        if "batcher" in vars(model):
            yield model.batcher
        model = vars(model).get("_model")


@pytest.mark.parametrize(
    ("decorators", "added"),
    [
        ([], 0),
        (["ReadingDecorator"], 1),
        (["AwaitingDecorator"], 100),
        (["AwaitingDecorator", "ReadingDecorator"], 101),
    ],
)
def test_batches_form_of_the_rows_of_several_requests(decorators: list[str], added: int) -> None:
    model = of("AsyncRowsModel", *decorators, batching={"max_batch_size": 8})
    found = together(model, 1, 2, 3)
    assert [each["doubled"] - added for each in found] == [2, 4, 6]
    assert {each["rows"] for each in found} == {3}
    assert len({each["loop"] for each in found}) == 1


# Decorators


@pytest.mark.parametrize(
    ("name", "decorators", "doubled"),
    [
        ("AsyncModel", ["ForwardingDecorator"], 2),
        ("AsyncModel", ["ReadingDecorator"], 3),
        ("AsyncModel", ["AwaitingDecorator"], 102),
        ("AsyncModel", ["AwaitingDecorator", "AwaitingDecorator"], 202),
        ("AsyncModel", ["ReadingDecorator", "AsyncDecorator"], 103),
        ("AsyncModel", ["AwaitingDecorator", "ReadingDecorator"], 103),
        ("AsyncModel", ["AwaitingDecorator", "ReadingDecorator", "AsyncDecorator"], 203),
        ("DisguisedModel", ["ForwardingDecorator"], 2),
        ("WrappedModel", ["ReadingDecorator"], 3),
        ("PlainModel", ["AsyncDecorator"], 102),
        ("PlainModel", ["AsyncDecorator", "ReadingDecorator"], 103),
    ],
)
def test_decorators_of_either_kind_stand_around_models_of_either_kind(
    name: str, decorators: list[str], doubled: int
) -> None:
    predictor = of(name, *decorators).predictor
    assert ask(predictor)["doubled"] == doubled
    found = ask_many(predictor, {"number": 1}, {"number": 1})
    assert [each["doubled"] for each in found] == [doubled] * 2


def test_the_class_says_what_a_model_can_do_with_coroutines_too() -> None:
    names = ("predict", "predict_batch", "predict_columns")
    for name, can in [("AsyncModel", 1), ("AsyncRowsModel", 2), ("AsyncColumnsModel", 2)]:
        cls = getattr(asynchronous, name)
        assert is_asynchronous(cls)
        found = type(synchronous(cls()))
        assert [hasattr(found, each) for each in names] == [hasattr(cls, each) for each in names]
        assert sum(hasattr(found, each) for each in names) == can


# Forks

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import os, sys\nfrom tests.prediction.forking import *\n{script}"],
        cwd=REPOSITORY,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "modelhost.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


STATUSES = {"return": 0, "exit": 0, "exit 5": 5, "exit text": 1, "raise": 1, "interrupt": 1}


@needs_fork
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("ForkingModel", {}),
        ("ForkingModel", {"timeout_seconds": 60}),
        ("ForkingModel", {"batching": {"max_batch_size": 4}}),
        ("AsyncForkingModel", {}),
        ("AsyncForkingModel", {"timeout_seconds": 60, "batching": {"max_batch_size": 4}}),
    ],
)
def test_a_child_that_comes_out_of_a_prediction_ends(name: str, keys: dict[str, Any]) -> None:
    done = run(f"for how in {[*STATUSES]}: print(predictions({name!r}, {keys!r}, how))")
    answers = [{"status": status} for status in STATUSES.values()]
    found = [line for line in done.stdout.splitlines() if not line.startswith("in the child")]
    assert found == [str([answer, [answer, answer]]) for answer in answers], done.stderr
    assert done.stdout.count("in the child") == 3 * len(STATUSES)
    # Of the two that raise, and the one that exits with a text.
    assert done.stderr.count("Traceback (most recent call last)") == 2 * 3
    assert done.stderr.count("in words\n") == 3


@needs_fork
@pytest.mark.parametrize("name", ["ForkingRowsModel", "ForkingColumnsModel"])
def test_a_child_that_comes_out_of_a_call_for_many_rows_ends(name: str) -> None:
    keys: list[dict[str, Any]] = [{}, {"batching": {"max_batch_size": 4}}]
    done = run(f"for k in {keys}:\n for how in {[*STATUSES]}: print(many({name!r}, k, how))")
    found = [line for line in done.stdout.splitlines() if not line.startswith("in the child")]
    assert found == [str([{"status": each}] * 2) for each in STATUSES.values()] * 2, done.stderr
    assert done.stdout.count("in the child") == 2 * len(STATUSES)


@needs_fork
@pytest.mark.parametrize("name", ["ForkingInputModel", "ForkingOutputModel"])
def test_a_child_that_comes_out_of_a_schema_ends(name: str) -> None:
    for keys in ({}, {"timeout_seconds": 60}):
        done = run(f"for how in ('return', 'exit'): print(predictions({name!r}, {keys}, how))")
        found = [line for line in done.stdout.splitlines() if line.startswith("[")]
        assert len(found) == 2, done.stderr
        assert done.stdout.count("in the child") >= 6


@needs_fork
def test_a_child_that_comes_out_of_the_loading_ends() -> None:
    done = run(f"for how in {[*STATUSES]}: print(load(how))")
    found = [line for line in done.stdout.splitlines() if not line.startswith("in the child")]
    assert found == [f"READY {status}" for status in STATUSES.values()], done.stderr
    assert done.stdout.count("in the child") == len(STATUSES)


@needs_fork
def test_a_child_that_predicts_by_itself_goes_on() -> None:
    done = run(
        """
model = loaded("tests.fakes.asynchronous.AsyncModel")
before = model.predictor.predict(b'{"number": 1}')
child = os.fork()
found = json.loads(model.predictor.predict(b'{"number": 2}'))
if child == 0:
    # Its loop is its own.
    os._exit(found["doubled"] if found["process"] == os.getpid() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), found["doubled"])
print(json.loads(model.predictor.predict(b'{"number": 3}'))["doubled"])
"""
    )
    assert done.stdout == "4 4\n6\n"


# The parts by themselves


def test_a_loop_is_shared_by_many_threads() -> None:
    event_loop = EventLoop()
    loops: list[Any] = []

    async def where() -> object:
        return asyncio.get_running_loop()

    def ask_for_loop() -> None:
        loops.append(event_loop.run(where()))

    threads = [threading.Thread(target=ask_for_loop) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(loops) == 20
    assert len(set(loops)) == 1


class Five:
    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return 5


@pytest.mark.parametrize("make", [lambda: asyncio.sleep(0, 5), Five])
def test_whatever_can_be_awaited_is_run(make: Callable[[], Any]) -> None:
    assert EventLoop().run(make()) == 5


def test_what_a_coroutine_sets_in_its_context_stays_there() -> None:
    async def set_to(text: str) -> None:
        spoken.set(text)

    context = copy_context()
    assert context.run(ModelCalls().make, set_to, "in the coroutine") is None
    assert not context.get(spoken)

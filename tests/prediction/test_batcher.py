from __future__ import annotations

import asyncio
import multiprocessing
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel

from models_api.configuration.sections import BatchingConfiguration
from models_api.exceptions import DeadlineExceeded
from models_api.prediction.batcher import (
    Batcher,
    BatchFailed,
    BatchingDecorator,
    Sharing,
    batching_decorator,
    sharing,
)
from models_api.prediction.instruments import Instruments
from models_api.prediction.request_context import RequestContext, current_request


class Refused(Exception):
    """What the fakes raise for a bad row."""


class Doubling:
    """Doubles numbers, refuses negative ones, and notes the batches; `gate` holds a call up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.singles: list[int] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, row: Any) -> Any:
        self.entered.set()
        self.gate.wait(10)
        self.singles.append(row)
        if row < 0:
            raise Refused(row)
        return 2 * row

    def predict_batch(self, rows: Sequence[Any]) -> list[Any]:
        self.batches.append(list(rows))
        if min(rows) < 0:
            raise Refused("some row")
        return [2 * row for row in rows]


def batcher_of(model: Any, instruments: Instruments | None = None, **options: Any) -> Batcher:
    configuration = BatchingConfiguration(**options)
    predict, predict_batch = model.predict, model.predict_batch
    return Batcher(predict, predict_batch, configuration, instruments or Instruments())


class Caller(threading.Thread):
    """Predicts one row in a thread of its own, and keeps what came of it."""

    def __init__(self, predict: Callable[[Any], Any], row: Any) -> None:
        super().__init__(daemon=True)
        self._predict, self._row = predict, row
        self.outcome: Any = None

    def run(self) -> None:
        try:
            self.outcome = self._predict(self._row)
        except BaseException as error:  # noqa: BLE001 (whatever comes is the outcome)
            self.outcome = error


def call_while_busy(
    batcher: Batcher, model: Doubling, rows: Sequence[int]
) -> tuple[Caller, list[Caller]]:
    """Hold the model up with row 1000, then let the rows queue up behind it, in order."""
    model.gate.clear()
    model.entered.clear()
    first = Caller(batcher.predict, 1000)
    first.start()
    assert model.entered.wait(10)
    callers = []
    for count, row in enumerate(rows, start=1):
        caller = Caller(batcher.predict, row)
        caller.start()
        callers.append(caller)
        wait_until(partial(_is_waiting, batcher, count))
    return first, callers


def _is_waiting(batcher: Batcher, rows: int) -> bool:
    return batcher.queue_depth >= rows


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def outcomes(callers: Sequence[Caller]) -> list[Any]:
    for caller in callers:
        caller.join(10)
        assert not caller.is_alive()
    return [caller.outcome for caller in callers]


def test_a_row_that_finds_the_model_idle_is_predicted_alone_on_its_own_thread() -> None:
    model = Doubling()
    threads: list[int] = []

    def predict(row: Any) -> Any:
        threads.append(threading.get_ident())
        return model.predict(row)

    batcher = Batcher(predict, model.predict_batch, BatchingConfiguration(), Instruments())
    assert batcher.predict(4) == 8
    assert threads == [threading.get_ident()]
    assert model.batches == []


def test_rows_that_come_while_the_model_is_busy_are_predicted_in_one_call() -> None:
    model = Doubling()
    batcher = batcher_of(model)
    first, callers = call_while_busy(batcher, model, [1, 2, 3, 4])
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 4, 6, 8]
    assert model.batches == [[1, 2, 3, 4]]
    assert batcher.queue_depth == 0


def test_no_batch_is_larger_than_max_batch_size() -> None:
    model = Doubling()
    batcher = batcher_of(model, max_batch_size=2)
    first, callers = call_while_busy(batcher, model, [1, 2, 3, 4, 5])
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 4, 6, 8, 10]
    assert model.batches == [[1, 2], [3, 4]]
    assert model.singles == [1000, 5]


def test_a_batch_of_one_is_no_batch() -> None:
    model = Doubling()
    batcher = batcher_of(model, max_batch_size=1)
    first, callers = call_while_busy(batcher, model, [1, 2])
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 4]
    assert model.batches == []


def test_only_the_bad_row_of_a_batch_fails() -> None:
    model = Doubling()
    batcher = batcher_of(model)
    first, callers = call_while_busy(batcher, model, [1, -2, 3])
    model.gate.set()
    one, bad, three = outcomes([first, *callers])[1:]
    assert (one, three) == (2, 6)
    assert isinstance(bad, Refused)
    assert bad.args == (-2,)
    assert batcher.predict(5) == 10


@pytest.mark.parametrize("returned", [[], [0], [0] * 4, None, 7])
def test_a_wrong_number_of_results_is_mended_row_by_row(returned: Any) -> None:
    model = Doubling()
    batcher = Batcher(model.predict, lambda _rows: returned, BatchingConfiguration(), Instruments())
    first, callers = call_while_busy(batcher, model, [1, 2, 3])
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 4, 6]


def calling(batcher: Batcher, model: Doubling) -> Callable[[int], Any]:
    """Make whole calls for two rows."""
    return lambda row: batcher.call(model.predict_batch, [row, row])


def queue_up(batcher: Batcher, predict: Callable[[Any], Any], row: Any) -> Caller:
    before = batcher.queue_depth
    caller = Caller(predict, row)
    caller.start()
    wait_until(partial(_is_waiting, batcher, before + 1))
    return caller


def test_a_whole_call_waits_until_the_model_is_idle_and_shares_with_no_row() -> None:
    model = Doubling()
    batcher = batcher_of(model)
    first, callers = call_while_busy(batcher, model, [1, 2])
    callers.append(queue_up(batcher, calling(batcher, model), 3))
    callers += [queue_up(batcher, batcher.predict, row) for row in (4, 5)]
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 4, [6, 6], 8, 10]
    assert model.batches == [[1, 2], [3, 3], [4, 5]]
    assert (batcher.queue_depth, batcher._busy) == (0, False)


def test_an_idle_model_makes_a_whole_call_at_once() -> None:
    model = Doubling()
    batcher = batcher_of(model)
    assert calling(batcher, model)(3) == [6, 6]
    assert batcher.predict(4) == 8


def test_a_whole_call_that_raises_does_not_take_the_queue_with_it() -> None:
    model = Doubling()
    batcher = batcher_of(model)
    first, callers = call_while_busy(batcher, model, [])
    callers = [
        queue_up(batcher, calling(batcher, model), -1),
        queue_up(batcher, batcher.predict, 2),
    ]
    model.gate.set()
    _, refused, other = outcomes([first, *callers])
    assert isinstance(refused, Refused)
    assert other == 4
    assert batcher.predict(5) == 10


def test_a_leader_waits_for_more_rows_only_if_it_is_told_to() -> None:
    model = Doubling()
    batcher = batcher_of(model, max_wait_seconds=5, max_batch_size=2)
    callers = [Caller(batcher.predict, row) for row in (1, 2)]
    for caller in callers:
        caller.start()
    assert outcomes(callers) == [2, 4]
    assert [sorted(batch) for batch in model.batches] == [[1, 2]]


def test_a_lonely_leader_stops_waiting_after_max_wait_seconds() -> None:
    model = Doubling()
    assert batcher_of(model, max_wait_seconds=0.01).predict(3) == 6
    assert model.singles == [3]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_begins_with_an_idle_model() -> None:
    model = Doubling()
    batcher = batcher_of(model)
    first, callers = call_while_busy(batcher, model, [1])
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def predict() -> None:
        model.gate = threading.Event()
        model.gate.set()
        answers.put((batcher.queue_depth, batcher.predict(21)))

    child = context.Process(target=predict)
    child.start()
    child.join(20)
    model.gate.set()
    assert child.exitcode == 0
    assert answers.get() == (0, 42)
    assert outcomes([first, *callers]) == [2000, 2]


class Number(BaseModel):
    value: int


class DoublingModel(MLModel):
    display_name = "Doubling"
    qualified_name = "doubling"
    description = "Doubles."
    version = "1"
    input_schema = Number
    output_schema = Number

    def __init__(self) -> None:
        self.calls = 0

    def predict(self, data: Number) -> Number:
        return self.predict_batch([data])[0]

    def predict_batch(self, data: list[Number]) -> list[Number]:
        self.calls += 1
        return [Number(value=2 * row.value) for row in data]


class AddingOne(MLModelDecorator):
    """A decorator that knows nothing of batches."""

    def predict(self, data: Number) -> Number:
        return Number(value=self._model.predict(data).value + 1)


def test_the_decorator_is_invisible_to_those_around_it() -> None:
    batching = BatchingDecorator(DoublingModel(), BatchingConfiguration(), Instruments())
    decorated = AddingOne(batching)
    assert decorated.predict(Number(value=3)) == Number(value=7)
    assert batching.predict(data=Number(value=3)) == Number(value=6)
    assert decorated.qualified_name == "doubling"
    assert decorated.calls == 2
    assert batching.predict_batch([Number(value=1)]) == [Number(value=2)]


class Moody:
    """Doubles numbers with random delays; raises or loses results at random in batches."""

    def __init__(self) -> None:
        self._random = random.Random(0)  # noqa: S311
        self.predicted: Counter[int] = Counter()
        self.sizes: Counter[int] = Counter()
        self.running = 0

    def predict(self, row: Any) -> Any:
        self._enter()
        self.predicted[row] += 1
        if self._random.random() < 0.0005:
            time.sleep(0.001)
        self.running -= 1
        if row % 97 == 0:
            raise Refused(row)
        return 2 * row

    def predict_batch(self, rows: Sequence[Any]) -> list[Any]:
        self._enter()
        self.sizes[len(rows)] += 1
        mood = self._random.random()
        if mood < 0.1:
            time.sleep(self._random.random() / 1000)
        self.running -= 1
        if mood > 0.95 or any(row % 97 == 0 for row in rows):
            raise Refused("some row")
        results = [2 * row for row in rows]
        return results[1:] if mood > 0.9 else results

    def _enter(self) -> None:
        self.running += 1
        assert self.running == 1, "two calls at once"


@pytest.mark.parametrize(
    "total", [10_000, pytest.param(100_000, marks=pytest.mark.long)], ids=["short", "whole"]
)
def test_under_stress_each_caller_gets_its_own_result_once(total: int) -> None:
    callers = 32
    model = Moody()
    batcher = batcher_of(model, max_batch_size=16)
    results: Counter[int] = Counter()
    wrong: list[tuple[int, Any]] = []

    def whole(row: Any) -> Any:
        return batcher.call(model.predict, row)

    def call(first: int) -> None:
        for row in range(first, total, callers):
            outcome = Caller(whole if row % 10 == 0 and row % 97 else batcher.predict, row)
            outcome.run()
            answer = outcome.outcome
            refused = isinstance(answer, Refused) and answer.args == (row,)
            if not (refused if row % 97 == 0 else answer == 2 * row):
                wrong.append((row, answer))
            results[row] += 1
            if row % 50 == 0:
                time.sleep(0)

    threads = [threading.Thread(target=call, args=(first,)) for first in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(results.values()) == len(results) == total
    assert max(model.sizes) > 1
    assert (batcher.queue_depth, batcher._busy) == (0, False)


class Listening(Doubling):
    """Notes which requests each call was for, and sees to it that there are several."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[str, ...]] = []

    def predict(self, row: Any) -> Any:
        self._note()
        return super().predict(row)

    def predict_batch(self, rows: Sequence[Any]) -> list[Any]:
        self._note()
        return super().predict_batch(rows)

    def _note(self) -> None:
        context = current_request.get()
        assert context is not None
        self.requests.append((context.id, *context.others))


def predict_for(batcher: Batcher, contexts: dict[int, RequestContext], row: int) -> int:
    """Predict a row for the request of that number."""
    current_request.set(contexts.setdefault(row, RequestContext(str(row))))
    result: Any = batcher.predict(row)
    return result


def requests_of(rows: Sequence[int]) -> tuple[Listening, dict[int, RequestContext]]:
    """Let rows be predicted together, behind row 1000."""
    model = Listening()
    batcher = batcher_of(model)
    contexts: dict[int, RequestContext] = {}
    model.gate.clear()
    callers = []
    for number, row in enumerate([1000, *rows]):
        caller = Caller(partial(predict_for, batcher, contexts), row)
        caller.start()
        callers.append(caller)
        if number == 0:
            assert model.entered.wait(10)
        while batcher.queue_depth < number:
            time.sleep(0.001)
    model.gate.set()
    for caller in callers:
        caller.join(10)
    return model, contexts


def test_a_batch_works_for_the_requests_of_all_its_rows() -> None:
    model, contexts = requests_of([1, 2, 3])
    assert model.requests == [("1000",), ("1", "2", "3")]
    assert [contexts[row].batch_size for row in (1, 2, 3)] == [3, 3, 3]
    assert [contexts[row].others for row in (1, 2, 3)] == [(), (), ()]


def test_rows_that_are_predicted_alone_after_a_batch_failed_work_for_their_own_requests() -> None:
    model, _ = requests_of([1, -2, 3])
    assert model.requests == [("1000",), ("1", "-2", "3"), ("1",), ("-2",), ("3",)]


def test_a_request_knows_how_long_its_row_waited() -> None:
    _, contexts = requests_of([1, 2])
    assert contexts[1000].queue_seconds == 0
    waited = [contexts[row].queue_seconds for row in (1, 2)]
    assert all(seconds > 0 for seconds in waited)


def test_a_request_knows_how_long_its_whole_call_waited() -> None:
    model, context = Doubling(), RequestContext("mine")
    batcher = batcher_of(model)

    def call(row: int) -> Any:
        current_request.set(context)
        return calling(batcher, model)(row)

    first, _ = call_while_busy(batcher, model, [])
    caller = queue_up(batcher, call, 1)
    model.gate.set()
    assert outcomes([first, caller]) == [2000, [2, 2]]
    assert context.queue_seconds > 0


# Rows for which nobody waits any more


def due(seconds: float) -> RequestContext:
    """Make the context of a request whose deadline is in so many seconds, 2 s after it came."""
    context = RequestContext("due")
    context.received = time.monotonic() + seconds - 2
    context.deadline = context.received + 2
    return context


def for_request(context: RequestContext, predict: Callable[[int], Any]) -> Callable[[int], Any]:
    def call(row: int) -> Any:
        current_request.set(context)
        return predict(row)

    return call


def test_a_row_for_which_nobody_waits_any_more_is_not_predicted() -> None:
    model = Doubling()
    batcher = batcher_of(model)
    first, callers = call_while_busy(batcher, model, [])
    for row, seconds in ((1, -1), (2, 60), (3, -1), (4, 60)):
        callers.append(queue_up(batcher, for_request(due(seconds), batcher.predict), row))
    model.gate.set()
    _, one, two, three, four = outcomes([first, *callers])
    assert (two, four) == (4, 8)
    for late in (one, three):
        assert isinstance(late, DeadlineExceeded)
        assert str(late) == "The model was busy for more than 2 s."
    assert model.batches == [[2, 4]]
    assert (batcher.queue_depth, batcher._busy) == (0, False)


def test_a_whole_call_for_which_nobody_waits_any_more_is_not_made() -> None:
    model = Doubling()
    batcher = batcher_of(model)
    first, _ = call_while_busy(batcher, model, [])
    late = queue_up(batcher, for_request(due(-1), calling(batcher, model)), 2)
    other = queue_up(batcher, batcher.predict, 3)
    model.gate.set()
    _, refused, answer = outcomes([first, late, other])
    assert isinstance(refused, DeadlineExceeded)
    assert answer == 6
    assert model.batches == []
    assert batcher.predict(4) == 8


def test_a_batch_of_none_but_late_rows_calls_no_model() -> None:
    model, heard = Doubling(), Heard()
    batcher = batcher_of(model, heard)
    first, callers = call_while_busy(batcher, model, [])
    for row in (1, 2):
        callers.append(queue_up(batcher, for_request(due(-1), batcher.predict), row))
    model.gate.set()
    assert [type(each) for each in outcomes(callers)] == [DeadlineExceeded] * 2
    assert outcomes([first]) == [2000]
    assert heard.batches == [1]
    assert model.singles == [1000]


# Rows that a failed call has touched


class Spoiling:
    """Changes rows in place while it predicts batches, and then fails in some way."""

    def __init__(self, fail: Callable[[], list[int]]) -> None:
        self._fail = fail
        self.entered, self.gate = threading.Event(), threading.Event()

    def predict(self, row: list[int]) -> int:
        self.entered.set()
        self.gate.wait(10)
        return 2 * row[0]

    def predict_batch(self, rows: Sequence[list[int]]) -> list[int]:
        for row in rows:
            row[0] = -7
        return self._fail()


def raising(error: BaseException) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


class Own(BaseException):
    """As a library may derive its errors."""


ERRORS = [
    ValueError("bad"),
    SystemExit(1),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
    Own(),
]


@pytest.mark.parametrize(
    "fail", [*map(raising, ERRORS), list, lambda: [1], lambda: [1, 2, 3], lambda: None]
)
def test_who_can_make_a_row_anew_is_told_that_its_batch_failed(fail: Callable[[], Any]) -> None:
    model = Spoiling(fail)
    batcher = batcher_of(model)

    def with_retry(row: int) -> Any:
        sharing.set(Sharing.WITH_RETRY)
        try:
            return batcher.predict([row])
        except BatchFailed:
            sharing.set(Sharing.ALONE)
            return batcher.predict([row])

    first = Caller(with_retry, 1000)
    first.start()
    assert model.entered.wait(10)
    callers = [queue_up(batcher, with_retry, row) for row in (1, 2)]
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 4]
    assert (batcher.queue_depth, batcher._busy) == (0, False)


@pytest.mark.parametrize("fail", [*map(raising, ERRORS), list, lambda: [1, 2, 3]])
def test_a_row_that_nobody_can_make_anew_is_predicted_as_it_was(fail: Callable[[], Any]) -> None:
    model = Spoiling(fail)
    batcher = batcher_of(model)
    first = Caller(batcher.predict, [1000])
    first.start()
    assert model.entered.wait(10)
    callers = [queue_up(batcher, batcher.predict, [row]) for row in (1, 2)]
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 4]


class Unique(list[int]):
    """Cannot be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("there is but one")


def test_a_row_that_cannot_be_copied_shares_no_call() -> None:
    model, heard = Spoiling(lambda: [2, 4]), Heard()
    batcher = batcher_of(model, heard)
    first = Caller(batcher.predict, [1000])
    first.start()
    assert model.entered.wait(10)
    rows = [[1], Unique([3]), [2]]
    callers = [queue_up(batcher, batcher.predict, row) for row in rows]
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 6, 4]
    assert heard.batches == [1, 1, 2]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_a_row_raises_is_its_own_and_the_others_of_its_batch_are_answered(
    error: BaseException,
) -> None:
    model = Doubling()

    def predict(row: Any) -> Any:
        if row == 2:
            raise error
        return model.predict(row)

    def predict_batch(_rows: Sequence[object]) -> list[object]:
        raise error

    batcher = Batcher(predict, predict_batch, BatchingConfiguration(), Instruments())
    first, callers = call_while_busy(batcher, model, [1, 2, 3])
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, error, 6]
    assert batcher.predict(4) == 8


def test_a_row_that_is_to_be_alone_shares_no_call() -> None:
    model = Doubling()
    batcher = batcher_of(model)

    def alone(row: int) -> Any:
        sharing.set(Sharing.ALONE)
        return batcher.predict(row)

    first, callers = call_while_busy(batcher, model, [1, 2])
    callers.append(queue_up(batcher, alone, 3))
    callers += [queue_up(batcher, batcher.predict, row) for row in (4, 5)]
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 4, 6, 8, 10]
    assert model.batches == [[1, 2], [4, 5]]
    assert model.singles == [1000, 3]


def test_any_number_of_rows_may_wait() -> None:
    model = Doubling()
    batcher = batcher_of(model, max_batch_size=8, max_queue_size=1)
    first, callers = call_while_busy(batcher, model, range(50))
    assert batcher.queue_depth == 50
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, *(2 * row for row in range(50))]
    assert max(map(len, model.batches)) == 8


# What instruments hear


class Heard(Instruments):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.depths: list[int] = [0]
        self.waits: list[tuple[int, float]] = []
        self._lock = threading.Lock()

    def batch(self, rows: int) -> None:
        self.batches.append(rows)

    def queue(self, change: int) -> None:
        with self._lock:
            self.depths.append(self.depths[-1] + change)

    def waited(self, began: float, seconds: float) -> None:
        assert began <= time.monotonic()
        self.waits.append((threading.get_ident(), seconds))


def test_instruments_hear_of_calls_and_of_waiting_on_the_thread_that_waited() -> None:
    model, heard = Doubling(), Heard()
    batcher = batcher_of(model, heard)
    first, callers = call_while_busy(batcher, model, [1, 2, 3])
    callers.append(queue_up(batcher, calling(batcher, model), 4))
    time.sleep(0.02)
    assert heard.depths[-1] == 4
    threads = {caller.ident for caller in callers}
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 4, 6, [8, 8]]
    assert heard.batches == [1, 3]
    assert (max(heard.depths), heard.depths[-1]) == (4, 0)
    assert {thread for thread, _ in heard.waits} == threads
    assert len(heard.waits) == 4
    assert all(0.02 <= seconds < 10 for _, seconds in heard.waits)


def test_who_finds_the_model_idle_does_not_wait() -> None:
    heard = Heard()
    assert batcher_of(Doubling(), heard).predict(4) == 8
    assert (heard.batches, heard.depths, heard.waits) == ([1], [0], [])


class RowsOnly(DoublingModel):
    """Predicts by rows alone."""


class WithColumns(DoublingModel):
    """Predicts columns too."""

    def predict_columns(self, columns: dict[str, list[int]]) -> dict[str, list[int]]:
        return {"value": [2 * value for value in columns["value"]]}


@pytest.mark.parametrize(("model", "can"), [(RowsOnly(), False), (WithColumns(), True)])
def test_the_class_of_the_decorator_says_whether_the_model_takes_columns(
    model: MLModel, can: bool
) -> None:
    decorated = batching_decorator(model)(model, BatchingConfiguration(), Instruments())
    assert hasattr(type(decorated), "predict_columns") is can
    if can:
        assert decorated.predict_columns({"value": [1, 2]}) == {"value": [2, 4]}


def settled(outcome: Callable[[], object]) -> object:
    """Return what an outcome returns or raises."""
    try:
        return outcome()
    except BaseException as error:  # noqa: BLE001 (whatever comes is the outcome)
        return type(error)


def each(batcher: Batcher, rows: Sequence[Any], contexts: Sequence[Any] = ()) -> list[object]:
    """Return what comes of rows of several requests on one thread."""
    given = [*zip(rows, contexts or [None] * len(rows), strict=True)]
    return [settled(outcome) for outcome in batcher.predict_each(given)]


@pytest.mark.parametrize(
    ("rows", "batches", "singles"),
    [
        ([], [], []),
        ([1], [], [1]),
        ([1, 2, 3], [[1, 2, 3]], []),
        ([1, 2, 3, 4, 5, 6, 7], [[1, 2, 3], [4, 5, 6]], [7]),
    ],
)
def test_rows_of_several_requests_on_one_thread_share_calls(
    rows: list[int], batches: list[list[int]], singles: list[int]
) -> None:
    model = Doubling()
    batcher = batcher_of(model, max_batch_size=3)
    assert each(batcher, rows) == [2 * row for row in rows]
    assert (model.batches, model.singles) == (batches, singles)
    assert (batcher.queue_depth, batcher._busy) == (0, False)


def test_rows_of_one_thread_and_of_others_share_calls_in_the_order_in_which_they_came() -> None:
    model = Doubling()
    batcher = batcher_of(model, max_batch_size=3)
    first, callers = call_while_busy(batcher, model, [1])
    group = Caller(partial(each, batcher), [2, 3, 4, 5])
    group.start()
    wait_until(partial(_is_waiting, batcher, 5))
    callers.append(queue_up(batcher, batcher.predict, 6))
    model.gate.set()
    assert outcomes([first, *callers, group]) == [2000, 2, 12, [4, 6, 8, 10]]
    assert model.batches == [[1, 2, 3], [4, 5, 6]]


def test_rows_of_one_thread_whose_call_fails_start_anew_and_no_other_does() -> None:
    model = Doubling()
    batcher = batcher_of(model, max_batch_size=3)
    assert each(batcher, [1, -2, 3, 4, 5]) == [BatchFailed, BatchFailed, BatchFailed, 8, 10]
    assert model.batches == [[1, -2, 3], [4, 5]]


def test_of_rows_of_one_thread_those_for_which_nobody_waits_are_not_predicted() -> None:
    model = Doubling()
    contexts = [due(10), due(-1), due(10)]
    found = each(batcher_of(model), [1, 2, 3], contexts)
    assert found == [2, DeadlineExceeded, 6]
    assert model.batches == [[1, 3]]
    assert [context.batch_size for context in contexts] == [2, None, 2]


def test_each_row_of_one_thread_is_predicted_for_its_own_request() -> None:
    model = Listening()
    contexts = [RequestContext(name) for name in ("a", "b", "c")]
    each(batcher_of(model, max_batch_size=2), [1, 2, 3], contexts)
    assert model.requests == [("a", "b"), ("c",)]
    assert all(context.queue_seconds > 0 for context in contexts)
    assert current_request.get() is None


def test_under_stress_rows_of_one_thread_get_each_its_own_result() -> None:
    batcher = batcher_of(Doubling(), max_batch_size=5)
    groups = [[random.randrange(1, 1000) for _ in range(at % 9)] for at in range(300)]  # noqa: S311

    def predict(at: int) -> list[object]:
        return each(batcher, groups[at]) if at % 3 else [batcher.predict(7)]

    with ThreadPoolExecutor(16) as clients:
        found = [*clients.map(predict, range(300))]
    assert found == [
        [2 * row for row in group] if at % 3 else [14] for at, group in enumerate(groups)
    ]
    assert (batcher.queue_depth, batcher._busy) == (0, False)

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel

from models_api.configuration.sections import BatchingConfiguration
from models_api.exceptions import DeadlineExceeded, Overloaded
from models_api.prediction.batcher import BatchingDecorator, GroupCommit
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

    def predict(self, row: int) -> int:
        self.entered.set()
        self.gate.wait(10)
        self.singles.append(row)
        if row < 0:
            raise Refused(row)
        return 2 * row

    def predict_batch(self, rows: Sequence[int]) -> list[int]:
        self.batches.append(list(rows))
        if min(rows) < 0:
            raise Refused("some row")
        return [2 * row for row in rows]


def group_commit(
    model: Any, *, timeout_seconds: float | None = None, **options: Any
) -> GroupCommit:
    configuration = BatchingConfiguration(**options)
    return GroupCommit(model.predict, model.predict_batch, configuration, timeout_seconds)


class Caller(threading.Thread):
    """Predicts one row in a thread of its own, and keeps what came of it."""

    def __init__(self, predict: Callable[[int], int], row: int) -> None:
        super().__init__(daemon=True)
        self._predict, self._row = predict, row
        self.outcome: Any = None

    def run(self) -> None:
        try:
            self.outcome = self._predict(self._row)
        except BaseException as error:  # noqa: BLE001 (whatever comes is the outcome)
            self.outcome = error


def call_while_busy(
    commit: GroupCommit, model: Doubling, rows: Sequence[int]
) -> tuple[Caller, list[Caller]]:
    """Hold the model up with row 1000, then let the rows queue up behind it, in order."""
    model.gate.clear()
    model.entered.clear()
    first = Caller(commit.predict, 1000)
    first.start()
    assert model.entered.wait(10)
    callers = []
    for count, row in enumerate(rows, start=1):
        caller = Caller(commit.predict, row)
        caller.start()
        callers.append(caller)
        waiting = min(count, commit._max_queue_size)
        wait_until(partial(_is_waiting, commit, waiting))
    return first, callers


def _is_waiting(commit: GroupCommit, rows: int) -> bool:
    return commit.queue_depth >= rows


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

    def predict(row: int) -> int:
        threads.append(threading.get_ident())
        return model.predict(row)

    commit = GroupCommit(predict, model.predict_batch, BatchingConfiguration())
    assert commit.predict(4) == 8
    assert threads == [threading.get_ident()]
    assert model.batches == []


def test_rows_that_come_while_the_model_is_busy_are_predicted_in_one_call() -> None:
    model = Doubling()
    commit = group_commit(model)
    first, callers = call_while_busy(commit, model, [1, 2, 3, 4])
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 4, 6, 8]
    assert model.batches == [[1, 2, 3, 4]]
    assert commit.queue_depth == 0


def test_no_batch_is_larger_than_max_batch_size() -> None:
    model = Doubling()
    commit = group_commit(model, max_batch_size=2)
    first, callers = call_while_busy(commit, model, [1, 2, 3, 4, 5])
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 4, 6, 8, 10]
    assert model.batches == [[1, 2], [3, 4]]
    assert model.singles == [1000, 5]


def test_a_batch_of_one_is_no_batch() -> None:
    model = Doubling()
    commit = group_commit(model, max_batch_size=1)
    first, callers = call_while_busy(commit, model, [1, 2])
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 4]
    assert model.batches == []


def test_a_row_is_refused_when_the_queue_is_full_and_the_others_are_not() -> None:
    model = Doubling()
    commit = group_commit(model, max_queue_size=2)
    first, callers = call_while_busy(commit, model, [1, 2])
    with pytest.raises(Overloaded, match="busy, and 2 requests are waiting for it already"):
        commit.predict(3)
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 4]
    assert commit.predict(3) == 6


def test_only_the_bad_row_of_a_batch_fails() -> None:
    model = Doubling()
    commit = group_commit(model)
    first, callers = call_while_busy(commit, model, [1, -2, 3])
    model.gate.set()
    one, bad, three = outcomes([first, *callers])[1:]
    assert (one, three) == (2, 6)
    assert isinstance(bad, Refused)
    assert bad.args == (-2,)
    assert commit.predict(5) == 10


@pytest.mark.parametrize("returned", [[], [0], [0] * 4, None, 7])
def test_a_wrong_number_of_results_is_mended_row_by_row(returned: Any) -> None:
    model = Doubling()
    commit = GroupCommit(model.predict, lambda _rows: returned, BatchingConfiguration())
    first, callers = call_while_busy(commit, model, [1, 2, 3])
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 4, 6]


def test_a_row_that_waits_too_long_gives_up_and_is_never_predicted() -> None:
    model = Doubling()
    commit = group_commit(model, timeout_seconds=0.05)
    first, (caller,) = call_while_busy(commit, model, [1])
    (late,) = outcomes([caller])
    assert isinstance(late, DeadlineExceeded)
    assert str(late) == "The model was busy for more than 0.05 s."
    assert commit.queue_depth == 0
    model.gate.set()
    assert outcomes([first]) == [2000]
    assert model.singles == [1000]
    assert commit.predict(2) == 4


def calling(commit: GroupCommit, model: Doubling) -> Callable[[int], Any]:
    """Make whole calls for two rows."""
    return lambda row: commit.call(lambda: model.predict_batch([row, row]))


def queue_up(commit: GroupCommit, predict: Callable[[int], Any], row: int) -> Caller:
    before = commit.queue_depth
    caller = Caller(predict, row)
    caller.start()
    wait_until(partial(_is_waiting, commit, before + 1))
    return caller


def test_a_whole_call_waits_until_the_model_is_idle_and_shares_with_no_row() -> None:
    model = Doubling()
    commit = group_commit(model)
    first, callers = call_while_busy(commit, model, [1, 2])
    callers.append(queue_up(commit, calling(commit, model), 3))
    callers += [queue_up(commit, commit.predict, row) for row in (4, 5)]
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2, 4, [6, 6], 8, 10]
    assert model.batches == [[1, 2], [3, 3], [4, 5]]
    assert (commit.queue_depth, commit._busy) == (0, False)


def test_an_idle_model_makes_a_whole_call_at_once() -> None:
    model = Doubling()
    commit = group_commit(model)
    assert calling(commit, model)(3) == [6, 6]
    assert commit.predict(4) == 8


def test_a_whole_call_that_raises_does_not_take_the_queue_with_it() -> None:
    model = Doubling()
    commit = group_commit(model)
    first, callers = call_while_busy(commit, model, [])
    callers = [queue_up(commit, calling(commit, model), -1), queue_up(commit, commit.predict, 2)]
    model.gate.set()
    _, refused, other = outcomes([first, *callers])
    assert isinstance(refused, Refused)
    assert other == 4
    assert commit.predict(5) == 10


def test_a_whole_call_is_refused_when_the_queue_is_full() -> None:
    model = Doubling()
    commit = group_commit(model, max_queue_size=1)
    first, callers = call_while_busy(commit, model, [1])
    with pytest.raises(Overloaded):
        calling(commit, model)(2)
    model.gate.set()
    assert outcomes([first, *callers]) == [2000, 2]
    assert model.batches == []


def test_a_whole_call_that_waits_too_long_gives_up_and_is_never_made() -> None:
    model = Doubling()
    commit = group_commit(model, timeout_seconds=0.05)
    first, _ = call_while_busy(commit, model, [])
    with pytest.raises(DeadlineExceeded):
        calling(commit, model)(2)
    assert commit.queue_depth == 0
    model.gate.set()
    assert outcomes([first]) == [2000]
    assert model.batches == []


def test_a_leader_waits_for_more_rows_only_if_it_is_told_to() -> None:
    model = Doubling()
    commit = group_commit(model, max_wait_seconds=5, max_batch_size=2)
    callers = [Caller(commit.predict, row) for row in (1, 2)]
    for caller in callers:
        caller.start()
    assert outcomes(callers) == [2, 4]
    assert [sorted(batch) for batch in model.batches] == [[1, 2]]


def test_a_lonely_leader_stops_waiting_after_max_wait_seconds() -> None:
    model = Doubling()
    assert group_commit(model, max_wait_seconds=0.01).predict(3) == 6
    assert model.singles == [3]


def test_a_thread_that_is_stopped_in_a_batch_does_not_take_the_queue_with_it() -> None:
    model = Doubling()

    def stop(_rows: Sequence[int]) -> list[int]:
        raise SystemExit

    commit = GroupCommit(model.predict, stop, BatchingConfiguration(max_batch_size=2))
    first, callers = call_while_busy(commit, model, [1, 2, 3])
    model.gate.set()
    _, leader, follower, other = outcomes([first, *callers])
    assert isinstance(leader, SystemExit)
    assert isinstance(follower, RuntimeError)
    assert other == 6
    assert commit.predict(4) == 8


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_begins_with_an_idle_model() -> None:
    model = Doubling()
    commit = group_commit(model)
    first, callers = call_while_busy(commit, model, [1])
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def predict() -> None:
        model.gate = threading.Event()
        model.gate.set()
        answers.put((commit.queue_depth, commit.predict(21)))

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
    batching = BatchingDecorator(DoublingModel(), BatchingConfiguration())
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

    def predict(self, row: int) -> int:
        self._enter()
        self.predicted[row] += 1
        if self._random.random() < 0.0005:
            time.sleep(0.001)
        self.running -= 1
        if row % 97 == 0:
            raise Refused(row)
        return 2 * row

    def predict_batch(self, rows: Sequence[int]) -> list[int]:
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
    commit = group_commit(model, max_batch_size=16)
    results: Counter[int] = Counter()
    wrong: list[tuple[int, Any]] = []

    def whole(row: int) -> int:
        return commit.call(partial(model.predict, row))

    def call(first: int) -> None:
        for row in range(first, total, callers):
            outcome = Caller(whole if row % 10 == 0 and row % 97 else commit.predict, row)
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
    assert (commit.queue_depth, commit._busy) == (0, False)


class Listening(Doubling):
    """Notes which requests each call was for, and sees to it that there are several."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[str, ...]] = []

    def predict(self, row: int) -> int:
        self._note()
        return super().predict(row)

    def predict_batch(self, rows: Sequence[int]) -> list[int]:
        self._note()
        return super().predict_batch(rows)

    def _note(self) -> None:
        context = current_request.get()
        assert context is not None
        self.requests.append((context.id, *context.others))


def predict_for(commit: GroupCommit, contexts: dict[int, RequestContext], row: int) -> int:
    """Predict a row for the request of that number."""
    current_request.set(contexts.setdefault(row, RequestContext(str(row))))
    result: int = commit.predict(row)
    return result


def requests_of(rows: Sequence[int]) -> tuple[Listening, dict[int, RequestContext]]:
    """Let rows be predicted together, behind row 1000."""
    model = Listening()
    commit = group_commit(model)
    contexts: dict[int, RequestContext] = {}
    model.gate.clear()
    callers = []
    for number, row in enumerate([1000, *rows]):
        caller = Caller(partial(predict_for, commit, contexts), row)
        caller.start()
        callers.append(caller)
        if number == 0:
            assert model.entered.wait(10)
        while commit.queue_depth < number:
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
    commit = group_commit(model)

    def call(row: int) -> Any:
        current_request.set(context)
        return calling(commit, model)(row)

    first, _ = call_while_busy(commit, model, [])
    caller = queue_up(commit, call, 1)
    model.gate.set()
    assert outcomes([first, caller]) == [2000, [2, 2]]
    assert context.queue_seconds > 0

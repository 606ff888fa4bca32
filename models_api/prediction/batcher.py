"""The batcher: requests that come while a model is busy are predicted together afterwards."""

from __future__ import annotations

import copy
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from enum import Enum
from functools import partial
from typing import TypeVar

from ml_base import MLModel, MLModelDecorator

from models_api.configuration.sections import BatchingConfiguration
from models_api.exceptions import DeadlineExceeded
from models_api.fork import call_after_fork
from models_api.prediction.instruments import Instruments
from models_api.prediction.mistakes import FallbackWarning, listed
from models_api.prediction.model_calls import ModelCalls
from models_api.prediction.request_context import RequestContext, current_request, shared_context

D = TypeVar("D")
T = TypeVar("T")

# Tens of microseconds less than time.sleep(0), where the system has it.
_yield_processor: Callable[[], None] = getattr(os, "sched_yield", partial(time.sleep, 0))
_PENDING = object()


class BatchFailed(BaseException):
    """A call for several rows failed, and may have changed them: the request is to start anew.

    No Exception, so that decorators of models that catch those let it pass.
    """


class Sharing(Enum):
    """How a request takes part in batches."""

    WITH_COPY = "a copy of its row is predicted again where a call for several failed"
    WITH_RETRY = "where a call for several rows failed, BatchFailed is raised"
    ALONE = "its row shares no call"


sharing: ContextVar[Sharing] = ContextVar("sharing", default=Sharing.WITH_COPY)
"""Set by whoever can make the row anew, from the request's own bytes.

Not so where a decorator predicts in a thread of its own, or where code of the host project does.
"""


class _Row:
    """One caller's data on its way through a batch."""

    __slots__ = (
        "began",
        "context",
        "copy",
        "data",
        "error",
        "leads",
        "result",
        "seconds",
        "sharing",
        "turn",
    )

    def __init__(
        self, data: object, how: Sharing, context: RequestContext | None, *, waits: bool = True
    ) -> None:
        self.data = data
        self.sharing = how
        self.copy: object = None
        """Of the data, with `Sharing.WITH_COPY`, once the row is about to share a call."""
        self.result: object = _PENDING
        self.error: BaseException | None = None
        self.leads = False
        """Whether the caller is to predict the next batch on its own thread."""
        self.turn: threading.Lock | None = None
        """Held until the row has an outcome, or leads; None for a row that never waits."""
        if waits:
            self.turn = threading.Lock()
            self.turn.acquire()
        self.context = context
        """The caller's."""
        self.began = time.monotonic()
        self.seconds = 0.0
        """For which it waited until the call that it is in."""

    def end_waiting(self) -> None:
        self.seconds = time.monotonic() - self.began

    def prepare_sharing(self) -> None:
        """Keep what is needed in case that a shared call fails, or let the row share none."""
        if self.sharing is Sharing.WITH_COPY:
            try:
                self.copy = copy.deepcopy(self.data)
            except BaseException:  # noqa: BLE001 (the data may be of any class)
                self.sharing = Sharing.ALONE

    def outcome(self) -> object:
        if self.error is not None:
            raise self.error
        if self.result is _PENDING:
            raise RuntimeError("The thread that predicted this row was stopped.")
        return self.result


def refuse_late(context: RequestContext | None) -> None:
    """Raise DeadlineExceeded if nobody waits for the prediction of a request any more."""
    deadline = context.deadline if context is not None else None
    if context is not None and deadline is not None and time.monotonic() > deadline:
        raise DeadlineExceeded(deadline - context.received)


class Batcher:
    """Calls `predict` or `predict_batch` for rows of many threads, one call at a time.

    A caller that finds the model idle predicts at once, on its own thread, and alone. Those that
    come meanwhile queue up; when the model is idle again, the first of them leads: it takes the
    others, up to `max_batch_size`, and predicts for all of them in one call. No thread is started,
    and nobody waits without need: only with `max_wait_seconds` does a leader wait for more rows.

    How many may wait, and for how long, is the affair of the limiter; a row for which nobody waits
    any more is not predicted. Where a batch raises, or gives a wrong number of results, its rows
    are predicted again one by one, so that only the bad ones fail.
    """

    _busy: bool

    def __init__(
        self,
        predict: Callable[[object], object],
        predict_batch: Callable[[list[object]], Sequence[object]],
        options: BatchingConfiguration,
        instruments: Instruments,
        name: str = "the model",
    ) -> None:
        self._fallback = FallbackWarning(name)
        self._predict = predict
        self._predict_batch = predict_batch
        self._max_batch_size = options.max_batch_size
        self._max_wait_seconds = options.max_wait_seconds
        self._instruments = instruments
        self._calls = ModelCalls()
        self._begin_idle()
        # A forked child has none of the threads that were predicting.
        call_after_fork(self._begin_idle)

    def predict(self, data: object) -> object:
        """Predict for one row, together with those of other threads if there are any.

        Raises:
            BatchFailed: a call for several rows failed, and the request is to start anew.
            BaseException: whatever the model raises for this row.
        """
        how = sharing.get()
        if how is Sharing.ALONE:
            return self.call(self._predict, data)
        with self._lock:
            row = self._enqueue(data, how, current_request.get()) if self._busy else None
            self._busy = True
        if row is not None:
            self._settle(row)
            return row.outcome()
        _yield_processor()
        if self._queue or self._max_wait_seconds:
            row = _Row(data, how, current_request.get(), waits=False)
            self._lead(row)
            return row.outcome()
        # The way of a caller that is alone: nothing here that only a batch needs.
        self._instruments.batch(1)
        try:
            return self._calls.make(self._predict, data)
        finally:
            self._hand_over()

    def predict_each(
        self, rows: Sequence[tuple[object, RequestContext | None]]
    ) -> list[Callable[[], object]]:
        """Predict for rows of several requests, as if each had called `predict` on its own thread.

        Who calls this can make each row anew; see `Sharing.WITH_RETRY`.

        Args:
            rows: Each with the context of its request.

        Returns:
            For each what returns its prediction, or raises what `predict` would have raised.
        """
        with self._lock:
            was_busy, self._busy = self._busy, True
            entered = [self._enqueue(data, Sharing.WITH_RETRY, context) for data, context in rows]
        if not was_busy:
            self._hand_over()
        # In their order, so that none of them leads while this thread waits for a later one.
        for row in entered:
            token = current_request.set(row.context)
            self._settle(row)
            current_request.reset(token)
        return [row.outcome for row in entered]

    def predict_rows(self, rows: Sequence[object]) -> list[object]:
        """Predict in one call for rows that came together; see `call`."""
        return self.call(self._predict_list, rows)

    def call(self, predict: Callable[[D], T], data: D) -> T:
        """Make a call of the model for what came together, once it is idle.

        Raises:
            DeadlineExceeded: nobody waits for the rows any more.
            BaseException: whatever `predict` raises.
        """
        with self._lock:
            alone = Sharing.ALONE
            row = self._enqueue(None, alone, current_request.get()) if self._busy else None
            self._busy = True
        if row is not None:
            self._wait(row)
        try:
            if row is not None:
                row.end_waiting()
                self._instruments.waited(row.began, row.seconds)
                refuse_late(row.context)
            return self._calls.make(predict, data)
        finally:
            self._hand_over()

    @property
    def waits_for_more(self) -> bool:
        """Whether a call may wait for rows that have yet to come."""
        return self._max_wait_seconds > 0

    @property
    def queue_depth(self) -> int:
        """Number of rows that are waiting."""
        return len(self._queue)

    def _begin_idle(self) -> None:
        self._lock = threading.Lock()
        self._arrival = threading.Condition(self._lock)
        self._queue: deque[_Row] = deque()
        self._busy = False

    def _enqueue(self, data: object, how: Sharing, context: RequestContext | None) -> _Row:
        row = _Row(data, how, context)
        self._queue.append(row)
        if self._max_wait_seconds:
            self._arrival.notify()
        return row

    def _settle(self, row: _Row) -> None:
        """Return once a row that has to wait has an outcome, on the thread of its caller."""
        if self._wait(row):
            self._lead(row)
        else:
            self._instruments.waited(row.began, row.seconds)

    def _wait(self, row: _Row) -> bool:
        """Return once the row has an outcome, or leads; True if it leads."""
        assert row.turn is not None  # noqa: S101 (for the type checker)
        self._instruments.queue(1)
        try:
            row.turn.acquire()
        finally:
            self._instruments.queue(-1)
        return row.leads

    def _lead(self, row: _Row) -> None:
        batch = [row]
        try:
            self._let_others_come()
            if self._queue or self._max_wait_seconds:
                self._gather(batch)
            self._predict_rows(batch)
        finally:
            self._hand_over()
            for other in batch[1:]:
                assert other.turn is not None  # noqa: S101
                other.turn.release()
        if row.turn is not None:
            self._instruments.waited(row.began, row.seconds)

    def _let_others_come(self) -> None:
        """Let threads that are ready to run do so, for as long as that brings more rows.

        It costs a microsecond when there are none. A model that holds the GIL, as most do, would
        otherwise keep them from queueing up, and be asked for one row at a time.
        """
        before = -1
        while before < len(self._queue) < self._max_batch_size - 1:
            before = len(self._queue)
            _yield_processor()

    def _gather(self, batch: list[_Row]) -> None:
        with self._lock:
            if self._max_wait_seconds:
                deadline = time.monotonic() + self._max_wait_seconds
                while len(self._queue) + 1 < self._max_batch_size:
                    if not self._arrival.wait(deadline - time.monotonic()):
                        break
            while len(batch) < self._max_batch_size and self._is_next_shared():
                batch.append(self._queue.popleft())

    def _is_next_shared(self) -> bool:
        return bool(self._queue) and self._queue[0].sharing is not Sharing.ALONE

    def _predict_rows(self, batch: list[_Row]) -> None:
        rows = []
        for row in batch:
            row.end_waiting()
            try:
                refuse_late(row.context)
                rows.append(row)
            except DeadlineExceeded as error:
                row.error = error
        if not rows:
            return
        if len(rows) > 1:
            for row in rows:
                row.prepare_sharing()
        shared = [row for row in rows if row.sharing is not Sharing.ALONE]
        if len(shared) < 2:
            self._predict_one_by_one(rows)
            return
        self._predict_one_by_one([row for row in rows if row.sharing is Sharing.ALONE])
        self._instruments.batch(len(shared))
        if not self._predict_together(shared):
            for row in shared:
                self._predict_again(row)

    def _predict_one_by_one(self, rows: list[_Row]) -> None:
        for row in rows:
            self._instruments.batch(1)
            self._predict_alone(row)

    def _predict_again(self, row: _Row) -> None:
        if row.sharing is Sharing.WITH_RETRY:
            row.error = BatchFailed()
        else:
            row.data = row.copy
            self._predict_alone(row)

    def _predict_alone(self, row: _Row) -> None:
        # What is logged belongs to the request of the row, whoever's thread this is.
        token = current_request.set(row.context)
        try:
            row.result = self._calls.make(self._predict, row.data)
        except BaseException as error:  # noqa: BLE001 (it belongs to whoever asked)
            row.error = error
        finally:
            current_request.reset(token)

    def _predict_together(self, rows: list[_Row]) -> bool:
        contexts = [row.context for row in rows if row.context is not None]
        for context in contexts:
            context.batch_size = len(rows)
        token = current_request.set(shared_context(contexts))
        try:
            results = self._calls.make(self._predict_list, [row.data for row in rows])
        except BaseException as error:  # noqa: BLE001 (each row alone will tell which it was, and why)
            self._fallback.failed(error)
            return False
        finally:
            current_request.reset(token)
        if len(results) != len(rows):
            self._fallback.miscounted(len(results), len(rows))
            return False
        for row, result in zip(rows, results, strict=True):
            row.result = result
        return True

    def _predict_list(self, rows: Sequence[object]) -> list[object]:
        return listed(self._calls.make(self._predict_batch, [*rows]))

    def _hand_over(self) -> None:
        with self._lock:
            following = self._queue.popleft() if self._queue else None
            if following is None:
                self._busy = False
                return
            following.leads = True
        assert following.turn is not None  # noqa: S101
        following.turn.release()


class BatchingDecorator(MLModelDecorator):
    """The innermost decorator of a model with batching: `predict` stays the only way in."""

    def __init__(
        self, model: MLModel, options: BatchingConfiguration, instruments: Instruments
    ) -> None:
        super().__init__(model)
        # ml_base's decorators send attributes that are set on them to the model.
        self.__dict__["batcher"] = Batcher(
            model.predict, model.predict_batch, options, instruments, type(model).__name__
        )

    def predict(self, data: object) -> object:
        """Predict for one row; see Batcher.predict."""
        return self.batcher.predict(data)

    def predict_batch(self, data: Sequence[object]) -> Sequence[object]:
        """Predict in one call for rows that came together; see Batcher.call."""
        results: Sequence[object] = self.batcher.predict_rows(data)
        return results


class ColumnBatchingDecorator(BatchingDecorator):
    """The same for a model that can predict columns: only a class says whether it can."""

    def predict_columns(self, columns: Mapping[str, object]) -> object:
        """Predict in one call for rows that came together; see Batcher.call."""
        return self.batcher.call(self._model.predict_columns, columns)


def batching_decorator(model: MLModel) -> type[BatchingDecorator]:
    """Return the decorator that can do what the model can."""
    can = hasattr(type(model), "predict_columns")
    return ColumnBatchingDecorator if can else BatchingDecorator

"""Group commit: requests that come while a model is busy are predicted together afterwards."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from ml_base import MLModel, MLModelDecorator

from models_api.configuration.sections import BatchingConfiguration
from models_api.exceptions import DeadlineExceeded, Overloaded
from models_api.fork import call_after_fork
from models_api.prediction.request_context import RequestContext, current_request, shared_context
from models_api.prediction.waiting import note_wait

T = TypeVar("T")

# Tens of microseconds less than time.sleep(0), where the system has it.
_yield_processor: Callable[[], None] = getattr(os, "sched_yield", partial(time.sleep, 0))


class _Row:
    """One caller's data on its way through a batch."""

    __slots__ = ("context", "data", "error", "leads", "queued_at", "result", "shares", "turn")

    def __init__(
        self, data: Any, turn: threading.Lock | None = None, *, shares: bool = True
    ) -> None:
        self.data = data
        self.shares = shares
        """Whether a leader may take it; else it is a whole call, and waits for its turn to lead."""
        self.result: Any = None
        self.error: BaseException | None = None
        self.leads = False
        """Whether the caller is to predict the next batch on its own thread."""
        self.turn = turn
        """Held until the row has an outcome, or leads; None for a row that never waits."""
        self.context: RequestContext | None = current_request.get()
        """The caller's."""
        self.queued_at = time.monotonic()

    def end_waiting(self) -> None:
        """Tell the caller's request how long the row waited."""
        if self.context is not None and self.turn is not None:
            self.context.queue_seconds += time.monotonic() - self.queued_at

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


class BatchObserver(Protocol):
    """Hears of batches, from any thread."""

    def observe_batch(self, rows: int) -> None:
        """Hear that so many rows are predicted in one call."""

    def observe_queue(self, depth: int) -> None:
        """Hear that so many rows wait now."""


class GroupCommit:
    """Calls `predict` or `predict_batch` for rows of many threads, one call at a time.

    A caller that finds the model idle predicts at once, on its own thread, and alone. Those that
    come meanwhile queue up; when the model is idle again, the first of them leads: it takes the
    others, up to `max_batch_size`, and predicts for all of them in one call. No thread is started,
    and nobody waits without need: only with `max_wait_seconds` does a leader wait for more rows.

    Where a batch raises, or gives a wrong number of results, its rows are predicted again one by
    one, so that only the bad ones fail.
    """

    _busy: bool

    def __init__(
        self,
        predict: Callable[[Any], Any],
        predict_batch: Callable[[list[Any]], Sequence[Any]],
        options: BatchingConfiguration,
        timeout_seconds: float | None = None,
    ) -> None:
        self._predict = predict
        self._predict_batch = predict_batch
        self._max_batch_size = options.max_batch_size
        self._max_wait_seconds = options.max_wait_seconds
        self._max_queue_size = options.max_queue_size
        self._timeout_seconds = timeout_seconds
        self.observer: BatchObserver | None = None
        self._begin_idle()
        # A forked child has none of the threads that were predicting.
        call_after_fork(self._begin_idle)

    def predict(self, data: Any) -> Any:
        """Predict for one row, together with those of other threads if there are any.

        Raises:
            Overloaded: `max_queue_size` rows are waiting already.
            DeadlineExceeded: the row waited for `timeout_seconds`.
            Exception: whatever the model raises for this row.
        """
        with self._lock:
            row = self._enqueue(data) if self._busy else None
            self._busy = True
        if row is not None:
            return self._lead(row) if self._wait(row) else row.outcome()
        _yield_processor()
        if self._queue or self._max_wait_seconds:
            return self._lead(_Row(data))
        # The way of a caller that is alone: nothing here that only a batch needs.
        if self.observer is not None:
            self.observer.observe_batch(1)
        try:
            return self._predict(data)
        finally:
            self._hand_over()

    def call(self, predict: Callable[[], T]) -> T:
        """Make a call of the model for rows that came together, once it is idle.

        Raises:
            Overloaded: `max_queue_size` rows are waiting already.
            DeadlineExceeded: the call waited for `timeout_seconds`.
            Exception: whatever `predict` raises.
        """
        with self._lock:
            row = self._enqueue(None, shares=False) if self._busy else None
            self._busy = True
        if row is not None:
            self._wait(row)
        try:
            if row is not None:
                row.end_waiting()
            return predict()
        finally:
            self._hand_over()

    @property
    def queue_depth(self) -> int:
        """Number of rows that are waiting."""
        return len(self._queue)

    def _begin_idle(self) -> None:
        self._lock = threading.Lock()
        self._arrival = threading.Condition(self._lock)
        self._queue: deque[_Row] = deque()
        self._busy = False

    def _enqueue(self, data: Any, *, shares: bool = True) -> _Row:
        if len(self._queue) >= self._max_queue_size:
            depth = len(self._queue)
            raise Overloaded(f"The model is busy, and {depth} requests are waiting for it already.")
        turn = threading.Lock()
        turn.acquire()
        row = _Row(data, turn, shares=shares)
        self._queue.append(row)
        self._observe_queue()
        if self._max_wait_seconds:
            self._arrival.notify()
        return row

    def _wait(self, row: _Row) -> bool:
        """Return once the row has an outcome, or leads; True if it leads."""
        assert row.turn is not None  # noqa: S101 (for the type checker)
        timeout = -1 if self._timeout_seconds is None else self._timeout_seconds
        note_wait()
        if not row.turn.acquire(timeout=min(timeout, threading.TIMEOUT_MAX)):
            with self._lock:
                # A row that leads by now has others depending on it.
                if not row.leads:
                    if row in self._queue:
                        self._queue.remove(row)
                        self._observe_queue()
                    raise DeadlineExceeded(timeout)
        return row.leads

    def _lead(self, row: _Row) -> Any:
        batch = [row]
        try:
            self._let_others_come()
            if self._queue or self._max_wait_seconds:
                self._gather(batch)
            self._predict_rows(batch)
        except BaseException:
            # What models raise is in their rows: this thread is being stopped, and nobody else's.
            for other in batch[1:]:
                other.error = RuntimeError("The thread that predicted this row was stopped.")
            raise
        finally:
            self._hand_over()
            for other in batch[1:]:
                assert other.turn is not None  # noqa: S101
                other.turn.release()
        return row.outcome()

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
            while self._queue and len(batch) < self._max_batch_size and self._queue[0].shares:
                batch.append(self._queue.popleft())
            self._observe_queue()

    def _observe_queue(self) -> None:
        if self.observer is not None:
            self.observer.observe_queue(len(self._queue))

    def _predict_rows(self, batch: list[_Row]) -> None:
        if self.observer is not None:
            self.observer.observe_batch(len(batch))
        for row in batch:
            row.end_waiting()
        if len(batch) > 1 and self._predict_together(batch):
            return
        for row in batch:
            # What is logged belongs to the request of the row, whoever's thread this is.
            token = current_request.set(row.context)
            try:
                row.result = self._predict(row.data)
            except Exception as error:  # noqa: BLE001 (it belongs to whoever asked)
                row.error = error
            finally:
                current_request.reset(token)

    def _predict_together(self, batch: list[_Row]) -> bool:
        contexts = [row.context for row in batch if row.context is not None]
        for context in contexts:
            context.batch_size = len(batch)
        token = current_request.set(shared_context(contexts))
        try:
            results = self._predict_batch([row.data for row in batch])
            for row, result in zip(batch, results, strict=True):
                row.result = result
        except Exception:  # noqa: BLE001 (each row alone will tell which it was, and why)
            return False
        finally:
            current_request.reset(token)
        return True

    def _hand_over(self) -> None:
        with self._lock:
            following = self._queue.popleft() if self._queue else None
            if following is None:
                self._busy = False
                return
            following.leads = True
            self._observe_queue()
        assert following.turn is not None  # noqa: S101
        following.turn.release()


class BatchingDecorator(MLModelDecorator):
    """The innermost decorator of a model with batching: `predict` stays the only way in."""

    def __init__(
        self, model: MLModel, options: BatchingConfiguration, timeout_seconds: float | None = None
    ) -> None:
        super().__init__(model)
        # ml_base's decorators send attributes that are set on them to the model.
        self.__dict__["group_commit"] = GroupCommit(
            model.predict, model.predict_batch, options, timeout_seconds
        )

    def predict(self, data: Any) -> Any:
        """Predict for one row; see GroupCommit.predict."""
        return self.group_commit.predict(data)

    def predict_batch(self, data: Sequence[Any]) -> Sequence[Any]:
        """Predict in one call for rows that came together; see GroupCommit.call."""
        results: Sequence[Any] = self.group_commit.call(partial(self._model.predict_batch, data))
        return results


class ColumnBatchingDecorator(BatchingDecorator):
    """The same for a model that can predict columns: only a class says whether it can."""

    def predict_columns(self, columns: Mapping[str, Any]) -> Any:
        """Predict in one call for rows that came together; see GroupCommit.call."""
        return self.group_commit.call(partial(self._model.predict_columns, columns))


def batching_decorator(model: MLModel) -> type[BatchingDecorator]:
    """Choose the decorator that can do what the model can."""
    can = hasattr(type(model), "predict_columns")
    return ColumnBatchingDecorator if can else BatchingDecorator


def group_commit(model: MLModel) -> GroupCommit | None:
    """Find what gathers the batches of a decorated model; None if it has no batching."""
    while isinstance(model, MLModelDecorator):
        if isinstance(model, BatchingDecorator):
            found: GroupCommit = model.group_commit
            return found
        model = model.__dict__.get("_model")
    return None

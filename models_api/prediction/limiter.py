"""The concurrency limiter: how many predictions run, how many wait, and which are refused at once.

There is one for each model, and all of a process share its places. It counts, and estimates
nothing: whatever is admitted has a place until it has ended, whether or not somebody still waits
for its answer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from types import TracebackType
from typing import NamedTuple

from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import DeadlineExceeded, NotPredicted, Overloaded
from models_api.fork import call_after_fork, end_process
from models_api.prediction.instruments import Instruments
from models_api.prediction.request_context import RequestContext, current_request

DEFAULT_MAX_CONCURRENCY = 4
REMOTE_MAX_CONCURRENCY = 64
"""More threads that compute in Python make everything else wait, and none of them ends sooner."""
QUEUE_PER_CONCURRENCY = 2
"""Requests that may wait, by default, for each prediction that may run."""
MOMENT_SECONDS = 0.03
"""For which those wait that find the queue full: a burst at a fast model is over by then."""
GUARANTEED_PLACES = 4
"""Of each model, as long as those of all models are no more than half of the worker's."""
RESERVED_THREADS = 4
"""Of each worker, for probes, metrics, pages and refusals."""


class Bounds(NamedTuple):
    """How many predictions of one model may be in hand."""

    max_concurrency: int = DEFAULT_MAX_CONCURRENCY
    """That run at a time; with batching, rows that a call may have."""
    max_queue_size: int = QUEUE_PER_CONCURRENCY * DEFAULT_MAX_CONCURRENCY
    """That wait."""
    timeout_seconds: float | None = None
    """From the arrival of a request to its answer; None for any time."""
    is_batched: bool = False
    """Whether those that wait do so in the batcher, which has to have them to group them."""

    @classmethod
    def of(cls, configuration: ModelConfiguration) -> Bounds:
        """Return those that a model's configuration asks for, with the defaults filled in."""
        given = configuration.concurrency
        # Where the model is remote, it is batched there.
        batching = None if configuration.is_remote else configuration.batching
        running = given.max_concurrency if given is not None else None
        waiting = given.max_queue_size if given is not None else None
        if batching is not None:
            running = running or batching.max_batch_size
            waiting = batching.max_queue_size if waiting is None else waiting
        default = REMOTE_MAX_CONCURRENCY if configuration.is_remote else DEFAULT_MAX_CONCURRENCY
        running = running or default
        waiting = QUEUE_PER_CONCURRENCY * running if waiting is None else waiting
        return cls(running, waiting, configuration.timeout_seconds, batching is not None)

    @property
    def in_hand(self) -> int:
        """Predictions that run or wait."""
        return self.max_concurrency + self.max_queue_size


class Slot:
    """The place of one prediction; use it as a context manager around what computes."""

    __slots__ = ("_limiter", "began", "deadline", "model", "request", "thread", "timeout_seconds")

    def __init__(
        self, limiter: ConcurrencyLimiter, request: RequestContext | None, deadline: float | None
    ) -> None:
        self._limiter = limiter
        self.deadline = deadline
        """When nobody waits for the prediction any more, on the monotonic clock; None for never."""
        self.model = limiter.name
        self.timeout_seconds = limiter.timeout_seconds
        self.request = request
        self.began = 0.0
        """On the monotonic clock; 0 before the prediction runs."""
        self.thread = 0
        """Identifier of the thread that predicts."""

    def __enter__(self) -> None:
        self.thread = threading.get_ident()
        self.began = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._limiter.has(self):
            # Of the parent, whose request this is: a validator, say, has forked this process.
            end_process(error)
        self.release()

    def release(self) -> None:
        """Give the slot up; its prediction has ended, or will never begin."""
        self._limiter.release(self)


class WorkerLimiter:
    """The places of this process, which the limiters of its models share.

    Each model has a few places that no other takes. Safe to use from many threads; a forked child
    begins with all places free.
    """

    def __init__(self, places: int | None = None) -> None:
        """Make it; `places` is None for any number."""
        self.places = places
        self._models: list[ConcurrencyLimiter] = []
        self._begin()
        # The threads that were predicting are not in a forked child.
        call_after_fork(self._begin)

    def add_model(self, name: str, bounds: Bounds, instruments: Instruments) -> ConcurrencyLimiter:
        """Make the limiter of a model, whose places are guaranteed from now on."""
        limiter = ConcurrencyLimiter(self, name, bounds, instruments)
        with self.lock:
            self._models.append(limiter)
            self._share_out()
        return limiter

    def remove_model(self, limiter: ConcurrencyLimiter) -> None:
        """Guarantee a model no places any more, of which no prediction is in hand or will be."""
        with self.lock:
            if limiter in self._models:
                self._models.remove(limiter)
                self._share_out()

    def use_threads(self, threads: int) -> None:
        """Bound the predictions in hand by the threads of this worker, less those reserved.

        A worker that does one thing after the other is left without a bound.
        """
        if threads > 1:
            self.resize(threads - min(RESERVED_THREADS, threads // 4))

    def resize(self, places: int | None) -> None:
        """Change the number of places; predictions in hand keep theirs."""
        with self.lock:
            self.places = places
            self._share_out()

    def running(self) -> list[Slot]:
        """Return the slots whose predictions run; each may end at any moment."""
        return [slot for slot in list(self.slots) if slot.began]

    def admit(self, model: ConcurrencyLimiter) -> None:
        """Give a place to one more prediction of a model; the caller holds the lock.

        Raises:
            Overloaded: there is none left for it.
        """
        is_guaranteed = model.in_hand < self._guaranteed
        if self.places is not None:
            kept = 0 if is_guaranteed else min(self._unused, self.places // 2)
            if self._in_hand + kept >= self.places:
                raise Overloaded.of_worker()
        self._in_hand += 1
        self._unused -= is_guaranteed
        model.in_hand += 1

    def give_up(self, model: ConcurrencyLimiter) -> None:
        """Take the place of a prediction back; the caller holds the lock."""
        model.in_hand -= 1
        self._in_hand -= 1
        self._unused += model.in_hand < self._guaranteed

    def _begin(self) -> None:
        self.lock = threading.Lock()
        self.slots: set[Slot] = set()
        """Those of all predictions in hand."""
        self.is_hung = False
        """Whether a prediction is taken for one that never ends; the watchdog sets it."""
        self._in_hand = 0
        for model in self._models:
            model.begin()
        self._share_out()

    def _share_out(self) -> None:
        """Guarantee each model its places, and count those that are not taken."""
        if self.places is None or not self._models:
            self._guaranteed = 0
        else:
            share = self.places // 2 // len(self._models)
            self._guaranteed = max(1, min(GUARANTEED_PLACES, share))
        self._unused = sum(max(0, self._guaranteed - model.in_hand) for model in self._models)


class ConcurrencyLimiter:
    """Admits the predictions of one model: some run, some wait, the rest is refused at once.

    Safe to use from many threads.
    """

    def __init__(
        self,
        worker: WorkerLimiter,
        name: str,
        bounds: Bounds,
        instruments: Instruments,
    ) -> None:
        self.name = name
        self.timeout_seconds = bounds.timeout_seconds
        self._worker = worker
        self._bounds = bounds
        self._instruments = instruments
        self.begin()

    def begin(self) -> None:
        """Forget all predictions: they were those of a process that has forked this one."""
        self.in_hand = 0
        """Predictions that run or wait; the lock of the worker guards it."""
        self._running = 0
        self._waiting: deque[threading.Lock] = deque()
        """For each request that waits a lock, released when its prediction may run."""

    def acquire(self) -> Slot:
        """Return a slot for one prediction, once it may run.

        Raises:
            Overloaded: too many predictions of this model, or of this process, are in hand.
            DeadlineExceeded: it waited until `timeout_seconds` after its request had come.
        """
        worker, turn = self._worker, None
        request = current_request.get()
        deadline = self._deadline(request)
        with worker.lock:
            is_surplus = self.in_hand >= self._bounds.in_hand
            if is_surplus and self._bounds.is_batched:
                raise Overloaded.of_model(self._bounds.max_queue_size)
            worker.admit(self)
            if self._bounds.is_batched or self._running < self._bounds.max_concurrency:
                self._running += 1
            else:
                turn = threading.Lock()
                turn.acquire()
                self._waiting.append(turn)
        if turn is not None:
            self._wait(turn, deadline, is_surplus=is_surplus)
        slot = Slot(self, request, deadline)
        worker.slots.add(slot)
        return slot

    def has(self, slot: Slot) -> bool:
        """Return whether the slot is one of this process, and not yet given up."""
        return slot in self._worker.slots

    def release(self, slot: Slot) -> None:
        """Let the next prediction run in the place of one that has ended."""
        self._worker.slots.discard(slot)
        self._give_place_up()

    def _give_place_up(self) -> None:
        worker = self._worker
        with worker.lock:
            worker.give_up(self)
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._running -= 1

    def _deadline(self, request: RequestContext | None) -> float | None:
        """Return when the prediction of a request has to be there, and tell it to the request."""
        if self.timeout_seconds is None:
            return None
        if request is None:
            return time.monotonic() + self.timeout_seconds
        request.deadline = request.received + self.timeout_seconds
        return request.deadline

    def _wait(self, turn: threading.Lock, deadline: float | None, *, is_surplus: bool) -> None:
        began = time.monotonic()
        longest = MOMENT_SECONDS if is_surplus else threading.TIMEOUT_MAX
        seconds = longest if deadline is None else max(0.0, min(deadline - began, longest))
        self._instruments.queue(1)
        try:
            is_refused = not turn.acquire(timeout=seconds) and self._leave_queue(turn)
        except BaseException:  # a signal, on a main thread that predicts
            if not self._leave_queue(turn):
                self._give_place_up()
            raise
        finally:
            self._instruments.queue(-1)
            self._instruments.waited(began, time.monotonic() - began)
        if is_refused:
            raise self._refusal(is_surplus=is_surplus)

    def _leave_queue(self, turn: threading.Lock) -> bool:
        """Give the place up, and return True; False if the turn has come at the very end."""
        with self._worker.lock:
            if turn not in self._waiting:
                return False
            self._waiting.remove(turn)
            self._worker.give_up(self)
            return True

    def _refusal(self, *, is_surplus: bool) -> NotPredicted:
        if is_surplus:
            return Overloaded.of_model(self._bounds.max_queue_size)
        return DeadlineExceeded(self.timeout_seconds or 0.0)

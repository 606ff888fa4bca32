"""A version that gets a copy of the traffic: what it answers is only compared and measured."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from math import isclose, isnan
from multiprocessing.util import Finalize
from typing import Any, Generic, Literal, Protocol, TypeVar

from models_api.configuration.sections import ToleranceConfiguration
from models_api.fork import call_after_fork
from models_api.logs import SafeLogger, one_line
from models_api.prediction.instruments import Instruments
from models_api.threads import cleaned_up, cleanup

logger = SafeLogger(__name__)

Result = Literal["agrees", "differs", "failed", "dropped"]

MAXIMUM_COPIES = 256
"""That wait in each worker; further ones are dropped."""
MAXIMUM_BYTES = 16 * 1024 * 1024
"""Of the copies that wait, with their answers."""
DRAIN_SECONDS = 2.0
"""For which a worker that stops goes on with the copies that wait."""
_PAUSE = 3
"""Seconds without any copy for each second with one, so that requests find the interpreter free."""
_PAUSE_WHILE_BUSY = 30
"""The same, where what else this process does takes all of a processor."""
_SHORTEST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 1.0
_LOG_SECONDS = 60.0


class Version(Protocol):
    """The model that is asked, as far as it matters here."""

    instruments: Instruments

    @property
    def label(self) -> str:
        """Its name, for logs."""

    @property
    def version(self) -> str | None:
        """Its version, as far as it is known."""


V = TypeVar("V", bound=Version)
V_contra = TypeVar("V_contra", bound=Version, contravariant=True)


class Copy(Protocol[V_contra]):
    """A request that was answered."""

    def ask(self, model: V_contra) -> object:
        """Return what a model answers, as what its JSON is parsed to.

        Raises:
            BaseException: whatever the prediction ends with.
        """

    def answered(self) -> object:
        """Return what was answered, in the same form."""


class Shadow(Generic[V]):
    """Asks one model for what others have answered, on a thread of its own. Safe to use from many.

    Nobody waits for it. Where it is too slow, or hangs, copies are dropped and counted.
    """

    def __init__(self, model: V, tolerance: ToleranceConfiguration) -> None:
        self._model = model
        self._tolerance = tolerance
        self._begin()
        # The thread is not in a forked child.
        call_after_fork(self._begin)

    def offer(self, size: int, copy: Callable[[], Copy[V]]) -> None:
        """Take a copy of so many bytes, if there is room for it; returns at once.

        Args:
            size: Bytes that it and its answer take.
            copy: Makes it; not called where there is no room.
        """
        if self._closing.is_set():
            return
        if not self._has_room(size) or not self._add(size, copy()):
            self._model.instruments.shadowed("dropped")

    def close(self, seconds: float = DRAIN_SECONDS) -> None:
        """Take no more copies; return once those that wait are done, or after so many seconds."""
        with self._lock:
            self._closing.set()
            thread, at_exit = self._thread, self._at_exit
        self._called.set()
        if at_exit is not None:
            at_exit.cancel()  # it would hold the model until then
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._called = threading.Event()
        """Set while the thread has something to do, or is to end."""
        self._closing = threading.Event()
        self._copies: deque[tuple[int, Copy[V]]] = deque()
        self._bytes = 0
        self._thread: threading.Thread | None = None
        self._at_exit: Finalize | None = None
        self._logged = -_LOG_SECONDS
        self._unlogged = 0

    def _has_room(self, size: int) -> bool:
        copies = len(self._copies)
        return not copies or (copies < MAXIMUM_COPIES and self._bytes + size <= MAXIMUM_BYTES)

    def _add(self, size: int, copy: Copy[V]) -> bool:
        """Return whether there was room."""
        with self._lock:
            # Others may have come between.
            if self._closing.is_set() or not self._has_room(size):
                return self._closing.is_set()
            self._copies.append((size, copy))
            self._bytes += size
            if self._thread is None:
                self._start()
        if not self._called.is_set():
            self._called.set()
        return True

    def _start(self) -> None:
        self._thread = threading.Thread(target=cleaned_up(self._work), name="shadow", daemon=True)
        self._thread.start()
        # Runs at the end of processes of multiprocessing too, where atexit does not.
        self._at_exit = Finalize(None, self.close, exitpriority=20)

    def _work(self) -> None:
        pace = Pace()
        while self._wait():
            # Before the first copy, too: its request has yet to be answered.
            self._closing.wait(pace.pause())
            with self._lock:
                size, copy = self._copies.popleft()
                self._bytes -= size
            with pace:
                self._model.instruments.shadowed(self._compare(copy))
                cleanup().between_requests()

    def _wait(self) -> bool:
        """Wait for a copy; return whether there is one, and not the end."""
        while True:
            with self._lock:
                if self._copies:
                    return True
                if self._closing.is_set():
                    return False
                self._called.clear()
            self._called.wait()

    def _compare(self, copy: Copy[V]) -> Result:
        try:
            found = copy.ask(self._model)
            is_same = agree(copy.answered(), found, self._tolerance)
        except BaseException as error:  # noqa: BLE001 (whatever a model raises)
            self._log(error)
            return "failed"
        return "agrees" if is_same else "differs"

    def _log(self, error: BaseException) -> None:
        now = time.monotonic()
        if now - self._logged < _LOG_SECONDS:
            self._unlogged += 1
            return
        reason = getattr(error, "reason", "") or one_line(error)
        told = (self._model.label, self._model.version, reason, self._unlogged)
        logger.warning("The shadow %s %s failed: %s (%d more since the last such line)", *told)
        self._logged, self._unlogged = now, 0


class Pace:
    """How long the thread of a shadow rests, by how busy the rest of the process is."""

    def __init__(self) -> None:
        self._took = 0.0
        self._others = _seconds_of_others()
        self._looked = time.monotonic()

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._took = time.monotonic() - self._began

    def pause(self) -> float:
        """Return how many seconds to rest, after the latest copy or before the first."""
        now, others = time.monotonic(), _seconds_of_others()
        busy = min(1.0, (others - self._others) / max(now - self._looked, 1e-6))
        self._looked, self._others = now, others
        pause = self._took * (_PAUSE + (_PAUSE_WHILE_BUSY - _PAUSE) * busy)
        return min(max(_SHORTEST_PAUSE_SECONDS, pause), _LONGEST_PAUSE_SECONDS)


def _seconds_of_others() -> float:
    """Return for how long other threads than this one have had a processor."""
    return time.process_time() - time.thread_time()


def agree(one: Any, other: Any, tolerance: ToleranceConfiguration) -> bool:
    """Return whether two answers are equal, but for numbers that differ by no more than allowed."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            agree(value, other[key], tolerance) for key, value in one.items()
        )
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(
            agree(here, there, tolerance) for here, there in zip(one, other, strict=True)
        )
    if _is_number(one) and _is_number(other):
        return one == other or _is_near(one, other, tolerance)
    return type(one) is type(other) and bool(one == other)


def _is_near(one: float, other: float, tolerance: ToleranceConfiguration) -> bool:
    allowed = {"rel_tol": tolerance.relative, "abs_tol": tolerance.absolute}
    try:
        return isclose(one, other, **allowed) or (isnan(one) and isnan(other))
    except OverflowError:  # a whole number that no float can be
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

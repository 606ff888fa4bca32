"""A model's own health: asked in a thread, every few seconds at most, and never waited for long."""

from __future__ import annotations

import inspect
import math
import reprlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from ml_base import MLModel

from models_api.exceptions import DescriptionError
from models_api.fork import call_after_fork
from models_api.hosting.model_stack import layers_of
from models_api.logs import SafeLogger, one_line
from models_api.threads import cleaned_up

logger = SafeLogger(__name__)

_METHOD = "is_healthy"
INTERVAL_SECONDS = 5.0
"""For which an answer holds."""
DEADLINE_SECONDS = 2.0
"""After which a model that has not answered counts as not healthy."""
_PATIENCE_SECONDS = 0.5
"""For which whoever has models asked waits for their answers."""


class Fault(NamedTuple):
    """Why a model is not healthy."""

    reason: str
    error: BaseException | None = None


Check = Callable[[], Fault | None]
"""Asks a model, and returns why it is not healthy."""


def health_checks(model: MLModel) -> list[Check]:
    """Return the checks of a model and the decorators around it."""
    asked = [layer for layer in layers_of(model) if has_health_check(type(layer))]
    return [partial(_fault_of, layer) for layer in asked]


def first_fault(checks: Iterable[Check]) -> Fault | None:
    """Return why a model is not healthy; None if it is. Asks for as long as that takes."""
    return next(filter(None, (check() for check in checks)), None)


class ModelHealth:
    """What one loaded model says of its health, in this process. Safe to use from many threads.

    It is never asked twice at a time: one that hangs holds one thread.
    """

    _lock: threading.Lock
    _asking: threading.Event | None
    """Set once the model has answered; None while nobody asks it."""
    _began: float
    """When it was asked last."""
    _is_healthy: bool | None

    def __init__(
        self,
        checks: Sequence[Check],
        name: str,
        on_change: Callable[[], object],
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """Make it.

        Args:
            checks: Those of the model and its decorators.
            name: The model's, for the log.
            on_change: Called where it is healthy and was not, or the other way round.
            interval_seconds: See INTERVAL_SECONDS.
            deadline_seconds: See DEADLINE_SECONDS.
        """
        self._checks = checks
        self._name = name
        self._on_change = on_change
        self._interval_seconds = interval_seconds
        self._deadline_seconds = deadline_seconds
        self._forget()
        # Each worker asks for itself.
        call_after_fork(self._forget)

    def __bool__(self) -> bool:
        """Return whether the model has anything to say of its health."""
        return bool(self._checks)

    @property
    def is_healthy(self) -> bool | None:
        """What it said last, in time; None if it was not asked yet."""
        with self._lock:
            is_late = self._asking is not None and self._is_late()
        if is_late:
            self._conclude(self._lateness())
        return self._is_healthy

    def ask(self) -> threading.Event | None:
        """Ask the model, if that is due; return what is set once it has answered, if it is new."""
        with self._lock:
            if self._asking is not None:
                return self._asking if self._is_healthy is None else None
            if time.monotonic() - self._began < self._interval_seconds:
                return None
            self._began = time.monotonic()
            self._asking = asking = threading.Event()
        try:
            threading.Thread(target=cleaned_up(self._run), name="health", daemon=True).start()
        except RuntimeError as error:  # the system has no thread left
            self._end(Fault(one_line(error)))
        return asking

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._asking = None
        self._began = -math.inf
        self._is_healthy = None

    def _run(self) -> None:
        self._end(first_fault(self._checks))

    def _end(self, fault: Fault | None) -> None:
        with self._lock:
            is_late, asking, self._asking = self._is_late(), self._asking, None
        self._conclude(self._lateness() if fault is None and is_late else fault)
        if asking is not None:
            asking.set()

    def _is_late(self) -> bool:
        return time.monotonic() - self._began > self._deadline_seconds

    def _lateness(self) -> Fault:
        return Fault(f"{_METHOD} has not answered within {self._deadline_seconds:g} s")

    def _conclude(self, fault: Fault | None) -> None:
        with self._lock:
            before, self._is_healthy = self._is_healthy, fault is None
        if before is (fault is None):
            return
        if fault is not None:
            logger.warning("%s is not healthy: %s", self._name, fault.reason, exc_info=fault.error)
        elif before is False:
            logger.info("%s is healthy again", self._name)
        self._on_change()


def ask_all(healths: Iterable[ModelHealth]) -> None:
    """Ask models that are due, all at once, and wait a moment for their answers."""
    asked = [health.ask() for health in healths]
    until = time.monotonic() + _PATIENCE_SECONDS
    for answered in asked:
        if answered is not None:
            answered.wait(max(0.0, until - time.monotonic()))


def has_health_check(cls: type[MLModel]) -> bool:
    """Return whether a class has a method `is_healthy` that takes nothing.

    Raises:
        DescriptionError: it is asynchronous, or no method.
    """
    # Decorators forward what they do not have: only a class can tell.
    found = inspect.getattr_static(cls, _METHOD, None)
    is_bound = isinstance(found, staticmethod | classmethod)
    function = getattr(found, "__func__", None) if is_bound else found
    if function is None:
        return False
    name = f"{cls.__name__}.{_METHOD}"
    if not callable(function):
        raise DescriptionError(f"{name} is no method", f"Write def {_METHOD}(self) -> bool.")
    if any(is_other(function) for is_other in _ASYNCHRONOUS):
        hint = "Leave async and yield out: it is called on a thread of its own, where it may wait."
        raise DescriptionError(f"{name} is asynchronous, or a generator", hint)
    return _takes_nothing(function, 0 if isinstance(found, staticmethod) else 1)


_ASYNCHRONOUS = (
    inspect.iscoroutinefunction,
    inspect.isasyncgenfunction,
    inspect.isgeneratorfunction,
)


def _takes_nothing(function: Callable[..., object], given: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * given)
    except (TypeError, ValueError):
        return False  # of the same name, and for something else
    return True


def _fault_of(layer: MLModel) -> Fault | None:
    name = f"{type(layer).__name__}.{_METHOD}"
    try:
        answer = layer.is_healthy()
        if answer and not inspect.isawaitable(answer):
            return None
        return Fault(f"{name} returned {reprlib.repr(answer)}")
    except BaseException as error:  # noqa: BLE001 (whatever it is, it does not say yes)
        return Fault(f"{name} raised {one_line(error)}", error)

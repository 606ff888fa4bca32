"""The access log: one line for each request."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from contextvars import copy_context
from functools import lru_cache
from multiprocessing import util

from models_api.fork import call_after_fork
from models_api.observability.requests import FinishedRequest
from models_api.prediction.request_context import current_request

LOGGER = "models_api.access"
logger = logging.getLogger(LOGGER)

_PAUSE_SECONDS = 0.05
"""How long a request may wait for its line."""
_MOST_HELD = 1000
"""Requests that may wait for their lines; whoever has another writes them, or waits with them."""

_Held = tuple[float, int, FinishedRequest]
"""When the request ended, in seconds since the epoch, and the level of its line."""
_Values = dict[str, object]
_FIELDS = (
    *("method", "route", "status", "model", "version"),
    *("milliseconds", "rows", "batch_size", "queue_ms"),
)


class AccessLog:
    """Logs each request at once, but those of the 50 ms after that together.

    Many lines together cost a fraction of what they cost one by one: code that has just run, runs
    faster, and each write lets other threads have the interpreter. Whoever has the next line writes
    them, as one more thread that wants the interpreter would cost the others as much again. If
    nobody has, a thread does within 0.2 s. A process that is killed may leave that much unsaid; one
    that ends does not. Safe to use from many threads; a forked child starts with no lines.
    """

    def __init__(self) -> None:
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        _known.cache_clear()  # for it has the id of the process
        self._held: deque[_Held] = deque()
        self._due = 0.0
        """When whoever has a line is to write, in seconds since the epoch."""
        self._writing = threading.Lock()
        self._starting = threading.Lock()
        self._is_awaited = threading.Event()
        """Set while the thread sees to it that what waits gets written."""
        self._thread: threading.Thread | None = None
        self._is_ending = False

    def __call__(self, request: FinishedRequest) -> None:
        """Log one request: an observer for RequestRecorder.

        A probe that finds all well is for DEBUG, everything else for INFO.
        """
        level = logging.DEBUG if request.is_probe and request.status < 400 else logging.INFO
        if not logger.isEnabledFor(level):
            return
        now = time.time()
        self._held.append((now, level, request))
        is_due = now >= self._due and not self._writing.locked()
        if is_due or self._is_ending or len(self._held) > _MOST_HELD:
            self.flush()
        elif not self._is_awaited.is_set():
            self._leave_to_thread()

    def flush(self) -> None:
        """Write the lines that wait."""
        with self._writing:
            self._due = time.time() + _PAUSE_SECONDS
            # Others may append meanwhile; theirs come next.
            held = [self._held.popleft() for _ in range(len(self._held))]
            copy_context().run(_log, held)

    def _leave_to_thread(self) -> None:
        with self._starting:
            if self._thread is None and not self._start_thread():
                self._end()
                return
        self._is_awaited.set()

    def _start_thread(self) -> bool:
        thread = threading.Thread(target=self._write_regularly, name="access log", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no room for it, or the process ends
            return False
        self._thread = thread
        # Runs at the end of processes of multiprocessing too, where atexit does not.
        util.Finalize(None, self._end, exitpriority=0)
        return True

    def _write_regularly(self) -> None:
        while self._is_awaited.wait():
            time.sleep(2 * _PAUSE_SECONDS)
            if time.time() < self._due:
                continue
            # Before it looks, so that whoever has found it set has appended a request.
            self._is_awaited.clear()
            self.flush()

    def _end(self) -> None:
        """Write what waits, and from now on each line at once."""
        self._is_ending = True
        self.flush()


def _log(held: list[_Held]) -> None:
    is_plain = logging.getLogRecordFactory() is logging.LogRecord
    for created, level, request in held:
        current_request.set(request.context)
        try:
            record = _record(created, level, request)
            logger.handle(record if is_plain else _made_by_factory(record))
        except Exception:  # noqa: BLE001, S112 (of somebody's handler: the other lines go on)
            continue
    for handler in _handlers():
        with suppress(Exception):
            handler.flush()


def _handlers() -> Iterator[logging.Handler]:
    current: logging.Logger | None = logger
    while current is not None:
        yield from current.handlers
        current = current.parent if current.propagate else None


def _record(created: float, level: int, request: FinishedRequest) -> logging.LogRecord:
    """Make the record that the logger would, in a third of the time: most of it is as before.

    Of what the client sent it has the method alone: the route is the URLconf's.
    """
    context = request.context
    begin, end, known = _known(
        level, (request.method, request.route, request.status), (context.model, context.version)
    )
    record = logging.LogRecord.__new__(logging.LogRecord)
    record.__dict__ = values = known.copy()
    values["created"], values["msecs"] = created, created % 1 * 1000 // 1
    values["milliseconds"] = milliseconds = int(request.seconds * 1e6 + 0.5) / 1000
    message, rows = f"{begin} {milliseconds:.1f} ms{end}", context.rows
    if rows is not None:
        values["rows"], values["batch_size"] = rows, context.batch_size or 0
        message = f"{message} rows={rows} batch_size={context.batch_size or 0}"
    if rows is not None or context.queue_seconds:
        values["queue_ms"] = queue_ms = int(context.queue_seconds * 1e6 + 0.5) / 1000
        message = f"{message} queue_ms={queue_ms:.1f}"
    values["msg"] = message
    return record


@lru_cache(maxsize=1024)
def _known(
    level: int, about: tuple[str, str | None, int], model: tuple[str | None, str | None]
) -> tuple[str, str, _Values]:
    """Return how a message begins and ends, and what its record has in common with others."""
    method, route, status = about
    shown = f"/{route}" if route is not None else "-"
    of_model = zip(("model", "version"), model, strict=True)
    known: _Values = {name: value for name, value in of_model if value is not None}
    end = "".join([f" {name}={value}" for name, value in known.items()])
    fields = {"method": method, "route": shown, "status": status, **known}
    record = logger.makeRecord(
        LOGGER, level, __file__, 0, "", (), None, AccessLog.__call__.__qualname__, fields
    )
    return f"{method} {shown} {status}", end, vars(record)


def _made_by_factory(record: logging.LogRecord) -> logging.LogRecord:
    """Make the record anew, by a factory that somebody has set."""
    values = vars(record)
    fields = {name: values[name] for name in _FIELDS if name in values}
    return logger.makeRecord(
        LOGGER, record.levelno, __file__, 0, record.msg, (), None, record.funcName, fields
    )

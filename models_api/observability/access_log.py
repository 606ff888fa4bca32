"""The access log: one line for each request."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from contextvars import copy_context
from functools import lru_cache
from multiprocessing import util

from models_api.fork import call_after_fork
from models_api.observability.log_handler import BatchingStreamHandler
from models_api.observability.log_records import (
    JSONFormatter,
    RequestFilter,
    TextFormatter,
    ids,
    utc,
)
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
_About = tuple[str, str | None, int, str | None, str | None]
"""Method, route, status, and the model with its version."""
_Fields = dict[str, str | int | float]
_FORMATS = {
    "milliseconds": "%(milliseconds).1f ms",
    "rows": "rows=%(rows)d",
    "batch_size": "batch_size=%(batch_size)d",
    "queue_ms": "queue_ms=%(queue_ms).1f",
}


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
            with suppress(Exception):  # the thread has to go on
                self.flush()

    def _end(self) -> None:
        """Write what waits, and from now on each line at once."""
        self._is_ending = True
        self.flush()


def _log(held: list[_Held]) -> None:
    handler = _only_handler()
    if handler is not None and handler.formatter is not None:
        handler.write_lines([_line(handler.formatter, *each) for each in held])
        return
    for created, level, request in held:
        current_request.set(request.context)
        with suppress(Exception):  # of somebody's handler: the others go on
            logger.handle(_record(created, level, request))


def _only_handler() -> BatchingStreamHandler | None:
    """Return the only handler of the log, if it is the service's own as the settings have it."""
    handlers = list(_handlers())
    if len(handlers) != 1 or not isinstance(handler := handlers[0], BatchingStreamHandler):
        return None
    is_plain = [type(each) for each in handler.filters] == [RequestFilter] and not logger.filters
    is_ours = isinstance(handler.formatter, TextFormatter | JSONFormatter)
    makes_records = logging.getLogRecordFactory() is not logging.LogRecord or handler.level
    return handler if is_plain and is_ours and not makes_records else None


def _handlers() -> Iterator[logging.Handler]:
    current: logging.Logger | None = logger
    while current is not None:
        yield from current.handlers
        current = current.parent if current.propagate else None


def _describe(request: FinishedRequest) -> tuple[_About, _Fields]:
    """Return what the line tells, and its numbers.

    Of what the client sent it has the method alone: the route is the URLconf's, and `-` where none
    matched.
    """
    context = request.context
    numbers: _Fields = {"milliseconds": int(request.seconds * 1e6 + 0.5) / 1000}
    if context.rows is not None:
        numbers["rows"], numbers["batch_size"] = context.rows, context.batch_size or 0
    if context.rows is not None or context.queue_seconds:
        numbers["queue_ms"] = int(context.queue_seconds * 1e6 + 0.5) / 1000
    about = request.method, request.route, request.status, context.model, context.version
    return about, numbers


def _message(about: _About, names: Iterable[str]) -> tuple[str, _Fields]:
    """Return the text of a line, a %-format of its numbers, and what its record has besides."""
    method, route, status, model, version = about
    shown = f"/{route}" if route is not None else "-"
    of_model = {"model": model, "version": version}
    known: _Fields = {name: value for name, value in of_model.items() if value is not None}
    begin = f"{method} {shown} {status}".replace("%", "%%")
    told = [f"{name}={value}".replace("%", "%%") for name, value in known.items()]
    time_, *counts = [_FORMATS[name] for name in names]
    message = " ".join([begin, time_, *told, *counts])
    return message, {"method": method, "route": shown, "status": status, **known}


def _record(created: float, level: int, request: FinishedRequest) -> logging.LogRecord:
    about, numbers = _describe(request)
    message, fields = _message(about, numbers)
    told, name = {**fields, **numbers}, AccessLog.__call__.__qualname__
    record = logger.makeRecord(LOGGER, level, __file__, 0, message, (numbers,), None, name, told)
    record.created, record.msecs = created, created % 1 * 1000 // 1
    return record


def _line(
    formatter: logging.Formatter, created: float, level: int, request: FinishedRequest
) -> str:
    """Write what the formatter would make of the record, at a fraction of the cost."""
    about, values = _describe(request)
    layout = _layout(formatter, level, about, request.context.trace_id is not None, *values)
    values["asctime"] = utc(created)
    values["request_id"], values["trace_id"] = ids(request.context)
    return layout % values


@lru_cache(maxsize=1024)
def _layout(
    formatter: logging.Formatter, level: int, about: _About, has_trace: bool, *names: str
) -> str:
    """Return what the formatter makes of such records, as a %-format of what is new in each."""
    message, fields = _message(about, names)
    told = fields | {name: f"%({name})s" for name in names}
    told["request_id"], told["trace_id"] = "%(request_id)s", "%(trace_id)s" if has_trace else "-"
    text = message.replace("%%", "%")
    record = logger.makeRecord(LOGGER, level, __file__, 0, text, (), None, None, told)
    record.created = 0.0
    layout = formatter.format(record).replace("%", "%%").replace(utc(0.0), "%(asctime)s")
    new = ["%(request_id)s", "%(trace_id)s", *[_FORMATS[name] for name in names]]
    for each in new:
        layout = layout.replace(each.replace("%", "%%"), each)
    for name in names:
        # Numbers have no quotation marks in JSON.
        layout = layout.replace(f'"%%({name})s"', f"%({name})s")
    return layout

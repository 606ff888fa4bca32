"""Lines of a log at a fraction of what a logger takes for them."""

from __future__ import annotations

import logging
import select
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import util
from typing import Any

from models_api.fork import call_after_fork
from models_api.observability.log_records import (
    JSONFormatter,
    Line,
    RequestFilter,
    Template,
    TextFormatter,
    ids,
)
from models_api.prediction.request_context import RequestContext, current_request

_PAUSE_SECONDS = 0.05
"""After lines were written until the next are."""
_MOST_HELD = 1000
"""Lines that may wait while the stream takes no more; whoever has another waits with them."""
_MOST_BYTES = getattr(select, "PIPE_BUF", 512)
"""Of a write that pipes take in one piece; POSIX promises 512, Linux has 4096."""

_Handler = logging.StreamHandler[Any]


class LineWriter:
    """Writes lines of a logger at INFO: at once, but those of the 50 ms after that together.

    Code that has just run, runs faster, and each write lets other threads have the interpreter: so
    many lines together cost a third of what they cost one by one. Whoever has the next line writes
    them, as one more thread that wants the interpreter would cost the others as much again. If
    nobody has, a thread does within 0.2 s, and at the end of the process the rest is written. A
    process that is killed may leave that much unsaid.

    No record is made where it would come to nothing but one stream, with a formatter and the filter
    of log_records. Any other configuration gets its records, one by one. Safe to use
    from many threads; a forked child starts with no lines, and no thread is started before there is
    use for it.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        self._held: deque[Line] = deque()
        self._needs_no_records = False
        self._due = 0.0
        """When whoever has a line is to write, by the monotonic clock."""
        self._writes_at_once = False
        self._writing = threading.Lock()
        self._starting = threading.Lock()
        self._is_left = threading.Event()
        """Set while the thread sees to it that what is held gets written."""
        self._thread: threading.Thread | None = None

    def write(self, template: Template, numbers: tuple[float, ...]) -> None:
        """Write the line with these numbers for the current request; INFO must be enabled."""
        if not self._needs_no_records and not self._look_at_handlers():
            self._log(template, numbers)
            return
        request_id, trace_id = ids(current_request.get())
        self._held.append((time.time(), request_id, trace_id, template, numbers))
        is_due = time.monotonic() >= self._due and not self._writing.locked()
        if is_due or self._writes_at_once or len(self._held) > _MOST_HELD:
            self.flush()
        elif not self._is_left.is_set():
            self._leave_to_thread()

    def flush(self) -> None:
        """Write the lines that are held."""
        with self._writing:
            self._due = time.monotonic() + _PAUSE_SECONDS
            # Others may append meanwhile; theirs come next.
            held = [self._held.popleft() for _ in range(len(self._held))]
            if held:
                self._write(held)

    def _look_at_handlers(self) -> bool:
        self._needs_no_records = _only_stream(self._logger) is not None
        return self._needs_no_records

    def _leave_to_thread(self) -> None:
        with self._starting:
            if self._thread is None and not self._start_thread():
                self._end()
                return
        self._is_left.set()

    def _start_thread(self) -> bool:
        thread = threading.Thread(target=self._write_what_is_left, name="log lines", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no room for it, or the process ends
            return False
        self._thread = thread
        # Runs at the end of processes of multiprocessing too, where atexit does not.
        util.Finalize(None, self._end, exitpriority=0)
        return True

    def _write_what_is_left(self) -> None:
        while self._is_left.wait():
            time.sleep(2 * _PAUSE_SECONDS)
            if time.monotonic() < self._due:
                continue
            self._is_left.clear()
            # After that, so that whoever took it for set has his line there.
            with suppress(Exception):  # of somebody's handler, and the thread has to go on
                self.flush()

    def _end(self) -> None:
        """Write what is left, and from now on each line at once."""
        self._writes_at_once = True
        self.flush()

    def _write(self, lines: list[Line]) -> None:
        handler = _only_stream(self._logger)
        formatter = _formatter(handler) if handler is not None else None
        self._needs_no_records = formatter is not None
        written = 0
        if handler is not None and formatter is not None:
            name, end = self._logger.name, handler.terminator
            written = _write(handler, [formatter.line(name, line) + end for line in lines])
        for _created, request_id, trace_id, template, numbers in lines[written:]:
            context = RequestContext(request_id)
            context.trace_id = trace_id
            token = current_request.set(context)
            try:
                self._log(template, numbers)
            finally:
                current_request.reset(token)

    def _log(self, template: Template, numbers: tuple[float, ...]) -> None:
        message, fields = template.record(numbers)
        self._logger.info(message, extra=fields)


def _only_stream(logger: logging.Logger) -> _Handler | None:
    """Return the only handler that records come to, if it is one that needs none."""
    if logger.filters or logging.getLogRecordFactory() is not logging.LogRecord:
        return None
    found: logging.Handler | None = None
    current: logging.Logger | None = logger
    while current is not None:
        handlers = current.handlers
        if handlers:
            if found is not None or len(handlers) > 1:
                return None
            found = handlers[0]
        current = current.parent if current.propagate else None
    if type(found) is not logging.StreamHandler or found.level > logging.INFO:
        return None
    filters = found.filters
    is_plain = len(filters) == 1 and type(filters[0]) is RequestFilter
    return found if is_plain and _formatter(found) is not None else None


def _formatter(handler: _Handler) -> JSONFormatter | TextFormatter | None:
    """Return the formatter if it needs no records."""
    formatter = handler.formatter
    if type(formatter) is not JSONFormatter and type(formatter) is not TextFormatter:
        return None
    return None if formatter.needs_records else formatter


def _write(handler: _Handler, lines: list[str]) -> int:
    """Write lines, and return how many could be."""
    written = 0
    for part in _parts(lines):
        handler.acquire()
        try:
            handler.stream.write("".join(part))
            handler.stream.flush()
        except Exception:  # noqa: BLE001 (the logger deals with it in its own way)
            break
        finally:
            handler.release()
        written += len(part)
    return written


def _parts(lines: list[str]) -> Iterator[list[str]]:
    """Divide lines into such that a pipe takes in one piece.

    Otherwise those of other processes that write to the same one come in their midst.
    """
    part: list[str] = []
    size = 0
    for line in lines:
        length = len(line) if line.isascii() else len(line.encode(errors="replace"))
        if part and size + length > _MOST_BYTES:
            yield part
            part, size = [], 0
        part.append(line)
        size += length
    if part:
        yield part

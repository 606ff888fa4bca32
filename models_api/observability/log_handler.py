"""The handler of the service's log: it writes a line at once, or with others where it may wait."""

from __future__ import annotations

import logging
import select
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing import util
from typing import TextIO

from models_api.fork import call_after_fork

HOLD_SECONDS = 0.05
"""How long a line may wait for others."""
_MOST_HELD = 1000
"""Lines that may wait while the stream takes no more; whoever has another waits with them."""
_PIPE_BUF: int = getattr(select, "PIPE_BUF", 512)
"""Bytes of a write that pipes take in one piece; POSIX promises 512, Linux has 4096."""


class BatchingStreamHandler(logging.StreamHandler[TextIO]):
    """Writes to a stream; the lines of one logger wait up to 50 ms to be written together.

    Each write lets another thread have the interpreter, which at thousands of lines a second costs
    more than all the rest of a line. Lines of other loggers are written at once, after those that
    wait. A process that is killed may leave the last 50 ms unsaid; one that ends does not. A stream
    that fails breaks nothing for whoever logs.
    """

    def __init__(self, stream: TextIO | None = None, held_logger: str = "") -> None:
        """Make it, with the name of the logger whose lines may wait."""
        super().__init__(stream)
        self._held_logger = held_logger
        self._is_closed = False
        self._begin()
        # A forked child has neither the lines nor the thread.
        call_after_fork(self._begin)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or have its line wait."""
        try:
            self._lines.append(self.format(record) + self.terminator)
        except Exception:  # noqa: BLE001 (of whatever the record holds)
            self.handleError(record)
            return
        may_wait = record.name == self._held_logger and len(self._lines) < _MOST_HELD
        if not (may_wait and (self._is_awaited.is_set() or self._leave_to_thread())):
            self.flush()

    def flush(self) -> None:
        """Write the lines that wait."""
        with self._writing:
            # Others may append meanwhile; theirs come next.
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            for piece in _pieces(lines):
                try:
                    self.stream.write(piece)
                    self.stream.flush()
                except Exception:  # noqa: BLE001 (a stream may be anybody's)
                    self.handleError(logging.makeLogRecord({"msg": piece}))

    def close(self) -> None:
        """Write the lines that wait, and from now on each at once."""
        self._is_closed = True
        self.flush()
        super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Print what went wrong, where that is possible."""
        with suppress(Exception):  # standard error may be what fails
            super().handleError(record)

    def _begin(self) -> None:
        self._lines: deque[str] = deque()
        self._writing = threading.RLock()
        self._is_awaited = threading.Event()
        """Set while the thread is going to write."""
        self._thread: threading.Thread | None = None

    def _leave_to_thread(self) -> bool:
        """Have the thread write what waits, and return whether it will."""
        if self._is_closed:
            return False
        if self._thread is None:
            thread = threading.Thread(target=self._write_regularly, name="log lines", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no room for it, or the process ends
                return False
            self._thread = thread
            # Runs at the end of processes of multiprocessing too, where atexit does not.
            util.Finalize(None, self.close, exitpriority=0)
        self._is_awaited.set()
        return True

    def _write_regularly(self) -> None:
        while self._is_awaited.wait():
            time.sleep(HOLD_SECONDS)
            # Before it looks, so that whoever has found it set has appended a line.
            self._is_awaited.clear()
            self.flush()


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """Join lines to pieces, so that lines of other processes come between them, not within."""
    piece: list[str] = []
    size = 0
    for line in lines:
        length = len(line) if line.isascii() else len(line.encode(errors="replace"))
        if piece and size + length > _PIPE_BUF:
            yield "".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += length
    if piece:
        yield "".join(piece)

"""The handler of the service's log, which writes the lines of the access log together."""

from __future__ import annotations

import logging
import select
import threading
from contextlib import suppress
from multiprocessing import util
from typing import TextIO

from models_api.fork import call_after_fork
from models_api.logs import SafeHandler

_PIPE_BUF: int = getattr(select, "PIPE_BUF", 512)
"""Bytes of a write that pipes take in one piece; POSIX promises 512, Linux has 4096."""
_HELD_SECONDS = 0.05


class BatchingStreamHandler(SafeHandler, logging.StreamHandler[TextIO]):
    """Writes to a stream; lines of one logger wait for others, but no longer than 50 ms.

    Each write lets another thread have the interpreter, which at thousands of lines a second costs
    more than all the rest of a line. They are written in pieces that pipes take whole, so that
    those of other processes come between lines. Lines of other loggers are written at once, after
    those that wait. A stream that fails breaks nothing for whoever logs. A process that is killed
    may leave 50 ms unsaid; a forked child begins with nothing to say.
    """

    def __init__(self, stream: TextIO | None = None, held_logger: str = "") -> None:
        """Make it, with the name of the logger whose lines may wait."""
        super().__init__(stream)
        self._held_logger = held_logger
        self.note_stream()
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        self._held: list[str] = []
        self._size = 0
        self._timer: threading.Timer | None = None
        self._is_registered = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or let its line wait."""
        try:
            line = self.format(record) + self.terminator
            size = len(line) if line.isascii() else len(line.encode(errors="replace"))
            if self._size + size > _PIPE_BUF:
                self.flush()
            self._held.append(line)
            self._size += size
            if record.name != self._held_logger or not self._will_flush():
                self.flush()
        except Exception:  # noqa: BLE001 (of the stream, or of whatever the record holds)
            self.handleError(record)

    def flush(self) -> None:
        """Write the lines that wait."""
        self.acquire()
        try:
            if self._held:
                piece = "".join(self._held)
                self._held, self._size = [], 0
                if self.is_misled():
                    return
                self.stream.write(piece)
            super().flush()
        finally:
            self.release()

    def _will_flush(self) -> bool:
        """Whether what waits is written soon, by a thread that this starts if there is none."""
        if self._timer is None:
            timer = threading.Timer(_HELD_SECONDS, self._flush_held)
            timer.daemon = True
            try:
                timer.start()
            except RuntimeError:  # the system has no room for it, or the process ends
                return False
            self._timer = timer
            if not self._is_registered:
                self._is_registered = True
                # Runs at the end of processes of multiprocessing too, where atexit does not.
                util.Finalize(None, self._flush_held, exitpriority=0)
        return True

    def _flush_held(self) -> None:
        # Within the lock: who has started the timer may not have noted it yet.
        self.acquire()
        try:
            self._timer = None
            with suppress(Exception):  # of the stream
                self.flush()
        finally:
            self.release()

"""The life of a process as its supervisor sees it, whatever the process is doing."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import threading
import time
from contextlib import suppress

from models_api.prediction.limiter import WorkerLimiter

_BEAT_SECONDS = 0.2
_FORMAT = struct.Struct("ddd")
LOST_DESCRIPTORS = 71
"""Status of a process whose model has closed descriptors that are not its own."""


class Heart:
    """Beats in a process, and is looked at in another one: make it before the fork."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _FORMAT.size)
        self._is_ready = False
        self._limiter = WorkerLimiter()
        self._supervisor = os.getpid()

    def start(self, limiter: WorkerLimiter) -> None:
        """Begin to beat, in a thread of this process."""
        self._limiter = limiter
        self._canary, self._unused = os.pipe()
        self._inode = os.fstat(self._canary).st_ino
        self._write()
        threading.Thread(target=self._beat, name="heart", daemon=True).start()

    def note_ready(self) -> None:
        """Record that the model is loaded."""
        self._is_ready = True
        self._write()

    @property
    def is_ready(self) -> bool:
        """Whether the process has loaded its model."""
        return bool(self._read()[2])

    def seconds_of_call(self) -> float:
        """Return for how long the call that runs has been running; 0 if none does.

        One that lets no other thread of its process run counts from the last beat.
        """
        beat, began, _ = self._read()
        now = time.monotonic()
        silent = now - beat - 2 * _BEAT_SECONDS if beat else 0.0
        return max(now - began if began else 0.0, silent)

    def _beat(self) -> None:
        while os.getppid() == self._supervisor:
            self._write()
            self.check_descriptors()
            with suppress(OSError):  # it has just ended
                os.kill(self._supervisor, signal.SIGCONT)  # in case that the model has stopped it
            time.sleep(_BEAT_SECONDS)
        os._exit(1)  # where the system does not end it, as Linux does

    def check_descriptors(self) -> None:
        """End a process that can neither be asked nor answer any more."""
        try:
            found = os.fstat(self._canary)
        except OSError:
            os._exit(LOST_DESCRIPTORS)
        if found.st_ino != self._inode:
            os._exit(LOST_DESCRIPTORS)

    def _write(self) -> None:
        began = min((slot.began for slot in self._limiter.running()), default=0.0)
        self._memory[:] = _FORMAT.pack(time.monotonic(), began, self._is_ready)

    def _read(self) -> tuple[float, float, float]:
        beat, began, is_ready = _FORMAT.unpack(self._memory[:])
        return beat, began, is_ready

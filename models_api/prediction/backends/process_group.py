"""The processes of one model, as the workers of a server start, find and keep them.

The workers of a server share one group. Whichever needs it first starts its supervisor, which
starts the others and ends with the last of the workers. Two locks of files say who is there: the
kernel gives them back however a process ends.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from models_api.configuration.sections import ExecutionConfiguration, ModelConfiguration
from models_api.file_locks import fcntl
from models_api.fork import call_after_fork

SUPERVISOR = "models_api.model_processes"
"""The module that runs as the supervisor."""
_MEMBERS, _SUPERVISED = "members", "supervised"


class ProcessGroup:
    """The processes of one model. Safe to use from many threads; a forked child shares them."""

    def __init__(
        self,
        configuration: ModelConfiguration,
        execution: ExecutionConfiguration,
        base: Callable[[], Path],
        label: str,
    ) -> None:
        """Start nothing yet.

        Args:
            configuration: The model's; whoever has the same shares the processes.
            execution: How it wants to be run.
            base: Returns the directory that the workers of this server share.
            label: What the log calls the model.
        """
        self.size = execution.processes
        self._configuration = configuration
        self._label = label
        self._base = base
        self._membership = -1
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """Where the processes have their sockets.

        Raises:
            OSError: the server has no directory.
        """
        return self._base() / f"model-{_fingerprint(self._configuration)}"

    def address(self, number: int) -> str:
        """Return the socket of one of the processes, counted from 0."""
        return str(socket_path(self.folder, number))

    def ensure(self) -> None:
        """Start the processes, unless somebody has done so and they are supervised still.

        Raises:
            OSError: the system lets none be started.
        """
        with self._lock:
            folder = self.folder
            folder.mkdir(mode=0o700, exist_ok=True)
            self._join(folder)
            supervised = open_lock(folder / _SUPERVISED)
            try:
                fcntl.flock(supervised, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            else:
                self._start(folder, supervised)
            finally:
                os.close(supervised)

    def leave(self) -> None:
        """Use the processes no more; they end if nobody else does."""
        with self._lock:
            if self._membership >= 0:
                os.close(self._membership)
            self._membership = -1

    def _join(self, folder: Path) -> None:
        if self._membership < 0:
            membership = open_lock(folder / _MEMBERS)
            # A supervisor that is about to end holds it for a moment.
            fcntl.flock(membership, fcntl.LOCK_SH)
            self._membership = membership

    def _start(self, folder: Path, lock: int) -> None:
        """Start the supervisor, which has the lock as long as it lives."""
        with subprocess.Popen(  # noqa: S603 (this Python, and nothing of a client)
            [sys.executable, "-m", SUPERVISOR, str(folder), str(lock), self._label],
            stdin=subprocess.PIPE,
            pass_fds=[lock],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            # A signal from the keyboard is for the workers, which have requests to end.
            start_new_session=True,
        ) as starter:
            assert starter.stdin is not None  # noqa: S101 (for the type checker)
            # Not as JSON: YAML has more kinds of values, such as dates.
            pickle.dump(self._configuration, starter.stdin)


def _fingerprint(configuration: ModelConfiguration) -> str:
    return hashlib.sha256(repr(configuration).encode()).hexdigest()[:16]


def socket_path(folder: Path, number: int) -> Path:
    """Return where a process has its socket."""
    return folder / f"{number}.socket"


def open_lock(path: Path) -> int:
    """Open a file to lock, which no program that is started from here inherits."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def is_abandoned(folder: Path) -> bool:
    """Return whether no worker uses the processes any more, and none can begin to until we end."""
    try:
        members = open_lock(folder / _MEMBERS)
    except FileNotFoundError:  # the last of them has taken the folder away
        return True
    try:
        fcntl.flock(members, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(members)
        return False
    return True

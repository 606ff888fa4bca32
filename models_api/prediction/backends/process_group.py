"""The processes of one model, as the workers of a server start, find and keep them.

The workers of a server share one group. Whichever needs it first starts its supervisor, which
starts the others and ends with the last of the workers. Two locks of files say who is there: the
kernel gives them back however a process ends.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from models_api import logs
from models_api.configuration.sections import ModelConfiguration
from models_api.file_locks import fcntl
from models_api.fork import call_after_fork
from models_api.prediction.backends.interpreters import environment_of, executable_of

SUPERVISOR = "models_api.model_processes"
"""The module that runs as the supervisor."""
_MEMBERS, _SUPERVISED = "members", "supervised"


class Limits(NamedTuple):
    """Of what one request may hold."""

    rows: int
    values: int | None
    """None for any number."""


class ProcessGroup:
    """The processes of one model. Safe to use from many threads; a forked child shares them."""

    def __init__(
        self,
        configuration: ModelConfiguration,
        base: Callable[[], Path],
        label: str,
        limits: Limits,
        edition: str = "",
    ) -> None:
        """Start nothing yet.

        Args:
            configuration: The model's; whoever has the same shares the processes.
            base: Returns the directory that the workers of this server share.
            label: What the log calls the model.
            limits: Of what one request may hold.
            edition: Tells what the model is made from where its configuration is the same.
        """
        self._edition = edition
        self.size = configuration.execution.processes
        self._configuration = configuration
        self._python = configuration.execution.python
        self._limits = limits
        self._label = label
        self._base = base
        self._membership = -1
        self._inherited: list[int] = []
        """Memberships of the processes that have forked this one, which has its own."""
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        if self._membership >= 0:
            self._inherited.append(self._membership)
        self._membership = -1

    @property
    def folder(self) -> Path:
        """Where the processes have their sockets.

        Raises:
            OSError: the server has no directory.
        """
        return self._base() / f"model-{_fingerprint(self._configuration, self._edition)}"

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
            self._join(folder)
            supervised = open_lock(folder / _SUPERVISED)
            try:
                fcntl.flock(supervised, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _let_go_on(supervised)
            else:
                self._start(folder, supervised)
            finally:
                os.close(supervised)

    def leave(self) -> None:
        """Use the processes no more; they end if no other process does that has used them.

        One that has only loaded the model for others to inherit counts no longer than these.
        """
        with self._lock:
            self._leave()
            for membership in self._inherited:
                fcntl.flock(membership, fcntl.LOCK_UN)  # that of the parent, too
                os.close(membership)
            self._inherited.clear()

    def _leave(self) -> None:
        if self._membership >= 0:
            os.close(self._membership)
        self._membership = -1

    def _join(self, folder: Path) -> None:
        """Be a member of whoever uses the folder; make it where there is none, or none any more."""
        while self._membership < 0 or not has_members_file(folder, self._membership):
            self._leave()
            folder.mkdir(mode=0o700, exist_ok=True)
            self._membership = open_members(folder)
            # A supervisor that is about to end holds it for a moment, and takes the folder away.
            fcntl.flock(self._membership, fcntl.LOCK_SH)

    def _start(self, folder: Path, lock: int) -> None:
        """Start the supervisor, which has the lock as long as it lives."""
        python = self._python
        with subprocess.Popen(  # noqa: S603 (the Python of the file, and nothing of a client)
            [executable_of(python), "-m", SUPERVISOR, str(folder), str(lock), self._label],
            stdin=subprocess.PIPE,
            pass_fds=[lock],
            env=environment_of(python, folder),
            # A signal from the keyboard is for the workers, which have requests to end.
            start_new_session=True,
        ) as starter:
            assert starter.stdin is not None  # noqa: S101 (for the type checker)
            starter.stdin.write(self._given())

    def _given(self) -> bytes:
        """Return what the supervisor is to know, as plain data: it may have another pydantic."""
        given = {
            "configuration": self._configuration.model_dump(exclude_unset=True),
            "limits": tuple(self._limits),
            # One that has our Django configures its log by itself.
            "log": None if self._python is None else logs.plain_form(),
        }
        # Not as JSON: YAML has more kinds of values, such as dates.
        return pickle.dumps(given, protocol=4)


def _fingerprint(configuration: ModelConfiguration, edition: str) -> str:
    loaded = repr((configuration.of_loading(), edition))
    return hashlib.sha256(loaded.encode()).hexdigest()[:16]


def socket_path(folder: Path, number: int) -> Path:
    """Return where a process has its socket."""
    return folder / f"{number}.socket"


def open_lock(path: Path) -> int:
    """Open a file to lock, which no program that is started from here inherits."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def open_members(folder: Path) -> int:
    """Open the lock that whoever uses the processes has a share of.

    Raises:
        OSError: the folder is not there any more.
    """
    return open_lock(folder / _MEMBERS)


def is_abandoned(members: int) -> bool:
    """Return whether no worker uses the processes any more, and none can begin to until we end.

    Args:
        members: The descriptor of their lock: its file may have been removed by somebody who tidies
            up, while they still use what they have.
    """
    try:
        fcntl.flock(members, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def note_supervisor(lock: int) -> None:
    """Write into a lock that is this process's which process that is."""
    os.pwrite(lock, b"%-20d" % os.getpid(), 0)


def _let_go_on(lock: int) -> None:
    """Have the process that holds a lock go on, in case that something has stopped it."""
    with suppress(ValueError, OSError):
        os.kill(int(os.pread(lock, 20, 0)), signal.SIGCONT)


def has_members_file(folder: Path, members: int) -> bool:
    """Return whether the lock that was opened there is the one that others find there now."""
    try:
        return os.path.samestat(os.fstat(members), (folder / _MEMBERS).stat())
    except FileNotFoundError:
        return False

"""One directory for each running server, where its worker processes share files.

Whoever makes it removes those of servers that ended without doing so.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from models_api.observability.file_locks import fcntl

SERVER_PID_VARIABLE = "MODELHOST_SERVER_PID"
"""Environment variable by which a server tells its workers which process it is."""
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable by which prometheus_client shares metrics among processes."""
_PREFIX = "modelhost-"
_NAME = re.compile(rf"{_PREFIX}\d+-\d+")
_MEMBERS = "members"
_YOUNG_SECONDS = 60.0
"""A directory that is younger may be one that somebody is just about to join."""


class ServerDirectory:
    """A directory that the processes of one server join; `path` is there once one has.

    It counts as in use while any of the processes that joined it, or a child of theirs, is alive.
    """

    def __init__(self, base: Path, server_pid: int) -> None:
        self.path = base / f"{_PREFIX}{server_pid}-{_start_time(server_pid)}"
        self._server_pid = server_pid
        self._members: int | None = None

    def join(self) -> Path:
        """Make the directory unless it is there, and keep it until this process has ended.

        Raises:
            OSError: it cannot be made.
        """
        if self._members is None:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # For as long as the process lives, whoever forgets this object.
            self._members = os.open(self.path / _MEMBERS, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._members, fcntl.LOCK_SH)
            _remove_abandoned(self.path.parent)
        return self.path

    def remove(self) -> None:
        """Remove the directory if this process is the server, and not just one of its workers."""
        if os.getpid() == self._server_pid:
            shutil.rmtree(self.path, ignore_errors=True)


def server_directory() -> ServerDirectory:
    """The directory that the worker processes of this server share."""
    return ServerDirectory(given_directory() or _base(), server_pid())


def given_directory() -> Path | None:
    """The directory that the environment gives to prometheus_client; None if it is one of these."""
    given = os.environ.get(MULTIPROCESS_VARIABLE)
    return Path(given) if given and not _NAME.fullmatch(Path(given).name) else None


def _base() -> Path:
    """Where such directories are made: in memory if possible, because these files are not kept."""
    memory = Path("/dev/shm")  # noqa: S108 (the directories in it are their owner's alone)
    return memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def server_pid() -> int:
    """Id of the process that all worker processes of this server have in common."""
    own, parent = os.getpid(), os.getppid()
    told = os.environ.get(SERVER_PID_VARIABLE)
    # Any other was told to a process that started this server, and is a server itself.
    if told in (str(own), str(parent)):
        return int(told)
    if multiprocessing.parent_process() is not None or _is_like(parent):
        return parent
    return own


def _is_like(pid: int) -> bool:
    """Whether a process has the command line of this one, as one has that forked it."""
    try:
        own = Path("/proc/self/cmdline").read_bytes()
        other = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    # That is how gunicorn calls itself where setproctitle is installed.
    return bool(own) and (other == own or other.startswith(b"gunicorn: master"))


def _start_time(pid: int) -> str:
    """When a process began, in the system's own terms, because ids of processes come again.

    https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "0"
    return stat.rpartition(")")[2].split()[19]


def _remove_abandoned(base: Path) -> None:
    for path in base.glob(f"{_PREFIX}*"):
        try:
            if path.stat().st_mtime > time.time() - _YOUNG_SECONDS:
                continue
            with (path / _MEMBERS).open("r", encoding="utf-8") as members:
                fcntl.flock(members, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue  # in use, somebody else's, or gone

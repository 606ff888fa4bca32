"""A private directory for each running server, where its worker processes share files.

Its name cannot be guessed. Forked workers have it from the process that made it for them. Workers
of a server whose first process knows nothing of this package find the one that the first of them
made: among the directories that are theirs alone, the one that is called after their parent.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import util
from pathlib import Path

from models_api.file_locks import HAS_FILE_LOCKS, fcntl
from models_api.fork import call_after_fork
from models_api.observability.private_files import (
    belongs_to_us,
    is_private,
    keeps_others_out,
    open_file,
    write_whole,
)

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable by which prometheus_client shares metrics among processes."""
_OWN_VARIABLE = "MODELHOST_SHARED_DIRECTORY"
"""Environment variable that says which directory a server gave to prometheus_client itself."""
_PREFIX = "modelhost-"
_LAST = -100
"""Priority among what is done at the end of a process: others still write to the directory."""


class ServerDirectory:
    """The directory that the processes of one server join; `path` is None until one has.

    The process that made it for its children removes it at its end. Where there is no such process
    any more, or never was, the last of those that joined it does so.
    """

    def __init__(self, base: Path | None = None, siblings: str | None = None) -> None:
        """Make nothing yet.

        Args:
            base: Where the directory is to be; None for where such files go on this system.
            siblings: What the workers have in common that are to find it by themselves; None where
                this process makes it for itself and the children that it forks.
        """
        self.path: Path | None = None
        self._base = base
        self._siblings = siblings
        self._process = os.getpid()
        self._maker: int | None = None
        self._member: int | None = None
        """The process that has joined it: a forked child has yet to do so."""
        self._lock = -1
        self.before_leaving: list[Callable[[], object]] = []
        """Called where a process that has joined it ends as it should."""
        self._begin()
        call_after_fork(self._begin)

    @property
    def is_of_worker(self) -> bool:
        """Whether this process is one of several workers that found each other by themselves."""
        return self._siblings is not None

    def _begin(self) -> None:
        self._joining = threading.Lock()

    def join(self) -> Path:
        """Make the directory unless it is there, and share it until this process has ended.

        Safe to call from many threads.

        Raises:
            OSError: it cannot be made, or is no private directory any more.
        """
        with self._joining:
            return self._join()

    def _join(self) -> Path:
        if self._member == os.getpid() and self.path is not None and self.path.is_dir():
            return self.path
        if self.path is None and self._process != os.getpid():
            # The parent, which has forked its workers since, has no use for one itself.
            self._siblings = self._siblings or _siblings()
        with self._door():
            path = self.path or self._find() or self._make()
            if self._member is not None:
                # Somebody who tidies up may have removed what processes of this server still use.
                with suppress(FileExistsError):
                    path.mkdir(mode=0o700)
            if not is_private(path):
                raise PermissionError(f"{path} is no directory of this user alone")
            self._hold(path)
        self.path = path
        self._member = os.getpid()
        # Runs at the end of processes of multiprocessing too, where atexit does not.
        util.Finalize(None, self.leave, exitpriority=_LAST)
        return path

    def agree(self, name: str, content: bytes | None) -> bytes | None:
        """Return what the first of the siblings has proposed; what is proposed where it has none.

        Args:
            name: Of the file that holds it.
            content: What is proposed; None for nothing.

        Raises:
            OSError: there is no directory, or no room in it.
        """
        if self._siblings is None:
            return content
        path = self.join() / name
        with self._door():
            try:
                with os.fdopen(open_file(path, os.O_RDONLY), "rb") as agreed:
                    return agreed.read()
            except FileNotFoundError:
                if content is None:
                    return None
            write_whole(path, content)
            return content

    def give_to(self, user: int, group: int) -> None:
        """Let the workers have it, where they run as somebody else.

        Raises:
            OSError: this process may not do that.
        """
        if self.path is not None and (user, group) != (os.geteuid(), os.getegid()):
            os.chown(self.path, user, group)

    def leave(self) -> None:
        """Share it no more, and remove it if nobody else does or will."""
        if self.path is None or self._member != os.getpid():
            return
        for call in self.before_leaving:
            call()
        self._member = None
        if self._maker not in (None, os.getpid()) and os.getppid() == self._maker:
            return
        with suppress(OSError), self._door():  # or others share it
            if self._maker != os.getpid():
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A FIFO in its place would be waited for.
            if self.path.is_dir() and not self.path.is_symlink():
                shutil.rmtree(self.path, ignore_errors=True)

    def _find(self) -> Path | None:
        if self._siblings is None:
            return None
        # The name alone says nothing: anybody can make one like that.
        found = self._where().glob(f"{_PREFIX}{self._siblings}-*")
        return next(filter(is_private, found), None)

    def _make(self) -> Path:
        prefix = _PREFIX if self._siblings is None else f"{_PREFIX}{self._siblings}-"
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=self._where()))
        self._maker = os.getpid() if self._siblings is None else None
        return path

    def _where(self) -> Path:
        if self._base is None:
            return _usual_base()
        make_given(self._base)
        return self._base

    def _hold(self, path: Path) -> None:
        # A lock of its own: one that is inherited is the parent's, too.
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    @contextmanager
    def _door(self) -> Iterator[None]:
        """Let one of the siblings after the other in.

        They all can lock a file of their parent that other users cannot even open.
        """
        door = -1 if self._siblings is None else _parents_file(self._siblings)
        if door < 0:
            yield  # nobody else comes
            return
        try:
            fcntl.flock(door, fcntl.LOCK_EX)
            yield
        finally:
            os.close(door)


def _parents_file(siblings: str) -> int:
    """Open a file of the parent that only its own user can open; negative if it has ended."""
    try:
        return os.open(f"/proc/{siblings.partition('-')[0]}/environ", os.O_RDONLY)
    except (FileNotFoundError, ProcessLookupError):
        return -1


_current: ServerDirectory | None = None


def server_directory() -> ServerDirectory:
    """Return the directory of this server, which forked processes share with their parent."""
    global _current  # noqa: PLW0603 (a fork hands it down)
    if _current is None:
        _current = ServerDirectory(given_directory(), _siblings())
    return _current


def directories_of_servers() -> list[Path]:
    """Return the directories of all servers of this user, some of which may have ended."""
    bases = {_usual_base(), given_directory() or _usual_base()}
    return [path for base in bases for path in base.glob(f"{_PREFIX}*") if is_private(path)]


def begin_directory() -> bool:
    """Have this process make the directory of its server; False if that was settled before."""
    global _current  # noqa: PLW0603
    if _current is not None:
        return False
    _current = ServerDirectory(given_directory())
    return True


def given_directory() -> Path | None:
    """Return the directory that the environment gives to prometheus_client.

    None if there is none, or if it is that of a server, this one or one that has started it.
    """
    given = os.environ.get(MULTIPROCESS_VARIABLE)
    return Path(given) if given and given != os.environ.get(_OWN_VARIABLE) else None


def make_given(path: Path) -> None:
    """Make a directory that the environment gives, unless it is there.

    Raises:
        OSError: it cannot be made, or belongs to somebody else.
    """
    path.mkdir(parents=True, exist_ok=True)
    if not belongs_to_us(path.stat()):
        raise PermissionError(f"{path} belongs to another user; name one of your own")


def give_to_prometheus(path: Path | None) -> None:
    """Tell prometheus_client where to share its metrics; with None, that it is not to."""
    for name in (MULTIPROCESS_VARIABLE, _OWN_VARIABLE):
        if path is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = str(path)


def _usual_base() -> Path:
    """Return where such directories are made: in memory if possible, as their files are not kept.

    Raises:
        OSError: nothing can be written anywhere.
    """
    memory = Path("/dev/shm")  # noqa: S108 (the directories in it are their owner's alone)
    for base in (memory, Path(tempfile.gettempdir())):
        if os.access(base, os.W_OK) and keeps_others_out(base):
            return base
    raise PermissionError(f"In {base} others can exchange what is this user's; set TMPDIR")


def _siblings() -> str | None:
    """Return what this worker has in common with the others; None if it is no worker.

    The id of their parent, and when that began: ids come again.
    """
    parent = os.getppid()
    if not HAS_FILE_LOCKS:
        return None  # one process serves
    is_worker = multiprocessing.parent_process() is not None or _is_like(parent)
    # A gunicorn that takes over from another is a child of that.
    if not is_worker or os.environ.get("GUNICORN_PID") == str(parent):
        return None
    began = start_time(parent)
    return None if began is None else f"{parent}-{began}"


def _is_like(pid: int) -> bool:
    """Whether a process has the command line of this one, as one has that forked it."""
    try:
        own = Path("/proc/self/cmdline").read_bytes()
        other = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    # That is how gunicorn calls itself where setproctitle is installed.
    return bool(own) and (other == own or other.startswith(b"gunicorn: master"))


def start_time(pid: int) -> str | None:
    """Return when a process began, in the system's own terms; None if that cannot be told.

    https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]

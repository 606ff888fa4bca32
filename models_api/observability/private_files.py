"""Directories and files that no other user of the machine can have made or exchanged."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models_api.file_locks import HAS_FILE_LOCKS, fcntl

# Neither is known everywhere; nor are links of other users, or FIFOs, where they are not.
_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_MODE = 0o644
"""Whoever can read files in a private directory is its owner, or may read everything."""


def is_private(path: Path) -> bool:
    """Whether it is a directory, and no link to one, that is this user's alone."""
    try:
        found = path.lstat()
    except OSError:
        return False
    is_own = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
    return stat.S_ISDIR(found.st_mode) and is_own and not stat.S_IMODE(found.st_mode) & 0o077


def keeps_others_out(path: Path) -> bool:
    """Whether others can neither remove nor rename what this user makes in a directory."""
    try:
        found = path.stat()
    except OSError:
        return False
    is_shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return belongs_to_us(found) and (not is_shared or bool(found.st_mode & stat.S_ISVTX))


def belongs_to_us(found: os.stat_result) -> bool:
    """Whether the owner is this user, or the one who may do everything."""
    return not hasattr(os, "geteuid") or found.st_uid in (0, os.geteuid())


def open_file(path: Path, flags: int) -> int:
    """Open a regular file; never follows a link, and never waits for the other end of a FIFO.

    Raises:
        OSError: it is something else, or cannot be opened.
    """
    descriptor = os.open(path, flags | _SAFELY, _MODE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return descriptor


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process after the other in, by a lock on a file, which is made; where there are such.

    Raises:
        OSError: it cannot be opened.
    """
    if not HAS_FILE_LOCKS:  # one process serves
        yield
        return
    file = open_file(path, os.O_RDONLY | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        # Closing alone would leave it to a child that was forked meanwhile.
        fcntl.flock(file, fcntl.LOCK_UN)
        os.close(file)


def write_whole(path: Path, content: bytes) -> None:
    """Replace what is in a file: others see all of it, or what was there before.

    Raises:
        OSError: it cannot be written.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as written:
        try:
            written.write(content)
            written.close()
            Path(written.name).replace(path)
        except BaseException:
            Path(written.name).unlink(missing_ok=True)
            raise

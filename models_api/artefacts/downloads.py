"""The download of one artefact: tries again, goes on where it was cut off, says how far it is."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from models_api.artefacts.source import Listing, Moved, RemoteFile, Source, Temporary
from models_api.exceptions import ArtefactError
from models_api.logs import SafeLogger

logger = SafeLogger(__name__)

T = TypeVar("T")

TRIES = 5
"""In a row, without a byte more."""
FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 20.0
_MOST_MOVES = 3
_PROGRESS_SECONDS = 5.0
_KEPT_FREE_BYTES = 16 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Patience:
    """Pauses after what may be better later, until that has come too often in a row."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._failures = 0

    def renew(self) -> None:
        """Begin to count anew: there was progress."""
        self._failures = 0

    def pause(self, error: Temporary) -> None:
        """Wait before the next try.

        Raises:
            Temporary: that was the last one.
        """
        self._failures += 1
        if self._failures >= TRIES:
            raise Temporary(f"{self._shown} cannot be read: {error}") from None
        seconds = max(FIRST_PAUSE_SECONDS * 2 ** (self._failures - 1), error.retry_after_seconds)
        seconds = min(seconds, _LONGEST_PAUSE_SECONDS)
        logger.warning("%s: %s; trying again in %.1f s", self._shown, error, seconds)
        time.sleep(seconds)


def patiently(shown: str, work: Callable[[], T]) -> T:
    """Return what a request to a source returns, after several tries if need be.

    Raises:
        Temporary: none of them succeeded.
    """
    patience = _Patience(shown)
    while True:
        try:
            return work()
        except Temporary as error:
            patience.pause(error)


def download(source: Source, listing: Listing, folder: Path) -> tuple[Path, Listing]:
    """Download what a source has, to the disk itself; return where it is, and what it was.

    Args:
        source: From where.
        listing: What it had a moment ago.
        folder: An empty one, for the file or folder.

    Raises:
        Temporary: it could not be read to its end.
        ArtefactError: it cannot be read, or there is no room for it.
    """
    target = folder / source.name
    for _ in range(_MOST_MOVES):
        try:
            _Download(source, listing, target).run()
        except Moved:
            logger.warning("%s has changed meanwhile; beginning again", source.shown)
            _remove(target)
            listing = patiently(source.shown, source.listing)
        else:
            return target, listing
    raise Temporary(f"{source.shown} changes faster than it can be read")


class _Download:
    def __init__(self, source: Source, listing: Listing, target: Path) -> None:
        self._source = source
        self._listing = listing
        self._target = target
        self._done = 0
        self._begun = self._told = time.monotonic()
        self._patience = _Patience(source.shown)

    def run(self) -> None:
        size, shown = self._listing.size, self._source.shown
        require_room(self._target.parent, size or 0, shown)
        logger.info("Downloading %s%s ...", shown, "" if size is None else f" ({_mb(size)})")
        with _told_of_full_disk(self._target.parent, shown):
            if self._listing.is_folder:
                self._target.mkdir()
            for file in self._listing.files:
                path = self._target / file.path if self._listing.is_folder else self._target
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as output:
                    self._write(file, output)
                    output.flush()
                    os.fsync(output.fileno())
        seconds = time.monotonic() - self._begun
        speed = _mb(self._done / max(seconds, 1e-6))
        logger.info("Downloaded %s: %s in %.1f s (%s/s)", shown, _mb(self._done), seconds, speed)

    def _write(self, file: RemoteFile, output: BinaryIO) -> None:
        while True:
            try:
                for chunk in self._source.read(file, output.tell()):
                    output.write(chunk)
                    self._note(len(chunk))
                _check_length(file, output.tell())
            except Temporary as error:
                self._patience.pause(error)
                if not file.tag:
                    self._done -= output.tell()
                    output.seek(0)
                    output.truncate()
            else:
                return

    def _note(self, count: int) -> None:
        self._done += count
        self._patience.renew()
        now = time.monotonic()
        if now - self._told < _PROGRESS_SECONDS:
            return
        self._told, size = now, self._listing.size
        of_all = f" of {_mb(size)} ({self._done / size:.0%})" if size else ""
        logger.info("Downloading %s: %s%s", self._source.shown, _mb(self._done), of_all)
        require_room(self._target.parent, 0, self._source.shown)


def _check_length(file: RemoteFile, length: int) -> None:
    if file.size is None or length == file.size:
        return
    if length > file.size:
        raise Moved
    raise Temporary(f"it broke off after {length} of {file.size} bytes")


def require_room(folder: Path, size: int, shown: str) -> None:
    """Raise ArtefactError unless there is room for so many bytes, and some more."""
    free = shutil.disk_usage(folder).free
    if free < size + _KEPT_FREE_BYTES:
        needed = f"it has {_mb(size)}, and " if size else ""
        raise _full(folder, shown, f"{needed}{_mb(free)} are free")


def _full(folder: Path, shown: str, reason: str) -> ArtefactError:
    message = f"there is no room for {shown} in {folder.parent}: {reason}"
    hint = "Make room there, or name another folder in MODELHOST_ARTEFACT_CACHE."
    return ArtefactError(message, hint)


@contextmanager
def _told_of_full_disk(folder: Path, shown: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _full(folder, shown, error.strerror or "") from error
        message = f"{shown} cannot be written to {folder}: {error.strerror}"
        raise ArtefactError(message, "Let the user of the service write there.") from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _mb(size: float) -> str:
    return f"{size / 1e6:.1f} MB"

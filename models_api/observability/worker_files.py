"""The files in which the worker processes of a server keep their numbers for each other.

Each process has two of its own: the values, which it maps into its memory, and the keys, which say
what they are. It holds a lock on the first for as long as it lives. Nothing in them is ever taken
back: whoever reads adds those of processes that have exited to what the server keeps of these.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from models_api.file_locks import fcntl
from models_api.observability.metric_types import Key
from models_api.observability.private_files import locked, open_file

Records = dict[Key, list[float]]

_LOCK, _EXITED = "lock", "exited"
_KEYS, _VALUES = ".keys", ".values"
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL
_LARGEST = 1 << 28
"""Bytes of the values of a worker; some hundred are those of a model."""


class WorkerFiles:
    """The files of this process."""

    def __init__(self, folder: Path) -> None:
        """Make them.

        Raises:
            OSError: the folder takes none.
        """
        self._path = folder / f"{os.getpid()}-{time.time_ns()}"
        # Under the lock, or a reader would take the file for that of a process that has exited.
        with locked(folder / _LOCK):
            self.values: IO[bytes] = _made(self._path.with_suffix(_VALUES))
            fcntl.flock(self.values, fcntl.LOCK_EX)
            self._keys = _made(self._path.with_suffix(_KEYS))

    def make_room(self, size: int) -> None:
        """Give the values so many bytes.

        Raises:
            OSError: the disk is full.
        """
        # Writing to the memory where a full disk has no room for it would kill the process.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self.values.fileno(), 0, size)
        else:  # macOS
            self.values.write(bytes(size - self.values.seek(0, os.SEEK_END)))

    def write_keys(self, layout: Iterable[tuple[Key, int, int]]) -> None:
        """Write of each record its key, where it begins, and how many numbers it has."""
        for key, first, size in layout:
            self._keys.write(json.dumps([*key, first, size]).encode() + b"\n")

    def read_others(self, live: list[Records]) -> ExitedWorkers:
        """Add the records of other live processes to `live`, and return those of all exited ones.

        Raises:
            OSError: the folder has vanished.
        """
        folder = self._path.parent
        with locked(folder / _LOCK):
            exited = ExitedWorkers(folder / _EXITED)
            paths: list[Path] = []
            for path in sorted(folder.glob(f"*{_VALUES}")):
                if path.stem == self._path.name or not _is_usable(path):
                    continue
                if path.stem not in exited.names and _is_locked(path):
                    live.append(_read_records(path))
                    continue
                paths.append(path)
                if path.stem not in exited.names:
                    exited.add(path.stem, _read_records(path))
            exited.keep(paths)
        return exited

    def close(self) -> None:
        """Close the files, which stay: the process counts as exited once no fork has them open."""
        self.values.close()
        self._keys.close()


class ExitedWorkers:
    """What processes counted that have exited."""

    def __init__(self, path: Path | None = None) -> None:
        """Read what was kept in a file; without one there is none."""
        self.names: set[str] = set()
        """Of processes whose files may still be there."""
        self.count = 0
        self.records: Records = {}
        self._path = path
        if path is None:
            return
        with suppress(FileNotFoundError):
            names, self.count, records = json.loads(_read(path))
            self.names = set(names)
            self.records = {Key(kind, tuple(labels)): numbers for kind, labels, numbers in records}

    def add(self, name: str, records: Records) -> None:
        """Add what one more process counted."""
        self.names.add(name)
        self.count += 1
        add_records(self.records, records)

    def keep(self, paths: list[Path]) -> None:
        """Write the file, and then remove those of the processes that are in it.

        In one step: nobody finds half of it, or counts a process twice.
        """
        if self._path is None or not paths:
            return
        self.names = {path.stem for path in paths}
        records = [[*key, numbers] for key, numbers in self.records.items()]
        written = self._path.with_suffix(".new")
        written.unlink(missing_ok=True)  # left by one that was killed
        with os.fdopen(open_file(written, _NEW), "wb") as file:
            file.write(json.dumps([sorted(self.names), self.count, records]).encode())
        written.replace(self._path)
        for path in paths:
            path.unlink(missing_ok=True)
            path.with_suffix(_KEYS).unlink(missing_ok=True)


def add_records(sums: Records, records: Records) -> None:
    """Add numbers to those with the same key."""
    for key, numbers in records.items():
        known = sums.get(key)
        sums[key] = [a + b for a, b in zip(known, numbers, strict=True)] if known else numbers


def _made(path: Path) -> IO[bytes]:
    return os.fdopen(open_file(path, _NEW), "w+b", buffering=0)


def _read(path: Path) -> bytes:
    with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
        return file.read()


def _is_usable(path: Path) -> bool:
    """Whether a file can be one that a worker has written; whatever else is there stays there."""
    found = path.lstat()
    return stat.S_ISREG(found.st_mode) and found.st_size <= _LARGEST


def _is_locked(path: Path) -> bool:
    """Whether the process that writes the file is alive."""
    with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def _read_records(path: Path) -> Records:
    records: Records = {}
    # In this order, because a key is written after there is room for its values.
    lines = _read(path.with_suffix(_KEYS)).splitlines(keepends=True)
    values = memoryview(_read(path)).cast("d")
    for line in lines:
        if line.endswith(b"\n"):  # or it is still being written
            kind, labels, first, size = json.loads(line)
            add_records(records, {Key(kind, tuple(labels)): list(values[first : first + size])})
    return records

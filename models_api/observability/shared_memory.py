"""Numbers that each worker process of a server counts for itself, and any of them can read.

Each process has a file of its own, mapped into its memory, so that counting is an addition, and
what was counted outlives a process that is killed. Nothing in the file is ever taken back: whoever
reads adds those of processes that have ended to what the server keeps of the departed.
"""

from __future__ import annotations

import fcntl
import json
import logging
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

logger = logging.getLogger(__name__)

_FIRST_BYTES = 1 << 16
_BYTES = 8  # of a C double
_LOCK, _DEPARTED = "lock", "departed"
_KEYS, _VALUES = ".keys", ".values"


class Key(NamedTuple):
    """What a record counts."""

    kind: str
    labels: tuple[str, ...]


Records = dict[Key, list[float]]


class Totals(NamedTuple):
    """What all processes of a server have counted."""

    sums: Records
    """Added up, those that have ended included."""
    live: list[Records]
    """Of each process that is alive; there are states in it, which cannot be added up."""
    departed: int
    """Number of processes that have ended."""


class Places:
    """Where records begin that have the same labels, and a single writer at a time each.

    Such a writer needs no lock: it takes a place, and gives it back. Whoever reads adds up what is
    in all of them.
    """

    def __init__(self, another: Callable[[], int]) -> None:
        """Make the first; `another` makes a record of zeros, and returns where it begins."""
        self._another = another
        self._free = [another()]
        self.give_back = self._free.append
        """Lets others write to the place."""

    def take(self) -> int:
        """Return a place that nobody else writes to until it is given back."""
        try:
            # Atomic, as is to give back, and so exact without a lock.
            return self._free.pop()
        except IndexError:
            return self._another()


class SharedValues:
    """The records of this process, and a way to read those of all.

    `values` are those of all records one behind the other. Whoever writes holds `lock`, or a place
    that nobody else has, and asks for `values` each time: they move when there are more of them,
    and after a fork.
    """

    def __init__(self, directory: Callable[[], Path]) -> None:
        self._directory = directory
        self.on_open: Callable[[], None] = _do_nothing
        """Called once in each process that comes to write, with nothing written yet."""
        self._layout: list[tuple[Key, int, int]] = []
        """Of each record its key, where it begins, and how many numbers it has."""
        self._place: dict[Key, int] = {}
        self._places: dict[Key, Places] = {}
        self._end = 0
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._leave_to_parent)

    def place(self, kind: str, labels: tuple[str, ...], size: int) -> int:
        """Return where the record of so many numbers begins, made of zeros if it is new."""
        key = Key(kind, labels)
        with self.lock:
            self._open()  # which may make it
            if key not in self._place:
                self._place[key] = self._new_record(key, size)
            return self._place[key]

    def places(self, kind: str, labels: tuple[str, ...], size: int) -> Places:
        """Return where records of so many numbers begin that are written without the lock."""
        key = Key(kind, labels)
        with self.lock:
            self._open()  # which may make them
            if key not in self._places:
                self._places[key] = Places(lambda: self._new_record(key, size))
            return self._places[key]

    def read(self) -> Totals:
        """Read what all processes have counted, and keep what those counted that have ended."""
        with self.lock:
            self._open()
            live = [self._own_records()]
        departed = _Departed()
        if self._file is not None:
            try:
                with _locked(self._path.parent / _LOCK):
                    departed = self._absorb_departed(live)
            except OSError:
                logger.exception("Only what this process counts can be read")
        sums = {key: numbers.copy() for key, numbers in departed.records.items()}
        for records in live:
            _add(sums, records)
        return Totals(sums, live, departed.count)

    def close(self) -> None:
        """Let go of the file; what was counted stays in it."""
        with self.lock:
            self._leave_to_parent()

    def _begin(self) -> None:
        self.lock = threading.RLock()
        self._path = Path()
        self._file: IO[bytes] | None = None
        self._keys: IO[bytes] | None = None
        self._memory: mmap.mmap | None = None
        self.values: memoryview[float] | _Unopened = _Unopened(self._open)
        """Those of this process, as C doubles."""

    def _leave_to_parent(self) -> None:
        # The lock on the file, which says that its process is alive, goes when nobody has it open.
        with suppress(BufferError):  # another thread of the parent was reading
            if self._memory is not None and not isinstance(self.values, _Unopened):
                self.values.release()
                self._memory.close()
        for file in (self._file, self._keys):
            if file is not None:
                file.close()
        self._begin()

    def _open(self) -> memoryview[float]:
        with self.lock:
            if isinstance(self.values, _Unopened):
                try:
                    self._open_files()
                except OSError:
                    logger.exception("What this process counts is its own: no file for it")
                    self._file = self._keys = None
                self._map(max(_FIRST_BYTES, self._end * _BYTES))
                self._write_keys(self._layout)
                self.on_open()
            assert not isinstance(self.values, _Unopened)  # noqa: S101 (for the type checker)
            return self.values

    def _open_files(self) -> None:
        folder = self._directory()
        self._path = folder / f"{os.getpid()}-{time.time_ns()}"
        # Under the lock, or a reader would take the file for that of a process that has ended.
        with _locked(folder / _LOCK):
            self._file = self._path.with_suffix(_VALUES).open("w+b", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._keys = self._path.with_suffix(_KEYS).open("wb", buffering=0)

    def _new_record(self, key: Key, size: int) -> int:
        with self.lock:
            first, end = self._end, self._end + size
            self._make_room(end)
            self._layout.append((key, first, size))
            self._end = end
            self._write_keys(self._layout[-1:])
            return first

    def _make_room(self, end: int) -> None:
        size = len(self._open()) * _BYTES
        if end * _BYTES > size:
            self._map(max(2 * size, end * _BYTES))

    def _map(self, size: int) -> None:
        before = self.values
        if self._file is not None:
            try:
                # Writing where a full disk has no room for it would kill the process.
                os.posix_fallocate(self._file.fileno(), 0, size)
            except OSError:
                logger.exception("What this process counts is its own: no room for more")
                self._file = self._keys = None
        self._memory = mmap.mmap(self._file.fileno() if self._file else -1, size)
        self.values = memoryview(self._memory).cast("d")
        if not isinstance(before, _Unopened):
            self.values[: len(before)] = before

    def _write_keys(self, layout: Iterable[tuple[Key, int, int]]) -> None:
        if self._keys is not None:
            for key, first, size in layout:
                self._keys.write(json.dumps([*key, first, size]).encode() + b"\n")

    def _own_records(self) -> Records:
        values = self._open()
        records: Records = {}
        for key, first, size in self._layout:
            _add(records, {key: list(values[first : first + size])})
        return records

    def _absorb_departed(self, live: list[Records]) -> _Departed:
        """Add other processes' records to `live`, or to what is kept of those that have ended."""
        folder = self._path.parent
        departed = _Departed.load(folder / _DEPARTED)
        ended: list[Path] = []
        for path in sorted(folder.glob(f"*{_VALUES}")):
            name = path.stem
            if name == self._path.name:
                continue
            if name not in departed.names and _is_written(path):
                live.append(_read_records(path))
                continue
            ended.append(path)
            if name not in departed.names:
                departed.add(name, _read_records(path))
        if ended:
            departed.names = {path.stem for path in ended}
            departed.save(folder / _DEPARTED)
        for path in ended:
            path.unlink(missing_ok=True)
            path.with_suffix(_KEYS).unlink(missing_ok=True)
        return departed


class _Unopened:
    """Stands for the values of a process that has yet to write one."""

    def __init__(self, open_: Callable[[], memoryview[float]]) -> None:
        self._open = open_

    def __getitem__(self, index: int) -> float:
        return self._open()[index]

    def __setitem__(self, index: int, value: float) -> None:
        self._open()[index] = value


class _Departed:
    """What processes counted that have ended."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        """Of processes whose files may still be there."""
        self.count = 0
        self.records: Records = {}

    @classmethod
    def load(cls, path: Path) -> _Departed:
        departed = cls()
        with suppress(FileNotFoundError):
            names, departed.count, records = json.loads(path.read_text(encoding="utf-8"))
            departed.names = set(names)
            departed.records = {
                Key(kind, tuple(labels)): numbers for kind, labels, numbers in records
            }
        return departed

    def add(self, name: str, records: Records) -> None:
        self.names.add(name)
        self.count += 1
        _add(self.records, records)

    def save(self, path: Path) -> None:
        """Write the file in one step: nobody finds half of it, or counts a process twice."""
        records = [[*key, numbers] for key, numbers in self.records.items()]
        written = path.with_suffix(".new")
        written.write_text(json.dumps([sorted(self.names), self.count, records]), encoding="utf-8")
        written.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Closing alone would leave it to a child that was forked meanwhile.
            fcntl.flock(file, fcntl.LOCK_UN)


def _is_written(path: Path) -> bool:
    """Whether the process that writes the file is alive."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def _read_records(path: Path) -> Records:
    records: Records = {}
    # In this order, because a key is written after there is room for its values.
    lines = path.with_suffix(_KEYS).read_bytes().splitlines(keepends=True)
    values = memoryview(path.read_bytes()).cast("d")
    for line in lines:
        if line.endswith(b"\n"):  # or it is still being written
            kind, labels, first, size = json.loads(line)
            _add(records, {Key(kind, tuple(labels)): list(values[first : first + size])})
    return records


def _add(sums: Records, records: Records) -> None:
    for key, numbers in records.items():
        known = sums.get(key)
        sums[key] = [a + b for a, b in zip(known, numbers, strict=True)] if known else numbers


def _do_nothing() -> None:
    pass

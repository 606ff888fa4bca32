"""Server processes: started, waited for, weighed, and stopped with all their descendants."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_STOP_SECONDS = 15
_POLL_SECONDS = 0.02
_LOG_LENGTH = 4000
_NICE = 5
_MARK = "BENCHMARK_SERVER"
"""The variable by which the processes of one server are found that are nobody's descendants."""
_numbers = count()


class ServerFailed(AssertionError):
    """The server ended, or did not become what was waited for; the text has the end of its log."""


class ServerProcess:
    """A server and its log, from `start` until `stop`."""

    def __init__(
        self, command: Sequence[str], log: Path, *, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._command = command
        self._log = log
        self._folder = folder
        self._mark = f"{os.getpid()}-{next(_numbers)}"
        self._environment = {**environment, _MARK: self._mark}

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process; what it and its descendants print goes to the log."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Linux shares processors out among sessions first: see give_way.
                start_new_session=True,
            )
        return self.process

    def stop(self) -> None:
        """End the process, and kill what does not end in time or was left behind."""
        tree = process_tree(self.process.pid)
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_SECONDS)
        for pid in tree:
            # A pid that is gone can't be another's so soon.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def wait_until(self, condition: Callable[[], T | None], what: str, seconds: float) -> T:
        """Return what the condition returns once that is not None.

        Raises:
            ServerFailed: the process ended before, or the seconds are over.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerFailed(f"the server ended with {self.process.returncode}:\n{self.tail}")
            result = condition()
            if result is not None:
                return result
            time.sleep(_POLL_SECONDS)
        raise ServerFailed(f"the server did not become {what} in {seconds:g} s:\n{self.tail}")

    @property
    def log(self) -> str:
        """All that the server has printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def tail(self) -> str:
        """The end of the log."""
        return self.log[-_LOG_LENGTH:]

    def give_way(self) -> None:
        """Let the load generator have a processor first, as it stands for other machines.

        That holds for the threads that the server starts later, too.
        """
        for pid in self.all_processes():
            with suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    os.setpriority(os.PRIO_PROCESS, int(thread.name), _NICE)
            with suppress(OSError):
                Path(f"/proc/{pid}/autogroup").write_text(str(_NICE))

    def all_processes(self) -> list[int]:
        """Return the process, its descendants, and those that were started for it besides.

        The processes of a model are nobody's descendants, as they outlive the worker that has
        started them.
        """
        tree = process_tree(self.process.pid)
        return [*tree, *(pid for pid in _marked(self._mark) if pid not in tree)]

    def memory_bytes(self) -> int:
        """Return the proportional set size of all processes."""
        return sum(memory_of(pid)["Pss"] for pid in self.all_processes())

    def memory(self) -> list[Counter[str]]:
        """Return the memory of each process of the tree, that of the first to start first."""
        return [memory_of(pid) for pid in process_tree(self.process.pid)]

    def processor_seconds(self) -> float:
        """Return the processor time that all processes that live have used."""
        return sum(_processor_seconds(pid) for pid in self.all_processes())


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def process_tree(root: int) -> list[int]:
    """Return the process and all its descendants that live."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(_fields(status)[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    tree = [root] if Path(f"/proc/{root}").exists() else []
    for pid in tree:
        tree.extend(children.get(pid, []))
    return tree


def _marked(mark: str) -> Iterator[int]:
    wanted = f"{_MARK}={mark}".encode()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted in environment.read_bytes().split(b"\0"):
                yield int(environment.parent.name)


def memory_of(pid: int) -> Counter[str]:
    """Return the memory of a process in bytes, by the kinds of Linux's smaps_rollup.

    Pss is that of the whole process, with what it shares divided by those who share it.
    """
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return Counter()
    kinds = (line.split() for line in rollup.splitlines() if line.endswith(" kB"))
    return Counter({name.rstrip(":"): int(kilobytes) * 1024 for name, kilobytes, _ in kinds})


def _processor_seconds(pid: int) -> float:
    try:
        fields = _fields(Path(f"/proc/{pid}/stat"))
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _fields(status: Path) -> list[str]:
    # Those after the name, which stands in parentheses and may hold anything: state, parent, ...
    return status.read_text(errors="replace").rpartition(")")[2].split()

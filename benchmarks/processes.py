"""Servers as processes: started, asked until they answer, weighed, stopped."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.rows import ROWS, expected_text
from benchmarks.servers import REPOSITORY, Server

START_SECONDS = 120
_STOP_SECONDS = 15
_POLL_SECONDS = 0.01
_NICE = 5


class ServerFailed(Exception):
    """The server ended, or never gave a right answer; the text has the end of its log."""


class RunningServer:
    """A server that runs while the `with` block lasts.

    The block begins when each of the models has answered rightly, through every worker as far as
    can be told.
    """

    def __init__(
        self,
        server: Server,
        environment: Path,
        log: Path,
        *,
        models: tuple[str, ...],
        workers: int,
    ) -> None:
        self.server = server
        self.port = free_port()
        self.seconds_to_first_prediction = 0.0
        self._models = models
        self._workers = workers
        self._values = {"port": self.port, "workers": workers, "models": ",".join(models)}
        self._environment = environment
        self._log = log

    def __enter__(self) -> Self:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        begun = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self.server.arguments(**self._values),
                cwd=self.server.folder,
                env=self._process_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            for model in self._models:
                self._wait_for_answers(model, 1)
            self.seconds_to_first_prediction = time.perf_counter() - begun
            for model in self._models:
                self.wait_until_calm(model)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def wait_until_calm(self, model: str) -> None:
        """Return once the server answers, whatever a load has left in its queues.

        Raises:
            ServerFailed: it does not.
        """
        self._wait_for_answers(model, 10 * self._workers)

    def give_way(self) -> None:
        """Let the load generator have a processor first, as it stands for other machines.

        Of the threads that the server starts later, too.
        """
        for pid in process_tree(self._process.pid):
            with suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    os.setpriority(os.PRIO_PROCESS, int(thread.name), _NICE)
        # Where the system shares processors out among sessions first.
        with suppress(OSError):
            Path(f"/proc/{self._process.pid}/autogroup").write_text(str(_NICE))

    def url(self, model: str) -> str:
        """Return where predictions of a model are asked for."""
        return f"http://127.0.0.1:{self.port}{self.server.path.format(model=model)}"

    @property
    def health_url(self) -> str:
        """Where the server says that it lives."""
        return f"http://127.0.0.1:{self.port}{self.server.health_path}"

    def memory_bytes(self) -> int:
        """Return the proportional set size of the whole process tree."""
        return sum(memory["Pss"] for memory in self.memory())

    def memory(self) -> list[Counter[str]]:
        """Return the memory of each process of the tree, that of the first to start first."""
        return [memory_of(pid) for pid in process_tree(self._process.pid)]

    def _process_environment(self) -> dict[str, str]:
        scripts = str(self._environment / "bin")
        return {
            **os.environ,
            "PATH": os.pathsep.join([scripts, os.environ["PATH"]]),
            "PYTHONPATH": str(REPOSITORY),
            **self.server.environment_variables(**self._values),
        }

    def _wait_for_answers(self, model: str, times: int) -> None:
        """Return once that many answers in a row are right, each on a connection of its own."""
        deadline = time.monotonic() + START_SECONDS
        right = 0
        while right < times:
            if self._process.poll() is not None:
                raise ServerFailed(f"ended with status {self._process.returncode}\n{self._tail()}")
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"gave no right answer of {model} in {START_SECONDS} s\n{self._tail()}"
                )
            if self._answers(model):
                right += 1
            else:
                right = 0
                time.sleep(_POLL_SECONDS)

    def _answers(self, model: str) -> bool:
        row = ROWS[0]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(
                "POST",
                self.server.path.format(model=model),
                json.dumps(self.server.body(row)),
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            return response.status == 200 and expected_text(model, row) in text
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _tail(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def _stop(self) -> None:
        tree = process_tree(self._process.pid)
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        for pid in tree:
            # Also what a server left behind. A pid that is gone can't be another's so soon.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()


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
            # The name, in parentheses, may hold anything; the parent is the second field after it.
            after_name = status.read_text(errors="replace").rpartition(")")[2].split()
            children.setdefault(int(after_name[1]), []).append(int(status.parent.name))
    tree = [root] if Path(f"/proc/{root}").exists() else []
    for pid in tree:
        tree.extend(children.get(pid, []))
    return tree


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

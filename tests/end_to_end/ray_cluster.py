"""A real Ray cluster on this machine, with ports and a folder of its own, and its end for sure."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from tests.end_to_end.server import REPOSITORY, free_port

T = TypeVar("T")

PROGRAMS = REPOSITORY / ".venv-ray" / "bin"
"""Of the environment with the extra `ray`, which `make .venv-ray/.ready` makes."""
_MARK = "MODELHOST_TEST_CLUSTER"
_PROCESSORS = 6
"""That Ray believes to have: replicas of all models and spare ones have their share of them."""
_STORE_BYTES = 80_000_000
_STOP_SECONDS = 10


class RayCluster:
    """Runs a head, by a command line of the documentation, while the `with` block lasts."""

    def __init__(self, start_command: str, environment: Mapping[str, str]) -> None:
        self.http_port = free_port()
        self.dashboard = f"http://127.0.0.1:{free_port()}"
        self._start_command = start_command
        self._folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: sockets lie in it
        self._mark = uuid.uuid4().hex
        self._ports = {
            "--port": free_port(),
            "--dashboard-port": self.dashboard.rpartition(":")[2],
            "--dashboard-agent-listen-port": free_port(),
            "--dashboard-agent-grpc-port": free_port(),
            "--ray-client-server-port": free_port(),
            "--metrics-export-port": free_port(),
        }
        self.environment = {
            **_without_ours(os.environ),
            **environment,
            _MARK: self._mark,
            "PATH": os.pathsep.join([str(PROGRAMS), os.environ["PATH"]]),
            "PYTHONPATH": str(REPOSITORY),
            "RAY_DASHBOARD_ADDRESS": self.dashboard,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(self._folder / "haproxy" / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(self._folder / "haproxy" / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(self._folder / "haproxy"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(self._folder / "haproxy" / "state"),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        }

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def url(self) -> str:
        """Where Serve answers."""
        return f"http://127.0.0.1:{self.http_port}"

    def start(self) -> None:
        """Start the head, and wait until it takes commands."""
        options = {
            **self._ports,
            "--temp-dir": self._folder / "r",
            "--object-store-memory": _STORE_BYTES,
            "--num-cpus": _PROCESSORS,
        }
        more = " ".join(f"{name} {value}" for name, value in options.items())
        with (self._folder / "log").open("ab") as log:
            self._head = subprocess.Popen(
                ["bash", "-c", f"exec {self._start_command} {more} --block"],
                cwd=REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_until(self._takes_commands, "started", 60)

    def run(self, command: str, **variables: str) -> str:
        """Run a command as whoever deploys does, and return what it prints."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=REPOSITORY,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{self._log()[-2000:]}"
        return done.stdout

    def applications(self) -> dict[str, Any]:
        """Return what Serve says of its applications."""
        answer = httpx.get(f"{self.dashboard}/api/serve/applications/", timeout=30)
        found: dict[str, Any] = answer.json()["applications"]
        return found

    def replicas(self, name: str) -> list[int]:
        """Return the processes of a model that answer."""
        replicas = self.applications()[name]["deployments"]["model"]["replicas"]
        return [each["pid"] for each in replicas if each["state"] == "RUNNING"]

    def wait_until(self, condition: Callable[[], T | None], what: str, seconds: float) -> T:
        """Return what the condition returns once that is not None or false."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if found := condition():
                    return found
            time.sleep(0.1)
        raise AssertionError(
            f"not {what} within {seconds} s:\n{self._log()[-2000:]}\n{self._said()}"
        )

    def kill(self, name: str) -> None:
        """Kill the processes of the cluster that are called so, at once."""
        pids = [pid for pid in self._processes() if name in _command_line(pid)]
        assert pids, name
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """Kill every process of the cluster, as where its machine goes."""
        # Those that are being started meanwhile are found the next time.
        while pids := list(self._processes()):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._head.poll()
            time.sleep(0.05)
        self._head.wait(_STOP_SECONDS)

    def _end(self) -> None:
        if hasattr(self, "_head"):
            self.kill_all()  # which is done at once; Ray itself would take ten seconds for it
        shutil.rmtree(self._folder, ignore_errors=True)

    def _takes_commands(self) -> bool:
        assert self._head.poll() is None, self._log()[-3000:]
        return httpx.get(f"{self.dashboard}/api/version").status_code == 200

    def _said(self) -> str:
        """Return what Serve says of what it could not do."""
        with contextlib.suppress(httpx.HTTPError):
            return json.dumps(self.applications(), indent=1)[-4000:]
        return "Serve says nothing."

    def _log(self) -> str:
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")

    def _processes(self) -> Iterator[int]:
        """Yield the processes of this cluster, and of no other."""
        mark, folder = f"{_MARK}={self._mark}".encode(), str(self._folder).encode()
        for path in Path("/proc").glob("[0-9]*"):
            # Those that change their titles may write over the beginning of their environment.
            with contextlib.suppress(OSError):
                given = [(path / name).read_bytes() for name in ("environ", "cmdline")]
                if mark in given[0] or any(folder in each for each in given):
                    yield int(path.name)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _without_ours(environment: Mapping[str, str]) -> dict[str, str]:
    ours = ("COV_", "DJANGO_", "MODELHOST_", "REST_CONFIG", "RAY_", "VIRTUAL_ENV")
    return {name: value for name, value in environment.items() if not name.startswith(ours)}

"""The real server in a subprocess, as its users start it: gunicorn or `manage.py serve`."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import yaml

from benchmarks.kit.processes import ServerProcess, free_port

__all__ = ["REPOSITORY", "TLS", "Server", "client_of", "free_port"]

T = TypeVar("T")

REPOSITORY = Path(__file__).parents[2]
TLS = httpx.create_ssl_context()
"""For each client: another would read the system's certificates anew, which takes 35 ms."""
_LIMITS = httpx.Limits(keepalive_expiry=1)
"""Gunicorn closes a kept connection after two seconds: a request may cross with its end."""
_LISTENING = re.compile(r"Listening at: (http://127\.0\.0\.1:\d+)")


def client_of(url: str, timeout: float = 30) -> httpx.Client:
    """Return a client that keeps connections no longer than the servers do."""
    return httpx.Client(base_url=url, timeout=timeout, limits=_LIMITS, verify=TLS)


class Server:
    """Runs a server while the `with` block lasts, gunicorn by default; `client` talks to it.

    `configuration` is a path, or a mapping that is written to a YAML file first. By default the
    block begins once every model is loaded; with `wait_for="nothing"` at once and without a client,
    with `wait_for="listening"` as soon as the socket is there, and with `wait_for="exit"` when the
    process has ended by itself, as it does with a broken configuration. A server that does not
    print where it listens has to be given a `port`; one that knows what to serve, the empty string
    for an `application`.
    """

    def __init__(
        self,
        configuration: Path | Mapping[str, object],
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        folder: Path = REPOSITORY,
        application: str = "modelhost.wsgi",
        wait_for: str = "ready",
        ready_path: str = "/api/health/ready",
        command: Sequence[str] = (sys.executable, "-m", "gunicorn"),
        bind: str = "--bind 127.0.0.1:{port}",
        port: int = 0,
        timeout: float = 60,
    ) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="modelhost-test-")
        if isinstance(configuration, Mapping):
            path = Path(self._scratch.name) / "rest_config.yaml"
            path.write_text(yaml.safe_dump(dict(configuration), sort_keys=False), encoding="utf-8")
            configuration = path
        self.configuration = configuration.absolute()
        self._log_path = Path(self._scratch.name) / "log"
        self._wait_for = wait_for
        self._ready_path = ready_path
        self._timeout = timeout
        self._given_port = port
        served = [application] if application else []
        self._command = [*command, *served, *bind.format(port=port).split(), *arguments]
        self._folder = folder
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("COV_")},
            "REST_CONFIG": str(self.configuration),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
            **(environment or {}),
        }

    def __enter__(self) -> Self:
        self._server = ServerProcess(
            self._command, self._log_path, folder=self._folder, environment=self._environment
        )
        self.process = self._server.start()
        if self._wait_for == "nothing":
            return self
        try:
            if self._wait_for == "exit":
                self.process.wait(self._timeout)
                return self
            self.url = self.wait_until(self._listening, "listening")
            self.client = client_of(self.url)
            if self._wait_for == "ready":
                self.wait_until(self._ready, "ready")
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
        if hasattr(self, "client"):
            self.client.close()
        self._stop()

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self.url.rsplit(":", 1)[1])

    @property
    def log(self) -> str:
        """All that the server and its workers have printed."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def _listening(self) -> str | None:
        if self._given_port:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._given_port), timeout=1).close()
                return f"http://127.0.0.1:{self._given_port}"
            return None
        found = _LISTENING.search(self.log)
        return found[1] if found else None

    def _ready(self) -> bool | None:
        try:
            return self.client.get(self._ready_path).status_code == 200 or None
        except httpx.TimeoutException:
            # On a busy machine a worker may import its models for longer than a request waits.
            return None

    def wait_until(self, condition: Callable[[], T | None], what: str) -> T:
        """Return what the condition returns once that is not None, unless the server ends."""
        return self._server.wait_until(condition, what, self._timeout)

    def _stop(self) -> None:
        self._server.stop()
        self._scratch.cleanup()


def gunicorn(configuration: Path | Mapping[str, object], *arguments: str, **options: Any) -> Server:
    """Start gunicorn with this service's settings for it."""
    return Server(
        configuration, "--config", "python:modelhost.gunicorn_conf", *arguments, **options
    )


def serve(configuration: Path | Mapping[str, object], *arguments: str, **options: Any) -> Server:
    """Start `python manage.py serve`."""
    return Server(
        configuration,
        *arguments,
        **{
            "command": (sys.executable, str(REPOSITORY / "manage.py"), "serve"),
            "application": "",
            "bind": "--host 127.0.0.1 --port {port}",
            "port": free_port(),
            **options,
        },
    )


def granian(configuration: Path | Mapping[str, object], *arguments: str, **options: Any) -> Server:
    """Start granian by its own command, with two workers."""
    return Server(
        configuration,
        *("--workers", "2", "--blocking-threads", "16", "--interface", "wsgi"),
        *arguments,
        application="modelhost.wsgi:application",
        command=(sys.executable, "-m", "granian"),
        bind="--host 127.0.0.1 --port {port}",
        port=free_port(),
        **options,
    )


Starter = Callable[..., Server]
STARTERS: dict[str, Starter] = {"gunicorn": gunicorn, "serve": serve}
"""The two ways to serve that are recommended, with the same environment variables."""

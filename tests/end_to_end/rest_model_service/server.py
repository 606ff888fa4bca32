"""rest_model_service in a subprocess, started the way that its documentation says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.end_to_end.server import REPOSITORY, client_of

APPLICATION = "rest_model_service.main:app"


class RestModelService:
    """Runs rest_model_service while the `with` block lasts; `client` talks to it.

    The block begins before the service can answer, so that another server can start meanwhile.
    """

    def __init__(self, configuration: Path, *, timeout: float = 60) -> None:
        self._configuration = configuration
        self._timeout = timeout

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        # uvicorn gets the socket, because its log, which says the port, may be configured away.
        self._socket = socket.create_server(("127.0.0.1", 0))
        descriptor = self._socket.fileno()
        # Whatever measures coverage has nothing to look for in somebody else's service.
        environment = {name: value for name, value in os.environ.items() if name[:3] != "COV"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", APPLICATION, "--fd", str(descriptor)],
            cwd=REPOSITORY,
            env={**environment, "REST_CONFIG": str(self._configuration)},
            pass_fds=[descriptor],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.client = client_of(url)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.client.close()
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.close()
        self._log.close()

    @property
    def log(self) -> str:
        """All that the server has printed."""
        self._log.seek(0)
        return self._log.read().decode("utf-8", errors="replace")

    def wait(self) -> None:
        """Wait until the loading of the models has ended, well or not."""
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise AssertionError(f"rest_model_service ended:\n{self.log}")
            # Until the process listens, its connections wait in the socket.
            response = self.client.get("/api/health/startup", timeout=self._timeout)
            if response.json() == {"startup_status": "STARTED"}:
                return
            time.sleep(0.05)
        raise AssertionError(f"rest_model_service did not start:\n{self.log}")

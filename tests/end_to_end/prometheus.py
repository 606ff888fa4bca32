"""Debian's Prometheus in a subprocess, which reads the metrics of servers."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest
import yaml

from benchmarks.kit.processes import ServerProcess
from tests.end_to_end.server import REPOSITORY, free_port

RULES = REPOSITORY / "deploy/prometheus/alerts.yaml"
_WAIT_SECONDS = 60


def program(name: str) -> str:
    """Return the path of prometheus or promtool; skip the test without, but fail it in CI."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"there is no {name}, and CI tests what reads the metrics")
        pytest.skip(f"there is no {name}")
    return found


class Prometheus:
    """Reads the metrics of servers on these ports twice a second while the `with` block lasts."""

    def __init__(self, *ports: int) -> None:
        self._program = program("prometheus")
        self._scratch = tempfile.TemporaryDirectory(prefix="modelhost-prometheus-")
        self.port = free_port()
        targets = [f"127.0.0.1:{port}" for port in ports]
        configuration = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "modelhost", "static_configs": [{"targets": targets}]}],
        }
        self._path = Path(self._scratch.name) / "prometheus.yaml"
        self._path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        command = [
            *(self._program, f"--config.file={self._path}"),
            f"--storage.tsdb.path={self._scratch.name}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        self._process = ServerProcess(
            command, Path(self._scratch.name) / "log", folder=REPOSITORY, environment=os.environ
        )

    def __enter__(self) -> Self:
        self._process.start()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        try:
            self._process.wait_until(self._is_ready, "ready", _WAIT_SECONDS)
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

    def _stop(self) -> None:
        self.client.close()
        self._process.stop()
        self._scratch.cleanup()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression now, each with its labels and its value."""
        response = self.client.get("/api/v1/query", params={"query": expression})
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()["data"]["result"]
        return found

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression as soon as there are any."""
        return self._process.wait_until(
            lambda: self.query(expression) or None, f"one that has {expression}", _WAIT_SECONDS
        )

    def _is_ready(self) -> bool | None:
        try:
            return self.client.get("/-/ready").status_code == 200 or None
        except httpx.HTTPError:
            return None

"""MLflow's own server, and one that speaks as S3 does, from the environment `.venv-mlflow`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.kit.processes import ServerProcess, free_port
from models_api.artefacts import downloads

PROGRAMS = Path(__file__).parents[2] / ".venv-mlflow" / "bin"
NEEDS_PROGRAMS = pytest.mark.skipif(
    not PROGRAMS.exists() and "CI" not in os.environ,
    reason="there is no MLflow; make .venv-mlflow/.ready installs it",
)


def use_server(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process ask a server, and wait little where that fails."""
    monkeypatch.setattr(downloads, "FIRST_PAUSE_SECONDS", 0.01)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


class ObjectServer:
    """Speaks as S3 does, with one bucket that is called `models`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key-of-the-test",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
            "AWS_REGION": "us-east-1",
        }
        # The server does not verify it, but takes nobody else's object from the one who made it.
        credential = "key-of-the-test/20260101/us-east-1/s3/aws4_request"
        headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential={credential}"}
        self._client = httpx.Client(base_url=url, trust_env=False, headers=headers)
        self._client.put("/models").raise_for_status()

    def put(self, key: str, content: bytes) -> None:
        """Write an object."""
        self._client.put(f"/models/{key}", content=content).raise_for_status()

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._client.delete(f"/models/{key}").raise_for_status()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class TrackingServer:
    """A server of MLflow."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.environment = {"MLFLOW_TRACKING_URI": url}
        self._client = httpx.Client(base_url=f"{url}/api/2.0", trust_env=False, timeout=60)

    def register(self, name: str, source: str, **more: str) -> str:
        """Register a version, whose files are somewhere; return its number."""
        self._client.post("/mlflow/registered-models/create", json={"name": name})
        asked = {"name": name, "source": source, **more}
        made = self._post("/mlflow/model-versions/create", asked)
        version: str = made["model_version"]["version"]
        return version

    def log(self, name: str, files: Mapping[str, bytes]) -> str:
        """Register a version with files that the server keeps; return its number."""
        root, version = self.begin(name)
        self.put(root, files)
        return version

    def begin(self, name: str) -> tuple[str, str]:
        """Register a version without files; return where they are to be, and its number."""
        run = self._post("/mlflow/runs/create", {"experiment_id": "0"})["run"]["info"]
        root = run["artifact_uri"]
        return root, self.register(name, f"{root}/model", run_id=run["run_id"])

    def put(self, root: str, files: Mapping[str, bytes]) -> None:
        """Have the server keep the files of a version."""
        folder = root.removeprefix("mlflow-artifacts:/")
        for path, content in files.items():
            url = f"/mlflow-artifacts/artifacts/{folder}/model/{path}"
            self._client.put(url, content=content).raise_for_status()

    def alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias name a version."""
        asked = {"name": name, "alias": alias, "version": version}
        self._post("/mlflow/registered-models/alias", asked)

    def _post(self, path: str, content: object) -> Any:
        answer = self._client.post(path, json=content)
        answer.raise_for_status()
        return answer.json()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


@contextmanager
def object_server(folder: Path) -> Iterator[ObjectServer]:
    """Run one."""
    port = free_port()
    command = [str(PROGRAMS / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, folder, f"http://127.0.0.1:{port}", "/moto-api/") as url:
        server = ObjectServer(url)
        yield server
        server.close()


@contextmanager
def tracking_server(folder: Path, **environment: str) -> Iterator[TrackingServer]:
    """Run one, which keeps everything in the folder."""
    port = free_port()
    command = [
        *(str(PROGRAMS / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"),
        *("--artifacts-destination", str(folder / "artefacts")),
    ]
    with _running(command, folder, f"http://127.0.0.1:{port}", "/health", **environment) as url:
        server = TrackingServer(url)
        yield server
        server.close()


@contextmanager
def _running(
    command: list[str], folder: Path, url: str, probe: str, **environment: str
) -> Iterator[str]:
    given = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environment}
    server = ServerProcess(command, folder / "server.log", folder=folder, environment=given)
    server.start()

    def answers() -> bool | None:
        try:
            return httpx.get(f"{url}{probe}", trust_env=False).is_success or None
        except httpx.TransportError:
            return None

    try:
        server.wait_until(answers, "ready", 240)
        yield url
    finally:
        for pid in server.all_processes():
            os.kill(pid, signal.SIGKILL)  # nothing is lost, and MLflow takes its time
        server.process.wait()

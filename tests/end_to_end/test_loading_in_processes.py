"""Models that cannot be loaded in their processes, never, or not again: what the service says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.server import Server, serve

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file while which there is, one of the models cannot be loaded."""
    return tmp_path_factory.mktemp("marks") / "mark"


@pytest.fixture(scope="module")
def server(mark: Path) -> Iterator[Server]:
    """A server with such models, and one that is well."""

    def of(name: str, **more: Any) -> dict[str, Any]:
        path = f"tests.fakes.elsewhere.{name}"
        return {"class_path": path, "execution": {"kind": "process"}, **more}

    models = [
        of("FailingModel"),
        of("OnceModel", configuration={"mark": str(mark)}),
        {"class_path": "tests.fakes.elsewhere.TwinModel"},
        of("NeverModel"),
    ]
    configuration = {"models": models, "metrics": {"enabled": True}}
    # With preloading nobody is answered before the last of them.
    environment = {"MODELHOST_PRELOAD": "0"}
    with serve(configuration, environment=environment, wait_for="listening") as running:
        running.wait_until(lambda: state(running, "twin") == "ready" or None, "loaded")
        yield running


def state(server: Server, name: str) -> str:
    """Return how the list of the models says that one is."""
    models = server.client.get("/api/models").json()["models"]
    (found,) = [each["state"] for each in models if each["qualified_name"] == name]
    return str(found)


def readiness(server: Server, name: str) -> tuple[int, dict[str, Any]]:
    """Return status and body of a model's readiness."""
    answer = server.client.get(f"/api/models/{name}/ready")
    return answer.status_code, answer.json()


def predict(server: Server, name: str, number: float = 1) -> int:
    """Return the status of the answer to a request for a prediction."""
    return server.client.post(f"/api/models/{name}/prediction", json={"number": number}).status_code


def metric(server: Server, name: str, state: str) -> bool:
    """Return whether the metrics say that a model is in this state."""
    labels = f'model="{name}",required="true",state="{state}",version="1.2.3"'
    return f"model_state{{{labels}}} 1.0" in server.client.get("/metrics").text


def test_one_that_fails_is_said_to_have_failed_and_why(server: Server) -> None:
    server.wait_until(lambda: state(server, "failing") == "failed" or None, "failed")
    status, body = readiness(server, "failing")
    assert (status, body["state"], body["reason"]) == (503, "failed", "FileNotFoundError")
    assert metric(server, "failing", "failed")
    assert predict(server, "failing") == 503
    assert "Failed to load failing" in server.log
    assert "FileNotFoundError: there are no weights" in server.log


def test_one_that_never_ends_is_said_to_be_loading(server: Server) -> None:
    status, body = readiness(server, "never")
    assert (status, body["state"]) == (503, "loading")
    assert metric(server, "never", "loading")
    assert predict(server, "never") == 503
    assert server.client.get("/api/health/ready").status_code == 503
    assert predict(server, "twin") == 200


def test_one_that_cannot_be_loaded_again_is_unhealthy_until_it_can(
    server: Server, mark: Path
) -> None:
    assert readiness(server, "once")[0] == 200
    mark.touch()
    assert predict(server, "once", 0) == 502
    server.wait_until(lambda: state(server, "once") == "unhealthy" or None, "unhealthy")
    assert readiness(server, "once")[0] == 503
    assert metric(server, "once", "unhealthy")
    assert "once is not healthy: its process has ended" in server.log
    assert "RuntimeError: not again" in server.log
    assert "before it had loaded the model; it is started again in" in server.log
    mark.unlink()
    server.wait_until(lambda: state(server, "once") == "ready" or None, "healthy")
    assert readiness(server, "once")[0] == 200
    assert predict(server, "once") == 200

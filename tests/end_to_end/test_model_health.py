"""Readiness, where models and decorators say of themselves whether they are healthy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.scraped import samples, value
from tests.end_to_end.server import STARTERS, Server

FAKES = "tests.fakes.health"
CONFIGURATION: dict[str, Any] = {
    "models": [
        {
            "class_path": f"{FAKES}.SickModel",
            "decorators": [
                {"class_path": f"{FAKES}.SickDecorator"},
                {"class_path": "tests.fakes.decorators.Plain"},
            ],
        },
        {"class_path": f"{FAKES}.HealthyModel"},
    ],
    "metrics": {"enabled": True},
    "open_inference": {"enabled": True},
}
REFUSING = {"readiness_status": "REFUSING_TRAFFIC", "unhealthy_models": ["sick"]}


def wait_for(server: Server, status: int) -> Any:
    def answer() -> Any:
        response = server.client.get("/api/health/ready")
        return response.json() if response.status_code == status else None

    return server.wait_until(answer, f"readiness {status}")


def readiness_lines(server: Server) -> dict[int, int]:
    return {status: server.log.count(f"GET /api/health/ready {status} ") for status in (503, 200)}


@pytest.mark.long
@pytest.mark.parametrize("start", STARTERS.values(), ids=STARTERS)
def test_readiness_follows_what_models_say_and_waits_for_none(start: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text("well", encoding="utf-8")
    environment = {"HEALTH_FOLDER": str(tmp_path), "MODELHOST_WORKERS": "1"}
    with start(CONFIGURATION, environment=environment) as server:
        assert wait_for(server, 200) == {"readiness_status": "ACCEPTING_TRAFFIC"}
        assert value(samples(server), "model_healthy", model="sick") == 1
        for fault in ("sick", "raise", "exit", "hang"):
            state.write_text(fault, encoding="utf-8")
            assert wait_for(server, 503) == REFUSING
            assert server.client.get("/api/health").status_code == 200
            row = server.client.post("/api/models/sick/prediction", json={"value": 2})
            assert row.json() == {"value": 4.0}
            assert value(samples(server), "model_healthy", model="sick") == 0
            assert value(samples(server), "model_healthy", model="doubling") == 1
            assert server.client.get("/v2/health/ready").status_code == 503
            assert server.client.get("/v2/models/sick/ready").json()["ready"] is False
            assert server.client.get("/v2/models/doubling/ready").json()["ready"] is True
            index = server.client.post("/v2/repository/index").json()
            assert [each["state"] for each in index] == ["UNAVAILABLE", "READY"]
            state.write_text("well", encoding="utf-8")
            wait_for(server, 200)
        (tmp_path / "decorator is sick").touch()
        assert wait_for(server, 503) == REFUSING
        assert "sick is not healthy: SickDecorator.is_healthy returned False" in server.log
        asked = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
        assert len(set(asked)) == 1
        assert "RuntimeError: the database is away" in server.log
        # However often it was asked: as often as it has changed.
        lines = {503: 5, 200: 4}
        server.wait_until(lambda: readiness_lines(server) == lines or None, "its lines in the log")


def test_an_async_method_keeps_a_server_from_starting() -> None:
    configuration = {"models": [{"class_path": f"{FAKES}.AsyncHealthModel"}]}
    with Server(configuration, wait_for="exit") as server:
        assert server.process.returncode != 0
        assert "AsyncHealthModel.is_healthy is asynchronous" in server.log
        assert "Leave async and yield out" in server.log

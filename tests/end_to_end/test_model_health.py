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
        {"class_path": f"{FAKES}.RaisingModel"},
        {"class_path": f"{FAKES}.ExitingModel"},
        {"class_path": f"{FAKES}.HangingModel"},
        {"class_path": f"{FAKES}.HealthyModel"},
    ],
    "metrics": {"enabled": True},
    "open_inference": {"enabled": True},
}
FAULTS = ["sick", "raise", "exit", "hang"]


def wait_for(server: Server, unhealthy: list[str]) -> None:
    expected: tuple[int, dict[str, Any]] = (200, {"readiness_status": "ACCEPTING_TRAFFIC"})
    if unhealthy:
        expected = 503, {"readiness_status": "REFUSING_TRAFFIC", "unhealthy_models": unhealthy}

    def is_so() -> bool | None:
        response = server.client.get("/api/health/ready")
        return (response.status_code, response.json()) == expected or None

    server.wait_until(is_so, str(expected))


def healthy_by_metrics(server: Server) -> dict[str, float]:
    found = samples(server)
    return {name: value(found, "model_healthy", model=name) for name in [*FAULTS, "doubling"]}


def readiness_lines(server: Server) -> dict[int, int]:
    return {status: server.log.count(f"GET /api/health/ready {status} ") for status in (503, 200)}


@pytest.mark.long
@pytest.mark.parametrize("start", STARTERS.values(), ids=STARTERS)
def test_readiness_follows_what_models_say_and_waits_for_none(start: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text("well", encoding="utf-8")
    environment = {"HEALTH_FOLDER": str(tmp_path), "MODELHOST_WORKERS": "1"}
    with start(CONFIGURATION, environment=environment) as server:
        wait_for(server, [])
        assert healthy_by_metrics(server) == dict.fromkeys([*FAULTS, "doubling"], 1)
        state.write_text("as each is called", encoding="utf-8")
        wait_for(server, FAULTS)
        assert server.client.get("/api/health").status_code == 200
        assert healthy_by_metrics(server) == {**dict.fromkeys(FAULTS, 0), "doubling": 1}
        assert server.client.get("/v2/health/ready").status_code == 503
        assert server.client.get("/v2/models/doubling/ready").json()["ready"] is True
        for name in FAULTS:
            row = server.client.post(f"/api/models/{name}/prediction", json={"value": 2})
            assert row.json() == {"value": 4.0}
            assert server.client.get(f"/v2/models/{name}/ready").json()["ready"] is False
        index = server.client.post("/v2/repository/index").json()
        assert [each["state"] for each in index] == [*["UNAVAILABLE"] * 4, "READY"]
        state.write_text("well", encoding="utf-8")
        wait_for(server, [])
        (tmp_path / "decorator is sick").touch()
        wait_for(server, ["sick"])
        assert "sick is not healthy: SickDecorator.is_healthy returned False" in server.log
        asked = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
        assert len(set(asked)) == 1
        assert "RuntimeError: the database is away" in server.log
        # However often it was asked: as often as it has changed.
        lines = {503: 2, 200: 1}
        server.wait_until(lambda: readiness_lines(server) == lines or None, "its lines in the log")


def test_an_async_method_keeps_a_server_from_starting() -> None:
    configuration = {"models": [{"class_path": f"{FAKES}.AsyncHealthModel"}]}
    with Server(configuration, wait_for="exit") as server:
        assert server.process.returncode != 0
        assert "AsyncHealthModel.is_healthy is asynchronous" in server.log
        assert "Leave async and yield out" in server.log

"""Whom the answers tell why a model failed: those who develop it, and nobody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.server import Server, gunicorn, serve

BEGINNERS = "tests.fakes.beginners"
CONFIGURATION: dict[str, Any] = {
    "models": [
        {"class_path": f"{BEGINNERS}.RentModel"},
        {"class_path": f"{BEGINNERS}.CostsModel"},
    ],
    "open_inference": {"enabled": True},
}
REASON = "predict of rent returned value=array of shape (1,); the schema says float: write .item()"
LOADING = "__init__ calls super().__init__(), and ml_base's MLModel has none that can be called"
SERVERS: dict[str, tuple[Callable[..., Server], dict[str, str], bool]] = {
    "runserver": (DevelopmentServer, {}, True),
    "runserver, silent": (DevelopmentServer, {"MODELHOST_SHOW_REASONS": "0"}, False),
    "serve": (serve, {}, False),
    "serve, asked for": (serve, {"MODELHOST_SHOW_REASONS": "1"}, True),
    "gunicorn": (gunicorn, {}, False),
}


@pytest.mark.long
@pytest.mark.parametrize("name", SERVERS)
def test_the_answers_say_why_under_the_development_server_only(name: str) -> None:
    start, variables, shown = SERVERS[name]
    with start(CONFIGURATION, environment=variables, wait_for="listening") as server:
        server.wait_until(lambda: "Failed to load costs" in server.log or None, "the models")
        row = {"square_metres": 60}
        failed = server.client.post("/api/models/rent/prediction", json=row)
        rows = server.client.post("/api/models/rent/prediction/batch", json={"inputs": [row]})
        inputs = [{"name": "square_metres", "shape": [1], "datatype": "FP64", "data": [60]}]
        tensors = server.client.post("/v2/models/rent/infer", json={"inputs": inputs})
        unloaded = server.client.post("/api/models/costs/prediction", json=row)
        log = server.log
    assert [each.status_code for each in (failed, rows, tensors, unloaded)] == [500] * 3 + [503]
    assert [REASON in each.text for each in (failed, rows, tensors)] == [shown] * 3
    assert (LOADING in unloaded.text) is shown
    assert len(failed.json()["messages"]) == 1 + shown
    assert f"failed (request {failed.headers['X-Request-ID']}): {REASON}" in log
    assert f": {LOADING}: remove that line" in log

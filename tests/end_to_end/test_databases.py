"""Django's database connections of models and decorators, with a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from tests.end_to_end.postgresql import PostgreSQL
from tests.end_to_end.server import Server, Starter, gunicorn, serve

pytestmark = pytest.mark.long

FAKES = "tests.fakes.databases"
DEADLINE = {"timeout_seconds": 60}
BATCHING: dict[str, Any] = {"batching": {}}
CONFIGURATION = {
    "models": [
        {"class_path": f"{FAKES}.PlainModel"},
        {"class_path": f"{FAKES}.TimedModel", **DEADLINE},
        {"class_path": f"{FAKES}.BatchedModel", **BATCHING},
        {"class_path": f"{FAKES}.TimedBatchedModel", **DEADLINE, **BATCHING},
        {
            "class_path": f"{FAKES}.ConstantModel",
            "decorators": [{"class_path": f"{FAKES}.AskingDecorator"}],
            **DEADLINE,
        },
        {"class_path": f"{FAKES}.CoroutineModel"},
        {"class_path": f"{FAKES}.TimedCoroutineModel", **DEADLINE},
        {"class_path": f"{FAKES}.ThreadedModel"},
        {"class_path": f"{FAKES}.UnsafeModel"},
    ],
    "open_inference": {"enabled": True},
}
NAMES = [
    *("plain", "timed", "batched", "timed_batched"),
    *("decorated", "coroutine", "timed_coroutine", "threaded", "unsafe"),
]
ON_ONE_THREAD = [name for name in NAMES if name not in ("threaded", "unsafe")]
"""Those that one client always finds on the same thread, where the worker has one."""
TENSORS = {"inputs": [{"name": "seconds", "datatype": "FP64", "shape": [2], "data": [0, 0]}]}
REQUESTS: dict[str, dict[str, Any]] = {
    "/api/models/{}/prediction": {"seconds": 0.05},
    "/api/models/{}/prediction/batch": {"inputs": [{}, {}, {}]},
    "/v2/models/{}/infer": TENSORS,
}
STARTERS: dict[str, Starter] = {
    "gunicorn": gunicorn,
    "serve": serve,
    "embedded": partial(gunicorn, application="tests.fakes.embedded_wsgi"),
}


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQL]:
    with PostgreSQL() as running:
        yield running


def start(kind: str, database: PostgreSQL, max_age: int, threads: int = 32) -> Server:
    return STARTERS[kind](
        CONFIGURATION,
        environment={
            "MODELHOST_WORKERS": "1",
            "MODELHOST_THREADS": str(threads),
            "TEST_DATABASE": str(database.folder),
            "TEST_CONN_MAX_AGE": str(max_age),
            "DJANGO_ALLOW_ASYNC_UNSAFE": "1",
            "DJANGO_SETTINGS_MODULE": "tests.fakes.database_settings",
        },
    )


def connections(database: PostgreSQL) -> int:
    return len(database.query("SELECT pid FROM pg_stat_activity WHERE application_name = 'models'"))


def predict(server: Server, name: str) -> httpx.Response:
    return server.client.post(f"/api/models/{name}/prediction", json={})


@pytest.mark.parametrize("kind", STARTERS)
def test_no_connection_is_kept_wherever_a_prediction_runs(kind: str, database: PostgreSQL) -> None:
    with start(kind, database, max_age=0) as server, ThreadPoolExecutor(4) as clients:
        for route, body in REQUESTS.items():
            urls = [route.format(name) for name in NAMES for _ in range(4)]
            for response in clients.map(partial(server.client.post, json=body), urls):
                assert response.status_code == 200, (response.url, response.text, server.log)
        none_is_left = server.wait_until(
            lambda: connections(database) == 0 or None, "rid of its connections"
        )
        assert none_is_left
        assert "ResourceWarning" not in server.log


def test_connections_are_kept_for_as_long_as_the_settings_say(database: PostgreSQL) -> None:
    with start("gunicorn", database, max_age=600, threads=1) as server:
        for name in ON_ONE_THREAD:
            backends = {predict(server, name).json()["backend"] for _ in range(5)}
            assert len(backends) == 1, name


def test_predictions_go_on_after_a_restart_of_the_database(database: PostgreSQL) -> None:
    with start("gunicorn", database, max_age=600, threads=1) as server:
        for name in ON_ONE_THREAD:
            assert predict(server, name).status_code == 200, server.log
        database.restart()
        for name in ON_ONE_THREAD:
            statuses = [predict(server, name).status_code for _ in range(4)]
            assert statuses[0] in (200, 500)
            assert statuses[1:] == [200] * 3, (name, server.log)

"""The ways to run the service fast: `serve`, gunicorn with its settings for models, granian."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.server import Server, granian, gunicorn, serve

PREDICTION = "/api/models/batching/prediction"
CONFIGURATION: dict[str, Any] = {
    "models": [{"class_path": "tests.fakes.batching.BatchingModel", "batching": {}}]
}


def tuned(configuration: Mapping[str, object] = CONFIGURATION, **environment: str) -> Server:
    return gunicorn(configuration, environment={"MODELHOST_WORKERS": "2", **environment})


def served(configuration: Mapping[str, object] = CONFIGURATION, **environment: str) -> Server:
    return serve(configuration, environment={"MODELHOST_WORKERS": "2", **environment})


STARTERS: dict[str, Callable[[], Server]] = {
    "gunicorn": tuned,
    "gunicorn pinned": lambda: tuned(MODELHOST_CPU_AFFINITY="1"),
    "serve": served,
    "serve pinned": lambda: served(MODELHOST_CPU_AFFINITY="1"),
    "granian": lambda: granian(CONFIGURATION),
}
SERVERS = [pytest.param(start, id=name) for name, start in STARTERS.items()]
BOTH = [pytest.param(tuned, id="gunicorn"), pytest.param(served, id="serve")]


@pytest.fixture(scope="module", params=STARTERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with STARTERS[request.param]() as server:
        yield server


def predict(server: Server, value: int, **headers: str) -> dict[str, Any]:
    response = server.client.post(PREDICTION, json={"value": value}, headers=headers)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


@pytest.mark.long
@pytest.mark.parametrize("start", SERVERS)
def test_a_server_that_is_stopped_leaves_no_line_of_its_log_unsaid(
    start: Callable[[], Server],
) -> None:
    ids = [f"request-{number}" for number in range(400)]
    with start() as server, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda id_: predict(server, 1, **{"X-Request-ID": id_}), ids))
        server.process.terminate()
        server.process.wait(30)
        log = server.log
    assert [id_ for id_ in ids if log.count(f"[{id_}]") != 1] == []


def test_two_workers_share_the_requests_and_answer_them_right(server: Server) -> None:
    processes: set[int] = set()
    # One of them may be ready long before the other.
    deadline = time.monotonic() + 60
    with ThreadPoolExecutor(16) as pool:
        while len(processes) < 2 and time.monotonic() < deadline:
            # A connection that is kept would stay with the worker that has it.
            answers = pool.map(lambda value: predict(server, value, Connection="close"), range(200))
            bodies = list(answers)
            assert [body["value"] for body in bodies] == [2 * value for value in range(200)]
            processes.update(body["process"] for body in bodies)
    assert len(processes) == 2


@pytest.mark.parametrize("start", BOTH)
@pytest.mark.long
def test_a_model_that_used_openmp_before_the_fork_predicts_after_it(
    start: Callable[..., Server],
) -> None:
    models = {"models": [{"class_path": "tests.fakes.openmp.ClustersModel"}]}
    with start(models) as server:
        response = server.client.post("/api/models/clusters/prediction", json={"x": 9})
    assert response.json() == {"centre": 10.0}


@pytest.mark.parametrize("server", ["gunicorn", "serve"], indirect=True)
def test_models_are_loaded_once_before_the_fork(server: Server) -> None:
    bodies = [predict(server, value) for value in range(40)]
    assert {body["loaded_in"] for body in bodies} == {server.process.pid}
    assert server.log.count("Loaded batching 1.0.0") == 1


@pytest.mark.parametrize("start", BOTH)
def test_models_that_are_not_safe_to_fork_are_loaded_after_it(start: Callable[..., Server]) -> None:
    with start(MODELHOST_PRELOAD="0") as server:
        bodies = [predict(server, value) for value in range(40)]
        assert all(body["loaded_in"] == body["process"] for body in bodies)


@pytest.mark.parametrize("server", ["gunicorn pinned", "serve pinned"], indirect=True)
def test_a_pinned_worker_keeps_all_its_threads_to_one_processor(server: Server) -> None:
    workers = {predict(server, value)["process"] for value in range(40)}
    for worker in workers:
        for thread in Path(f"/proc/{worker}/task").iterdir():
            assert len(os.sched_getaffinity(int(thread.name))) == 1


def test_chunked_bodies_are_read(server: Server) -> None:
    response = server.client.post(
        PREDICTION, content=iter([b'{"val', b'ue": 4}']), headers={"Content-Type": ""}
    )
    assert (response.status_code, response.json()["value"]) == (200, 8)


@pytest.mark.parametrize("start", SERVERS)
def test_sigterm_ends_the_server(start: Callable[[], Server]) -> None:
    with start() as server:
        predict(server, 1)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0


def test_sigterm_ends_granian_while_its_workers_start() -> None:
    models = {"models": [{"class_path": "tests.fakes.slow_import.SlowlyImportedModel"}]}
    with granian(models, wait_for="nothing") as server:
        deadline = time.monotonic() + 60
        while server.log.count("Importing ...") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0, server.log

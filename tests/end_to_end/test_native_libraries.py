"""Stops and reloads of workers whose native libraries take the end of a process badly."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.server import TLS, Server, Starter, gunicorn, serve

CONFIGURATION = {
    "models": [
        {"class_path": "tests.fakes.native.OnnxModel"},
        {"class_path": "tests.fakes.native.AbortingModel"},
    ]
}
WORKERS = 2
SECONDS = 20
"""Less than the grace period, after which a server kills a worker that does not end."""
CRASHED = re.compile(r"SIG(ABRT|SEGV|KILL|TERM)!|terminate called|Killing|Unexpected exit|core")
GTHREAD = ("--worker-class", "gthread", "--threads", "4")


def plain(*arguments: str) -> Starter:
    """Start gunicorn without this service's settings for it."""
    return lambda configuration, **options: Server(
        configuration, "--workers", str(WORKERS), *arguments, **options
    )


STARTERS: dict[str, Starter] = {
    "serve": serve,
    "gunicorn": gunicorn,
    "preload": plain("--preload"),
    "plain": plain(*GTHREAD),
    "embedded": partial(gunicorn, application="tests.fakes.embedded_wsgi"),
}
pytestmark = pytest.mark.long


@contextmanager
def started(start: Starter) -> Iterator[Server]:
    with start(CONFIGURATION, environment={"MODELHOST_WORKERS": str(WORKERS)}) as server:
        yield server


def ask(
    server: Server, name: str = "onnx", wait_for: Path | None = None, id_: str = "quick"
) -> httpx.Response:
    """Ask for a prediction on a new connection, so that any worker may get it."""
    return httpx.post(
        f"{server.url}/api/models/{name}/prediction",
        json={"number": 21, "wait_for": str(wait_for) if wait_for else None},
        headers={"X-Request-ID": id_},
        timeout=60,
        verify=TLS,
    )


def process_of(response: httpx.Response) -> int:
    assert response.status_code == 200, response.text
    found = response.json()
    assert found["doubled"] == 42.0
    return int(found["process"])


def workers(server: Server, without: frozenset[int] = frozenset()) -> frozenset[int]:
    """Who answers for both models, once that are as many as there should be."""
    seen: set[int] = set()

    def are_all() -> bool | None:
        for name in ("onnx", "aborting"):
            response = ask(server, name)
            if response.status_code != 503:  # of a new worker that loads for itself
                seen.add(process_of(response))
        return len(seen - without) == WORKERS or None

    server.wait_until(are_all, "answered by all its workers")
    return frozenset(seen - without)


def has_ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def stop(server: Server, number: signal.Signals = signal.SIGTERM) -> str:
    """Stop the server, and return its log."""
    server.process.send_signal(number)
    assert server.process.wait(SECONDS) == 0, server.log
    return server.log


def ended_well(log: str, pids: frozenset[int]) -> None:
    assert not CRASHED.search(log), log
    for pid in pids:
        # Of both models.
        assert log.count(f"goodbye from {pid}\n") == 2


@pytest.mark.parametrize("kind", STARTERS)
def test_workers_are_replaced_and_end_whatever_native_libraries_do(kind: str) -> None:
    with started(STARTERS[kind]) as server:
        old = workers(server)
        server.process.send_signal(signal.SIGHUP)
        server.wait_until(lambda: all(map(has_ended, old)) or None, "rid of its old workers")
        new = workers(server, without=old)
        log = stop(server)
    ended_well(log, old | new)


@pytest.mark.parametrize("kind", ["gunicorn", "serve"])
def test_the_answer_under_way_is_given_first(kind: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with started(STARTERS[kind]) as server, ThreadPoolExecutor(1) as pool:
        pids = workers(server)
        answer = pool.submit(ask, server, wait_for=gate, id_="slow")
        server.wait_until(lambda: Path(f"{gate}.begun").exists() or None, "predicting")
        server.process.send_signal(signal.SIGTERM)
        server.wait_until(lambda: "goodbye" in server.log or None, "rid of a worker")
        gate.touch()
        assert process_of(answer.result(SECONDS)) in pids
        # Not asked again: what has all but ended would end by the signal.
        assert server.process.wait(SECONDS) == 0, server.log
        log = server.log
    ended_well(log, pids)
    assert log.count("[slow]: POST /api/models/onnx/prediction 200") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=lambda number: number.name)
def test_workers_of_gunicorn_end_so_on_its_other_signals_too(number: signal.Signals) -> None:
    with started(gunicorn) as server:
        pids = workers(server)
        log = stop(server, number)
    ended_well(log, pids)


def test_a_worker_that_has_answered_its_number_of_requests_ends_so_too() -> None:
    def start(configuration: Any, **options: Any) -> Server:
        return gunicorn(configuration, "--max-requests", "20", **options)

    with started(start) as server:
        old = workers(server)

        def are_replaced() -> bool | None:
            process_of(ask(server))
            return all(map(has_ended, old)) or None

        server.wait_until(are_replaced, "rid of its first workers")
        log = stop(server)
    assert not CRASHED.search(log), log


def test_the_development_server_begins_anew_and_ends() -> None:
    with DevelopmentServer({"models": [CONFIGURATION["models"][0]]}, reload=True) as server:
        process_of(ask(server))
        touched = float("-inf")

        def has_begun_anew() -> bool | None:
            nonlocal touched
            # What is changed before its first look at the files, it does not see.
            if time.monotonic() - touched > 10:
                os.utime(Path(__file__).parents[1] / "fakes" / "native.py")
                touched = time.monotonic()
            return server.log.count("Loaded onnx") == 2 or None

        server.wait_until(has_begun_anew, "begun anew")
        stop(server)

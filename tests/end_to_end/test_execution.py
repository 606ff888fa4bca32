"""What models may do to their process, under each server, and what becomes of it."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
import pytest

from benchmarks.kit.processes import process_tree
from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.scraped import samples, value
from tests.end_to_end.server import STARTERS, Server, client_of, gunicorn
from tests.fakes.changing import ERRORS

pytestmark = pytest.mark.long

FAKES = "tests.fakes.executing"
BATCHING = {"max_batch_size": 8}
CONFIGURATION: dict[str, Any] = {
    "models": [
        {"class_path": f"{FAKES}.ExecutingModel"},
        {"class_path": f"{FAKES}.ManyExecutingModel", "batching": BATCHING},
        {"class_path": f"{FAKES}.AsyncExecutingModel", "timeout_seconds": 60},
    ],
    "metrics": {"enabled": True},
    "open_inference": {"enabled": True},
}
NAMES = ("executing", "executing_many", "executing_async")
SERVERS: dict[str, Callable[..., Server]] = {**STARTERS, "runserver": DevelopmentServer}
# As most are started: nothing tells Python not to buffer.
BUFFERED = {"PYTHONUNBUFFERED": ""}


def start(kind: str, configuration: Any = None, **environment: str) -> Server:
    # As it is where nobody develops: `runserver` tells reasons by itself.
    variables = {"MODELHOST_WORKERS": "2", "MODELHOST_SHOW_REASONS": "0", **BUFFERED, **environment}
    return SERVERS[kind](configuration or CONFIGURATION, environment=variables)


@pytest.fixture(scope="module", params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with start(request.param) as server:
        yield server


def ask(server: Server, do: str, number: int = 0, name: str = "executing") -> httpx.Response:
    body = {"do": do, "number": number}
    response: httpx.Response = server.client.post(f"/api/models/{name}/prediction", json=body)
    return response


def soon(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


# What is no Exception


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("do", ERRORS)
def test_whatever_a_model_raises_is_answered_logged_and_counted(
    server: Server, name: str, do: str
) -> None:
    before = failures(server, name)
    answer = ask(server, do, name=name)
    assert answer.status_code == 500
    assert answer.json()["type"] == "ServiceError"
    assert "secret" not in answer.text
    id_ = answer.headers["X-Request-ID"]
    soon(lambda: server.log.count(f"[{id_}]") >= 2, "an error and an access line")
    assert failures(server, name) == before + 1
    assert ask(server, "nothing", 5, name).json()["number"] == 5


def failures(server: Server, name: str) -> float:
    return value(samples(server), "model_predictions_total", outcome="failure", model=name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("do", ERRORS)
def test_the_rows_of_others_are_answered(server: Server, name: str, do: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [(do if number % 4 == 1 else "nothing", number) for number in range(24)]
        answers = list(pool.map(lambda each: ask(server, each[0], each[1], name), asked))
    for (what, number), answer in zip(asked, answers, strict=True):
        assert answer.status_code == (500 if what == do else 200)
        assert what == do or answer.json()["number"] == number


def test_a_model_that_is_interrupted_while_it_loads_leaves_the_others_alone() -> None:
    names = ("InterruptedModel", "UnspeakableModel", "ExecutingModel")
    configuration = {"models": [{"class_path": f"{FAKES}.{name}"} for name in names]}
    with gunicorn(configuration, wait_for="listening") as server:
        soon(lambda: "Loaded executing" in server.log, "the last is loaded")
        assert ask(server, "nothing", 5).json()["number"] == 5
        for name in ("interrupted", "unspeakable"):
            assert ask(server, "nothing", name=name).status_code == 503


# Forks


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("do", ["fork_and_return", "fork_and_exit", "fork_and_raise", "fork_pty"])
def test_a_child_of_a_model_ends_and_the_request_is_answered_once(
    server: Server, name: str, do: str
) -> None:
    with client_of(server.url) as client:
        path = f"/api/models/{name}/prediction"
        for number in range(5):
            answer = client.post(path, json={"do": do, "number": number})
            assert (answer.status_code, answer.json()["number"]) == (200, number)
            # A second answer on the connection would be taken for that to the next request.
            following = client.post(path, json={"number": 100 + number})
            assert following.json()["number"] == 100 + number
    soon(lambda: not zombies_or_more(server), "its children end")


def zombies_or_more(server: Server) -> list[int]:
    """Return the children of workers that still live."""
    return [pid for pid in process_tree(server.process.pid) if depth(pid, server) > 1 and runs(pid)]


def depth(pid: int, server: Server) -> int:
    steps = 0
    while pid not in (server.process.pid, 0, 1):
        pid, steps = parent(pid), steps + 1
    return steps


def parent(pid: int) -> int:
    with suppress(OSError):
        return int(stat(pid)[1])
    return 0


def runs(pid: int) -> bool:
    with suppress(OSError):
        return stat(pid)[0] != "Z"
    return False


def stat(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        return file.read().rpartition(")")[2].split()


# What is printed


def test_what_a_model_prints_shows_at_once_and_once(server: Server) -> None:
    for text in ("printed in __init__\n", "unfinished in __init__|", "complained in __init__|"):
        assert server.log.count(text) == 1
    ask(server, "print", 42)
    soon(lambda: "printed in predict 42\n" in server.log, "it shows")
    assert server.log.count("printed in predict 42\n") == 1


# Ends


@pytest.mark.parametrize("do", ["end", "end_in_c"])
@pytest.mark.parametrize("preload", ["1", "0"])
@pytest.mark.long
def test_a_worker_that_a_model_ends_is_replaced_whatever_its_exit_status(
    do: str, preload: str
) -> None:
    with start("gunicorn", MODELHOST_PRELOAD=preload) as server:
        for status in (3, 4, 255, 1, 0):
            with pytest.raises(httpx.TransportError):
                ask(server, do, status)
            soon(partial(is_served, server, status), "it is served again")
        assert server.process.poll() is None
        assert not re.search("failed to (boot|load)", server.log)


def is_served(server: Server, number: int) -> bool:
    try:
        return bool(ask(server, "nothing", number).status_code == 200)
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("preload", ["1", "0"])
def test_workers_that_cannot_start_end_the_server(preload: str) -> None:
    configuration = {"models": [{"class_path": "nowhere.Model"}]}
    environment = {"MODELHOST_PRELOAD": preload, "MODELHOST_WORKERS": "2"}
    with gunicorn(configuration, environment=environment, wait_for="exit") as server:
        assert server.process.returncode == 3
        assert "Traceback" not in server.log
        assert server.log.count("Booting worker") <= 2


@pytest.mark.parametrize("is_busy", [False, True])
def test_an_interruption_from_the_keyboard_ends_the_development_server(is_busy: bool) -> None:
    with (
        DevelopmentServer(CONFIGURATION, environment=BUFFERED) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        if is_busy:
            waiting = pool.submit(ask, server, "hang")
            soon(lambda: "hanging\n" in server.log, "it hangs")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0
        if is_busy:
            with suppress(httpx.TransportError):
                waiting.result(30)

"""Whatever a model does to its process, the rest of the server goes on, and nothing is left."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.server import STARTERS, Server, Starter, gunicorn, serve
from tests.end_to_end.test_model_processes import (
    NEIGHBOUR,
    Neighbour,
    is_well,
    order,
    processes_of,
    socket_folder,
)
from tests.fakes.poison import DEADLY

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

POISON: dict[str, Any] = {
    "class_path": "tests.fakes.poison.PoisonModel",
    "timeout_seconds": 1,
    "execution": {"kind": "process", "memory_limit_mb": 300},
}


def left_of(server: Server) -> dict[int, str]:
    """Return the processes that have the environment of this server, and their command lines."""
    environment = f"REST_CONFIG={server._environment['REST_CONFIG']}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if environment in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def wait_until_nothing_is_left(server: Server, folder: Path) -> None:
    deadline = time.monotonic() + 10
    while (left_of(server) or folder.exists()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_of(server) == {}
    assert not folder.exists()


def poison(server: Server, what: str) -> httpx.Response:
    return order(server, what, "poison")


def recovers(server: Server) -> None:
    server.wait_until(lambda: is_well(server, "poison"), "well again")


@pytest.fixture(scope="module", params=STARTERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with two workers, a poisoned model, and another one on threads."""
    start: Starter = STARTERS[request.param]
    with start({"models": [NEIGHBOUR, POISON]}, environment={"MODELHOST_WORKERS": "2"}) as running:
        yield running


@pytest.mark.parametrize("way", DEADLY)
def test_the_neighbour_loses_nothing_and_the_model_is_there_again(server: Server, way: str) -> None:
    recovers(server)
    with Neighbour(server) as neighbour, ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda _: poison(server, way), range(6)))
        died = time.monotonic()
        recovers(server)
        seconds = time.monotonic() - died
    assert {answer.status_code for answer in answers} <= {502, 504}
    assert {answer.json()["type"] for answer in answers} <= {"BackendFailed", "DeadlineExceeded"}
    assert list(neighbour.statuses) == [200], neighbour.statuses
    assert seconds < 10


@pytest.mark.parametrize("way", ["exit politely", "be interrupted", "end a generator"])
def test_what_it_raises_is_its_answer_and_ends_no_process(server: Server, way: str) -> None:
    before = poison(server, "nothing").json()["process"]
    assert poison(server, way).status_code == 500
    assert poison(server, "nothing").json()["process"] == before


@pytest.mark.parametrize("way", ["end a helper", "end a forked helper"])
def test_what_it_starts_can_be_asked_to_end(server: Server, way: str) -> None:
    answer = poison(server, way)
    assert answer.json().get("said") == "-15", answer.text


@pytest.mark.parametrize("way", ["stop the supervisor", "go away"])
def test_it_may_do_what_ends_nothing_and_is_replaced_once_it_dies(server: Server, way: str) -> None:
    assert poison(server, way).status_code == 200
    assert poison(server, "abort").status_code == 502
    recovers(server)


def test_nothing_is_left_of_what_it_has_started(server: Server) -> None:
    assert [line for line in left_of(server).values() if line.startswith("sleep")] == []
    server.wait_until(lambda: len(processes_of(server)) == 2 or None, "both there")


def test_no_worker_has_died_meanwhile(server: Server) -> None:
    assert "Unexpected exit from worker" not in server.log
    assert "was terminated" not in server.log.lower()
    assert server.client.get("/api/health/ready").status_code == 200


def test_the_log_says_why_it_was_ended(server: Server) -> None:
    reason = "because its model has closed descriptors that are not its own"

    def is_told() -> bool | None:
        recovers(server)
        poison(server, "close all descriptors")
        recovers(server)
        return reason in server.log or None

    server.wait_until(is_told, "told why")


def the_model(server: Server) -> list[int]:
    """Return the process of the model: its supervisor is older."""
    return [max(processes_of(server))]


def the_supervisor(server: Server) -> list[int]:
    return [min(processes_of(server))]


def a_worker(server: Server) -> list[int]:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    return [int(children.split()[-1])]


@pytest.mark.parametrize("victims", [the_model, the_supervisor, processes_of, a_worker])
def test_it_is_there_again_whoever_was_killed(
    server: Server, victims: Callable[[Server], list[int]]
) -> None:
    recovers(server)
    for pid in victims(server):
        os.kill(pid, signal.SIGKILL)
    for _ in range(4):  # by both workers
        with suppress(httpx.TransportError):  # a worker had taken the connection
            recovers(server)
    recovers(server)
    server.wait_until(lambda: len(processes_of(server)) == 2 or None, "both there")


@pytest.mark.parametrize("of_server", [False, True], ids=["the model's folder", "all of it"])
def test_it_goes_on_where_its_directory_is_tidied_up(server: Server, of_server: bool) -> None:
    recovers(server)
    folder = socket_folder(server)
    with Neighbour(server) as neighbour, ThreadPoolExecutor(8) as clients:
        shutil.rmtree(folder.parent if of_server else folder)
        # More at a time than there are connections yet.
        answers = list(clients.map(lambda _: poison(server, "nothing"), range(200)))
        recovers(server)
    assert list(neighbour.statuses) == [200]
    assert Counter(answer.status_code for answer in answers)[200] > 150
    assert {answer.status_code for answer in answers} <= {200, 502, 504}
    # That of before ends once no worker uses it any more.
    server.wait_until(lambda: len(processes_of(server)) == 2 or None, "alone")
    assert poison(server, "abort").status_code == 502
    recovers(server)


@pytest.mark.parametrize(
    ("start", "way", "number"),
    [
        (serve, "stop the supervisor", signal.SIGTERM),
        (gunicorn, "stop the supervisor", signal.SIGKILL),
        (serve, "leave a daemon", signal.SIGKILL),
        (gunicorn, "hang", signal.SIGKILL),
    ],
)
def test_nothing_is_left_however_the_server_ends(start: Starter, way: str, number: int) -> None:
    with start({"models": [POISON]}, environment={"MODELHOST_WORKERS": "2"}) as running:
        folder = socket_folder(running)
        poison(running, way)
        os.killpg(running.process.pid, number)
        wait_until_nothing_is_left(running, folder)


def test_a_thread_that_the_import_starts_is_there_in_each_process() -> None:
    threaded = {
        "class_path": "tests.fakes.imports_with_a_thread.ThreadedModel",
        "execution": {"kind": "process"},
    }
    with serve({"models": [threaded]}) as running:
        for _ in range(2):
            answer = order(running, "ask", "threaded")
            assert answer.json().get("said") == "heard", answer.text
            assert order(running, "abort", "threaded").status_code == 502
        assert (
            "imports its class by itself, as its import starts threads (answering)" in running.log
        )
        running.wait_until(lambda: len(processes_of(running)) == 2 or None, "both there")

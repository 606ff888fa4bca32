"""What becomes of requests when workers die, and when the server stops or reads everything anew."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.kit.load import CONNECTING, Ask, Load, Outcome
from tests.end_to_end.raw_http import head
from tests.end_to_end.scraped import samples, value
from tests.end_to_end.server import Server

# Several servers start in some of these tests, and each waits for much.
pytestmark = pytest.mark.timeout(400)

DEADLY = "tests.fakes.deadly.DeadlyModel"
CONFIGURATION: dict[str, Any] = {"models": [{"class_path": DEADLY}], "metrics": {"enabled": True}}
PREDICTION = "/api/models/deadly/prediction"
ASKS = [Ask("POST", PREDICTION, b'{"number": %d}' % number) for number in range(7)]
CLOSING_ASKS = [
    Ask("POST", PREDICTION, b'{"number": %d}' % number, headers=["Connection: close"])
    for number in range(7)
]
RATE = 100.0
"""Requests a second where the machine shall have time for something else."""
MODES = [
    pytest.param("1", id="preloaded"),
    pytest.param("0", id="loaded by each worker", marks=pytest.mark.long),
]


def start(configuration: Any = None, *, preload: str = "1", **environment: str) -> Server:
    return Server(
        configuration or CONFIGURATION,
        *("--config", "python:modelhost.gunicorn_conf"),
        environment={
            "MODELHOST_WORKERS": "2",
            "MODELHOST_PRELOAD": preload,
            "MODELHOST_LOG_LEVEL": "WARNING",
            **environment,
        },
    )


def wait_until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def read_answer(connection: socket.socket) -> bytes:
    """Read up to the end of the body, of which is known that it is a JSON object without others."""
    answer = b""
    while not answer.endswith(b"}"):
        piece = connection.recv(65536)
        assert piece, answer
        answer += piece
    return answer


def workers(load: Load) -> list[int]:
    """Who answered lately."""
    return sorted({process(outcome) for outcome in load.outcomes[-200:] if outcome.status == 200})


def process(outcome: Outcome) -> int:
    return int(json.loads(outcome.body)["process"])


def assert_right(load: Load) -> None:
    """Each answer is the one to its request."""
    for outcome in load.outcomes:
        if outcome.status:
            asked = json.loads(outcome.ask.body)["number"]
            assert outcome.status == 200, str(outcome)
            assert json.loads(outcome.body)["number"] == asked


def connections_of(worker: int, load: Load) -> set[int]:
    """Numbers of the connections that this worker has answered on."""
    return {
        outcome.connection
        for outcome in load.outcomes
        if outcome.status == 200 and process(outcome) == worker
    }


def predictions_counted(server: Server) -> float:
    """How many predictions the metrics of all workers, gone ones included, tell of."""
    lines = server.client.get("/metrics").text.splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith("model_predictions_total{")
    )


@pytest.mark.parametrize("preload", MODES)
@pytest.mark.long
def test_a_killed_worker_takes_only_its_own_requests_with_it(preload: str) -> None:
    with start(preload=preload) as server:
        with (
            Load(server.port, ASKS, connections=12, rate=RATE) as load,
            # Each of its requests may come to any worker.
            Load(server.port, CLOSING_ASKS, connections=1, rate=RATE / 5) as more,
        ):
            load.wait_for(50)
            wait_until(lambda: len(workers(more)) == 2, "both workers answer")
            victim = workers(more)[0]
            killed = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: len(set(workers(more)) - {victim}) == 2, "the worker is replaced")
            # 3 s are promised, which a machine that is busy with other tests cannot keep.
            print(f"full capacity {time.monotonic() - killed:.2f} s after kill -9")  # noqa: T201
            load.wait_for(50)
        lost = load.failures()
        assert len(more.failures()) <= 1
        mine = connections_of(victim, load)
        # A connection that had carried no answer yet cannot be told to be the victim's.
        assert all(outcome.connection in mine for outcome in lost if outcome.reused)
        assert all(outcome.is_lost and outcome.moment != CONNECTING for outcome in lost)
        assert len(lost) <= 12
        assert_right(load)
        counted = predictions_counted(server)
        assert load.statuses()[200] + more.statuses()[200] <= counted <= load.count + more.count


@pytest.mark.parametrize("preload", MODES)
@pytest.mark.long
def test_sigterm_under_load_loses_no_request_and_resets_no_connection(preload: str) -> None:
    with start(preload=preload) as server:
        with (
            Load(server.port, ASKS, connections=12) as kept,
            Load(server.port, CLOSING_ASKS, connections=4) as closing,
            Load(
                server.port, [Ask("POST", PREDICTION, b'{"do": "take_a_second"}')], connections=2
            ) as slow,
            socket.create_connection(("127.0.0.1", server.port)) as idle,
        ):
            idle.sendall(head("GET", "/api/health", "Connection: keep-alive"))
            assert read_answer(idle).startswith(b"HTTP/1.1 200")
            kept.wait_for(100)
            closing.wait_for(20)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(30) == 0
            assert idle.recv(1) == b""  # closed, not reset
        for load in (kept, closing, slow):
            refused = [outcome for outcome in load.failures() if outcome.error == "refused"]
            assert load.failures() == refused
        assert_right(kept)
        assert_right(closing)


@pytest.mark.long
def test_a_kept_connection_is_answered_once_more_after_sigterm() -> None:
    with start() as server:
        address = ("127.0.0.1", server.port)
        with socket.create_connection(address) as asking, socket.create_connection(address) as slow:
            asking.settimeout(30)
            asking.sendall(head("GET", "/api/health", "Connection: keep-alive"))
            assert b"Connection: keep-alive" in read_answer(asking)
            body = b'{"do": "take_a_second"}'
            slow.sendall(head("POST", PREDICTION, f"Content-Length: {len(body)}") + body)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "Handling signal: term" in server.log, "it stops")
            asking.sendall(head("GET", "/api/health", "Connection: keep-alive"))
            answer = read_answer(asking)
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"Connection: close" in answer
            assert read_answer(slow).startswith(b"HTTP/1.1 200")
            assert asking.recv(1) == slow.recv(1) == b""
            assert server.process.wait(30) == 0


class Reloads:
    """A server whose configuration is a file that can be written anew."""

    def __init__(self, server: Server, path: Path) -> None:
        self.server = server
        self._path = path

    def write(self, **configuration: Any) -> None:
        self._path.write_text(yaml.safe_dump({**CONFIGURATION, **configuration}), encoding="utf-8")

    def ask(self, outcome: str) -> None:
        """Send SIGHUP, and wait until that line is in the log once more."""
        before = self.server.log.count(outcome)
        self.server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.server.log.count(outcome) > before, f"{outcome}\n{self.server.log}")

    def has_title(self, title: str) -> Callable[[], bool]:
        return lambda: self.title() == title

    def title(self) -> str:
        title: str = self.server.client.get("/openapi.json").json()["info"]["title"]
        return title


@pytest.fixture(params=MODES)
def reloads(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reloads]:
    path = tmp_path / "rest_config.yaml"
    path.write_text(yaml.safe_dump(CONFIGURATION), encoding="utf-8")
    with start(path, preload=request.param) as server:
        yield Reloads(server, path)


RELOADED = "Reloading: new workers take over from the former ones"
NOT_RELOADED = "Not reloaded: what was loaded before goes on serving"


@pytest.mark.long
def test_sighup_reads_the_configuration_and_loads_the_models_anew(reloads: Reloads) -> None:
    server = reloads.server
    master = server.process.pid
    with (
        Load(server.port, ASKS, connections=8, rate=RATE) as load,
        Load(server.port, CLOSING_ASKS, connections=2, rate=RATE / 10) as more,
    ):
        load.wait_for(50)
        former = _children(server.process.pid)
        reloads.write(service_title="Anew")
        reloads.ask(RELOADED)
        wait_until(lambda: not any(_is_alive(worker) for worker in former), "the former end")
        load.wait_for(50)
        more.wait_for(10)
        assert not set(workers(load)) & former
        assert reloads.title() == "Anew"
        reloads.write(service_title="Broken", modles=[])
        reloads.ask(NOT_RELOADED)
        assert "modles" in server.log
        load.wait_for(50)
    assert not load.failures()
    assert not more.failures()
    assert_right(load)
    assert reloads.title() == "Anew"
    assert server.process.pid == master
    assert server.process.poll() is None
    assert load.count + more.count <= predictions_counted(server)


def _is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_twenty_reloads_under_load_fail_no_request(reloads: Reloads) -> None:
    server = reloads.server
    with (
        Load(server.port, ASKS, connections=8) as load,
        Load(server.port, CLOSING_ASKS, connections=2) as more,
    ):
        for number in range(20):
            load.wait_for(50)
            reloads.write(service_title=f"Number {number}")
            reloads.ask(RELOADED)
            wait_until(reloads.has_title(f"Number {number}"), f"number {number}")
    assert not load.failures()
    assert not more.failures()
    assert load.count + more.count <= predictions_counted(server)


@pytest.mark.long
def test_a_server_that_another_takes_over_from_by_sigusr2_loses_no_request() -> None:
    with start() as server:
        with Load(server.port, ASKS, 8) as load, Load(server.port, CLOSING_ASKS, 2) as more:
            former = _children(server.process.pid)
            load.wait_for(50)
            server.process.send_signal(signal.SIGUSR2)
            wait_until(lambda: set(workers(more)) - former, "the new workers answer")
            (successor,) = {_parent(worker) for worker in set(workers(more)) - former}
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(60) == 0
            load.wait_for(50)
            more.wait_for(10)
        os.kill(successor, signal.SIGTERM)
        wait_until(lambda: not _is_alive(successor), "the successor ends")
    assert not load.failures()
    assert not more.failures()


def _children(pid: int) -> set[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return {int(child) for child in children.split()}


def _parent(pid: int) -> int:
    status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return int(status.rpartition(")")[2].split()[1])


@pytest.fixture(scope="module")
def deadly() -> Iterator[Server]:
    with start() as server:
        yield server


@pytest.mark.parametrize(
    ("order", "ending"),
    [("segfault", "was sent SIGSEGV!"), ("exit", "exited with code 7.")],
)
def test_a_model_that_ends_its_process_does_not_end_the_service(
    deadly: Server, order: str, ending: str
) -> None:
    with Load(deadly.port, [Ask("POST", PREDICTION, b'{"do": "%s"}' % order.encode())], 1) as load:
        wait_until(lambda: ending in deadly.log, ending)
        load.stop()
    assert load.outcomes[0].is_lost
    with Load(deadly.port, CLOSING_ASKS, connections=4) as load:
        wait_until(lambda: len(workers(load)) == 2, "both workers answer")
    assert not load.failures()
    assert deadly.client.get("/api/health/ready").status_code == 200


@pytest.mark.long
def test_a_model_that_finds_no_memory_fails_that_request_alone() -> None:
    limit = 6 * 1024**3

    code = (
        f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}));"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    server = Server(
        CONFIGURATION,
        *("--config", "python:modelhost.gunicorn_conf"),
        environment={"MODELHOST_WORKERS": "2"},
        command=(sys.executable, "-c", code, sys.executable, "-m", "gunicorn"),
    )
    with server:
        failed = server.client.post(PREDICTION, json={"do": "exhaust_memory"})
        assert failed.status_code == 500, failed.text
        assert failed.json()["type"] == "ServiceError"
        assert "MemoryError" in server.log
        assert value(samples(server), "model_predictions_total", outcome="failure") == 1
        with Load(server.port, ASKS, connections=4, requests=100) as load:
            load.join()
        assert not load.failures()
        assert server.log.count("Booting worker") == 2

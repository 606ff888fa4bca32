"""Models that compute in processes of their own, under the servers that people use."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.server import STARTERS, Server, Starter, client_of, serve
from tests.fakes.dying import TODAY

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

NEIGHBOUR = {"class_path": "tests.fakes.models.DoublingModel"}
DYING: dict[str, Any] = {
    "class_path": "tests.fakes.dying.DyingModel",
    "timeout_seconds": 1,
    "execution": {"kind": "process", "memory_limit_mb": 300},
}
SUPERVISOR = "models_api.model_processes"


def processes_of(server: Server) -> list[int]:
    """Return the ids of the model processes and supervisors that this server has started."""
    environment = f"REST_CONFIG={server._environment['REST_CONFIG']}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes()
            if SUPERVISOR.encode() in command and environment in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def wait_until_gone(server: Server) -> None:
    """Wait until the server's model processes have ended."""
    deadline = time.monotonic() + 10
    while processes_of(server) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(server) == []


def order(server: Server, what: str, name: str = "dying") -> httpx.Response:
    """Have a model do something."""
    return server.client.post(f"/api/models/{name}/prediction", json={"what": what})


def said(server: Server, what: str, name: str = "telling") -> str:
    """Return what a model tells."""
    answer = order(server, what, name)
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["said"]
    return text


def is_well(server: Server, name: str = "dying") -> bool | None:
    """Return True if the model predicts, for `wait_until`."""
    return order(server, "nothing", name).status_code == 200 or None


class Neighbour:
    """Asks another model all the time."""

    def __init__(self, server: Server) -> None:
        self.statuses: Counter[int] = Counter()
        self._url = server.url
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Neighbour:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _ask(self) -> None:
        with client_of(self._url) as client:
            while not (self._is_over.is_set() and self.statuses):
                answer = client.post("/api/models/doubling/prediction", json={"value": 1})
                self.statuses[answer.status_code] += 1


@pytest.fixture(scope="module", params=STARTERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with two workers, a model that dies, and another one on threads."""
    start: Starter = STARTERS[request.param]
    configuration = {"models": [NEIGHBOUR, DYING], "metrics": {"enabled": True}}
    with start(configuration, environment={"MODELHOST_WORKERS": "2"}) as running:
        yield running


@pytest.mark.parametrize("way", ["abort", "exit", "close", "eat", "hang", "hang in native code"])
def test_what_ends_one_models_process_is_nobody_elses_trouble(server: Server, way: str) -> None:
    server.wait_until(lambda: is_well(server), "well")
    with Neighbour(server) as neighbour, ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda _: order(server, way), range(12)))
        died = time.monotonic()
        server.wait_until(lambda: is_well(server), "well again")
        seconds = time.monotonic() - died
    assert {answer.status_code for answer in answers} <= {502, 504}
    assert {answer.json()["type"] for answer in answers} <= {"BackendFailed", "DeadlineExceeded"}
    assert list(neighbour.statuses) == [200], neighbour.statuses
    assert seconds < 10  # not how fast, but that it comes back by itself


def test_no_worker_has_died_meanwhile(server: Server) -> None:
    assert "Unexpected exit from worker" not in server.log
    assert "was terminated" not in server.log.lower()
    assert server.client.get("/api/health/ready").status_code == 200


def test_the_log_says_why_a_process_was_replaced(server: Server) -> None:
    for way, reason in {
        "abort": "SIGABRT",
        "exit": "status 3",
        "eat": "300 are allowed",
        "hang": "a prediction takes more than 2 s",
    }.items():
        server.wait_until(lambda: is_well(server), "well")
        order(server, way)
        server.wait_until(lambda reason=reason: reason in server.log or None, reason)  # type: ignore[misc]


@pytest.mark.parametrize("start", STARTERS.values(), ids=STARTERS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["asked", "killed"])
def test_no_process_is_left_however_the_server_ends(start: Starter, number: int) -> None:
    with start({"models": [DYING]}, environment={"MODELHOST_WORKERS": "2"}) as running:
        folder = socket_folder(running)
        assert len(processes_of(running)) == 2
        os.killpg(running.process.pid, number)
        wait_until_gone(running)
        assert list(folder.glob("*.socket")) == []


@pytest.mark.parametrize("start", STARTERS.values(), ids=STARTERS)
def test_a_request_is_answered_where_all_processes_are_told_to_stop(start: Starter) -> None:
    waiting = {"class_path": "tests.fakes.dying.DyingModel", "execution": {"kind": "process"}}
    with start({"models": [waiting]}) as running, ThreadPoolExecutor() as clients:
        answer = clients.submit(order, running, "wait")
        time.sleep(0.5)
        for pid in (*processes_of(running), running.process.pid):  # as systemd does
            os.kill(pid, signal.SIGTERM)
        assert answer.result().status_code == 200
        running.process.wait(20)
        wait_until_gone(running)


def test_they_are_started_again_where_their_supervisor_is_killed() -> None:
    with serve({"models": [DYING]}) as running:
        for pid in processes_of(running):
            os.kill(pid, signal.SIGKILL)
        running.wait_until(lambda: is_well(running), "well again")
        assert len(processes_of(running)) == 2


def socket_folder(server: Server) -> Path:
    """Return where the server's model processes have their sockets."""
    (pid, *_) = processes_of(server)
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return Path(
        os.fsdecode(next(each for each in arguments if each.startswith(b"/") and b"model-" in each))
    )


def test_all_workers_share_the_processes_and_their_batches() -> None:
    gathering = {
        "class_path": "tests.fakes.dying.GatheringModel",
        "batching": {"max_batch_size": 32},
        "execution": {"kind": "process"},
    }
    with (
        serve({"models": [gathering]}, environment={"MODELHOST_WORKERS": "4"}) as running,
        ThreadPoolExecutor(32) as clients,
    ):
        asked = clients.map(lambda _: order(running, "nothing", "gathering").json(), range(256))
        answers = list(asked)
    assert len({answer["process"] for answer in answers}) == 1
    # Four workers with eight clients each: none of them could gather so many by itself.
    assert max(int(answer["said"] or 1) for answer in answers) > 12


def test_it_has_the_environment_and_the_arguments_that_the_file_gives_it() -> None:
    telling = {
        "class_path": "tests.fakes.dying.TellingModel",
        "configuration": {"since": TODAY},
        "execution": {"kind": "process", "nice": 5, "environment": {"DYING_MODEL": "yes"}},
    }
    with serve({"models": [telling]}) as running:
        assert said(running, "environment") == "yes"
        assert said(running, "nice") == "5"
        assert said(running, "since") == repr(TODAY)


@pytest.mark.measured
def test_what_it_logs_and_knows_has_the_id_of_the_request() -> None:
    telling = {"class_path": "tests.fakes.dying.TellingModel", "execution": {"kind": "process"}}
    with serve({"models": [telling]}) as running:
        answer = running.client.post(
            "/api/models/telling/prediction",
            json={"what": "id"},
            headers={"X-Request-ID": "mine"},
        )
        assert answer.json()["said"] == "mine"


@contextmanager
def kills(server: Server) -> Iterator[None]:
    """Kill a process of the server's model twice a second, while the block lasts."""
    is_over = threading.Event()

    def kill() -> None:
        while not is_over.wait(0.5):
            # The younger of the two: never its supervisor, and never both at a time, though a busy
            # machine may need longer to replace one.
            if len(found := processes_of(server)) == 3:
                os.kill(max(found), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        is_over.set()
        killer.join()


@pytest.mark.measured
def test_with_retry_a_request_is_sent_to_another_process_once() -> None:
    retried = {
        "class_path": "tests.fakes.dying.DyingModel",
        "execution": {"kind": "process", "processes": 2, "retry": True},
    }
    with serve({"models": [retried]}) as running, ThreadPoolExecutor(8) as clients, kills(running):
        answers = list(clients.map(lambda _: order(running, "nothing"), range(2000)))
    assert Counter(answer.status_code for answer in answers) == {200: 2000}


TOGETHER = {
    "class_path": "tests.fakes.dying.DyingTogetherModel",
    "batching": {"max_batch_size": 16},
}


def test_rows_of_many_requests_die_with_their_process_and_the_next_ones_do_not() -> None:
    together = {**TOGETHER, "execution": {"kind": "process"}}
    orders = ["nothing"] * 400
    orders[100], orders[200] = "abort", "exit"
    with (
        serve({"models": [together]}, environment={"MODELHOST_WORKERS": "2"}) as running,
        ThreadPoolExecutor(32) as clients,
    ):
        answers = [*clients.map(lambda what: order(running, what, "dying_together"), orders)]
        assert running.log.count("it is started again") == 2
    statuses = Counter(answer.status_code for answer in answers)
    assert answers[100].status_code == answers[200].status_code == 502
    assert set(statuses) == {200, 502}
    # No more than were in hand: those of two clients' worth of calls.
    assert statuses[502] <= 2 * 32
    assert answers[-1].status_code == 200


def test_with_retry_rows_of_many_requests_are_sent_to_another_process_once() -> None:
    execution = {"kind": "process", "processes": 2, "retry": True}
    with (
        serve({"models": [{**TOGETHER, "execution": execution}]}) as running,
        ThreadPoolExecutor(32) as clients,
        kills(running),
    ):
        asked = clients.map(lambda _: order(running, "nothing", "dying_together"), range(1500))
        answers = list(asked)
    assert Counter(answer.status_code for answer in answers) == {200: 1500}
    assert len({answer.json()["process"] for answer in answers}) > 2


def test_one_that_cannot_be_loaded_says_so_and_leaves_the_others_serving() -> None:
    failing = {"class_path": "tests.fakes.dying.FailingModel", "execution": {"kind": "process"}}
    configuration = {"models": [NEIGHBOUR, failing], "metrics": {"enabled": True}}
    with serve(configuration, wait_for="listening") as running:
        running.wait_until(lambda: "Failed to load failing" in running.log or None, "failed")
        doubled = running.client.post("/api/models/doubling/prediction", json={"value": 1})
        assert doubled.status_code == 200
        assert order(running, "nothing", "failing").status_code == 503
        assert running.client.get("/api/health/ready").status_code == 503
        assert "FileNotFoundError: there are no weights" in running.log


def test_one_that_dies_while_it_loads_is_tried_again(tmp_path: Path) -> None:
    trying = {
        "class_path": "tests.fakes.dying.DyingAtFirstModel",
        "configuration": {"folder": str(tmp_path)},
        "execution": {"kind": "process"},
    }
    with serve({"models": [trying]}) as running:
        assert is_well(running, "dying_at_first")
        assert "before it had loaded the model; it is started again in 1 s" in running.log


def test_two_processes_do_twice_as_much() -> None:
    def per_second(processes: int) -> float:
        slow = {
            "class_path": "tests.fakes.dying.SlowModel",
            "execution": {"kind": "process", "processes": processes},
        }
        with serve({"models": [slow]}) as running, ThreadPoolExecutor(4) as clients:
            began = time.monotonic()
            answers = list(clients.map(lambda _: order(running, "x", "slow"), range(200)))
            seconds = time.monotonic() - began
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["process"] for answer in answers}) == processes
        return 200 / seconds

    assert per_second(1) < 105  # one at a time: a process does not answer more
    assert per_second(2) > 0


def test_requests_of_the_open_inference_protocol_are_answered_there() -> None:
    iris = {"class_path": "examples.iris.IrisModel", "execution": {"kind": "process"}}
    names = ("sepal_length", "sepal_width", "petal_length", "petal_width")
    tensors = [
        {"name": name, "datatype": "FP64", "shape": [2], "data": [5.1, 6.2]} for name in names
    ]
    with serve({"models": [iris], "open_inference": {"enabled": True}}) as running:
        answer = running.client.post("/v2/models/iris/infer", json={"inputs": tensors})
        assert answer.status_code == 200, answer.text
        statistics = running.client.get("/v2/models/iris/stats").json()
        assert statistics["model_stats"][0]["inference_count"] == 2

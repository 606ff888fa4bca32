"""More than the service can bear: too many requests, predictions that are late or never end."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.scraped import samples, value
from tests.end_to_end.server import STARTERS, TLS, Server

FAKES = "tests.fakes.overload"
PATIENT = "/api/models/patient/prediction"
HURRIED = "/api/models/hurried/prediction"
PLACES = 5
IN_HAND = PLACES - 1
"""One place is guaranteed to the other model."""


KINDS = sorted(STARTERS)


def start(kind: str, configuration: dict[str, Any], **environment: str) -> Server:
    environment = {"MODELHOST_LOG_LEVEL": "WARNING", **environment}
    return STARTERS[kind](configuration, environment=environment)


def wait_until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder; whatever waits for a file in it goes on once somebody makes it."""
    return tmp_path_factory.mktemp("gates")


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, gates: Path) -> Iterator[Server]:
    """One worker."""
    for gate in gates.iterdir():
        gate.unlink()
    models = [
        {"class_path": f"{FAKES}.PatientModel"},
        {"class_path": f"{FAKES}.HurriedModel", "timeout_seconds": 0.2},
    ]
    with start(
        request.param,
        {"models": models},
        MODELHOST_WORKERS="1",
        MODELHOST_MAX_CONCURRENT_PREDICTIONS=str(PLACES),
        OVERLOAD_GATES=str(gates),
    ) as server:
        yield server


class Crowd:
    """More clients than there are places, each on a connection of its own."""

    clients = 20

    def __init__(self, server: Server, gate: Path) -> None:
        self._server, self._gate = server, gate
        self._threads = ThreadPoolExecutor(self.clients)
        self._answers = [self._threads.submit(self._ask) for _ in range(self.clients)]

    def _ask(self) -> int:
        body = {"gate": self._gate.name}
        return self._server.client.post(PATIENT, json=body, timeout=100).status_code

    def is_complete(self) -> bool:
        """Whether all clients have a place or were refused, so that all places are taken."""
        return sum(answer.done() for answer in self._answers) == self.clients - IN_HAND

    def leave(self) -> Counter[int]:
        """Let all predictions end."""
        self._gate.touch()
        statuses = Counter(answer.result(100) for answer in self._answers)
        self._threads.shutdown()
        return statuses


def test_when_all_places_are_taken_more_is_refused_and_the_rest_is_answered(
    server: Server, gates: Path
) -> None:
    crowd = Crowd(server, gates / "crowd")
    wait_until(crowd.is_complete, "all places taken")
    refused = server.client.post(PATIENT, content=b"{not even JSON")
    others = [
        server.client.get(path).status_code
        for path in ("/api/health", "/api/health/ready", "/api/models", "/docs", "/openapi.json")
    ]
    statuses = crowd.leave()
    assert (refused.status_code, refused.json(), refused.headers["Retry-After"]) == (
        503,
        {
            "type": "Overloaded",
            "messages": ["The service is busy with other predictions already."],
        },
        "1",
    )
    assert others == [200] * 5
    assert statuses == {200: IN_HAND, 503: Crowd.clients - IN_HAND}
    wait_until(lambda: server.client.post(PATIENT, json={}).status_code == 200, "a free place")


def test_a_client_gets_its_answer_in_time_and_the_prediction_goes_on(
    server: Server, gates: Path
) -> None:
    late = server.client.post(HURRIED, json={"gate": "late"})
    in_time = server.client.post(HURRIED, json={})
    (gates / "late").touch()
    assert (late.status_code, late.json()) == (
        504,
        {"type": "DeadlineExceeded", "messages": ["The model was busy for more than 0.2 s."]},
    )
    # On a busy machine 0.2 s can be over before a thread has begun.
    assert in_time.status_code in (200, 504)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.long
def test_a_worker_whose_prediction_never_ends_is_replaced_and_the_others_serve_on(
    kind: str,
) -> None:
    models = [
        {"class_path": f"{FAKES}.PatientModel"},
        {"class_path": f"{FAKES}.HurriedModel", "timeout_seconds": 0.5},
    ]
    with start(
        kind,
        {"models": models, "metrics": {"enabled": True}},
        MODELHOST_WORKERS="2",
        MODELHOST_HUNG_PREDICTION_SECONDS="1",
    ) as server:
        late = httpx.post(f"{server.url}{HURRIED}", json={"never": True}, timeout=60, verify=TLS)
        statuses: list[int] = []

        def ask() -> int:
            # A connection of its own, so that it may come to any worker.
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            connection.request("POST", PATIENT, "{}", {"Content-Type": "application/json"})
            answer = connection.getresponse()
            statuses.append(answer.status)
            process: int = json.loads(answer.read())["process"]
            connection.close()
            return process

        wait_until(lambda: ask() and "gives up" in server.log, "the end of the worker")
        log = server.log
        hung = int(re.search(r"this process \(pid (\d+)\) gives up", log)[1])  # type: ignore[index]
        processes = set()

        def both_serve() -> bool:
            processes.add(ask())
            return len(processes - {hung}) == 2 and not Path(f"/proc/{hung}").exists()

        wait_until(both_serve, "two workers")
        found = samples(server)
    assert (late.status_code, late.json()["type"]) == (504, "DeadlineExceeded")
    assert set(statuses) == {200}
    # Where the machine is so busy that another prediction takes a second, that one is replaced too.
    assert value(found, "modelhost_worker_deaths_total") >= 1
    assert value(found, "model_predictions_total", outcome="deadline_exceeded") == 1
    assert value(found, "model_predictions_total", outcome="success") == len(statuses)
    assert "A prediction of hurried has not ended" in log
    assert "tests/fakes/overload.py" in log


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.long
def test_a_hung_prediction_is_found_in_the_log_by_the_id_of_its_request(kind: str) -> None:
    with start(
        kind,
        {"models": [{"class_path": f"{FAKES}.PatientModel"}]},
        MODELHOST_WORKERS="1",
        MODELHOST_HUNG_PREDICTION_SECONDS="1",
        MODELHOST_LOG_FORMAT="json",
    ) as server:
        headers = {"X-Request-ID": "the-one-that-hangs"}
        with pytest.raises(httpx.RemoteProtocolError):
            server.client.post(PATIENT, json={"never": True}, headers=headers, timeout=100)
        records = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    (record,) = [one for one in records if one["level"] == "CRITICAL"]
    assert record["request_id"] == "the-one-that-hangs"
    assert "in predict" in record["message"]

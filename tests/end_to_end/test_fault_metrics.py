"""What metrics say of each way in which a request can end, after one that ended so."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.scraped import Samples, samples, value
from tests.end_to_end.server import STARTERS, TLS, Server

IN_HAND = 2
CONFIGURATION: dict[str, Any] = {
    "models": [
        {"class_path": "tests.fakes.misbehaving.ObedientModel"},
        {"class_path": "tests.fakes.misbehaving.BrokenModel"},
        {"class_path": "tests.fakes.overload.PatientModel"},
        {"class_path": "tests.fakes.overload.HurriedModel", "timeout_seconds": 0.2},
        {"class_path": "tests.fakes.deadly.DeadlyModel"},
    ],
    # So that each status has a series of its own.
    "metrics": {"enabled": True, "should_group_status_codes": False},
}
Counts = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder; whatever waits for a file in it goes on once somebody makes it."""
    return tmp_path_factory.mktemp("gates")


@pytest.fixture(scope="module", params=sorted(STARTERS))
def server(request: pytest.FixtureRequest, gates: Path) -> Iterator[Server]:
    """One worker, with one model that could not be loaded."""
    for gate in gates.iterdir():
        gate.unlink()
    with STARTERS[request.param](
        CONFIGURATION,
        environment={
            "MODELHOST_WORKERS": "1",
            "MODELHOST_THREADS": "8",
            "MODELHOST_LOG_LEVEL": "CRITICAL",
            "MODELHOST_MAX_BODY_BYTES": "1000",
            "MODELHOST_MAX_CONCURRENT_PREDICTIONS": str(IN_HAND),
            "OVERLOAD_GATES": str(gates),
        },
        ready_path="/api/health/startup",
    ) as started:
        # A connection for each request: a kept one may be that of the worker that has just died.
        started.client.close()
        once = httpx.Limits(max_keepalive_connections=0)
        started.client = httpx.Client(base_url=started.url, timeout=100, limits=once, verify=TLS)
        yield started


def counts(found: Samples) -> Counts:
    """Numbers of predictions by model and outcome, and of requests by method, route and status."""
    counted: Counts = {}
    for (name, given), number in found.items():
        labels = dict(given)
        if name == "model_predictions_total":
            counted[labels["model"], labels["outcome"]] = number
        elif name == "http_requests_total" and labels["handler"] != "/metrics":
            counted[labels["method"], labels["handler"], labels["status"]] = number
    return counted


def added(before: Counts, after: Counts) -> Counts:
    assert before.keys() <= after.keys()
    return {
        key: number - before.get(key, 0)
        for key, number in after.items()
        if number != before.get(key, 0)
    }


def route(model: str) -> str:
    return f"/api/models/{model}/prediction"


def predict(model: str, body: Any) -> Callable[[httpx.Client], httpx.Response]:
    return lambda client: client.post(route(model), json=body)


NAMED = "/api/models/{qualified_name}"
FAULTS: list[tuple[Callable[[httpx.Client], httpx.Response], Counts]] = [
    (
        predict("obedient", {}),
        {("obedient", "success"): 1, ("POST", route("obedient"), "200"): 1},
    ),
    (
        predict("obedient", {"x": "no number"}),
        {("obedient", "invalid_input"): 1, ("POST", route("obedient"), "400"): 1},
    ),
    (
        predict("obedient", {"do": "reject"}),
        {("obedient", "invalid_input"): 1, ("POST", route("obedient"), "400"): 1},
    ),
    (
        predict("obedient", {"do": "raise"}),
        {("obedient", "failure"): 1, ("POST", route("obedient"), "500"): 1},
    ),
    (
        predict("obedient", {"do": "misfit"}),
        {("obedient", "failure"): 1, ("POST", route("obedient"), "500"): 1},
    ),
    (
        predict("broken", {}),
        {("broken", "not_ready"): 1, ("POST", route("broken"), "503"): 1},
    ),
    (
        predict("hurried", {"gate": "late"}),
        {("hurried", "deadline_exceeded"): 1, ("POST", route("hurried"), "504"): 1},
    ),
    (
        lambda client: client.post(route("obedient") + "/batch", json={"inputs": [{"x": "no"}]}),
        {("obedient", "invalid_input"): 1, ("POST", route("obedient") + "/batch", "400"): 1},
    ),
    # Those that no model hears of.
    (predict("unknown", {}), {("POST", f"{NAMED}/prediction", "404"): 1}),
    (lambda client: client.get("/nothing"), {("GET", "none", "404"): 1}),
    (
        lambda client: client.get(route("obedient")),
        {("GET", route("obedient"), "405"): 1},
    ),
    (
        lambda client: client.post(
            route("obedient"), content=b"{}", headers={"Content-Type": "text/plain"}
        ),
        {("POST", route("obedient"), "415"): 1},
    ),
    (
        predict("obedient", {"text": "x" * 1000}),
        {("POST", route("obedient"), "413"): 1},
    ),
    (lambda client: client.get("/api/health"), {("GET", "/api/health", "503"): 1}),
    (lambda client: client.get("/"), {("GET", "/", "302"): 1}),
]


def test_each_fault_is_counted_once_as_what_it_is(server: Server, gates: Path) -> None:
    for cause, expected in FAULTS:
        before = counts(samples(server))
        response = cause(server.client)
        assert added(before, counts(samples(server))) == expected, response.text
        status = next(key[-1] for key in expected if len(key) == 3)
        assert response.status_code == int(status)
    (gates / "late").touch()
    in_flight = {
        model: value(samples(server), "model_in_flight", model=model)
        for model in ("obedient", "broken", "hurried")
    }
    assert in_flight == {"obedient": 0, "broken": 0, "hurried": 0}


def test_what_is_refused_is_counted_as_overload(server: Server, gates: Path) -> None:
    before = counts(samples(server))
    with ThreadPoolExecutor(IN_HAND + 1) as clients:
        body = {"gate": "full"}
        asked = [
            clients.submit(server.client.post, route("patient"), json=body, timeout=100)
            for _ in range(IN_HAND + 1)
        ]
        wait(asked, timeout=60, return_when=FIRST_COMPLETED)
        (gates / "full").touch()
        statuses = Counter(one.result(100).status_code for one in asked)
    # The prediction that was late in another test may still have its place.
    assert statuses.keys() == {200, 503}
    assert added(before, counts(samples(server))) == {
        ("patient", "success"): statuses[200],
        ("patient", "overloaded"): statuses[503],
        ("POST", route("patient"), "200"): statuses[200],
        ("POST", route("patient"), "503"): statuses[503],
    }


def test_models_that_are_loaded_are_ready_and_others_are_not(server: Server) -> None:
    found = samples(server)
    ready = {
        dict(labels)["model"]: number
        for (name, labels), number in found.items()
        if name == "model_ready"
    }
    assert ready == {"obedient": 1, "patient": 1, "hurried": 1, "deadly": 1, "broken": 0}
    assert value(found, "model_load_seconds", model="deadly") > 0


def samples_of_the_next_worker(server: Server, before: Samples) -> Samples:
    """Wait until a worker has started after what was found before."""
    starts, deadline = value(before, "modelhost_worker_starts_total"), time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            found = samples(server)
            if value(found, "modelhost_worker_starts_total") > starts:
                return found
        time.sleep(0.05)
    raise AssertionError(f"no worker started:\n{server.log}")


def test_a_worker_that_crashes_is_counted_and_forgets_nothing(server: Server) -> None:
    before = samples(server)
    with pytest.raises(httpx.TransportError):
        server.client.post(route("deadly"), json={"do": "segfault"})
    after = samples_of_the_next_worker(server, before)

    def difference(name: str) -> float:
        return value(after, name) - value(before, name)

    assert difference("modelhost_worker_deaths_total") == 1
    assert difference("modelhost_worker_starts_total") == 1
    assert value(after, "modelhost_workers") == 1
    assert value(after, "model_in_flight", model="deadly") == 0
    assert added(counts(before), counts(after)) == {}
    assert value(after, "model_ready", model="deadly") == 1

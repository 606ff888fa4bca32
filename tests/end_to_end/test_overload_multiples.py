"""What clients see when they ask for twice, and ten times, what the service can do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import pytest

from benchmarks.kit.load import Ask, Load
from benchmarks.kit.processes import memory_of, process_tree
from benchmarks.overload import Target, capacity, offer
from benchmarks.results import Overload
from tests.end_to_end.server import STARTERS, Server

FAKES = "tests.fakes.overload"
BUSY = "/api/models/busy/prediction"
WAITING = "/api/models/waiting/prediction"
PATIENT = "/api/models/patient/prediction"

MACHINE_SECONDS = 0.25
"""What the machine may add to each bound: it was seen to keep processes waiting for so long, and
the load generator needs the same processors as the service."""
ATTEMPTS = 3
"""Something else that the machine does can spoil a measurement. What fails by itself fails each
time."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Two workers that let the load generator go first, which stands for other machines."""
    models = [{"class_path": f"{FAKES}.{name}"} for name in ("BusyModel", "WaitingModel")]
    with Server(
        {"models": models},
        *("--config", "python:modelhost.gunicorn_conf"),
        environment={"MODELHOST_WORKERS": "2", "MODELHOST_LOG_LEVEL": "WARNING"},
        command=("nice", "-n", "5", sys.executable, "-m", "gunicorn"),
    ) as server:
        yield server


def target(server: Server, path: str) -> Target:
    def memory_bytes() -> int:
        return sum(memory_of(pid)["Pss"] for pid in process_tree(server.process.pid))

    return Target("gunicorn", server.port, Ask("POST", path, b"{}"), memory_bytes)


def repeat_until(holds: Callable[[], list[str]]) -> None:
    """Call it until it has nothing to complain of, some times at most."""
    complaints = [holds()]
    while complaints[-1] and len(complaints) < ATTEMPTS:
        complaints.append(holds())
    assert not complaints[-1], complaints


def complaints_of(usual: Overload, step: Overload) -> list[str]:
    """Compare what clients see with what is promised them."""
    slack = 1000 * MACHINE_SECONDS
    promises = {
        "accepted p99": step.accepted_p99_ms <= 3 * usual.accepted_p99_ms + slack,
        "refused p99": step.refused_p99_ms <= 50 + slack,
        "health p99": step.health_p99_ms <= 100 + slack,
        # The 600 connections of the load take some megabytes.
        "memory": step.megabytes_after <= 1.1 * step.megabytes_before,
        "another answer than 200 or 503, or none": not step.others,
        "work done": step.accepted_per_second >= 0.6 * usual.accepted_per_second,
        "nothing refused": step.refused_per_second > 0,
    }
    return [f"{name}: {usual}; {step}" for name, holds in promises.items() if not holds]


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("path", "seconds"), [(BUSY, 20), (WAITING, 15)])
def test_at_twice_the_capacity_whom_the_service_takes_it_serves_well(
    server: Server, path: str, seconds: float
) -> None:
    asked = target(server, path)

    def holds() -> list[str]:
        per_second = capacity(asked, 4)
        usual = offer(asked, 0.8, 0.8 * per_second, 10)
        step = offer(asked, 2, 2 * per_second, seconds)
        print(f"{path}\n{usual}\n{step}")  # noqa: T201
        return complaints_of(usual, step)

    repeat_until(holds)


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(600)
def test_at_ten_times_the_capacity_the_service_still_says_how_it_is(server: Server) -> None:
    asked = target(server, BUSY)
    processes = process_tree(server.process.pid)

    def holds() -> list[str]:
        step = offer(asked, 10, 10 * capacity(asked, 4), 10)
        print(step)  # noqa: T201
        # The generator is late by then, by seconds on some machines, and what it gives up is
        # counted as another answer.
        is_well = step.health_p99_ms < 10_000 and step.accepted_per_second > 0
        return [] if is_well else [str(step)]

    repeat_until(holds)
    assert process_tree(server.process.pid) == processes


@pytest.mark.parametrize("kind", sorted(STARTERS))
@pytest.mark.long
def test_while_long_predictions_hold_every_thread_they_may_health_is_answered_at_once(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    gates = tmp_path_factory.mktemp("gates")
    threads = 2 * (64 - 4)
    patient = {
        "class_path": f"{FAKES}.PatientModel",
        "concurrency": {"max_concurrency": threads, "max_queue_size": 0},
    }
    with STARTERS[kind](
        {"models": [patient], "metrics": {"enabled": True}},
        environment={"MODELHOST_WORKERS": "2", "OVERLOAD_GATES": str(gates)},
    ) as server:
        long = Ask("POST", PATIENT, b'{"gate": "open"}')
        with Load(server.port, [long], connections=300, rate=100, patience=120) as load:
            wait_until_in_flight(server, threads)
            wait_until(lambda: load.statuses()[503], "a refusal")

            def holds() -> list[str]:
                probe = [Ask("GET", "/api/health")]
                # On many connections, so that both workers are asked.
                with Load(server.port, probe, connections=20, rate=20, requests=100) as health:
                    health.join()
                assert not health.failures()
                seconds = health.percentile(99)
                return [f"{seconds} s"] if seconds > 0.1 + MACHINE_SECONDS else []

            repeat_until(holds)
            assert load.statuses().keys() == {503}  # and so all threads still predict
            (gates / "open").touch()
            wait_until(lambda: load.statuses()[200] >= threads, "predictions")
        assert load.statuses().keys() == {200, 503}


def wait_until_in_flight(server: Server, number: int) -> None:
    wanted = f'model_in_flight{{model="patient",version="1.0.0"}} {number}.0'
    wait_until(lambda: wanted in server.client.get("/metrics").text, wanted)


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)

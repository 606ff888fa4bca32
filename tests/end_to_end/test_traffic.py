"""Traffic that versions of a model share, through the real server with several workers."""

from __future__ import annotations

import math
import re
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.end_to_end.server import TLS, Server

pytestmark = pytest.mark.long

PREDICTION = "/api/models/orders/prediction"
USERS = [f"user-{number}" for number in range(150)]


def entry(version: str, **keys: Any) -> dict[str, object]:
    arguments = {"by": version, **keys.pop("arguments", {})}
    return {
        "class_path": "tests.fakes.versions.OrderModel",
        "version": version,
        "configuration": arguments,
        **keys,
    }


def serve(*entries: dict[str, object], workers: int = 2) -> Server:
    configuration = {"models": list(entries), "metrics": {"enabled": True}}
    return Server(configuration, "--workers", str(workers), "--threads", "8")


def split(percent: float, **keys: Any) -> list[dict[str, object]]:
    return [entry("1", traffic=100 - percent, **keys), entry("2", traffic=percent)]


def takers(server: Server, users: list[str]) -> dict[str, set[str]]:
    """Ask for each user on connections of their own, so that any worker may answer."""
    found: dict[str, set[str]] = defaultdict(set)
    workers: set[int] = set()

    def ask(part: int) -> None:
        with httpx.Client(
            base_url=server.url, timeout=30, verify=TLS, headers={"Connection": "close"}
        ) as client:
            for user in users:
                answer = client.post(PREDICTION, json={"value": 1}, headers={"X-User": user}).json()
                found[user].add(answer["by"])
                workers.add(answer["worker"])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))
    assert len(workers) == 2
    return found


def test_a_user_stays_with_a_version_over_workers_restarts_and_a_growing_canary() -> None:
    canaries = []
    for percent in (5, 5, 25):
        with serve(*split(percent, traffic_key="header:X-User")) as server:
            found = takers(server, USERS)
        assert all(len(versions) == 1 for versions in found.values())
        canaries.append({user for user, versions in found.items() if versions == {"2"}})

    assert canaries[0] == canaries[1] < canaries[2]


def test_each_worker_splits_requests_by_the_shares() -> None:
    with serve(*split(20)) as server:

        def ask(part: int) -> list[tuple[int, str]]:
            with httpx.Client(
                base_url=server.url, timeout=30, verify=TLS, headers={"Connection": "close"}
            ) as client:
                answers = [client.post(PREDICTION, json={"value": 1}).json() for _ in range(300)]
            return [(answer["worker"], answer["by"]) for answer in answers]

        with ThreadPoolExecutor(8) as pool:
            found = [each for part in pool.map(ask, range(8)) for each in part]
        metrics = server.client.get("/metrics").text

    by_worker: dict[int, Counter[str]] = defaultdict(Counter)
    for worker, version in found:
        by_worker[worker][version] += 1
    assert len(by_worker) == 2
    for counts in by_worker.values():
        total = counts.total()
        assert abs(counts["2"] - total * 0.2) <= 5 * math.sqrt(total * 0.2 * 0.8)
    assert 'model_traffic_share_percent{model="orders",version="2"} 20.0' in metrics
    assert 'model_traffic_percent{model="orders",version="1"} 80.0' in metrics


def test_a_shadow_that_hangs_costs_nobody_anything_and_the_server_stops() -> None:
    hanging = entry("2", shadow=True, arguments={"hangs": True})
    with Server(
        {"models": [entry("1"), hanging], "metrics": {"enabled": True}},
        *("--workers", "1", "--threads", "8"),
        environment={"MODELHOST_HUNG_PREDICTION_SECONDS": "1"},
    ) as server:
        for _ in range(300):
            assert server.client.post(PREDICTION, json={"value": 1}).json()["by"] == "1"

        def dropped() -> float | None:
            text = server.client.get("/metrics").text
            found = re.search(r'model_shadow_copies_total\{.*result="dropped".*\} (\S+)', text)
            return float(found[1]) if found else None

        assert server.wait_until(dropped, "counted") >= 40
        # By then the watchdog would have given a worker up for any other prediction.
        time.sleep(3)
        assert server.client.get("/api/health/ready").status_code == 200
        assert server.client.get("/metrics").text.count("modelhost_worker_deaths_total 0.0") == 1
        assert server.log.count(PREDICTION) <= 300
        server.process.terminate()
        assert server.process.wait(20) == 0

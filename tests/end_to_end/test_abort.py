"""A version that is worse than the other gets no requests any more, from any worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.end_to_end.server import TLS, Server

pytestmark = pytest.mark.long

MANY = 4000
"""Requests after which a version must be out that is as bad as these."""


def versions(**of_canary: object) -> dict[str, Any]:
    model = {"class_path": "tests.fakes.canaries.Canary"}
    return {
        "metrics": {"enabled": True},
        "models": [
            {**model, "version": "1", "traffic": 80, "configuration": {"seconds": 0.001}},
            {
                **model,
                "version": "2",
                "traffic": 20,
                "configuration": of_canary,
                "abort": {"min_requests": 20},
            },
        ],
    }


def two_workers(configuration: Path, folder: Path) -> Server:
    environment = {"MODELHOST_STATE_DIRECTORY": str(folder), "MODELHOST_ACCESS_LOG": "0"}
    return Server(
        configuration,
        *("--workers", "2", "--worker-class", "gthread", "--threads", "4"),
        environment=environment,
    )


def asked(server: Server, number: int) -> Iterator[str]:
    """Ask for predictions, by connections of their own now and then; yield who answered."""
    for _ in range(number // 50):
        with httpx.Client(base_url=server.url, timeout=30, verify=TLS) as client:
            for _ in range(50):
                answer = client.post("/api/models/canary/prediction", json={"number": 1})
                assert answer.status_code in (200, 500), answer.text
                yield answer.headers["X-Model-Version"]


def requests_of_the_canary(server: Server) -> int:
    """Ask until the canary is out in both workers; return how often it was asked."""
    counts: Counter[str] = Counter()
    since = 0
    for version in asked(server, MANY):
        counts[version] += 1
        since = 0 if version == "2" else since + 1
        if since == 300:
            return counts["2"]
    raise AssertionError(f"not taken back: {counts}")


@pytest.mark.parametrize(
    "of_canary",
    [{"error_ratio": 0.2, "seconds": 0.001}, {"seconds": 0.01}],
    ids=["fails", "lags"],
)
def test_a_bad_canary_is_out_in_all_workers_and_stays_so_until_its_entry_changes(
    of_canary: dict[str, float], tmp_path: Path
) -> None:
    path = tmp_path / "rest_config.yaml"
    path.write_text(yaml.safe_dump(versions(**of_canary)), encoding="utf-8")
    with two_workers(path, tmp_path / "state") as server:
        assert requests_of_the_canary(server) < 1000
        assert server.log.count("canary 2 is taken back: ") == 1
        metrics = server.client.get("/metrics").text
        assert 'model_traffic_percent{model="canary",version="2"} 0.0' in metrics
        named = server.client.post("/api/models/canary/versions/2/prediction", json={"number": 1})
        assert named.headers["X-Model-Version"] == "2"
        # Another server of the same file, and one after it.
        with two_workers(path, tmp_path / "state") as other:
            assert set(asked(other, 300)) == {"1"}
    with two_workers(path, tmp_path / "state") as server:
        assert set(asked(server, 300)) == {"1"}
    changed = versions(**of_canary)
    changed["models"][1]["description"] = "mended"
    path.write_text(yaml.safe_dump(changed), encoding="utf-8")
    with two_workers(path, tmp_path / "state") as server:
        assert set(asked(server, 100)) == {"1", "2"}


def test_a_bad_canary_is_out_also_where_nothing_can_be_kept_and_what_is_damaged_is_told_of(
    tmp_path: Path,
) -> None:
    path, state = tmp_path / "rest_config.yaml", tmp_path / "state"
    path.write_text(yaml.safe_dump(versions(error_ratio=0.5, seconds=0.001)), encoding="utf-8")
    state.write_text("no folder")
    with two_workers(path, state) as server:
        assert requests_of_the_canary(server) < 1000
        assert server.log.count(f"cannot be written to {state}: ") == 1
    state.unlink()
    with two_workers(path, state) as server:
        assert requests_of_the_canary(server) < 1000
        (kept,) = state.glob("taken-back-*.json")
        kept.write_bytes(kept.read_bytes()[:-20])
        told = f"{kept} cannot be read"
        server.wait_until(lambda: server.log.count(told) == 2 or None, "told by both workers")
        assert set(asked(server, 300)) == {"1"}
    with two_workers(path, state) as server:
        assert set(asked(server, 100)) == {"1", "2"}
        assert told in server.log

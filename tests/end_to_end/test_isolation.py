"""A slow model with more clients than it can serve, and what everybody else notices of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.isolation import SCENARIOS, Scenario, Times, measure, misses
from benchmarks.running import RunningServer, configured
from benchmarks.servers import GUNICORN, SERVE, Server
from tests.sweeps import share

MACHINE_MS = 250
"""What the machine may add to each bound: it was seen to keep processes waiting for so long, and
the clients need the same processors as the service."""
ATTEMPTS = 3
"""Something else that the machine does can spoil a measurement. What fails by itself fails each
time."""
CASES = [
    *((scenario, SERVE) for scenario in SCENARIOS if not scenario.hammers),
    # How many models there are is the affair of the limiter, the same under each server.
    *((scenario, GUNICORN) for scenario in SCENARIOS if scenario.name in ("sleeping", "computing")),
]
TIMES = Times(alone=3, beside=6, hold=4)
IDLE_SECONDS = 15
"""Within which nothing is computed for nobody any more: half of what is promised where each
prediction takes twice as long."""


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("scenario", "server"), share(CASES, 2), ids=lambda each: each.name)
def test_200_clients_of_a_slow_model_are_nobody_elses_trouble(
    scenario: Scenario, server: Server, tmp_path: Path
) -> None:
    complaints: list[list[str]] = []
    while len(complaints) < ATTEMPTS and (not complaints or complaints[-1]):
        found = configured(
            server, tmp_path, "isolation", scenario.entries, metrics={"enabled": True}
        )
        with RunningServer(
            found, Path(sys.prefix), tmp_path / "log", models=scenario.models, workers=2
        ) as running:
            isolation = measure(running, scenario, TIMES)
        print(isolation)  # noqa: T201
        assert isolation.held
        complaints.append(misses(isolation, MACHINE_MS))
        if isolation.idle_seconds is not None and isolation.idle_seconds > IDLE_SECONDS:
            complaints[-1].append(f"computes {isolation.idle_seconds:.0f} s for nobody")
    assert not complaints[-1], complaints

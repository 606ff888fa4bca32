"""What others see of a model that 200 clients hold: a fast neighbour, health, metrics, the surplus.

The clients behave as real ones: they arrive within a second, each waits for its answer, and waits
as long as Retry-After says once it is refused. After some seconds they go, without their answers.
"""

from __future__ import annotations

import json
import math
import re
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Self

from benchmarks import wrk
from benchmarks.bench import Bench
from benchmarks.kit.load import Ask, Load
from benchmarks.results import Isolation
from benchmarks.rows import ROWS
from benchmarks.running import RunningServer, entry
from benchmarks.servers import GUNICORN, SERVE

_CLIENTS = 200
_NEIGHBOUR_PER_SECOND = 100
_PROBES_PER_SECOND = 10
_PATIENCE_SECONDS = 10
"""After which a request for a neighbour or a probe has failed."""
_IDLE_SHARE = 0.2
"""Of a processor: what a server that computes nothing more uses at most, while it is asked."""
_LONGEST_COMPUTATION_SECONDS = 45
_IN_FLIGHT = re.compile(r"^model_(?:in_flight|queue_depth)\{[^}]*\} ([\d.e+]+)$", re.MULTILINE)

_BODY = json.dumps(SERVE.body(ROWS[0])).encode()
HEALTH, METRICS = Ask("GET", "/api/health"), Ask("GET", "/metrics")


@dataclass(frozen=True)
class Scenario:
    """Which models are served, and how the clients of the slow one behave."""

    name: str
    slow: str
    neighbours: Sequence[str] = ("FirstNeighbour",)
    hammers: bool = False
    """Whether the clients ask again at once: for information, nothing is promised for that."""

    @property
    def entries(self) -> list[dict[str, object]]:
        """Return what the YAML file says of the models."""
        return [entry(one) for one in (self.slow, *self.neighbours)]

    @property
    def models(self) -> list[str]:
        """Return the names of the models, the slow one's first."""
        return [_name(one) for one in (self.slow, *self.neighbours)]


@dataclass(frozen=True)
class Times:
    """Seconds of each part of a scenario."""

    alone: float = 8
    beside: float = 16
    """Until the clients of the slow model go."""
    hold: float = 8
    """What each of the slow model's predictions takes."""


_FOUR = ("FirstNeighbour", "SecondNeighbour", "ThirdNeighbour", "FourthNeighbour")
SCENARIOS = (
    Scenario("sleeping", "SleepingModel"),
    Scenario("computing", "ComputingModel"),
    Scenario("sleeping, one of 5 models", "SleepingModel", _FOUR),
    Scenario("sleeping, the only model", "SleepingModel", ()),
    Scenario("sleeping, clients that hammer", "SleepingModel", hammers=True),
)
QUICK = Times(alone=4, beside=6, hold=3)


def run(bench: Bench) -> None:
    """Measure each scenario under each of this service's servers."""
    scenarios, times = (SCENARIOS[:2], QUICK) if bench.plan.is_quick else (SCENARIOS, Times())
    for server in (SERVE, GUNICORN):
        for scenario in scenarios:
            served = bench.serve(
                server, scenario.entries, scenario.models, metrics={"enabled": True}
            )
            with served as running:
                found = measure(running, scenario, times)
            bench.results.isolations.append(found)
            bench.say(f"{found.server}, {found.scenario}: {'; '.join(misses(found)) or 'holds'}")


def misses(found: Isolation, slack_ms: float = 0) -> list[str]:
    """Say what of the promises does not hold, if each bound is so much higher."""
    figures = [
        ("neighbour p99", found.beside_p99_ms, neighbour_bar_ms(found)),
        ("health p99", found.health_p99_ms, 100),
        ("metrics p99", found.metrics_p99_ms, 100),
        ("p99 of 503", found.refusal_p99_ms, 50),
    ]
    complaints = [
        f"{name} {figure:.0f} ms, not {bar:.0f}"
        for name, figure, bar in figures
        if figure is not None and bar is not None and figure > bar + slack_ms
    ]
    if found.failed:
        complaints.append(f"{found.failed} requests failed")
    if found.first_refusal_seconds is None:
        complaints.append("the surplus was not refused")
    elif found.first_refusal_seconds > 1 + slack_ms / 1e3:
        complaints.append(f"first 503 after {found.first_refusal_seconds:.1f} s, not 1")
    if found.idle_seconds is None or found.idle_seconds > 30 + slack_ms / 1e3:
        complaints.append(f"computes {found.idle_seconds or math.inf:.0f} s for nobody, not 30")
    return complaints if has_bars(found) else []


def has_bars(found: Isolation) -> bool:
    """Whether anything is promised of that scenario."""
    return not any(one.hammers for one in SCENARIOS if one.name == found.scenario)


def neighbour_bar_ms(found: Isolation) -> float | None:
    """Return what the neighbour's p99 may be."""
    if found.alone_p99_ms is None or not has_bars(found):
        return None
    return 500.0 if found.scenario == "computing" else 2 * found.alone_p99_ms + 20


def measure(running: RunningServer, scenario: Scenario, times: Times) -> Isolation:
    """Measure the neighbours alone, then beside the slow model, then wait until all is over."""
    neighbours = [Ask("POST", running.path(_name(one)), _BODY) for one in scenario.neighbours]
    with _Witnesses(running.port, neighbours) as alone:
        time.sleep(times.alone)
    with (
        _clients(running, scenario, times) as clients,
        _Witnesses(running.port, neighbours) as beside,
    ):
        begun = time.monotonic()
        held = _most_in_flight(running, times.beside)
    refusals = [one.ended - begun for one in clients.outcomes if one.status == 503]
    return Isolation(
        server=running.server.name,
        scenario=scenario.name,
        alone_p99_ms=_milliseconds(alone.neighbour, 99) if neighbours else None,
        beside_p50_ms=_milliseconds(beside.neighbour, 50) if neighbours else None,
        beside_p99_ms=_milliseconds(beside.neighbour, 99) if neighbours else None,
        failed=beside.failed,
        health_p99_ms=_milliseconds(beside.health, 99),
        metrics_p99_ms=_milliseconds(beside.metrics, 99),
        held=held,
        first_refusal_seconds=min(refusals, default=None),
        refusal_p99_ms=_milliseconds(clients, 99, 503) if refusals else None,
        idle_seconds=_seconds_until_idle(running),
    )


class _Witnesses:
    """Ask for the neighbours, health and metrics, at a steady rate, while the block lasts."""

    def __init__(self, port: int, neighbours: Sequence[Ask]) -> None:
        self.neighbour = self._load(port, neighbours, 16, _NEIGHBOUR_PER_SECOND)
        self.health = self._load(port, [HEALTH], 4, _PROBES_PER_SECOND)
        self.metrics = self._load(port, [METRICS], 4, _PROBES_PER_SECOND)
        self._all = [self.health, self.metrics, *([self.neighbour] if neighbours else [])]
        self._stack = ExitStack()
        self.failed = 0
        """What was due and not answered rightly, or not at all."""

    def __enter__(self) -> Self:
        self._begun = time.monotonic()
        for load in self._all:
            self._stack.enter_context(load)
        return self

    def __exit__(self, *_: object) -> None:
        seconds = time.monotonic() - self._begun
        self._stack.close()
        for load in self._all:
            right = load.count - len(load.failures())
            # What becomes due as the block ends may be asked or not.
            self.failed += max(0, int((load.rate or 0) * seconds) - 2 - right)

    @staticmethod
    def _load(port: int, asks: Sequence[Ask], connections: int, rate: float) -> Load:
        return Load(port, asks, connections, rate, patience=_PATIENCE_SECONDS)


@contextmanager
def _clients(running: RunningServer, scenario: Scenario, times: Times) -> Iterator[Load]:
    """Hold the slow model while the block lasts; then all clients go at once.

    Those that hammer leave no outcomes.
    """
    ask = Ask("POST", running.path(_name(scenario.slow)), _wish(times.hold))
    load = Load(
        running.port,
        [ask],
        _CLIENTS,
        patience=_LONGEST_COMPUTATION_SECONDS,
        arrive_within=1,
        honours_retry_after=True,
    )
    if scenario.hammers:
        url, seconds = running.url(ask.path), math.ceil(2 * times.beside)
        with wrk.hammering(url, wrk.Body(ask.body, ""), _CLIENTS, seconds):
            yield load
        return
    with load:
        try:
            yield load
        finally:
            load.abandon()


def _most_in_flight(running: RunningServer, seconds: float) -> int:
    """Return the most predictions in hand at a time during these seconds."""
    most, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError):
            most = max(most, _in_flight(running))
        time.sleep(0.5)
    return most


def _seconds_until_idle(running: RunningServer) -> float | None:
    """Return after how many seconds nothing is predicted any more, and no processor used."""
    begun = time.monotonic()
    while (elapsed := time.monotonic() - begun) < _LONGEST_COMPUTATION_SECONDS:
        used = running.process.processor_seconds()
        time.sleep(0.5)
        share = (running.process.processor_seconds() - used) / 0.5
        with suppress(OSError):
            if share < _IDLE_SHARE and _in_flight(running) == 0:
                return elapsed
    return None


def _in_flight(running: RunningServer) -> int:
    """Return how many predictions run or wait."""
    url = running.url(METRICS.path)
    with urllib.request.urlopen(url, timeout=_PATIENCE_SECONDS) as response:  # noqa: S310
        text = response.read().decode()
    return int(sum(float(number) for number in _IN_FLIGHT.findall(text)))


def _milliseconds(load: Load, percent: float, status: int = 200) -> float:
    return 1000 * load.percentile(percent, status) if load.statuses()[status] else math.inf


def _name(class_name: str) -> str:
    """Return the qualified name of one of the benchmark's models."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", class_name.removesuffix("Model")).lower()


def _wish(seconds: float) -> bytes:
    return json.dumps({"seconds": seconds}).encode()

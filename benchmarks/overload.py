"""What happens at less and at more than a server's capacity: an open loop, a probe beside it."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import environments
from benchmarks.processes import RunningServer
from benchmarks.rows import ROWS
from benchmarks.servers import GRANIAN, TUNED
from tests.end_to_end.load import Ask, Load

MULTIPLES = (0.8, 1.0, 2.0, 10.0)
_CONNECTIONS = 600
"""More than the service has in hand at a time, so that what is due is also sent."""
_SATURATING_CONNECTIONS = 32
_PROBES_PER_SECOND = 20
_SERVERS = {
    TUNED.name: TUNED,
    # It has no lanes, so that a maximum has to keep some of its 32 threads free.
    GRANIAN.name: replace(
        GRANIAN, variables={**GRANIAN.variables, "MODELHOST_MAX_CONCURRENT_PREDICTIONS": "16"}
    ),
}


@dataclass(frozen=True)
class Step:
    """What clients saw at a multiple of the capacity. Seconds are in milliseconds."""

    multiple: float
    offered_per_second: float
    accepted_per_second: float
    accepted_p50_ms: float
    accepted_p99_ms: float
    refused_per_second: float
    refused_p99_ms: float
    others: int
    """Answers that were neither, and requests without any."""
    health_p99_ms: float
    """Infinite if one of the probes failed."""
    megabytes_before: float
    megabytes_after: float

    def __str__(self) -> str:
        return (
            f"{self.multiple:g}x: offered {self.offered_per_second:.0f}/s,"
            f" accepted {self.accepted_per_second:.0f}/s"
            f" (p50 {self.accepted_p50_ms:.0f} ms, p99 {self.accepted_p99_ms:.0f} ms),"
            f" refused {self.refused_per_second:.0f}/s (p99 {self.refused_p99_ms:.0f} ms),"
            f" health p99 {self.health_p99_ms:.0f} ms, other {self.others},"
            f" memory {self.megabytes_before:.0f} -> {self.megabytes_after:.0f} MB"
        )


def flower(path: str) -> Ask:
    """Return a request for the species of the first row."""
    values = ROWS[0]._asdict()
    del values["species"]
    return Ask("POST", path, json.dumps(values).encode())


@dataclass(frozen=True)
class Target:
    """A server, and what it is asked."""

    port: int
    ask: Ask
    memory_bytes: Callable[[], int]


def measure(
    target: Target, *, seconds: float, multiples: Sequence[float] = MULTIPLES
) -> Iterator[Step]:
    """Find out the capacity, then offer multiples of it, each for some seconds."""
    per_second = capacity(target, min(seconds / 2, 10))
    for multiple in multiples:
        yield offer(target, multiple, multiple * per_second, seconds)


def capacity(target: Target, seconds: float) -> float:
    """Return how many a second are answered when there is always something to do."""
    with Load(target.port, [target.ask], connections=_SATURATING_CONNECTIONS) as load:
        time.sleep(seconds / 2)
        begun, count = time.monotonic(), load.statuses()[200]
        time.sleep(seconds)
        return (load.statuses()[200] - count) / (time.monotonic() - begun)


def offer(target: Target, multiple: float, rate: float, seconds: float) -> Step:
    """Ask so many times a second, at random moments, and after the server's health beside it."""
    before = target.memory_bytes()
    probe = [Ask("GET", "/api/health")]
    health = Load(target.port, probe, connections=4, rate=_PROBES_PER_SECOND)
    load = Load(
        target.port,
        [target.ask],
        connections=_CONNECTIONS,
        rate=rate,
        is_random=True,
        requests=int(rate * seconds),
    )
    with health, load:
        load.join(10 * seconds)
        after = target.memory_bytes()
    statuses = load.statuses()
    return Step(
        multiple,
        rate,
        statuses[200] / seconds,
        1000 * load.percentile(50),
        1000 * load.percentile(99),
        statuses[503] / seconds,
        1000 * load.percentile(99, 503) if statuses[503] else 0.0,
        load.count - statuses[200] - statuses[503],
        1000 * health.percentile(99) if not health.failures() else math.inf,
        before / 1e6,
        after / 1e6,
    )


def main() -> None:
    """Measure a model on two workers, and print what clients saw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for each step (default: 60)")
    parser.add_argument("--server", choices=_SERVERS, default=TUNED.name)
    options = parser.parse_args()
    server = _SERVERS[options.server]
    with TemporaryDirectory() as folder:
        configuration = Path(folder) / "overload.yaml"
        # JSON is YAML too.
        models = [{"class_path": "benchmarks.models.RandomForestModel"}]
        configuration.write_text(json.dumps({"models": models}), encoding="utf-8")
        variables = {**server.variables, "REST_CONFIG": str(configuration)}
        server = replace(server, variables={**variables, "MODELHOST_LOG_LEVEL": "WARNING"})
        with RunningServer(
            server,
            environments.prepare(server.environment, print),
            Path(folder) / "log",
            models=("random_forest",),
            workers=2,
        ) as running:
            running.give_way()
            path = server.path.format(model="random_forest")
            target = Target(running.port, flower(path), running.memory_bytes)
            for step in measure(target, seconds=options.seconds):
                print(step, flush=True)


if __name__ == "__main__":
    main()

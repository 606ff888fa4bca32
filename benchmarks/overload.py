"""What happens at less and at more than a server's capacity: an open loop, a probe beside it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.kit.load import Ask, Load
from benchmarks.results import Overload
from benchmarks.rows import ROWS
from benchmarks.running import entry
from benchmarks.servers import GUNICORN, SERVE

_MODEL = "unbatched_random_forest"
_MULTIPLES = (0.8, 1.0, 2.0, 10.0)
_SECONDS = 10
_CONNECTIONS = 600
"""More than the service has in hand at a time, so that what is due is also sent."""
_SATURATING_CONNECTIONS = 32
_PROBES_PER_SECOND = 20


@dataclass(frozen=True)
class Target:
    """A server, and what it is asked."""

    name: str
    port: int
    ask: Ask
    memory_bytes: Callable[[], int]


def run(bench: Bench) -> None:
    """Find out what each server can do, then offer multiples of it, each for some seconds."""
    for server in (SERVE, GUNICORN):
        with bench.serve(server, [entry("UnbatchedRandomForestModel")], [_MODEL]) as running:
            running.process.give_way()
            ask = Ask("POST", running.path(_MODEL), json.dumps(server.body(ROWS[0])).encode())
            target = Target(server.name, running.port, ask, running.process.memory_bytes)
            per_second = capacity(target, _SECONDS / 2)
            for multiple in _MULTIPLES:
                found = offer(target, multiple, multiple * per_second, _SECONDS)
                bench.results.overloads.append(found)
                bench.say(f"overload: {found}")


def capacity(target: Target, seconds: float) -> float:
    """Return how many a second are answered when there is always something to do."""
    with Load(target.port, [target.ask], connections=_SATURATING_CONNECTIONS) as load:
        time.sleep(seconds / 2)
        begun, count = time.monotonic(), load.statuses()[200]
        time.sleep(seconds)
        return (load.statuses()[200] - count) / (time.monotonic() - begun)


def offer(target: Target, multiple: float, rate: float, seconds: float) -> Overload:
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
    return Overload(
        server=target.name,
        multiple=multiple,
        offered_per_second=rate,
        accepted_per_second=statuses[200] / seconds,
        accepted_p50_ms=1000 * load.percentile(50),
        accepted_p99_ms=1000 * load.percentile(99),
        refused_per_second=statuses[503] / seconds,
        refused_p99_ms=1000 * load.percentile(99, 503) if statuses[503] else 0.0,
        others=load.count - statuses[200] - statuses[503],
        health_p99_ms=1000 * health.percentile(99) if not health.failures() else math.inf,
        megabytes_before=before / 1e6,
        megabytes_after=after / 1e6,
    )

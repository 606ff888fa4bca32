"""The contest: servers take turns, round after round, each alone on the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.processes import RunningServer, ServerFailed
from benchmarks.results import Measurement, Results, Start
from benchmarks.servers import Server

Say = Callable[[str], None]

WARM_UP_CONNECTIONS = 64
# What a server takes to start and stop, on average and generously.
_START_AND_STOP_SECONDS = 6


@dataclass(frozen=True)
class Plan:
    """Who is measured, how often, how long."""

    servers: Sequence[Server]
    models: tuple[str, ...]
    connections: tuple[int, ...]
    rounds: int
    seconds: int
    warm_up_seconds: int
    workers: int
    logs: Path
    limit_seconds: float = float("inf")
    """No round begins that would probably end later than this."""

    @property
    def expected_seconds(self) -> int:
        """Return about how long it takes."""
        per_model = self.warm_up_seconds + len(self.connections) * self.seconds
        per_turn = _START_AND_STOP_SECONDS + len(self.models) * per_model
        return self.rounds * len(self.servers) * per_turn


class Contest:
    """Measures each server of a plan in each round; what it finds goes to `results`."""

    def __init__(
        self, plan: Plan, environments: Mapping[str, Path], results: Results, say: Say
    ) -> None:
        self._plan = plan
        self._environments = environments
        self._results = results
        self._say = say

    def run(self) -> None:
        """Let all take their turns. One that fails loses its turn, and the results say why."""
        servers, begun = self._plan.servers, time.monotonic()
        for number in range(1, self._plan.rounds + 1):
            elapsed = time.monotonic() - begun
            if number > 1 and elapsed * number / (number - 1) > self._plan.limit_seconds:
                self._say(f"No time for round {number}.")
                return
            # Each round begins with another one, so that nobody always follows the same.
            first = (number - 1) % len(servers)
            for server in (*servers[first:], *servers[:first]):
                try:
                    self._turn(server, number)
                except (ServerFailed, load.LoadFailed) as error:
                    self._results.left_out[server.name] = f"round {number}: {error}"
                    self._say(f"round {number}: {server.name} failed: {error}")

    def _turn(self, server: Server, number: int) -> None:
        models = self._plan.models
        for served in [(one,) for one in models] if server.one_model_at_a_time else [models]:
            with RunningServer(
                server,
                self._environments[server.environment],
                self._plan.logs / f"{server.name}.log",
                models=served,
                workers=self._plan.workers,
            ) as running:
                running.give_way()
                for model in served:
                    self._measure(running, number, model)
                seconds = running.seconds_to_first_prediction
                megabytes = running.memory_bytes() / 1e6
                self._results.starts.append(Start(server.name, number, seconds, megabytes))

    def _measure(self, running: RunningServer, number: int, model: str) -> None:
        plan = self._plan
        _load(running, model, WARM_UP_CONNECTIONS, plan.warm_up_seconds)
        for connections in plan.connections:
            seen, *health = _load(running, model, connections, plan.seconds)
            one = Measurement(
                server=running.server.name,
                model=model,
                connections=connections,
                round=number,
                per_second=seen.per_second,
                p50_ms=seen.p50_ms,
                p99_ms=seen.p99_ms,
                errors=seen.errors,
                wrong=seen.wrong,
                health_p99_ms=health[0].p99_ms if health else None,
            )
            self._results.measurements.append(one)
            self._say(_progress(one, plan.rounds))


def _load(running: RunningServer, model: str, connections: int, seconds: int) -> list[load.Load]:
    url = running.url(model)
    command = load.predict_command(running.server, url, model, connections, seconds)
    # With one connection it is the latency that counts, and a probe would be half of the load.
    probe = load.health_command(running.health_url, seconds) if connections > 1 else None
    running.wait_until_calm(model)
    return load.run(command, seconds, probe)


def _progress(one: Measurement, rounds: int) -> str:
    trouble = f", {one.errors} errors, {one.wrong} wrong" if one.errors or one.wrong else ""
    return (
        f"round {one.round} of {rounds}: {one.server}, {one.model},"
        f" {one.connections} connections: {one.per_second:.0f}/s,"
        f" p50 {one.p50_ms:.1f} ms, p99 {one.p99_ms:.1f} ms{trouble}"
    )

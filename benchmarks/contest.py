"""The contest: servers take turns, round after round, each alone on the machine."""

from __future__ import annotations

from benchmarks import wrk
from benchmarks.bench import CONNECTIONS, Bench, Plan
from benchmarks.kit.processes import ServerFailed
from benchmarks.results import Measurement, Start
from benchmarks.running import RunningServer
from benchmarks.servers import Server

# What a server takes to start and stop, on average and generously.
_START_AND_STOP_SECONDS = 6


def run(bench: Bench) -> None:
    """Let all take their turns. One that fails loses its turn, and the results say why."""
    servers = [one for one in bench.plan.servers if one.environment in bench.environments]
    minutes = _expected_seconds(bench.plan, servers) / 60
    bench.say(f"{len(servers)} servers take turns, for about {minutes:.0f} minutes.")
    for number in range(1, bench.plan.rounds + 1):
        # Each round begins with another one, so that nobody always follows the same.
        first = (number - 1) % max(1, len(servers))
        for server in (*servers[first:], *servers[:first]):
            try:
                _turn(bench, server, number)
            except (ServerFailed, wrk.LoadFailed) as error:
                bench.results.left_out[server.name] = f"round {number}: {error}"
                bench.say(f"round {number}: {server.name} failed: {error}")


def _models(plan: Plan, server: Server) -> list[str]:
    return [model for model in plan.models if model in server.models]


def _expected_seconds(plan: Plan, servers: list[Server]) -> int:
    per_model = plan.warm_up_seconds + len(plan.connections) * plan.seconds
    turns = [_START_AND_STOP_SECONDS + len(_models(plan, one)) * per_model for one in servers]
    return plan.rounds * sum(turns)


def _turn(bench: Bench, server: Server, number: int) -> None:
    models = _models(bench.plan, server)
    for served in [[one] for one in models] if server.one_model_at_a_time else [models]:
        if not served:
            return
        with bench.start(server, served) as running:
            for model in served:
                _measure(bench, running, model, number)
            seconds = running.seconds_to_first_prediction
            megabytes = running.process.memory_bytes() / 1e6
        bench.results.starts.append(Start(server.name, number, seconds, megabytes))


def _measure(bench: Bench, running: RunningServer, model: str, number: int) -> None:
    plan = bench.plan
    # Each of them is looked at while the server warms up, and not while the time counts: a client
    # that does takes half of the processors' time from a server that answers quickly.
    wrong = running.wrong_answers(model, CONNECTIONS, plan.warm_up_seconds)
    for connections in plan.connections:
        running.wait_until_calm(model)
        # With one connection it is the latency that counts, and a probe would be half of the load.
        with_probe = connections > 1
        seen, health = running.load(model, connections, plan.seconds, with_probe=with_probe)
        one = Measurement(
            server=running.server.name,
            model=model,
            connections=connections,
            round=number,
            per_second=seen.per_second,
            p50_ms=seen.p50_ms,
            p99_ms=seen.p99_ms,
            errors=seen.errors,
            wrong=wrong,
            health_p99_ms=health.p99_ms if health else None,
        )
        bench.results.measurements.append(one)
        bench.say(_progress(one, plan.rounds))


def _progress(one: Measurement, rounds: int) -> str:
    trouble = f", {one.errors} errors, {one.wrong} wrong" if one.errors or one.wrong else ""
    return (
        f"round {one.round} of {rounds}: {one.server}, {one.model},"
        f" {one.connections} connections: {one.per_second:.0f}/s,"
        f" p50 {one.p50_ms:.1f} ms, p99 {one.p99_ms:.1f} ms{trouble}"
    )

"""What models cost that compute in processes of their own, and what they spare: by turns."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.bench import CONNECTIONS, Bench, by_turns
from benchmarks.running import RunningServer
from benchmarks.servers import GUNICORN, SERVE, Server

_TURNS = 5
_FEW_CONNECTIONS = 8
"""Of the clients of a model that takes ten milliseconds: as many as its limiter lets in."""
_WORKERS = 4
"""Whose memory is compared with that of one."""
_GONE_SECONDS = 60
KINDS = ("Sleeping", "Computing")
"""What models do for ten milliseconds."""

Entry = dict[str, object]


def run(bench: Bench) -> None:
    """Measure throughput, latency and memory of models in processes, beside those on threads."""
    batching: Entry = {"max_batch_size": 64}
    entries: list[Entry] = [
        {"class_path": "benchmarks.models.ConstantModel"},
        {"class_path": "benchmarks.models.RandomForestModel", "batching": batching},
        in_processes("ProcessConstantModel"),
        in_processes("ProcessRandomForestModel", batching=batching),
        *(in_processes(f"One{kind}Model") for kind in KINDS),
        *(in_processes(f"Two{kind}Model", 2) for kind in KINDS),
    ]
    models = ["constant", "random_forest", "process_constant", "process_random_forest"]
    models += [
        f"{number}_{kind}" for number in ("one", "two") for kind in ("sleeping", "computing")
    ]
    with bench.serve(SERVE, entries, models) as running:
        _compare_throughput(bench, running)
        _compare_latency(bench, running)
        for kind in KINDS:
            _compare_numbers(bench, running, kind.lower())
    _compare_memory(bench)
    _compare_after_removal(bench)


def in_processes(class_name: str, processes: int = 1, **options: object) -> Entry:
    """Return the entry of a model that computes in processes."""
    execution = {"kind": "process", "processes": processes}
    class_path = f"benchmarks.process_models.{class_name}"
    return {"class_path": class_path, "execution": execution, **options}


def _compare_throughput(bench: Bench, running: RunningServer) -> None:
    def per_second(model: str) -> float:
        return running.load(model, CONNECTIONS, bench.plan.seconds)[0].per_second

    names = ("random_forest", "process_random_forest")
    threads, process = by_turns(_TURNS, *(lambda name=name: per_second(name) for name in names))
    name = f"right/s of random_forest, one process / threads of {bench.plan.workers} workers"
    bench.compare(name, threads, process, wanted="at least 0.6", form="{:.0f}/s")


def _compare_latency(bench: Bench, running: RunningServer) -> None:
    def p50_ms(model: str) -> float:
        return running.load(model, 1, bench.plan.seconds)[0].p50_ms

    names = ("constant", "process_constant")
    threads, process = by_turns(2 * _TURNS, *(lambda name=name: p50_ms(name) for name in names))
    added = median(two - one for one, two in zip(threads, process, strict=True))
    name = "p50 of one connection to constant, process / thread"
    wanted = f"at most 0.25 ms more: {added:.3f}"
    bench.compare(name, threads, process, wanted=wanted, form="{:.3f} ms")


def _compare_numbers(bench: Bench, running: RunningServer, kind: str) -> None:
    def per_second(model: str) -> float:
        return running.load(model, _FEW_CONNECTIONS, bench.plan.seconds)[0].per_second

    one, two = by_turns(
        _TURNS, lambda: per_second(f"one_{kind}"), lambda: per_second(f"two_{kind}")
    )
    name = f"right/s of a model {kind} for 10 ms, 2 processes / 1"
    bench.compare(name, one, two, wanted="at least 1.7", form="{:.0f}/s")


def _compare_memory(bench: Bench) -> None:
    """Weigh a service of 400 MB of weights, with one worker and with several."""
    one, several = [
        _megabytes(bench, SERVE, [in_processes("Weights")], "constant_weights", workers)
        for workers in (1, _WORKERS)
    ]
    name = f"memory of a process with 400 MB and its server, {_WORKERS} workers / 1"
    bench.compare(name, [one], [several], wanted="at most 1.15", form="{:.0f} MB")


def _compare_after_removal(bench: Bench) -> None:
    """Take the model with the weights out of the file, and weigh what is left of the service."""
    weights = in_processes("Weights")
    nothing: Entry = {"class_path": "benchmarks.process_models.Nothing"}
    server = replace(GUNICORN, variables={**GUNICORN.variables, "MODELHOST_PRELOAD": "0"})
    plain = _megabytes(bench, server, [nothing], "constant_nothing", _WORKERS)
    models = ["constant_weights", "constant_nothing"]
    bench = replace(bench, plan=replace(bench.plan, workers=_WORKERS))
    with bench.serve(server, [weights, nothing], models) as running:
        before = _pss(running)
        path = Path(running.server.variables["REST_CONFIG"])
        path.write_text(json.dumps({"models": [nothing]}), encoding="utf-8")
        former = set(running.process.all_processes()[1:])
        os.kill(running.process.process.pid, signal.SIGHUP)
        running.process.wait_until(
            lambda: True if former.isdisjoint(running.process.all_processes()) else None,
            "without its former processes",
            _GONE_SECONDS,
        )
        running.wait_until_calm("constant_nothing")
        after = _pss(running)
    bench.say(f"memory: {before:.0f} MB with the weights, {after:.0f} MB once they are taken away")
    name = "memory after a model of 400 MB is taken away / without it"
    bench.compare(name, [plain], [after], wanted="at most 1.05", form="{:.0f} MB")


def _megabytes(
    bench: Bench, server: Server, entries: Sequence[Entry], model: str, workers: int
) -> float:
    """Return what all processes of a service take together."""
    bench = replace(bench, plan=replace(bench.plan, workers=workers))
    with bench.serve(server, entries, [model]) as running:
        return _pss(running)


def _pss(running: RunningServer) -> float:
    """Return megabytes."""
    time.sleep(1)  # what loading has left behind is given back meanwhile
    return running.process.memory_bytes() / 1e6

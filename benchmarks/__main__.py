"""The command line: python -m benchmarks."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CalledProcessError

from benchmarks import (
    batching,
    bulk,
    charts,
    contest,
    environments,
    isolation,
    machine,
    memory,
    overload,
    processes,
    releases,
    report,
    runtimes,
    tensors,
    wrk,
)
from benchmarks.bench import CONNECTIONS, Bench, Plan, Say
from benchmarks.kit.processes import ServerFailed
from benchmarks.results import Results
from benchmarks.rows import MODELS
from benchmarks.servers import MLSERVER, REPOSITORY, SERVE, SERVERS

COMPARISONS: dict[str, Callable[[Bench], None]] = {
    "bars": contest.run,
    "isolation": isolation.run,
    "batching": batching.run,
    "overload": overload.run,
    "tensors": tensors.run,
    "memory": memory.run,
    "processes": processes.run,
    "bulk": bulk.run,
    "runtimes": runtimes.run,
    "releases": releases.run,
}
OUTPUT = REPOSITORY / "build" / "benchmarks"
_DESCRIPTION = """\
Measure this service beside its peers: the same models, rows and number of workers, over the
loopback interface. Each server runs in a virtual environment of its own, made on first use.
Progress goes to standard error, the tables to standard output, and all of it, with charts, to the
output folder. docs/benchmarks.md says how to read it.

comparisons:
  bars       throughput, latency, start and memory of all servers by turns (15 minutes)
  isolation  what others see of a model that 200 clients hold (8 minutes)
  batching   the same models with and without batching (4 minutes)
  overload   multiples of what the service can do (2 minutes)
  tensors    the Open Inference Protocol, and MLServer's (3 minutes)
  memory     what workers share of their models (5 minutes)
  processes  models in processes of their own, beside those on threads (6 minutes)
  bulk       a file of a million rows (half a minute)
  runtimes   models from files, beside MLServer and MLflow with the same files (7 minutes)
  releases   versions that share requests or get copies of them, beside one alone (9 minutes)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, and return the exit status."""
    options = _parser().parse_args(arguments)
    if not wrk.is_installed():
        print(wrk.MISSING, file=sys.stderr)
        return 2
    say = _timed_say()
    plan = _plan(options)
    results = Results(machine=machine.describe(), options=_recorded(plan))
    names = options.comparisons or (["bars"] if options.quick else list(COMPARISONS))
    bench = Bench(plan, _prepare(plan, names, results, say), results, say)
    for name in names:
        say(f"comparing: {name} ...")
        try:
            COMPARISONS[name](bench)
        except (ServerFailed, wrk.LoadFailed, KeyError, CalledProcessError) as error:
            results.left_out[name] = str(error)
            say(f"{name} failed: {error}")
    _write(results, options.output)
    print(report.text_report(results))
    say(f"Tables, figures and charts are in {options.output}.")
    return 1 if results.left_out else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="less of bars and isolation: some minutes")
    for name, choices, text in (
        ("comparisons", tuple(COMPARISONS), "what is measured (default: all; quick: bars)"),
        ("servers", tuple(SERVERS), "who takes turns in bars (default: all)"),
        ("models", MODELS, "what they serve there (default: all)"),
    ):
        listed = f"{text}: {', '.join(choices)}"
        add(f"--{name}", nargs="+", choices=choices, metavar="NAME", help=listed)
    for name, text in (
        ("connections", f"at a time (default: {CONNECTIONS})"),
        ("rounds", "turns of each server (default: 3; quick: 1)"),
        ("seconds", "of each measurement (default: 5; quick: 2)"),
        ("workers", "processes of each server (default: 2)"),
    ):
        nargs = "+" if name == "connections" else None
        add(f"--{name}", type=_positive, metavar="N", help=text, nargs=nargs)
    add("--output", type=Path, default=OUTPUT, help=f"folder (default: {OUTPUT})")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        servers=[SERVERS[name] for name in options.servers or SERVERS],
        models=tuple(options.models or MODELS),
        connections=tuple(options.connections or [CONNECTIONS]),
        rounds=options.rounds or (1 if options.quick else 3),
        seconds=options.seconds or (2 if options.quick else 5),
        warm_up_seconds=1 if options.quick else 2,
        workers=options.workers or 2,
        logs=options.output / "logs",
        is_quick=options.quick,
    )


def _recorded(plan: Plan) -> dict[str, object]:
    return {
        "models": plan.models,
        "connections": plan.connections,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "warm_up_seconds": plan.warm_up_seconds,
        "workers": plan.workers,
    }


def _prepare(plan: Plan, names: Sequence[str], results: Results, say: Say) -> dict[str, Path]:
    """Return the environments that there are; the results say why others are not."""
    wanted = {SERVE.environment}
    if "bars" in names:
        wanted |= {server.environment for server in plan.servers}
    if "tensors" in names:
        wanted.add(MLSERVER.environment)
    if "runtimes" in names:
        wanted |= runtimes.ENVIRONMENTS
    ready = {}
    for name in sorted(wanted):
        try:
            ready[name] = environments.prepare(name, say)
            results.versions[name] = environments.versions(ready[name])
        except environments.InstallationFailed as error:
            say(f"{name} is left out: {error}")
            results.left_out[name] = f"not installed: {error}"
    return ready


def _write(results: Results, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    results.save(output / "results.json")
    (output / "report.txt").write_text(report.text_report(results), encoding="utf-8")
    for name, drawing in charts.charts(results).items():
        (output / name).write_text(drawing, encoding="utf-8")


def _timed_say() -> Say:
    begun = time.monotonic()

    def say(message: str) -> None:
        print(f"[{time.monotonic() - begun:5.0f} s] {message}", file=sys.stderr, flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main())

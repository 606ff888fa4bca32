"""The command line: python -m benchmarks."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import charts, comparisons, environments, load, machine, report, tensors
from benchmarks.comparisons import Bench
from benchmarks.processes import ServerFailed
from benchmarks.results import Results
from benchmarks.rounds import Contest, Plan, Say
from benchmarks.rows import MODELS
from benchmarks.servers import GRANIAN, MLSERVER, REPOSITORY, REST_MODEL_SERVICE, SERVERS

COMPARISONS = {**comparisons.COMPARISONS, **tensors.COMPARISONS}
OUTPUT = REPOSITORY / "build" / "benchmarks"
_DESCRIPTION = """\
Measure this service beside its peers: the same models, rows and number of workers, servers taking
turns, load from wrk over the loopback interface. Each server runs in a virtual environment of its
own, made on first use. Progress goes to standard error, the tables to standard output, and all of
it, with charts, to the output folder. docs/benchmarks.md says how to read it.
"""
_FULL: dict[str, Any] = {
    "models": MODELS,
    "connections": (1, 8, 64, 256),
    "seconds": 5,
    "warm_up_seconds": 2,
    "comparisons": tuple(COMPARISONS),
    "minutes": float("inf"),
}
_QUICK: dict[str, Any] = {
    "models": MODELS[:3],
    "connections": (64,),
    "seconds": 1,
    "warm_up_seconds": 1,
    "comparisons": (),
    # Half a minute less than it promises.
    "minutes": 4.5,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, and return the exit status."""
    options = _options(arguments)
    if not load.is_installed():
        print(load.MISSING, file=sys.stderr)
        return 2
    say = _timed_say()
    plan = _plan(options)
    results = Results(machine=machine.describe(), options=_recorded(plan))
    ready = _prepare(plan, options.comparisons, results, say)
    plan = replace(plan, servers=[one for one in plan.servers if one.environment in ready])
    if plan.servers:
        minutes = plan.expected_seconds / 60
        say(f"{len(plan.servers)} servers take turns, for about {minutes:.0f} minutes.")
        Contest(plan, ready, results, say).run()
    _compare(options.comparisons, Bench(plan, ready, say), results)
    _write(results, options.output)
    print(report.text_report(results))
    say(f"Tables, figures and charts are in {options.output}.")
    return 1 if results.left_out else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = _parser().parse_args(arguments)
    for name, default in (_QUICK if options.quick else _FULL).items():
        if getattr(options, name) is None:
            setattr(options, name, default)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="less of everything: under five minutes")
    _add_names(parser, "servers", tuple(SERVERS), "who takes turns (default: all)")
    parser.set_defaults(servers=tuple(SERVERS))
    _add_names(parser, "models", MODELS, "what they serve (quick: the first three)")
    _add_names(parser, "comparisons", tuple(COMPARISONS), "what is measured two ways (quick: none)")
    _add_number(parser, "connections", "at a time (default: 1 8 64 256; quick: 64)", nargs="+")
    _add_number(parser, "rounds", "turns of each server (default: 3)", default=3)
    _add_number(parser, "seconds", "of each measurement (default: 5; quick: 1)")
    _add_number(parser, "warm-up-seconds", "before them (default: 2; quick: 1)")
    _add_number(parser, "workers", "processes of each server (default: 2)", default=2)
    add(
        "--minutes",
        type=float,
        metavar="N",
        help="for all rounds (quick: 4.5)",
    )
    add("--output", type=Path, default=OUTPUT, help=f"folder (default: {OUTPUT})")
    return parser


def _add_names(
    parser: argparse.ArgumentParser, name: str, choices: tuple[str, ...], text: str
) -> None:
    parser.add_argument(
        f"--{name}",
        nargs="*",
        choices=choices,
        metavar="NAME",
        help=f"{text}: {', '.join(choices)}; no name means none",
    )


def _add_number(parser: argparse.ArgumentParser, name: str, text: str, **kwargs: Any) -> None:
    parser.add_argument(f"--{name}", type=_positive, metavar="N", help=text, **kwargs)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        servers=[SERVERS[name] for name in options.servers],
        models=tuple(options.models),
        connections=tuple(options.connections),
        rounds=options.rounds,
        seconds=options.seconds,
        warm_up_seconds=options.warm_up_seconds,
        workers=options.workers,
        logs=options.output / "logs",
        limit_seconds=options.minutes * 60,
    )


def _recorded(plan: Plan) -> dict[str, Any]:
    return {
        "models": plan.models,
        "connections": plan.connections,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "warm_up_seconds": plan.warm_up_seconds,
        "workers": plan.workers,
    }


def _prepare(plan: Plan, compared: Sequence[str], results: Results, say: Say) -> dict[str, Path]:
    """Return the environments that there are; the results say why others are not."""
    wanted = {server.environment for server in plan.servers}
    if compared:
        wanted |= {GRANIAN.environment, REST_MODEL_SERVICE.environment}
    if any(name.endswith("mlserver") for name in compared):
        wanted.add(MLSERVER.environment)
    ready = {}
    for name in sorted(wanted):
        try:
            ready[name] = environments.prepare(name, say)
            results.versions[name] = environments.versions(ready[name])
        except environments.InstallationFailed as error:
            say(f"{name} is left out: {error}")
            results.left_out[name] = f"not installed: {error}"
    return ready


def _compare(names: Sequence[str], bench: Bench, results: Results) -> None:
    for name in names:
        bench.say(f"comparing: {name} (some minutes) ...")
        try:
            found = COMPARISONS[name](bench)
        except (ServerFailed, load.LoadFailed, KeyError) as error:
            results.left_out[name] = str(error)
            bench.say(f"{name} failed: {error}")
            continue
        results.comparisons.append(found)
        bench.say(f"{found.name}: {found.ratio:.3f}, {found.wanted} ({found.detail})")


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

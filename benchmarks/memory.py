"""What the workers of a service share of their models' memory: python3 -m benchmarks.memory.

Each model holds much, in one kind of objects. It is served by one worker and by several, and
weighed twice: before any prediction has looked at what the model holds, and after.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

from benchmarks import environments, machine
from benchmarks.processes import RunningServer
from benchmarks.rows import ROWS
from benchmarks.servers import TUNED

HELD = {
    "nothing": "nothing: the service itself",
    "array": "a numpy array of 200 MB",
    "forest": "a scikit-learn forest of 200 deep trees",
    "dictionary": "a dictionary of a million strings and numbers",
    "records": "a list of 200 000 pydantic objects",
}
"""What the models of `benchmarks.memory_models` hold."""
WORKERS = (1, 2, 4)
_LOOKS = 3
"""Predictions that each worker makes before it is weighed again."""
_LOOK_SECONDS = 60


@dataclass(frozen=True)
class Weight:
    """What a service takes, in MB."""

    total: float
    """Proportional set size of all its processes: what they share counts once."""
    private: float
    """What a worker shares with no other process; the mean of the workers."""


@dataclass(frozen=True)
class Weighing:
    """A service of one model, weighed before it looked at what it holds, and after."""

    held: str
    preload: bool
    workers: int
    fresh: Weight
    used: Weight


def main(arguments: Sequence[str] | None = None) -> int:
    """Weigh what the command line asks for, and print a table."""
    options = _options(arguments)
    environment = environments.prepare(TUNED.environment, _say)
    weighings = []
    for held in options.models:
        # What is not shared is as much for each worker: the greatest number will do.
        asked = [(workers, True) for workers in WORKERS] + [(WORKERS[-1], False)]
        for workers, preload in asked:
            _say(f"{HELD[held]}: {workers} workers, {'' if preload else 'not '}preloaded ...")
            weighings.append(weigh(environment, held, workers, preload=preload))
    print(", ".join(f"{name} {value}" for name, value in machine.describe().items()))
    print(table(weighings))
    return 0


def weigh(environment: Path, held: str, workers: int, *, preload: bool) -> Weighing:
    """Serve the model, and weigh the service before and after its use."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        model = {"class_path": f"benchmarks.memory_models.{held.capitalize()}"}
        # JSON is YAML too.
        (folder / "memory.yaml").write_text(json.dumps({"models": [model]}), encoding="utf-8")
        variables = {
            **TUNED.variables,
            "REST_CONFIG": str(folder / "memory.yaml"),
            "MODELHOST_PRELOAD": str(int(preload)),
        }
        with RunningServer(
            replace(TUNED, variables=variables),
            environment,
            folder / "log",
            models=(f"constant_{held}",),
            workers=workers,
        ) as running:
            fresh = _weight(running)
            _use(running, f"constant_{held}", workers)
            return Weighing(held, preload, workers, fresh, _weight(running))


def table(weighings: Iterable[Weighing]) -> str:
    """Lay out the weighings as a Markdown table, in MB."""
    lines = [
        "| Model holds | Preloaded | Workers | Total, fresh | Total, used "
        "| Private to a worker, fresh | Private to a worker, used |",
        "| --- | --- | --: | --: | --: | --: | --: |",
    ]
    for one in weighings:
        figures = [one.fresh.total, one.used.total, one.fresh.private, one.used.private]
        cells = [HELD[one.held], "yes" if one.preload else "no", str(one.workers)]
        lines.append(f"| {' | '.join([*cells, *(f'{figure:.0f}' for figure in figures)])} |")
    return "\n".join(lines)


def _weight(running: RunningServer) -> Weight:
    _, *workers = running.memory()
    return Weight(
        total=running.memory_bytes() / 1e6,
        private=mean(worker["Private_Clean"] + worker["Private_Dirty"] for worker in workers) / 1e6,
    )


def _use(running: RunningServer, model: str, workers: int) -> None:
    """Have each worker look at all that the model holds, some times."""
    looks: Counter[int] = Counter()
    deadline = time.monotonic() + _LOOK_SECONDS
    while len(looks) < workers or min(looks.values()) < _LOOKS:
        if time.monotonic() > deadline:
            raise TimeoutError(f"predictions of {len(looks)} of {workers} workers")
        looks[_look(running, model)] += 1


def _look(running: RunningServer, model: str) -> int:
    """Ask for a prediction on a connection of its own, and return the process that made it."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=_LOOK_SECONDS)
    body = json.dumps(running.server.body(ROWS[1]))
    try:
        path = running.server.path.format(model=model)
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        process: int = json.loads(connection.getresponse().read())["process"]
        return process
    finally:
        connection.close()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.memory", description=__doc__)
    parser.add_argument(
        "--models",
        nargs="+",
        choices=tuple(HELD),
        default=tuple(HELD),
        metavar="NAME",
        help=f"what they hold (default: all of {', '.join(HELD)})",
    )
    return parser.parse_args(arguments)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

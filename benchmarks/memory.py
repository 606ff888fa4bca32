"""What the workers of a service share of their models' memory.

Each model holds much, in one kind of objects. It is served by one worker and by several, and
weighed twice: before any prediction has looked at what the model holds, and after.
"""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from dataclasses import replace
from statistics import mean

from benchmarks.bench import Bench
from benchmarks.results import Weighing
from benchmarks.rows import ROWS
from benchmarks.running import RunningServer
from benchmarks.servers import GUNICORN

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


def run(bench: Bench) -> None:
    """Weigh a service of each model, with its models loaded before the fork and after."""
    for held in HELD:
        # What is not shared is as much for each worker: the greatest number will do.
        for workers, preload in [*((workers, True) for workers in WORKERS), (WORKERS[-1], False)]:
            found = _weigh(bench, held, workers, preload=preload)
            bench.results.weighings.append(found)
            bench.say(f"memory: {found}")


def _weigh(bench: Bench, held: str, workers: int, *, preload: bool) -> Weighing:
    """Serve the model, and weigh the service before and after its use."""
    bench = replace(bench, plan=replace(bench.plan, workers=workers))
    model = f"constant_{held}"
    preloading = {"MODELHOST_PRELOAD": str(int(preload))}
    server = replace(GUNICORN, variables={**GUNICORN.variables, **preloading})
    entries = [{"class_path": f"benchmarks.memory_models.{held.capitalize()}"}]
    with bench.serve(server, entries, [model]) as running:
        fresh = _megabytes(running)
        _use(running, model, workers)
        used = _megabytes(running)
    return Weighing(HELD[held], preload, workers, fresh[0], used[0], fresh[1], used[1])


def _megabytes(running: RunningServer) -> tuple[float, float]:
    """Return what all processes take, and what a worker shares with no other: the workers' mean."""
    _, *workers = running.process.memory()
    private = mean(worker["Private_Clean"] + worker["Private_Dirty"] for worker in workers)
    return running.process.memory_bytes() / 1e6, private / 1e6


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
        headers = {"Content-Type": "application/json"}
        connection.request("POST", running.path(model), body, headers)
        process: int = json.loads(connection.getresponse().read())["process"]
        return process
    finally:
        connection.close()

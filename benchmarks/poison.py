"""What a model on threads notices of one in a process of its own that dies 200 times: a script.

    python -m benchmarks.poison [--requests 200]

It prints a line for each way to die, with the ratio of the neighbour's p99 to the one that it has
alone, under each server.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.kit.load import Ask, Load
from benchmarks.kit.processes import ServerProcess, free_port

REPOSITORY = Path(__file__).parents[1]
WAYS = ("abort", "exit", "eat memory", "never return", "close all descriptors")
TIMEOUT_SECONDS = 0.5
CONFIGURATION = {
    "models": [
        {"class_path": "examples.iris.IrisModel"},
        {
            "class_path": "benchmarks.poison_models.PoisonedModel",
            "timeout_seconds": TIMEOUT_SECONDS,
            "execution": {"kind": "process", "memory_limit_mb": 300},
        },
    ]
}
COMMANDS = {
    "serve": ("manage.py", "serve", "--host", "127.0.0.1", "--port", "{port}"),
    "gunicorn": (
        *("-m", "gunicorn", "modelhost.wsgi", "--config", "python:modelhost.gunicorn_conf"),
        *("--bind", "127.0.0.1:{port}"),
    ),
}
FLOWER = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
_PER_SECOND = 100
_CLIENTS = 4
_ALONE_SECONDS = 5.0
_POISONED = "/api/models/poisoned/prediction"


@dataclass(frozen=True)
class Poisoned:
    """What was seen of one way to die."""

    way: str
    alone_p99_ms: float
    beside_p99_ms: float
    lost: int
    """Requests of the neighbour that were not answered rightly."""
    statuses: Counter[int]
    """Of the poisoned requests; 0 stands for no answer."""
    seconds_until_well: float
    """After the last of them."""

    @property
    def ratio(self) -> float:
        """By how much the neighbour's p99 grew."""
        return self.beside_p99_ms / self.alone_p99_ms

    def __str__(self) -> str:
        statuses = ", ".join(f"{count} x {status}" for status, count in self.statuses.items())
        return (
            f"{self.way}: p99 {self.alone_p99_ms:.1f} -> {self.beside_p99_ms:.1f} ms, ratio "
            f"{self.ratio:.2f}; lost {self.lost}; {statuses}; well after "
            f"{self.seconds_until_well:.2f} s"
        )


def measure(port: int, way: str, requests: int, alone_seconds: float = _ALONE_SECONDS) -> Poisoned:
    """Ask for the neighbour alone, and then beside so many requests that are poisoned."""
    alone, beside = _neighbour(port), _neighbour(port)
    with alone:
        time.sleep(alone_seconds)
    ask = Ask("POST", _POISONED, json.dumps({"way": way}).encode())
    with beside, Load(port, [ask], _CLIENTS, requests=requests) as poisoned:
        poisoned.join(300)
        ended = time.monotonic()
        while not is_well(port):
            time.sleep(0.02)
        seconds = time.monotonic() - ended
    lost = len(alone.failures()) + len(beside.failures())
    p99s = [1e3 * load.percentile(99) for load in (alone, beside)]
    return Poisoned(way, p99s[0], p99s[1], lost, poisoned.statuses(), seconds)


def _neighbour(port: int) -> Load:
    ask = Ask("POST", "/api/models/iris/prediction", json.dumps(FLOWER).encode())
    return Load(port, [ask], 8, _PER_SECOND)


def is_well(port: int) -> bool:
    """Return whether the poisoned model predicts."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", _POISONED, b"{}", {"Content-Type": "application/json"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def serving(name: str, folder: Path) -> Iterator[tuple[int, ServerProcess]]:
    """Run one of the servers with two workers, and say on which port."""
    path, port = folder / "rest_config.yaml", free_port()
    path.write_text(json.dumps(CONFIGURATION), encoding="utf-8")  # JSON is YAML too
    command = [sys.executable, *(part.format(port=port) for part in COMMANDS[name])]
    environment = {**os.environ, "REST_CONFIG": str(path), "MODELHOST_WORKERS": "2"}
    server = ServerProcess(command, folder / "log", folder=REPOSITORY, environment=environment)
    server.start()
    try:
        server.wait_until(lambda: is_well(port) or None, "well", 120)
        yield port, server
    finally:
        server.stop()


def main() -> None:
    """Measure all ways under each server, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=200, help="poisoned ones (default: 200)")
    options = parser.parse_args()
    for name in COMMANDS:
        with tempfile.TemporaryDirectory() as folder, serving(name, Path(folder)) as (port, _):
            for way in WAYS:
                print(f"{name}, {measure(port, way, options.requests)}", flush=True)


if __name__ == "__main__":
    main()

"""How much of a card one process of a model uses: python -m benchmarks.accelerator.

The encoder is served by one process for all workers, and beside it by LitServe. Without CUDA a
model that sleeps as long as a card computes stands in for it. It takes less than five minutes, and
runs in the environment of the Python that it is started with, which needs torch for a card.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks import wrk
from benchmarks.encoder import SECONDS_OF_STAND_IN, has_cuda
from benchmarks.encoder_model import body
from benchmarks.environments import ENVIRONMENTS
from benchmarks.kit.processes import ServerFailed
from benchmarks.running import RunningServer, configured
from benchmarks.servers import LITSERVE, REPOSITORY, SERVE, Server
from benchmarks.texts import LARGEST_BATCH

_LOGS = REPOSITORY / "build" / "benchmarks" / "accelerator"
_TURNS = 3
_CONNECTIONS_PER_WORKER = 64
_PROCESSORS = 16
"""Of the machine whose figures are wanted; smaller ones have fewer workers, and less to do."""
_WANTED_OF_STAND_IN = 8000
_ENTRY = {
    "class_path": "benchmarks.encoder_model.EncoderModel",
    "batching": {"max_batch_size": LARGEST_BATCH},
    "execution": {"kind": "process"},
}
# A worker gets more than its share of the connections at times, and a thread has one at a time.
_MODELHOST = replace(SERVE, command=(*SERVE.command[:-1], "256"), body=body)
_LITSERVE = replace(
    LITSERVE,
    command=(
        "python",
        "-m",
        "benchmarks.services.litserve_encoder",
        "{port}",
        "{copies}",
        "{apis}",
    ),
    body=body,
)
_LITSERVE_SETTINGS = ((1, 1), (1, 4), (1, 8), (4, 8))
"""Copies of the encoder, and API servers."""


@dataclass(frozen=True)
class Size:
    """How large the load is."""

    workers: int
    seconds: int

    @property
    def connections(self) -> int:
        """At a time."""
        return _CONNECTIONS_PER_WORKER * self.workers

    @classmethod
    def of_machine(cls, seconds: int) -> Size:
        """Return that for eight workers on 16 processors, or for as many as this machine has."""
        return cls(max(1, min(_PROCESSORS, os.cpu_count() or 1) // 2), seconds)


def main() -> int:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator", description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement (default: 5)")
    size = Size.of_machine(parser.parse_args().seconds)
    if not wrk.is_installed():
        print(wrk.MISSING, file=sys.stderr)
        return 2
    is_card = has_cuda()
    if not is_card:
        print(
            "There is no CUDA here, or no torch for it: a model that sleeps"
            f" {1000 * SECONDS_OF_STAND_IN:g} ms a batch stands in for the card."
        )
    alone, of_alone = _rows_per_second_alone(size.seconds)
    own, of_own = _measure(_MODELHOST, Path(sys.prefix), size)
    print(f"{size.workers} workers, {size.connections} connections")
    print(f"the model alone, batches of {LARGEST_BATCH}: {alone:.0f} rows/s")
    print(f"modelhost serve, the model as one process: {own:.0f} rows/s")
    print(f"modelhost / the model alone: {own / alone:.2f}{', at least 0.75' if is_card else ''}")
    if is_card and of_alone:
        print(f"copies of the weights, by the memory of the card: {of_own / of_alone:.1f}")
    if not is_card:
        wanted = _WANTED_OF_STAND_IN * min(1, (os.cpu_count() or 1) / _PROCESSORS)
        print(f"wanted of as many processors: at least {wanted:.0f} rows/s")
    _compare_with_litserve(own, size)
    return 0


def _compare_with_litserve(own: float, size: Size) -> None:
    environment = _litserve_environment()
    if environment is None:
        print("LitServe is left out: no environment has it with what the encoder needs.")
        return
    rates = {}
    for copies, apis in _LITSERVE_SETTINGS:
        settings = {"{copies}": str(copies), "{apis}": str(apis)}
        command = tuple(settings.get(word, word) for word in _LITSERVE.command)
        name = f"{copies} of the model, {apis} API servers"
        with suppress(ServerFailed, wrk.LoadFailed):
            rates[name], _ = _measure(replace(_LITSERVE, command=command), environment, size)
            print(f"LitServe, {name}: {rates[name]:.0f} rows/s")
    if rates:
        print(f"modelhost / LitServe's best: {own / max(rates.values()):.2f}, at least 5")
    else:
        print(f"LitServe did not serve; its logs are in {_LOGS}.")


def _measure(server: Server, environment: Path, size: Size) -> tuple[float, float]:
    """Return right answers in a second, the median of some turns, and the card's memory, in MB."""
    if server.is_own:
        server = configured(server, _LOGS, "encoder", [_ENTRY])
    before = _card_megabytes()
    log = _LOGS / f"{server.name}.log"
    with RunningServer(
        server, environment, log, models=["encoder"], workers=size.workers
    ) as running:
        running.load("encoder", size.connections, 2)
        turns = [
            running.load("encoder", size.connections, size.seconds)[0].per_second
            for _ in range(_TURNS if server.is_own else 1)
        ]
        return median(turns), _card_megabytes() - before


def _rows_per_second_alone(seconds: int) -> tuple[float, float]:
    """Return what the model does in a process that does nothing else, and the card's memory."""
    before, most = _card_megabytes(), 0.0
    command = [sys.executable, "-m", "benchmarks.encoder", str(seconds)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        while True:
            most = max(most, _card_megabytes())
            with suppress(subprocess.TimeoutExpired):
                return float(process.communicate(timeout=0.5)[0]), most - before


def _card_megabytes() -> float:
    """Return the memory of the first card that is in use; 0 where nothing tells it."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        return float(subprocess.check_output(command, text=True).split()[0])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return 0.0


def _litserve_environment() -> Path | None:
    return next(filter(_has_litserve, _environments()), None)


def _environments() -> Iterator[Path]:
    yield Path(sys.prefix)
    yield ENVIRONMENTS / LITSERVE.environment


def _has_litserve(environment: Path) -> bool:
    modules = "litserve, torch" if has_cuda() else "litserve"
    command = [str(environment / "bin" / "python"), "-c", f"import {modules}"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())

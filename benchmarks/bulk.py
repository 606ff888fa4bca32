"""How fast a file of rows is predicted, and with how much memory: `python -m benchmarks.bulk`.

A million rows of CSV, for a small network by ONNX Runtime; alone it uses this environment.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import Bench
from benchmarks.kit.processes import memory_of, process_tree
from benchmarks.results import Comparison
from benchmarks.servers import REPOSITORY, SERVE

ROWS = 1_000_000
WANTED = 100_000
"""Rows a second, on two processors."""
_LOOK_SECONDS = 0.25
_HEADER = "sepal_length,sepal_width,petal_length,petal_width\n"
_CONFIGURATION = "models: [{class_path: benchmarks.bulk_models.OnnxFlowers}]\n"


class Figures(NamedTuple):
    """What was measured of one job, its start included."""

    seconds: float
    processor_seconds: float
    megabytes: float
    """Of all its processes at the worst moment, memory that they share counted once."""

    def __str__(self) -> str:
        rate = ROWS / self.seconds
        used = f"{self.seconds:.1f} s, {self.processor_seconds:.1f} s of processors"
        return f"{rate:,.0f} rows/s, {used}, {self.megabytes:.0f} MB"


def run(bench: Bench) -> None:
    """Add the figures of one job to the results."""
    python = bench.environments[SERVE.environment] / "bin" / "python"
    figures = measure(str(python), bench.plan.workers)
    name = f"rows/s of modelhost predict / {WANTED:,}"
    ratio = ROWS / figures.seconds / WANTED
    bench.results.comparisons.append(Comparison(name, ratio, "at least 1", str(figures)))
    bench.say(f"bulk: {figures}")


def measure(python: str, processes: int) -> Figures:
    """Have the rows predicted by a command of its own."""
    with tempfile.TemporaryDirectory(prefix="modelhost-bulk-") as folder:
        write_rows(Path(folder) / "rows.csv")
        (Path(folder) / "rest_config.yaml").write_text(_CONFIGURATION, encoding="utf-8")
        program = [python, str(REPOSITORY / "manage.py"), "predict", "onnx_flowers"]
        files = ["--input", "rows.csv", "--output", "out.jsonl"]
        return _watch([*program, *files, "--processes", str(processes)], folder)


def write_rows(path: Path) -> None:
    """Write a file of random rows, always the same."""
    chance = random.Random(1)  # noqa: S311
    with path.open("w", encoding="utf-8") as file:
        file.write(_HEADER)
        for _ in range(ROWS):
            file.write(",".join([f"{chance.uniform(0.1, 8):.3f}" for _ in range(4)]) + "\n")


def _watch(command: list[str], folder: str) -> Figures:
    variables = {"REST_CONFIG": "rest_config.yaml", "PYTHONPATH": str(REPOSITORY)}
    began, used, peak = time.monotonic(), _processor_seconds(), 0
    with subprocess.Popen(command, cwd=folder, env={**os.environ, **variables}) as process:
        while process.poll() is None:
            peak = max(peak, sum(memory_of(pid)["Pss"] for pid in process_tree(process.pid)))
            time.sleep(_LOOK_SECONDS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Figures(time.monotonic() - began, _processor_seconds() - used, peak / 1e6)


def _processor_seconds() -> float:
    """Return what processes have used that this one has started, once they have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    print(measure(sys.executable, int(sys.argv[1]) if len(sys.argv) > 1 else 2))

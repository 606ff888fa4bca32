"""What models count with prometheus_client is shared, whenever that was imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.server import REPOSITORY

# Each runs in a process of its own: prometheus_client knows one way to count in each.
BEGINNING = """\
import os, sys, time
from pathlib import Path
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client.multiprocess import MultiProcessCollector

EARLY = Counter("early", "Something.")
LABELLED = Counter("labelled", "Something.", ["colour"])
RED = LABELLED.labels("red")
SIZE = Histogram("size", "Size.", ["unit"], buckets=[1, 10])
WEIGHT = Summary("weight", "Weight.")
LEVEL = Gauge("level", "Level.", multiprocess_mode="mostrecent")
UNUSED = Gauge("unused", "Nothing.", multiprocess_mode="max")
EARLY.inc(2)
RED.inc()
SIZE.labels("kg").observe(5)
WEIGHT.observe(3)
LEVEL.set(0.5)

from models_api.observability.prometheus_sharing import share_among_workers

os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
"""
REST = """
share_among_workers()
share_among_workers()
LATE = Counter("late", "Something.")


def count():
    for counter in (EARLY, RED, LATE, LABELLED.labels("blue")):
        counter.inc()
    SIZE.labels("kg").observe(0.5)
    WEIGHT.observe(4)


count()
for _ in range(2):
    if os.fork() == 0:
        count()
        LEVEL.set(0.75)
        os._exit(0)
    os.wait()
for family in MultiProcessCollector(None).collect():
    for sample in family.samples:
        print(sample.name, *sorted(sample.labels.values()), sample.value)
"""


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if "PROMETHEUS" not in name},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_metrics_made_before_are_shared_with_what_they_had_counted(tmp_path: Path) -> None:
    done = run(BEGINNING + REST, tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) == {
        "early_total 5.0",
        "labelled_total red 4.0",
        "labelled_total blue 3.0",
        "late_total 3.0",
        "size_sum kg 6.5",
        "size_bucket 1.0 kg 3.0",
        "size_bucket 10.0 kg 4.0",
        "size_bucket +Inf kg 4.0",
        "size_count kg 4.0",
        "weight_count 4.0",
        "weight_sum 15.0",
        "level 0.75",
        "unused 0.0",
    }


def test_those_made_after_the_variable_was_set_are_shared_as_ever(tmp_path: Path) -> None:
    program = (
        f"import os, sys\nos.environ['PROMETHEUS_MULTIPROC_DIR'] = sys.argv[1]\n{BEGINNING}{REST}"
    )
    done = run(program, tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"early_total 5.0", "late_total 3.0"} <= set(done.stdout.splitlines())


@pytest.mark.parametrize("value", ["", "{folder}/missing"])
def test_without_a_directory_each_process_counts_for_itself(tmp_path: Path, value: str) -> None:
    end = f"""
os.environ["PROMETHEUS_MULTIPROC_DIR"] = {value.format(folder=tmp_path)!r}
share_among_workers()
EARLY.inc()
print(REGISTRY.get_sample_value("early_total"))
"""
    done = run(BEGINNING + end, tmp_path)
    assert done.stdout == "3.0\n", done.stderr
    said = f"There is no directory {tmp_path}/missing, which PROMETHEUS_MULTIPROC_DIR names\n"
    assert done.stderr == (said if value else "")

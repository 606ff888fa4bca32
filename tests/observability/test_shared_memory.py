"""Metrics that several processes count, each of them real."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models_api.observability.metric_types import HistogramValues, Key
from models_api.observability.shared_memory import SharedMemoryMetrics
from tests.end_to_end.server import REPOSITORY

REQUESTS = Key("requests", ("a", "b"))
PROGRAM = """\
import os, sys
from pathlib import Path
from models_api.observability.shared_memory import SharedMemoryMetrics

shared = SharedMemoryMetrics(lambda: Path(sys.argv[1]))
requests = shared.counter("requests", ("a", "b"))
requests.inc(float(sys.argv[2]))
print("written", flush=True)
"""


@contextmanager
def process(folder: Path, number: float, more: str = "") -> Iterator[subprocess.Popen[str]]:
    """Another process that has added the number, and waits for its end."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM + more + "sys.stdin.read()", str(folder), str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "written\n"
        try:
            yield started
        finally:
            started.kill()


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[SharedMemoryMetrics]:
    values = SharedMemoryMetrics(lambda: tmp_path)
    yield values
    values.close()


def add(shared: SharedMemoryMetrics, number: float) -> None:
    shared.counter(*REQUESTS).inc(number)


def test_what_processes_write_is_added_up(tmp_path: Path, shared: SharedMemoryMetrics) -> None:
    add(shared, 1)
    with process(tmp_path, 20), process(tmp_path, 300):
        totals = shared.read()
    assert totals.sums == {REQUESTS: [321]}
    assert sorted(records[REQUESTS][0] for records in totals.live) == [1, 20, 300]
    assert totals.exited == 0


def test_a_process_can_read_without_having_written(
    tmp_path: Path, shared: SharedMemoryMetrics
) -> None:
    with process(tmp_path, 20):
        assert shared.read().sums == {REQUESTS: [20]}


def test_what_a_killed_process_wrote_stays_and_its_file_goes(
    tmp_path: Path, shared: SharedMemoryMetrics
) -> None:
    for _ in range(3):
        with process(tmp_path, 20) as other:
            other.send_signal(signal.SIGKILL)
            other.wait()
            totals = shared.read()
    assert totals.sums == {REQUESTS: [60]}
    assert totals.exited == 3
    assert [records for records in totals.live if records] == []
    assert len(list(tmp_path.glob("*.values"))) == len(list(tmp_path.glob("*.keys"))) == 1
    assert shared.read() == totals


def test_a_reader_that_was_killed_while_it_cleared_up_counts_nothing_twice(
    tmp_path: Path, shared: SharedMemoryMetrics
) -> None:
    with process(tmp_path, 20):
        (path,) = tmp_path.glob("*.values")
    copies = [(each, each.read_bytes()) for each in (path, path.with_suffix(".keys"))]
    assert shared.read().sums == {REQUESTS: [20]}
    for each, content in copies:
        each.write_bytes(content)
    assert shared.read().sums == {REQUESTS: [20]}
    assert not path.exists()


def test_another_reader_knows_of_exited_workers(
    tmp_path: Path, shared: SharedMemoryMetrics
) -> None:
    with process(tmp_path, 20):
        pass
    shared.read()
    other = SharedMemoryMetrics(lambda: tmp_path)
    assert other.read() == shared.read()
    other.close()


def test_a_record_that_is_being_written_is_left_for_later(
    tmp_path: Path, shared: SharedMemoryMetrics
) -> None:
    with process(tmp_path, 20):
        (path,) = tmp_path.glob("*.keys")
        with path.open("ab") as keys:
            keys.write(b'["requests", ["c"')
        assert shared.read().sums == {REQUESTS: [20]}


def test_there_is_room_for_any_number_of_records(
    tmp_path: Path, shared: SharedMemoryMetrics
) -> None:
    for number in range(5000):
        shared.histogram("many", (str(number),), (1.0, 2.0, 3.0), 5).observe(number)
    other = SharedMemoryMetrics(lambda: tmp_path)
    totals = other.read().of_kind("many")
    assert [totals[str(number),][4] for number in range(5000)] == list(range(5000))
    other.close()


def test_a_metric_of_the_same_kind_and_labels_is_made_once(shared: SharedMemoryMetrics) -> None:
    assert shared.counter(*REQUESTS) is shared.counter(*REQUESTS)
    assert shared.counter(*REQUESTS) is not shared.counter("requests", ("a", "c"))


def test_threads_that_write_at_the_same_time_lose_nothing(shared: SharedMemoryMetrics) -> None:
    counter, histogram = shared.counter(*REQUESTS), shared.histogram("sizes", (), (1.0, 2.0), 1)
    together, rounds = threading.Barrier(4), 5000

    def write() -> None:
        together.wait(60)
        for _ in range(rounds):
            counter.inc()
            histogram.observe(1.5, 2)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    number = 4 * rounds
    assert shared.read().sums == {
        REQUESTS: [number],
        Key("sizes", ()): [0, number, 0, 1.5 * number, 2 * number],
    }


def test_what_threads_write_together_is_added_up_by_other_processes_too(
    tmp_path: Path, shared: SharedMemoryMetrics
) -> None:
    more = """\
import threading
from models_api.observability.metric_types import Counter
together = threading.Barrier(2)

class Values:
    def __len__(self): return len(values)
    def __getitem__(self, index): return values[index]
    def __setitem__(self, index, value):
        together.wait(60)
        values[index] = value

values, shared.values = shared.values, Values()
threads = [threading.Thread(target=requests.inc) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("written", flush=True)
"""
    with process(tmp_path, 20, more) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "written\n"
        assert shared.read().sums == {REQUESTS: [22]}
        other.kill()
        other.wait()
        assert shared.read().sums == {REQUESTS: [22]}


def test_a_gauge_is_set_or_counted_up_and_down(shared: SharedMemoryMetrics) -> None:
    shared.gauge("state").set(3)
    shared.gauge("state").set(2)
    shared.gauge("depth").inc()
    shared.gauge("depth").inc(5)
    shared.gauge("depth").inc(-2)
    totals = shared.read()
    assert totals.of_kind("state") == {(): [2]}
    assert totals.of_kind("depth") == {(): [4]}
    assert totals.live_of_kind("depth") == {(): [[4]]}


def test_a_histogram_tells_buckets_sum_and_what_was_added_up_beside(
    shared: SharedMemoryMetrics,
) -> None:
    histogram = shared.histogram("sizes", ("a",), (1.0, 2.5), 2)
    for value in (0.5, 1.0, 2.0, 7.0):
        histogram.observe(value, 10, 1)
    histogram.add(1, 100)
    values = HistogramValues.read((1.0, 2.5), shared.read().of_kind("sizes")["a",])
    assert values.buckets() == [("1.0", 2), ("2.5", 3), ("+Inf", 4)]
    assert (values.count, values.sum, values.more) == (4, 10.5, [40, 104])


def test_a_forked_child_counts_for_itself_and_does_not_keep_its_parent_alive(
    tmp_path: Path, shared: SharedMemoryMetrics
) -> None:
    fork = """\
if os.fork() == 0:
    requests.inc(5)
    print("written", flush=True)
"""
    with process(tmp_path, 20, fork) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "written\n"
        assert shared.read().sums == {REQUESTS: [25]}
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        totals = shared.read()
        assert totals.sums == {REQUESTS: [25]}
        assert totals.exited == 1


def test_a_forked_child_that_writes_nothing_has_no_file(tmp_path: Path) -> None:
    with process(tmp_path, 20, "os.fork() or print('written', flush=True)\n") as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "written\n"
        assert len(list(tmp_path.glob("*.values"))) == 1


def test_each_process_says_once_that_it_begins_to_write(tmp_path: Path) -> None:
    shared = SharedMemoryMetrics(lambda: tmp_path)
    opened = []
    shared.call_on_open(lambda: opened.append(shared.gauge("state")))
    add(shared, 1)
    add(shared, 1)
    assert shared.read().sums == {Key("state", ()): [0], REQUESTS: [2]}
    assert len(opened) == 1
    shared.close()


def test_without_a_directory_a_process_counts_for_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared = SharedMemoryMetrics(lambda: tmp_path / "nothing" / "here")
    for _ in range(3):
        add(shared, 1)
    assert shared.read().sums == {REQUESTS: [3]}
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["What this process counts is its own: no file for it"]
    shared.close()


def test_a_directory_that_vanishes_takes_only_what_others_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    shared = SharedMemoryMetrics(lambda: folder)
    add(shared, 1)
    shutil.rmtree(folder)
    add(shared, 1)
    assert shared.read().sums == {REQUESTS: [2]}
    assert [record.getMessage() for record in caplog.records] == [
        "Only what this process counts can be read"
    ]
    shared.close()

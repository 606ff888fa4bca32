"""Values that several processes write, each of them real."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models_api.observability.shared_memory import Key, SharedValues
from tests.end_to_end.server import REPOSITORY

REQUESTS = Key("requests", ("a", "b"))
PROGRAM = """\
import os, sys
from pathlib import Path
from models_api.observability.shared_memory import SharedValues

shared = SharedValues(lambda: Path(sys.argv[1]))
first = shared.place("requests", ("a", "b"), 2)
shared.values[first + 1] += float(sys.argv[2])
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
def shared(tmp_path: Path) -> Iterator[SharedValues]:
    values = SharedValues(lambda: tmp_path)
    yield values
    values.close()


def add(shared: SharedValues, number: float) -> None:
    first = shared.place(*REQUESTS, 2)
    with shared.lock:
        shared.values[first + 1] += number


def test_what_processes_write_is_added_up(tmp_path: Path, shared: SharedValues) -> None:
    add(shared, 1)
    with process(tmp_path, 20), process(tmp_path, 300):
        totals = shared.read()
    assert totals.sums == {REQUESTS: [0, 321]}
    assert sorted(records[REQUESTS][1] for records in totals.live) == [1, 20, 300]
    assert totals.departed == 0


def test_a_process_can_read_without_having_written(tmp_path: Path, shared: SharedValues) -> None:
    with process(tmp_path, 20):
        assert shared.read().sums == {REQUESTS: [0, 20]}


def test_what_a_killed_process_wrote_stays_and_its_file_goes(
    tmp_path: Path, shared: SharedValues
) -> None:
    for _ in range(3):
        with process(tmp_path, 20) as other:
            other.send_signal(signal.SIGKILL)
            other.wait()
            totals = shared.read()
    assert totals.sums == {REQUESTS: [0, 60]}
    assert totals.departed == 3
    assert [records for records in totals.live if records] == []
    assert len(list(tmp_path.glob("*.values"))) == len(list(tmp_path.glob("*.keys"))) == 1
    assert shared.read() == totals


def test_a_reader_that_was_killed_while_it_cleared_up_counts_nothing_twice(
    tmp_path: Path, shared: SharedValues
) -> None:
    with process(tmp_path, 20):
        (path,) = tmp_path.glob("*.values")
    copies = [(each, each.read_bytes()) for each in (path, path.with_suffix(".keys"))]
    assert shared.read().sums == {REQUESTS: [0, 20]}
    for each, content in copies:
        each.write_bytes(content)
    assert shared.read().sums == {REQUESTS: [0, 20]}
    assert not path.exists()


def test_another_reader_knows_of_the_departed(tmp_path: Path, shared: SharedValues) -> None:
    with process(tmp_path, 20):
        pass
    shared.read()
    other = SharedValues(lambda: tmp_path)
    assert other.read() == shared.read()
    other.close()


def test_a_record_that_is_being_written_is_left_for_later(
    tmp_path: Path, shared: SharedValues
) -> None:
    with process(tmp_path, 20):
        (path,) = tmp_path.glob("*.keys")
        with path.open("ab") as keys:
            keys.write(b'["requests", ["c"')
        assert shared.read().sums == {REQUESTS: [0, 20]}


def test_there_is_room_for_any_number_of_records(tmp_path: Path, shared: SharedValues) -> None:
    places = [shared.place("many", (str(number),), 10) for number in range(5000)]
    for number, place in enumerate(places):
        shared.values[place] = number
    other = SharedValues(lambda: tmp_path)
    totals = other.read()
    assert [totals.sums[Key("many", (str(number),))][0] for number in range(5000)] == list(
        range(5000)
    )
    other.close()


def test_threads_that_write_at_the_same_time_have_places_of_their_own(
    shared: SharedValues,
) -> None:
    places = shared.places(*REQUESTS, 2)
    assert shared.places(*REQUESTS, 2) is places
    together, rounds = threading.Barrier(4), 2000
    taken: set[int] = set()

    def write() -> None:
        together.wait(60)
        for _ in range(rounds):
            first = places.take()
            taken.add(first)
            before = shared.values[first]
            os.sched_yield()  # lets another thread have the interpreter
            shared.values[first] = before + 1
            places.give_back(first)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared.read().sums == {REQUESTS: [4 * rounds, 0]}
    assert 1 <= len(taken) <= 4


def test_records_in_several_places_are_added_up_by_other_processes_too(
    tmp_path: Path, shared: SharedValues
) -> None:
    more = """\
places = shared.places("requests", ("a", "b"), 2)
for number in (places.take(), places.take()):
    shared.values[number] += 1
print("written", flush=True)
"""
    with process(tmp_path, 20, more) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "written\n"
        assert shared.read().sums == {REQUESTS: [2, 20]}
        other.kill()
        other.wait()
        assert shared.read().sums == {REQUESTS: [2, 20]}


def test_a_forked_child_counts_for_itself_and_does_not_keep_its_parent_alive(
    tmp_path: Path, shared: SharedValues
) -> None:
    fork = """\
if os.fork() == 0:
    shared.values[first + 1] += 5
    print("written", flush=True)
"""
    with process(tmp_path, 20, fork) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "written\n"
        assert shared.read().sums == {REQUESTS: [0, 25]}
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        totals = shared.read()
        assert totals.sums == {REQUESTS: [0, 25]}
        assert totals.departed == 1


def test_a_forked_child_that_writes_nothing_has_no_file(tmp_path: Path) -> None:
    with process(tmp_path, 20, "os.fork() or print('written', flush=True)\n") as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "written\n"
        assert len(list(tmp_path.glob("*.values"))) == 1


def test_each_process_says_once_that_it_begins_to_write(tmp_path: Path) -> None:
    shared = SharedValues(lambda: tmp_path)
    opened = []
    shared.on_open = lambda: opened.append(shared.place("state", (), 1))
    add(shared, 1)
    add(shared, 1)
    assert shared.read().sums == {Key("state", ()): [0], REQUESTS: [0, 2]}
    assert opened == [0]
    shared.close()


def test_without_a_directory_a_process_counts_for_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared = SharedValues(lambda: tmp_path / "nothing" / "here")
    for _ in range(3):
        add(shared, 1)
    assert shared.read().sums == {REQUESTS: [0, 3]}
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["What this process counts is its own: no file for it"]
    shared.close()


def test_a_directory_that_vanishes_takes_only_what_others_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    shared = SharedValues(lambda: folder)
    add(shared, 1)
    shutil.rmtree(folder)
    add(shared, 1)
    assert shared.read().sums == {REQUESTS: [0, 2]}
    assert [record.getMessage() for record in caplog.records] == [
        "Only what this process counts can be read"
    ]
    shared.close()

"""The handler of the service's log, on streams of all kinds."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models_api.observability import log_handler as module
from models_api.observability.log_handler import BatchingStreamHandler

HELD = "models_api.access"


def record(message: str, logger: str = "any") -> logging.LogRecord:
    return logging.makeLogRecord({"msg": message, "name": logger})


def held(message: str) -> logging.LogRecord:
    return record(message, HELD)


class Stream(io.StringIO):
    """Keeps what is written, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        """Keep the piece."""
        self.pieces.append(text)
        return len(text)


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def handler(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchingStreamHandler]:
    """One whose lines wait for longer than a test."""
    monkeypatch.setattr(module, "_HELD_SECONDS", 1000.0)
    handler = BatchingStreamHandler(stream, HELD)
    yield handler
    if handler._timer is not None:
        handler._timer.cancel()


def test_a_record_is_written_at_once(handler: BatchingStreamHandler, stream: Stream) -> None:
    handler.handle(record("a"))
    assert stream.pieces == ["a\n"]


def test_lines_of_the_held_logger_wait_for_those_of_others_and_come_before_them(
    handler: BatchingStreamHandler, stream: Stream
) -> None:
    for each in (held("a"), held("b"), record("c"), held("d")):
        handler.handle(each)
    assert stream.pieces == ["a\nb\nc\n"]
    handler.flush()
    assert stream.pieces == ["a\nb\nc\n", "d\n"]


def test_lines_that_nothing_follows_are_written_soon(stream: Stream) -> None:
    handler = BatchingStreamHandler(stream, HELD)
    for turn in ("first", "second"):
        handler.handle(held(turn))
        deadline = time.monotonic() + 10
        while f"{turn}\n" not in stream.pieces:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert stream.pieces == ["first\n", "second\n"]


def test_lines_are_written_soon_after_a_thread_that_took_long_to_start_the_timer(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    class HeldUp(threading.Timer):
        def start(self) -> None:
            super().start()
            time.sleep(2 * self.interval)  # as on a busy machine: the timer runs out meanwhile

    with monkeypatch.context() as patches:
        patches.setattr(threading, "Timer", HeldUp)
        handler = BatchingStreamHandler(stream, HELD)
        handler.handle(held("first"))
    handler.handle(held("second"))
    deadline = time.monotonic() + 10
    while "".join(stream.pieces) != "first\nsecond\n":
        assert time.monotonic() < deadline, stream.pieces
        time.sleep(0.01)


def test_many_lines_are_written_in_pieces_that_pipes_take_whole(
    handler: BatchingStreamHandler, stream: Stream
) -> None:
    lines = ["x" * 99, "\xf6" * 150, "y" * 5000] * 40
    for line in lines:
        handler.handle(held(line))
    handler.flush()
    assert "".join(stream.pieces).splitlines() == lines
    assert all(piece.endswith("\n") for piece in stream.pieces)
    sizes = [len(piece.encode()) for piece in stream.pieces]
    assert sorted(set(sizes))[-2] <= 4096 < max(sizes) == 5001


def test_lines_of_many_threads_are_all_written_and_each_once(
    handler: BatchingStreamHandler, stream: Stream
) -> None:
    names = [[f"{thread}.{number}" for number in range(500)] for thread in range(8)]

    def log(words: list[str]) -> None:
        for word in words:
            handler.handle(held(word))

    threads = [threading.Thread(target=log, args=(some,)) for some in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handler.flush()
    written = "".join(stream.pieces).splitlines()
    assert sorted(written) == sorted(word for some in names for word in some)
    assert [line for line in written if line.startswith("3.")] == names[3]


def test_without_room_for_a_thread_each_line_is_written_at_once(
    handler: BatchingStreamHandler, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    for name in "ab":
        handler.handle(held(name))
    assert stream.pieces == ["a\n", "b\n"]


def test_a_stream_that_fails_once_costs_no_later_line(
    handler: BatchingStreamHandler, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(stream, "write", lambda _text: 1 / 0)
        handler.handle(record("a"))
    handler.handle(record("b"))
    assert stream.pieces == ["b\n"]


def test_a_stream_that_is_closed_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: Any = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    handler = BatchingStreamHandler(held_logger=HELD)
    handler.handle(held("a"))
    handler.handle(record("b"))


PROGRAM = """
import logging, os, sys, time
from models_api.observability.log_handler import BatchingStreamHandler
handler = BatchingStreamHandler(held_logger="held")

def write(line, name="held"):
    handler.handle(logging.makeLogRecord({"msg": line, "name": name}))
"""


def lines_of(code: str) -> list[str]:
    """Return what the program writes to its log."""
    # Newer Pythons warn of forks where there are threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM + code]
    done = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
    return done.stderr.splitlines()


def test_what_waits_is_written_at_the_end_of_the_process_and_what_comes_then_too() -> None:
    code = """
import atexit
atexit.register(lambda: [write(word) for word in ("late", "later")])
for word in ("a", "b"):
    write(word)
"""
    assert lines_of(code) == ["a", "b", "late", "later"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_writes_its_own_lines_only() -> None:
    code = """
write("parent")
if os.fork() == 0:
    write("child")
    handler.flush()
    os._exit(0)
os.wait()
"""
    assert sorted(lines_of(code)) == ["child", "parent"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is full")
def test_a_disk_that_is_full_raises_nothing() -> None:
    code = """
for _ in range(100):
    write("x" * 99)
    write("y", "other")
print("done")
"""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        command = [sys.executable, "-c", PROGRAM + code]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=full)
    assert done.stdout == b"done\n"


def test_lines_of_processes_that_share_a_pipe_do_not_mix() -> None:
    code = """
for number in range(500):
    lines = [f"<{sys.argv[1]} {number} {part} {'x' * 300}>" for part in range(10)]
    for line in lines:
        write(line)
handler.flush()
"""
    read_end, write_end = os.pipe()
    writers = [
        subprocess.Popen([sys.executable, "-c", PROGRAM + code, name], stderr=write_end)
        for name in ("one", "two")
    ]
    os.close(write_end)
    time.sleep(1)  # for both to have more to write than the pipe takes
    with os.fdopen(read_end, encoding="utf-8") as pipe:
        written = pipe.read().splitlines()
    assert [writer.wait() for writer in writers] == [0, 0]
    pattern = re.compile("<(one|two) [0-9]+ [0-9] x{300}>")
    assert [line for line in written if not pattern.fullmatch(line)] == []
    assert len(set(written)) == len(written) == 10000

"""The handler of the service's log, on streams of all kinds."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from models_api.observability.log_handler import BatchingStreamHandler


def record(message: str) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": message})


class Stream(io.StringIO):
    """Keeps what is written, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        """Keep the piece."""
        self.pieces.append(text)
        return len(text)


def test_a_record_is_written_at_once() -> None:
    stream = Stream()
    BatchingStreamHandler(stream).handle(record("a"))
    assert stream.pieces == ["a\n"]


def test_many_lines_are_written_in_pieces_that_pipes_take_whole() -> None:
    stream, lines = Stream(), ["x" * 99, "\xf6" * 150, "y" * 5000] * 40
    BatchingStreamHandler(stream).write_lines(lines)
    assert "".join(stream.pieces).splitlines() == lines
    assert all(piece.endswith("\n") for piece in stream.pieces)
    sizes = [len(piece.encode()) for piece in stream.pieces]
    assert sorted(set(sizes))[-2] <= 4096 < max(sizes) == 5001


def test_a_piece_that_cannot_be_written_keeps_none_of_the_others_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    written, long = io.BytesIO(), "x" * 5000
    handler = BatchingStreamHandler(io.TextIOWrapper(written, encoding="ascii"))
    handler.write_lines(["before", long, "w\xf6rld" * 800, "after"])
    assert written.getvalue().decode().split() == ["before", long, "after"]
    assert "UnicodeEncodeError" in capsys.readouterr().err


def test_a_stream_that_is_closed_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: Any = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    handler = BatchingStreamHandler()
    handler.handle(record("a"))
    handler.write_lines(["b"])


PROGRAM = """
import logging, sys
from models_api.observability.log_handler import BatchingStreamHandler
handler = BatchingStreamHandler()
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is full")
def test_a_disk_that_is_full_raises_nothing() -> None:
    code = """
for _ in range(100):
    handler.write_lines(["x" * 99])
    handler.handle(logging.makeLogRecord({"msg": "y"}))
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
    handler.write_lines(lines)
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

"""What is printed, where standard output is no terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


def start(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_line_shows_while_its_process_goes_on() -> None:
    with start(
        "from modelhost.server.output import show_lines_at_once\n"
        "show_lines_at_once()\n"
        "print('shown')\n"
        "input()\n"
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "shown\n"
        process.communicate("\n", timeout=30)


@pytest.mark.parametrize(
    "lost", ["sys.stdout = None", "sys.stdout.close()", "sys.stdout = io.StringIO()"]
)
def test_a_stream_that_is_not_there_is_left_alone(lost: str) -> None:
    with start(
        "import io, os, sys\n"
        "from models_api.fork import flush_output\n"
        "from modelhost.server.output import show_lines_at_once\n"
        f"{lost}\n"
        "show_lines_at_once()\n"
        "flush_output()\n"
        "sys.stdout = None\n"
    ) as process:
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")

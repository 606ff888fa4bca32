"""How a worker ends whose native libraries would keep it from ending."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]

# The C library calls `abort` at the end of the process, after all that Python does there.
PROGRAM = """
import atexit, ctypes, sys, threading
from modelhost.server.ends import end_without_native_handlers

libc = ctypes.CDLL(None)
libc.__cxa_atexit(ctypes.cast(libc.abort, ctypes.c_void_p), None, None)
atexit.register(print, "called last")
atexit.register(lambda: 1 / 0)
atexit.register(print, "called first")
libc.printf(b"printed by native code\\n")

def work():
    threading.main_thread().join()
    print("waited for")

threading.Thread(target=work).start()
try:
    raise {error}
finally:
    end_without_native_handlers()
"""
DONE = {"waited for", "called first", "called last", "printed by native code"}


def run(error: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(error=error)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("SystemExit", 0),
        ("SystemExit(0)", 0),
        ("SystemExit(3)", 3),
        ("SystemExit(-1)", 255),
    ],
)
def test_a_process_ends_with_its_status_after_pythons_handlers(error: str, status: int) -> None:
    done = run(error)
    assert done.returncode == status, done.stderr
    lines = done.stdout.splitlines()
    assert sorted(lines) == sorted(DONE)
    assert lines.index("called first") < lines.index("called last")
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.long
def test_an_error_is_left_to_python() -> None:
    done = run("RuntimeError('nobody expects it')")
    assert done.returncode == -signal.SIGABRT
    assert "RuntimeError: nobody expects it" in done.stderr

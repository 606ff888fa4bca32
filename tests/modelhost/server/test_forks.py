"""What a process that a model starts does on a signal, where a server has handlers of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]

# The parent handles each signal, and wakes a loop for it, as gunicorn does; the child waits.
PROGRAM = """
import os, signal, sys, time
from modelhost.server.forks import reset_signals_in_children

reset_signals_in_children()
number = signal.Signals[sys.argv[1]]
signal.signal(number, lambda *_: print("handled", flush=True))
read, write = os.pipe2(os.O_NONBLOCK)
signal.set_wakeup_fd(write)
mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
os.kill(child, number)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
try:
    print("woken", os.read(read, 1))
except BlockingIOError:
    print("asleep")
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask)
os.kill(os.getpid(), number)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGABRT"])
def test_a_signal_ends_the_child_and_is_handled_by_the_parent(name: str) -> None:
    done = run(PROGRAM, name)
    number = signal.Signals[name]
    assert (done.stdout, done.returncode) == (f"{-number}\nasleep\nTrue\nhandled\n", 0), done.stderr


# Each pool ends a worker of which it may have begun the fork a moment ago.
POOLS = """
import multiprocessing, signal
from modelhost.server.forks import reset_signals_in_children

reset_signals_in_children()
signal.signal(signal.SIGTERM, lambda *_: None)
for _ in range(30):
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        pool.map(abs, range(3), chunksize=1)
print("ended")
"""


@pytest.mark.long
def test_pools_of_processes_end_whatever_the_server_does_on_signals() -> None:
    done = run(POOLS)
    assert done.stdout == "ended\n", done.stderr


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

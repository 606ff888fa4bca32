"""A model that does to its process, and to those around it, the worst that it is told to."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from ml_base import MLModel
from pydantic import BaseModel

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Order(BaseModel):
    what: str = "nothing"


class Report(BaseModel):
    process: int
    said: str = ""


class PoisonModel(MLModel):
    """Does what it is told."""

    display_name = "Poison"
    qualified_name = "poison"
    description = "Does the worst that it is told to."
    version = "1.0.0"
    input_schema = Order
    output_schema = Report

    def predict(self, data: Any) -> Any:
        """Obey."""
        said = DEEDS[data.what]()
        return Report(process=os.getpid(), said=str(said or ""))


def _exit_in_a_thread() -> NoReturn:
    threading.Thread(target=os._exit, args=[3]).start()
    _sleep()


def _eat() -> NoReturn:
    kept: list[bytearray] = []
    while True:
        kept.append(bytearray(os.urandom(1000) * 20_000))
        time.sleep(0.01)


def _eat_fast() -> NoReturn:
    kept: list[bytes] = []
    while len(kept) < 60:  # no more, for the sake of the machine
        kept.append(b"\1" * 100_000_000)
    _sleep()


def _overflow_the_stack() -> None:
    # A function of C that calls itself by Python, which then has no frames of its own to count.
    sys.setrecursionlimit(10**9)
    called: Any = ctypes.CFUNCTYPE(None)(lambda: called())  # noqa: PLW0108 (there is none yet)
    called()


def _stop_itself() -> NoReturn:
    os.kill(os.getpid(), signal.SIGSTOP)
    _sleep()  # any of its threads may be the first that stops


def _kill_the_supervisor() -> NoReturn:
    os.kill(os.getppid(), signal.SIGKILL)
    _sleep()


def _stop_the_supervisor() -> None:
    os.kill(os.getppid(), signal.SIGSTOP)


def _stop_the_supervisor_and_die() -> NoReturn:
    os.kill(os.getppid(), signal.SIGSTOP)
    os.abort()


def _kill_the_group() -> NoReturn:
    os.killpg(0, signal.SIGKILL)
    _sleep()


def _close_all() -> None:
    os.closerange(0, 4096)


def _close_all_and_wait() -> NoReturn:
    os.closerange(0, 4096)
    _sleep()


def _leave_a_child() -> NoReturn:
    if not os.fork():
        _sleep()
    os.abort()


def _leave_a_daemon() -> NoReturn:
    """Leave a process behind that has left its group, and holds what this one has open."""
    if not os.fork():
        os.setsid()
        if not os.fork():
            _sleep()
        os._exit(0)
    time.sleep(0.05)
    os.abort()


def _leave_a_program() -> NoReturn:
    subprocess.Popen(["sleep", "1000"], start_new_session=True, close_fds=False)
    os.abort()


def _shut_out_signals() -> NoReturn:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    libc = ctypes.CDLL(None)
    for number in _SIGNALS:
        libc.signal(int(number), ctypes.c_void_p(1))  # SIG_IGN
    _sleep()


def _print_endlessly() -> NoReturn:
    while True:
        os.write(2, b"poison " * 100 + b"\n")
        time.sleep(0.001)


def _close_the_output() -> NoReturn:
    sys.stdout.close()
    sys.stderr.close()
    os.abort()


def _end_a_helper() -> str:
    """Start a program, and end it as programs are asked to end."""
    with subprocess.Popen(["sleep", "1000"]) as helper:
        helper.terminate()
        return str(helper.wait())


def _end_a_forked_helper() -> str:
    pid = os.fork()
    if not pid:
        _sleep()
    os.kill(pid, signal.SIGTERM)
    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _go_away() -> None:
    os.chdir("/")


def _raise(error: BaseException) -> Callable[[], NoReturn]:
    def raise_it() -> NoReturn:
        raise error

    return raise_it


def _sleep() -> NoReturn:
    time.sleep(1000)
    os._exit(0)


DEADLY: dict[str, Callable[[], object]] = {
    "abort": os.abort,
    "exit": lambda: os._exit(3),
    "exit in a thread": _exit_in_a_thread,
    "eat": _eat,
    "eat fast": _eat_fast,
    "overflow the stack": _overflow_the_stack,
    "hang": _sleep,
    "hang in native code": lambda: ctypes.PyDLL(None).sleep(1000),
    "stop itself": _stop_itself,
    "kill the supervisor": _kill_the_supervisor,
    "stop the supervisor and die": _stop_the_supervisor_and_die,
    "kill the group": _kill_the_group,
    "close all descriptors": _close_all,
    "close all descriptors and wait": _close_all_and_wait,
    "leave a child": _leave_a_child,
    "leave a daemon": _leave_a_daemon,
    "leave a program": _leave_a_program,
    "shut out signals": _shut_out_signals,
    "print endlessly": _print_endlessly,
    "close the output": _close_the_output,
}
"""What a process does not survive."""
DEEDS: dict[str, Callable[[], object]] = {
    **DEADLY,
    "nothing": lambda: None,
    "stop the supervisor": _stop_the_supervisor,
    "go away": _go_away,
    "end a helper": _end_a_helper,
    "end a forked helper": _end_a_forked_helper,
    "exit politely": sys.exit,
    "be interrupted": _raise(KeyboardInterrupt()),
    "end a generator": _raise(GeneratorExit()),
}

"""How workers of gunicorn end: without what native libraries do at the end of a process.

A worker that is forked from the process which has loaded the models has none of the threads that
native libraries have started there. ONNX Runtime, for one, waits for them at its end, or aborts.
The workers of `serve` are processes of multiprocessing, which leave that out by themselves.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from models_api.fork import flush_output

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker


def skip_native_handlers() -> None:
    """Let gunicorn's workers end so, whatever its settings; call it before anything forks."""
    _add_hook()
    if hasattr(os, "register_at_fork"):  # Windows forks nothing
        os.register_at_fork(after_in_child=_add_hook)


def end_without_native_handlers() -> None:
    """Let this process, which a SystemExit is ending, do what Python does at its end, and no more.

    Threads are waited for, and the handlers of `atexit` run.
    """
    error = sys.exc_info()[1]
    if isinstance(error, SystemExit) and isinstance(error.code, int | None):
        atexit.register(_end, (error.code or 0) & 0xFF)


def run_exit_handlers() -> None:
    """Run the handlers of `atexit`, once, and write what native code has printed."""
    atexit._run_exitfuncs()
    ctypes.CDLL(None).fflush(None)


def _end(status: int) -> None:
    atexit.unregister(_end)
    run_exit_handlers()
    flush_output()
    os._exit(status)


def _add_hook() -> None:
    """Add to gunicorn's settings what ends a worker, if this is a process of gunicorn's.

    It tells an application nothing of itself, but whoever handles its signals has the settings.
    """
    settings: Any = getattr(_handler_of_sigterm(), "cfg", None)
    if settings is None or "gunicorn" not in type(settings).__module__:
        return
    given = settings.worker_exit

    def worker_exit(server: Arbiter, worker: Worker) -> None:
        end_without_native_handlers()
        given(server, worker)

    settings.set("worker_exit", worker_exit)


def _handler_of_sigterm() -> object:
    return getattr(signal.getsignal(signal.SIGTERM), "__self__", None)

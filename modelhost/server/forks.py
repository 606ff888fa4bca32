"""Keeps the signal handlers of the server out of the processes that models start.

A child of a fork inherits them, and would go on where it should end: a multiprocessing.Pool waits
for ever for a worker that takes SIGTERM for a hint.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

from models_api.observability.server_directory import server_directory

_thread = threading.local()


def reset_signals_in_children() -> None:
    """Let signals do in each forked child what they do by default; SIGINT ends it, too.

    A server's own workers set their handlers afterwards. Call it once, before anything forks.
    """
    if hasattr(os, "register_at_fork"):  # Windows forks nothing
        os.register_at_fork(
            before=_block_signals, after_in_parent=_unblock_signals, after_in_child=_reset_signals
        )


def end_while_starting() -> None:
    """Let SIGTERM end a worker of granian that has not set its own handler yet.

    Until it has imported the application it has that of its parent, which takes the signal for its
    own, and does nothing in the worker: and then waits for the worker for ever.
    """
    if multiprocessing.parent_process() is not None:
        # By another thread: what the main one does at this moment may hold the locks of the end.
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=_end, daemon=True).start())


def _end() -> None:
    server_directory().leave()
    os._exit(128 + signal.SIGTERM)


def _block_signals() -> None:
    # One that comes before the child has reset its handlers would be lost.
    _thread.mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _thread.mask)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    _unblock_signals()

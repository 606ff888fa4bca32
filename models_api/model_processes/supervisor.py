"""Starts the processes of a model, replaces those that end, and ends with the last worker."""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import select
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from models_api.configuration.sections import ExecutionConfiguration, ModelConfiguration
from models_api.fork import flush_output
from models_api.hosting.class_paths import import_class
from models_api.logs import SafeLogger
from models_api.model_processes.heart import Heart
from models_api.model_processes.process import ModelProcess
from models_api.prediction.backends.process_group import is_abandoned, socket_path

logger = SafeLogger(__name__)

_INTERVAL_SECONDS = 0.25
_STOP_SECONDS = 5.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0
_GRACE_SECONDS = 1.0
_STOP = signal.SIGUSR1
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""systemd, for one, sends SIGTERM to all processes of a service, whose workers have requests to end
for which they need the processes."""
_PR_SET_PDEATHSIG = 1  # https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html


class _Child:
    """One process, or the place of one."""

    def __init__(self, address: Path) -> None:
        self.address = address
        self.heart = Heart()
        self.pid = 0
        """0 while there is none."""
        self.failures = 0
        """In a row, of those that had not loaded the model."""
        self.due = 0.0
        """When it is to be started, on the monotonic clock."""


class Supervisor:
    """Looks after the processes of one model; everything happens on the main thread."""

    def __init__(
        self,
        configuration: ModelConfiguration,
        execution: ExecutionConfiguration,
        folder: Path,
        lock: int,
        label: str,
    ) -> None:
        """Start nothing yet.

        Args:
            configuration: The model's.
            execution: How it wants to be run.
            folder: Where the sockets are.
            lock: The descriptor of the lock that says that there is a supervisor.
            label: What the log calls the model.
        """
        self.label = label
        self._signals = os.pipe()
        for end in self._signals:
            os.set_blocking(end, False)
        self._configuration = configuration
        self._execution = execution
        self._folder = folder
        self._lock = lock
        self._children = [_Child(socket_path(folder, n)) for n in range(execution.processes)]
        self._longest_call = _longest_call(configuration)

    def run(self) -> None:
        """Keep the processes running until no worker needs them."""
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._signals[1])
        while not is_abandoned(self._folder):
            self._reap()
            self._end_misfits()
            self._start_due()
            self._rest(_INTERVAL_SECONDS)
        self._stop()

    def _rest(self, seconds: float) -> None:
        """Wait until a process ends, no longer than some seconds."""
        if select.select([self._signals[0]], [], [], seconds)[0]:
            os.read(self._signals[0], 1024)

    def _start_due(self) -> None:
        for child in self._children:
            if not child.pid and time.monotonic() >= child.due:
                self._start(child)

    def _start(self, child: _Child) -> None:
        child.heart = Heart()
        flush_output()
        parent, child.pid = os.getpid(), os.fork()
        if not child.pid:
            self._become(child, parent)

    def _become(self, child: _Child, parent: int) -> NoReturn:
        """Be one of the processes, to its end."""
        status = 1
        try:
            os.close(self._lock)
            _end_with_parent()
            if os.getppid() != parent:
                os._exit(status)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(_STOP, lambda *_: sys.exit(0))
            process = ModelProcess(self._configuration, child.heart)
            process.serve(child.address)
        except SystemExit:
            status = 0
        except BaseException:  # noqa: BLE001 (this process has no other end)
            traceback.print_exc()
        finally:
            flush_output()
            os._exit(status)

    def _reap(self) -> None:
        for child in self._children:
            if child.pid:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    self._note_end(child, os.waitstatus_to_exitcode(status))

    def _note_end(self, child: _Child, code: int) -> None:
        # A crash under a request is that request's affair; one while loading would come again.
        child.failures = 0 if child.heart.is_ready else child.failures + 1
        longest = min(_FIRST_PAUSE_SECONDS * 2**child.failures, _LONGEST_PAUSE_SECONDS)
        pause = longest if child.failures else 0.0
        logger.error(
            "Process %s of %s ended with %s%s; it is started again%s",
            child.pid,
            self.label,
            signal.Signals(-code).name if code < 0 else f"status {code}",
            " before it had loaded the model" if child.failures else "",
            f" in {pause:g} s" if pause else "",
        )
        child.pid, child.due = 0, time.monotonic() + pause

    def _end_misfits(self) -> None:
        for child in self._children:
            if child.pid and (reason := self._misfit(child)):
                logger.error("Process %s of %s is ended: %s", child.pid, self.label, reason)
                os.kill(child.pid, signal.SIGKILL)

    def _misfit(self, child: _Child) -> str | None:
        """Return why a process is to be ended; None if it is not."""
        seconds = child.heart.seconds_of_call()
        if self._longest_call is not None and child.heart.is_ready and seconds > self._longest_call:
            return f"a prediction takes more than {self._longest_call:g} s"
        limit, used = self._execution.memory_limit_mb, _megabytes(child.pid)
        if limit is not None and used > limit:
            return f"it uses {used:.0f} MB, and {limit} are allowed"
        return None

    def _stop(self) -> None:
        """End all processes: by asking, then by force."""
        running = [child.pid for child in self._children if child.pid]
        for pid in running:
            os.kill(pid, _STOP)
        until = time.monotonic() + _STOP_SECONDS
        while running and time.monotonic() < until:
            running = [pid for pid in running if not os.waitpid(pid, os.WNOHANG)[0]]
            self._rest(_INTERVAL_SECONDS)
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        for child in self._children:
            child.address.unlink(missing_ok=True)


def _end_with_parent() -> None:
    """Have the system end this process when its parent has ended, where it can do that."""
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _megabytes(pid: int) -> float:
    """Return the memory of a process that is in use, in millions of bytes; 0 if it has ended."""
    with suppress(OSError):
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * resource.getpagesize() / 1e6
    return 0.0


def _longest_call(configuration: ModelConfiguration) -> float | None:
    timeout = configuration.timeout_seconds
    if timeout is None:
        return None
    # With batching a row may have waited for the call before.
    return timeout * (1 if configuration.batching is None else 2) + _GRACE_SECONDS


def supervise(content: bytes, folder: Path, lock: int, label: str) -> None:
    """Run the processes of a model until no worker needs them.

    Args:
        content: The model's configuration, pickled.
        folder: Where the sockets are.
        lock: The descriptor of the lock that says that there is a supervisor.
        label: What the log calls the model.
    """
    configuration: ModelConfiguration = pickle.loads(content)  # noqa: S301 (of our own user)
    execution = configuration.execution
    os.environ.update(execution.environment)
    os.nice(execution.nice)
    # Once, for all processes, which are there the sooner after one has died.
    with suppress(Exception):
        import_class(configuration.class_path, object)
    Supervisor(configuration, execution, folder, lock, label).run()

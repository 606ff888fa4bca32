"""Starts the processes of a model, replaces those that end, and ends with the last worker."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from models_api.configuration.sections import ModelConfiguration
from models_api.fork import flush_output
from models_api.logs import SafeLogger
from models_api.model_processes.heart import LOST_DESCRIPTORS, Heart
from models_api.model_processes.preloading import preload
from models_api.model_processes.process import ModelProcess
from models_api.prediction.backends.process_group import (
    Limits,
    has_members_file,
    is_abandoned,
    note_supervisor,
    open_members,
    socket_path,
)

logger = SafeLogger(__name__)

_INTERVAL_SECONDS = 0.25
_STOP_SECONDS = 5.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0
_GRACE_SECONDS = 1.0
_STOP = signal.SIGUSR1
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""systemd, for one, sends SIGTERM to all processes of a service, whose workers have requests to end
for which they need the processes."""
# https://man7.org/linux/man-pages/man2/prctl.2.html
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_MEGABYTES_PER_SECOND = 4000
"""That a model can take, at most."""
_MOST_LOOKS_PER_SECOND = 50
_SCORE_WITHOUT_MEMORY = "500"
"""Of 1000: where the machine has none left, the system ends a process of a model, and no worker."""


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
        limits: Limits,
        folder: Path,
        lock: int,
        label: str,
    ) -> None:
        """Start nothing yet.

        Args:
            configuration: The model's.
            limits: Of what one request may hold.
            folder: Where the sockets are.
            lock: The descriptor of the lock that says that there is a supervisor.
            label: What the log calls the model.
        """
        self.label = label
        self._signals = os.pipe()
        for end in self._signals:
            os.set_blocking(end, False)
        self._configuration = configuration
        self._execution = execution = configuration.execution
        self._limits = limits
        self._folder = folder
        self._lock = lock
        self._members = open_members(folder)
        self._strays: set[int] = set()
        """What processes that have ended had started, and had to be ended too."""
        self._children = [_Child(socket_path(folder, n)) for n in range(execution.processes)]
        self._longest_call = _longest_call(configuration)

    def run(self) -> None:
        """Keep the processes running until no worker needs them."""
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._signals[1])
        _control(_PR_SET_CHILD_SUBREAPER, 1)
        note_supervisor(self._lock)
        while not (is_abandoned(self._members) or self._is_replaced()):
            self._reap()
            self._end_misfits()
            self._start_due()
            self._rest(self._interval())
        self._stop()

    def _is_replaced(self) -> bool:
        """Return whether there is another supervisor, as the folder of this one was removed."""
        is_at_its_place = has_members_file(self._folder, self._members)
        return not is_at_its_place and all(child.address.exists() for child in self._children)

    def _interval(self) -> float:
        """Return after how many seconds to look again: a model may come to its limit by then."""
        limit = self._execution.memory_limit_mb
        if limit is None:
            return _INTERVAL_SECONDS
        used = max((_megabytes(child.pid) for child in self._children if child.pid), default=0)
        seconds = max((limit - used) / _MEGABYTES_PER_SECOND, 1 / _MOST_LOOKS_PER_SECOND)
        return min(seconds, _INTERVAL_SECONDS)

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
            os.close(self._members)
            os.setpgid(0, 0)  # a model that ends its group ends itself
            _control(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(status)
            signal.set_wakeup_fd(-1)
            _receive_signals()
            with suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text(_SCORE_WITHOUT_MEMORY)
            process = ModelProcess(self._configuration, self._limits, child.heart)
            process.serve(child.address)
        except SystemExit:
            status = 0
            if tracing := sys.modules.get("models_api.observability.tracing"):
                tracing.stop_exporting()
        except BaseException:  # noqa: BLE001 (this process has no other end)
            child.heart.check_descriptors()
            traceback.print_exc()
        finally:
            flush_output()
            os._exit(status)

    def _reap(self) -> None:
        """Note which processes have ended, and end what they had started."""
        for child, status in self._ended():
            self._note_end(child, os.waitstatus_to_exitcode(status))

    def _ended(self) -> list[tuple[_Child, int]]:
        """Return the processes that have ended, and how; end what they had started."""
        found, by_pid = [], {child.pid: child for child in self._children}
        has_strays = False
        with suppress(ChildProcessError):  # there are none any more
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                if pid in by_pid:
                    found.append((by_pid[pid], status))
                has_strays |= pid in by_pid or pid in self._strays
        if has_strays:
            self._end_strays({pid for pid in by_pid if pid} - {child.pid for child, _ in found})
        return found

    def _end_strays(self, running: set[int]) -> None:
        """End what comes to this process as its parents have ended, and is not of one that runs.

        It has the connections to workers, which would wait for an answer as long as it lives.
        """
        self._strays = _children() - running
        for pid in self._strays:
            with suppress(OSError):
                if os.getpgid(pid) not in running:
                    os.kill(pid, signal.SIGKILL)

    def _note_end(self, child: _Child, code: int) -> None:
        # A crash under a request is that request's affair; one while loading would come again.
        child.failures = 0 if child.heart.is_ready else child.failures + 1
        longest = min(_FIRST_PAUSE_SECONDS * 2**child.failures, _LONGEST_PAUSE_SECONDS)
        pause = longest if child.failures else 0.0
        logger.error(
            "Process %s of %s ended with %s%s; it is started again%s",
            child.pid,
            self.label,
            _end(code),
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
        is_reachable = child.address.exists() or not has_members_file(self._folder, self._members)
        if child.heart.is_ready and not is_reachable:
            return "its socket was removed"
        limit, used = self._execution.memory_limit_mb, _megabytes(child.pid)
        if limit is not None and used > limit:
            return f"it uses {used:.0f} MB, and {limit} are allowed"
        return None

    def _stop(self) -> None:
        """End all processes: by asking, then by force."""
        for child in self._children:
            if child.pid:
                os.kill(child.pid, _STOP)
        self._wait_for_ends(_STOP_SECONDS)
        for child in self._children:
            if child.pid:
                os.kill(child.pid, signal.SIGKILL)
        self._wait_for_ends(_GRACE_SECONDS)
        if has_members_file(self._folder, self._members):  # and not that of another supervisor
            shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_for_ends(self, seconds: float) -> None:
        """Wait until no process is left, nor what they had started, no longer than some seconds."""
        until = time.monotonic() + seconds
        while (any(child.pid for child in self._children) or _children()) and (
            time.monotonic() < until
        ):
            for child, _ in self._ended():
                child.pid = 0
            self._rest(_INTERVAL_SECONDS)


def _end(code: int) -> str:
    if code == LOST_DESCRIPTORS:
        return f"status {code}, because its model has closed descriptors that are not its own"
    return signal.Signals(-code).name if code < 0 else f"status {code}"


def _control(option: int, value: int) -> None:
    """Tell the system something about this process, where it is a system that can be told."""
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(option, value)


def _children() -> set[int]:
    """Return the processes whose parent this one is; none where the system does not tell."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    try:
        return {*map(int, path.read_text(encoding="ascii").split())}
    except OSError:
        return set()


def _receive_signals() -> None:
    """Take the signals as a process of a model does, and its own children as every program."""
    kept = (signal.SIGCHLD, _STOP, *_IGNORED)

    def restore() -> None:
        for number in kept:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, kept)

    restore()
    signal.signal(_STOP, lambda *_: sys.exit(0))
    for number in _IGNORED:
        # Programs that the model starts would inherit SIG_IGN, and could not be asked to end.
        signal.signal(number, lambda *_: None)
    os.register_at_fork(
        # Python forgets a signal that comes to a child before it can restore what is usual.
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, kept),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, kept),
        after_in_child=restore,
    )


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


def supervise(given: Mapping[str, Any], folder: Path, lock: int, label: str) -> None:
    """Run the processes of a model until no worker needs them.

    Args:
        given: What `ProcessGroup` has given.
        folder: Where the sockets are.
        lock: The descriptor of the lock that says that there is a supervisor.
        label: What the log calls the model.
    """
    configuration = ModelConfiguration.model_validate(given["configuration"])
    execution = configuration.execution
    os.environ.update(execution.environment)
    preload(configuration.class_path, given, label)
    # After that, which may start this program anew.
    os.nice(execution.nice)
    Supervisor(configuration, Limits(*given["limits"]), folder, lock, label).run()

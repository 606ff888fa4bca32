"""SIGHUP: everything is read anew, and no request fails, whatever the new configuration is like.

Gunicorn itself forks new workers from what was loaded at the start, if it loads before the fork,
and gives up if they cannot start. Here a process on trial first loads everything. If that succeeds,
the server executes itself anew in place: it keeps its process id and its sockets. Each new worker,
once it can predict, stops one of the former.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from gunicorn import sock
from gunicorn.app.wsgiapp import WSGIApplication

from modelhost.listeners import STOPPING, refuse_connections
from models_api.observability.server_directory import SERVER_PID_VARIABLE

INHERITED_VARIABLE = "MODELHOST_INHERITED"
_LOADED = b"1"


@dataclass(frozen=True)
class Former:
    """A worker from before the reload. The process id alone might come to be another's."""

    pid: int
    handle: int

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, number)

    def has_ended(self) -> bool:
        """Whether it is gone."""
        return _has_ended(self.handle)


def _has_ended(handle: int) -> bool:
    return bool(select.select([handle], [], [], 0)[0])


def take_over(server: Any) -> None:
    """Take the sockets and the workers of the process that this one was before, if it was one."""
    server.START_CTX["args"] = [sys.executable, *sys.orig_argv[1:]]
    server.formers = []
    process, _, inherited = os.environ.pop(INHERITED_VARIABLE, "").partition(":")
    if process != str(os.getpid()):
        return
    listeners, formers = (part.split(",") for part in inherited.split(";"))
    if descriptors := [int(fd) for fd in listeners if fd]:
        server.LISTENERS = sock.create_sockets(server.cfg, server.log, descriptors)
    for pid in formers:
        with contextlib.suppress(ValueError, ProcessLookupError):
            server.formers.append(Former(int(pid), os.pidfd_open(int(pid))))


def handle_signals(server: Any) -> None:
    """Reload without a gap on SIGHUP, and stop without a reset."""
    reloading = Reloading(server)
    stop = server.stop

    def stop_all(graceful: bool = True) -> None:
        reloading.stop()
        # Another master listens at the same sockets while one takes over from the other by SIGUSR2.
        if server.reexec_pid == server.master_pid == 0:
            STOPPING.set()
            refuse_connections(server.LISTENERS)
        stop(graceful)

    server.stop = stop_all


def prepare(server: Any, worker: Any) -> None:
    """Tell a new worker whom it relieves, and whether somebody serves until it can."""
    worker.relieves = server.formers[worker.place :: max(server.num_workers, 1)]
    worker.is_first = worker.age <= server.cfg.workers and not server.formers


def relieve(worker: Any) -> None:
    """Let a new worker stop the former ones, unless it does so when it is ready."""
    if not getattr(worker, "relieves_when_ready", False):
        for former in worker.relieves:
            former.signal(signal.SIGTERM)


class Reloading:
    """Handles SIGHUP for a server of gunicorn."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._trial: Trial | None = None
        self._is_asked_again = False
        self._handle_child: Callable[[], None] = server.handle_chld
        # Gunicorn has no hook that could refuse a reload: it looks its handlers up by name.
        server.handle_hup = self.ask
        server.handle_chld = server.handle_cld = self.handle_child

    def ask(self) -> None:
        """Begin to try the new configuration; what comes of it is seen when the trial ends."""
        self._is_asked_again = self._trial is not None
        if self._trial is None:
            self._server.log.info("Loading everything anew, on trial")
            self._trial = Trial(self._environment(), self._server.START_CTX["cwd"])

    def handle_child(self) -> None:
        """See whether it was the trial that ended."""
        self._handle_child()
        for former in [one for one in self._server.formers if one.has_ended()]:
            self._server.formers.remove(former)
            self._server.cfg.child_exit(self._server, former)
        if self._trial is None or not self._trial.has_ended():
            return
        has_loaded = self._trial.has_loaded()
        self._trial = None
        if self._is_asked_again:
            self.ask()
        elif has_loaded:
            self._execute_anew()
        else:
            self._server.log.error("Not reloaded: what was loaded before goes on serving")

    def stop(self) -> None:
        """End the trial, because the server ends."""
        if self._trial is not None:
            self._trial.kill()

    def _execute_anew(self) -> None:
        server = self._server
        server.log.info("Reloading: new workers take over from the former ones")
        listeners = ",".join(str(listener.fileno()) for listener in server.LISTENERS)
        formers = ",".join(str(pid) for pid in server.WORKERS)
        pid = str(os.getpid())
        environment = {
            **self._environment(),
            INHERITED_VARIABLE: f"{pid}:{listeners};{formers}",
            SERVER_PID_VARIABLE: pid,  # so that it forgets no metrics
        }
        # Until the new handlers are there, the next SIGHUP would end the server.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.chdir(server.START_CTX["cwd"])
        arguments = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, arguments, environment)  # noqa: S606 (this very command)

    def _environment(self) -> Mapping[str, str]:
        environment: Mapping[str, str] = self._server.cfg.env_orig
        return environment


class Trial:
    """A process that loads all that the server would load, and says whether it could.

    Gunicorn takes note of the ends of all its children, so a status may be gone: hence the pipe.
    """

    def __init__(self, environment: Mapping[str, str], folder: str) -> None:
        self._reading, writing = os.pipe()
        os.set_blocking(self._reading, False)
        code = f"from modelhost.reload import try_out; try_out({writing})"
        self._process = subprocess.Popen(  # noqa: S603 (the arguments of this very command)
            [sys.executable, "-c", code, *sys.argv[1:]],
            env=environment,
            cwd=folder,
            pass_fds=[writing],
        )
        os.close(writing)
        self._handle = os.pidfd_open(self._process.pid)

    def has_ended(self) -> bool:
        """Whether it is over."""
        return _has_ended(self._handle)

    def has_loaded(self) -> bool:
        """Whether it went well. Only to be asked once, when it is over."""
        try:
            return os.read(self._reading, 1) == _LOADED
        except BlockingIOError:  # it left a child behind
            return False
        finally:
            self._process.poll()
            os.close(self._reading)
            os.close(self._handle)

    def kill(self) -> None:
        """End it."""
        self._process.kill()


def try_out(report: int) -> None:
    """Load all that a server with these arguments loads; then write a byte to that descriptor."""
    # Nothing of the running server is this process's to clear away.
    os.environ[SERVER_PID_VARIABLE] = str(os.getpid())
    application = WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]", prog="gunicorn")
    application.wsgi()
    registry: Any = apps.get_app_config("models_api").registry  # type: ignore[attr-defined]
    registry.load()
    if registry.is_ready:
        os.write(report, _LOADED)

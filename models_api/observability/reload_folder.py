"""What the workers of a server, and commands, tell each other of changes of the models.

A request says what the configuration file is to be. Each worker takes the last one, one worker
after the other, and writes how it is. What one of them has taken is kept for workers that start
later, whatever the file holds by then.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from models_api.observability.private_files import is_private, locked, open_file, write_whole
from models_api.observability.server_directory import directories_of_servers, start_time

T = TypeVar("T")

_NAME = "reload"
_REQUEST, _TAKEN, _REFUSED, _ATTEMPT = "request", "taken", "refused", "attempt"
_REVISIONS = "revisions"
_WORKER = "worker-"
_PAUSE_SECONDS = 0.1
"""Between two looks whether all workers have done what was asked."""
_LARGEST = 1 << 26
"""Bytes of a file: more than any configuration has."""


class Request(NamedTuple):
    """That the workers host what the configuration file says."""

    id: int
    """Greater than those of all requests before."""
    content: str
    """Of the file, each character for a byte."""
    editions: str
    """Of the files that the models are made from, where somebody saw that they changed."""
    unloaded: Sequence[str] = ()
    """Qualified names of models in the file that are not to be loaded."""
    only: str = ""
    """The one qualified name for whose sake it is asked; empty for the sake of all."""
    after: int = 0
    """The request before: a worker that has not done that one has to look after all models."""

    @property
    def file(self) -> bytes:
        """The content of the file."""
        return self.content.encode("latin-1")


class Refusal(NamedTuple):
    """That a worker could not do what was asked."""

    id: int
    reason: str


class _Attempt(NamedTuple):
    id: int
    pid: int
    deaths: int
    """How many workers have ended in the midst of it."""


class ReloadFolder:
    """The files. May be used from any process of the server's user."""

    def __init__(self, path: Callable[[], Path]) -> None:
        """Make nothing yet; `path` returns the directory of the server."""
        self._base = path
        self._attempt: _Attempt | None = None
        """That this process is in the midst of."""
        self._stops = False

    @property
    def path(self) -> Path:
        """Where the files are.

        Raises:
            OSError: the server has no directory.
        """
        path = self._base() / _NAME
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        return path

    def ask(
        self,
        content: bytes,
        editions: str = "",
        *,
        unloaded: Iterable[str] | None = None,
        only: str = "",
    ) -> Request:
        """Have all workers host what the file says, and return that request.

        Args:
            content: Of the file.
            editions: Of the files that the models are made from.
            unloaded: Models that are not to be loaded; by default those that are not so far.
            only: The one model for whose sake it is asked; by default all.

        Raises:
            OSError: it cannot be written.
        """
        last, in_force = self.request(), self.in_force()
        number = max(time.time_ns(), last.id + 1 if last is not None else 0)
        if unloaded is None:
            unloaded = in_force.unloaded if in_force is not None else ()
        after = last.id if last is not None else 0
        request = Request(
            number, content.decode("latin-1"), editions, sorted(unloaded), only, after
        )
        self._write(_REQUEST, request._asdict())
        return request

    def request(self) -> Request | None:
        """Return the last request."""
        return self._read(_REQUEST, Request)

    def taken(self) -> Request | None:
        """Return the last request that a worker has done."""
        return self._read(_TAKEN, Request)

    def in_force(self) -> Request | None:
        """Return what all workers have done, or are to do, as far as none has tried in vain."""
        last = self.request()
        return last if last is None or self.refusal(last) is None else self.taken()

    def refusal(self, request: Request) -> Refusal | None:
        """Return why a worker could not do what is asked; None if none has tried in vain."""
        found = self._read(_REFUSED, Refusal)
        return found if found is not None and found.id == request.id else None

    def begin(self, request: Request) -> int:
        """Note that this process tries; return how many ended in the midst of it.

        One that is told to stop, and so ends as it should, is none of them.
        """
        found = self._read(_ATTEMPT, _Attempt)
        deaths = found.deaths if found is not None and found.id == request.id else 0
        self._attempt = _Attempt(request.id, os.getpid(), deaths + (not self._stops))
        self._write(_ATTEMPT, self._attempt._asdict())
        return deaths

    def stop(self) -> None:
        """Note that this process is told to stop, whatever it is in the midst of."""
        attempt, self._attempt, self._stops = self._attempt, None, True
        if attempt is not None:
            with suppress(OSError):
                self._write(_ATTEMPT, attempt._replace(deaths=attempt.deaths - 1)._asdict())

    def trying(self) -> int | None:
        """Return the process id of the worker that has its turn, if one has."""
        found = self._read(_ATTEMPT, _Attempt)
        return None if found is None else found.pid

    def end(self, request: Request, refusal: Refusal | None) -> None:
        """Note how it went."""
        self._attempt = None
        if refusal is None:
            self._write(_TAKEN, request._asdict())
        else:
            self._write(_REFUSED, refusal._asdict())
        (self.path / _ATTEMPT).unlink(missing_ok=True)

    def revisions(self) -> dict[str, str]:
        """Return what the workers host of artefacts that may change, by address."""
        found: dict[str, str] | None = self._read(_REVISIONS, dict)
        return found or {}

    def agree(self, revisions: Mapping[str, str]) -> None:
        """Have workers that are yet to host it take these revisions, whatever there is by then."""
        self._write(_REVISIONS, revisions)

    def turn(self) -> AbstractContextManager[None]:
        """Let one worker after the other in, so that not all have two models in their memory."""
        return locked(self.path / "lock")

    def alone(self) -> AbstractContextManager[None]:
        """Let one process after the other ask, and wait, so that none overtakes another."""
        return locked(self.path / "asking")

    def wait(
        self,
        request: Request,
        seconds: float,
        note: Callable[[Mapping[str, Any], int], object] = lambda _worker, _workers: None,
    ) -> list[dict[str, Any]]:
        """Return how the workers are once all of them have done what was asked.

        Args:
            request: What was asked.
            seconds: For which it waits at most.
            note: Called with each worker that has, once or more, and the number of all workers.

        Raises:
            TimeoutError: some have not; says which.
        """
        until = time.monotonic() + seconds
        while True:
            workers = self.workers()
            done = [worker for worker in workers if worker["request"] >= request.id]
            for worker in done:
                note(worker, len(workers))
            if workers and len(done) == len(workers):
                return done
            if time.monotonic() > until:
                missing = [str(each["pid"]) for each in workers if each not in done]
                told_of = ", ".join(missing) or "all"
                raise TimeoutError(
                    f"After {seconds:.0f} s there is no answer of these workers: {told_of}. They "
                    "go on; modelhost status says how far they have come."
                )
            time.sleep(_PAUSE_SECONDS)

    def tell(self, state: Mapping[str, object]) -> None:
        """Write how this worker is."""
        pid = os.getpid()
        self._write(f"{_WORKER}{pid}", {"pid": pid, "began": start_time(pid), **state})

    def workers(self) -> list[dict[str, Any]]:
        """Return what the workers have written that are alive, and forget the others."""
        found = []
        for path in sorted(self.path.glob(f"{_WORKER}*")):
            state: dict[str, Any] | None = self._read(path.name, dict)
            if state is not None and _is_alive(state):
                found.append(state)
            elif path.name.removeprefix(_WORKER).isdecimal():
                path.unlink(missing_ok=True)
        return found

    def _read(self, name: str, kind: Callable[..., T]) -> T | None:
        try:
            with os.fdopen(open_file(self.path / name, os.O_RDONLY), "rb") as file:
                return kind(**json.loads(file.read(_LARGEST)))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _write(self, name: str, content: Mapping[str, object]) -> None:
        write_whole(self.path / name, json.dumps(content).encode())


def folders_of_servers() -> list[ReloadFolder]:
    """Return those of all servers of this user that run on this machine."""
    found = [path for path in directories_of_servers() if is_private(path / _NAME)]
    return [ReloadFolder(lambda path=path: path) for path in sorted(found)]  # type: ignore[misc]


def _is_alive(state: Mapping[str, Any]) -> bool:
    pid = state.get("pid")
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return start_time(pid) == state.get("began")

"""Scorers in processes of their own, so that all processors predict."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection

from models_api.scoring.errors import JobRefused, JobStopped
from models_api.scoring.rows import Batch
from models_api.scoring.scorers import Scored, Scorer

_READY = ""


def started(makes: Sequence[Callable[[], Scorer]]) -> list[ProcessScorer]:
    """Start a process for each scorer, and wait until all have made theirs.

    Raises:
        JobRefused: one could not; then none of the processes is left.
    """
    scorers = [ProcessScorer(make) for make in makes]
    try:
        for scorer in scorers:
            scorer.wait_until_ready()
    except BaseException:
        for scorer in scorers:
            scorer.stop()
        raise
    return scorers


class ProcessScorer:
    """Has a process of its own predict, which ends with this one."""

    def __init__(self, make: Callable[[], Scorer]) -> None:
        """Start the process.

        Args:
            make: Makes the scorer there; can be sent to it.
        """
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        self._process.start()
        theirs.close()

    def wait_until_ready(self) -> None:
        """Return once the process has made its scorer.

        Raises:
            JobRefused: it could not.
        """
        try:
            failure: str = self._connection.recv()
        except (EOFError, OSError):
            raise JobRefused(self._death()) from None
        if failure != _READY:
            raise JobRefused(failure)

    def score(self, batches: Sequence[Batch]) -> tuple[list[Scored], float]:
        """Return what has come of each, and the seconds that it took.

        Raises:
            JobStopped: the process has died, or cannot go on.
        """
        try:
            self._connection.send(batches)
            answer: tuple[list[Scored], float] | str = self._connection.recv()
        except (EOFError, OSError):
            raise JobStopped(self._death()) from None
        if isinstance(answer, str):
            raise JobStopped(answer)
        return answer

    def stop(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.join()

    def _death(self) -> str:
        self._process.join(timeout=5)
        status = self._process.exitcode
        if status is not None and status < 0:
            with suppress(ValueError):
                return f"A process that predicts was ended by {signal.Signals(-status).name}."
        return f"A process that predicts has ended, with status {status}."


def _serve(connection: Connection, make: Callable[[], Scorer]) -> None:
    """Score for the process at the other end, until it is gone."""
    # An interruption from the keyboard comes to all; the other process sees to it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a model prints is none of the predictions, which standard output may be for.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # One that fails is no cause for a traceback: the other process says what it was.
    with suppress(EOFError, OSError):
        try:
            scorer = make()
        except BaseException as error:  # noqa: BLE001 (whatever a model raises as it is loaded)
            connection.send(str(error) or type(error).__name__)
            return
        connection.send(_READY)
        while True:
            connection.send(_answer(scorer, connection.recv()))


def _answer(scorer: Scorer, batches: Sequence[Batch]) -> tuple[list[Scored], float] | str:
    try:
        return scorer.score(batches)
    except JobStopped as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 (the job ends, and says why)
        return f"{type(error).__name__}: {error}"

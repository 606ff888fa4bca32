"""A job: batches of an input are predicted in parallel, and written in their order."""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from pydantic_core import to_json

from models_api.file_locks import fcntl
from models_api.scoring.checkpoints import Checkpoint, CheckpointFile
from models_api.scoring.errors import JobRefused, JobStopped
from models_api.scoring.progress import Progress
from models_api.scoring.results import FailedRow
from models_api.scoring.rows import Batch
from models_api.scoring.scorers import Scored, Scorer
from models_api.scoring.sources import Source

_COMMIT_SECONDS = 1.0
_CALL_SECONDS = 0.2
"""What a call of a scorer should take: much less costs time, much more the sight of progress."""
_MOST_BATCHES = 32
"""Of one call."""


class Sink:
    """A file that is written from an offset on, or a stream."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Write to a stream, which stays open."""
        self._file = file
        self.name = name
        self._is_regular = False
        self._closes = False
        self.written = 0
        """Bytes."""

    @classmethod
    def to_file(cls, path: Path) -> Sink:
        """Open a file, which is made if it is not there.

        Raises:
            JobRefused: it cannot be written.
        """
        try:
            path.touch()
            file = path.open("r+b" if path.is_file() else "wb")
        except OSError as error:
            raise JobRefused(f"{path} cannot be written: {error.strerror}.") from None
        sink = cls(file, str(path))
        sink._is_regular, sink._closes = path.is_file(), True
        if sink._is_regular and fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                sink.close()
                raise JobRefused(f"{path} is being written by another job.") from None
        return sink

    def rewind(self, written: int) -> None:
        """Go to an offset, and forget what is behind it.

        Raises:
            JobRefused: there is less.
        """
        if not self._is_regular:
            return
        size = self._file.seek(0, os.SEEK_END)
        if size < written:
            raise JobRefused(
                f"{self.name} has {size} bytes, but had {written} when the job was interrupted; "
                "give --restart to begin anew."
            )
        self._file.truncate(written)
        self._file.seek(written)
        self.written = written

    def write(self, data: bytes) -> None:
        """Write."""
        self._file.write(data)
        self.written += len(data)

    def sync(self) -> None:
        """See to it that what was written stays, whatever happens."""
        self._file.flush()
        if self._is_regular:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close it; what cannot be written any more is lost."""
        with suppress(OSError):
            if self._closes:
                self._file.close()


class _Call(NamedTuple):
    """Some batches that a scorer has in hand."""

    batches: list[Batch]
    future: Future[tuple[list[Scored], float]]
    position: int
    """In the input, behind the batches."""


class Scorers:
    """Scorers that work at the same time, each on a thread of its own."""

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        self._scorers = scorers
        self._idle: SimpleQueue[Scorer] = SimpleQueue()
        for scorer in scorers:
            self._idle.put(scorer)
        self._threads = ThreadPoolExecutor(len(scorers), thread_name_prefix="scoring")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for scorer in self._scorers:
            scorer.stop()

    @property
    def calls(self) -> int:
        """How many calls are in hand or wait, so that none of the scorers has nothing to do."""
        return 2 * len(self._scorers)

    def submit(self, batches: list[Batch], position: int) -> _Call:
        """Have some batches predicted."""
        return _Call(batches, self._threads.submit(self._score, batches), position)

    def _score(self, batches: list[Batch]) -> tuple[list[Scored], float]:
        scorer = self._idle.get()
        try:
            return scorer.score(batches)
        finally:
            self._idle.put(scorer)


class Job:
    """Writes what a model predicts for all rows of an input."""

    def __init__(
        self,
        source: Source,
        output: Sink,
        errors: Sink,
        progress: Progress,
        checkpoints: CheckpointFile | None = None,
    ) -> None:
        self._source = source
        self._output = output
        self._errors = errors
        self._progress = progress
        self._checkpoints = checkpoints
        self.reached = Checkpoint()
        """How far it has come."""
        self._batches_of_call = 1
        self._committed = time.monotonic()

    def begin(self, checkpoint: Checkpoint | None, header: bytes, header_lines: int) -> None:
        """Begin anew, or go on.

        Raises:
            JobRefused: the output is not what it was, or nothing can be written.
        """
        self.reached = checkpoint or Checkpoint(lines=header_lines)
        try:
            self._output.rewind(self.reached.written)
            self._errors.rewind(self.reached.errors_written)
            if checkpoint is None:
                self._output.write(header)
                self.reached = replace(self.reached, written=len(header))
            self._commit()
        except OSError as error:
            raise JobRefused(_told(error)) from error

    def run(self, scorers: Scorers, batch_size: int, maximum_errors: int | None) -> None:
        """Go on to the end of the input.

        Raises:
            JobStopped: that was impossible; the last checkpoint is kept.
        """
        try:
            self._run(scorers, batch_size, maximum_errors)
            self._finish()
        except OSError as error:
            raise JobStopped(_told(error)) from error
        finally:
            self._progress.end()

    def _run(self, scorers: Scorers, batch_size: int, maximum_errors: int | None) -> None:
        batches = self._source.batches(batch_size, self.reached.offset)
        self._progress.begin(self.reached.rows, self._source.position())
        calls: deque[_Call] = deque()
        while self._fill(calls, batches, scorers):
            call = calls.popleft()
            scored, seconds = call.future.result()
            self._adapt(len(scored), seconds)
            for batch, one in zip(call.batches, scored, strict=True):
                self._write(batch, one)
                self._require_few_errors(maximum_errors)
            self._commit_if_due()
            self._progress.tell(self.reached.rows, self.reached.failed, call.position)

    def _fill(self, calls: deque[_Call], batches: Iterator[Batch], scorers: Scorers) -> bool:
        """Keep the scorers busy, and return whether there is anything to wait for."""
        while len(calls) < scorers.calls:
            some = list(islice(batches, self._batches_of_call))
            if not some:
                break
            calls.append(scorers.submit(some, self._source.position()))
        return bool(calls)

    def _adapt(self, batches: int, seconds: float) -> None:
        # How batches are gathered changes nothing of what is written.
        wanted = int(batches * _CALL_SECONDS / max(seconds, 1e-6))
        self._batches_of_call = max(1, min(wanted, 2 * self._batches_of_call, _MOST_BATCHES))

    def _write(self, batch: Batch, scored: Scored) -> None:
        before = self.reached
        self._output.write(scored.written)
        for failed in scored.failed:
            self._errors.write(_error_line(failed, before, has_lines=scored.lines > 0))
        self.reached = Checkpoint(
            offset=batch.end,
            lines=before.lines + scored.lines,
            rows=before.rows + scored.rows,
            failed=before.failed + len(scored.failed),
            written=self._output.written,
            errors_written=self._errors.written,
        )

    def _require_few_errors(self, maximum: int | None) -> None:
        if maximum is not None and self.reached.failed > maximum:
            self._commit()
            raise JobStopped(f"{self.reached.failed} rows failed; --max-errors is {maximum}.")

    def _commit_if_due(self) -> None:
        if time.monotonic() - self._committed > _COMMIT_SECONDS:
            self._commit()

    def _commit(self) -> None:
        self._output.sync()
        self._errors.sync()
        if self._checkpoints is not None:
            self._checkpoints.write(self.reached)
        self._committed = time.monotonic()

    def _finish(self) -> None:
        self._commit()
        if self._checkpoints is not None:
            self._checkpoints.remove()


def _error_line(failed: FailedRow, before: Checkpoint, *, has_lines: bool) -> bytes:
    told: dict[str, object] = {"row": before.rows + failed.place + 1}
    if has_lines:
        told["line"] = before.lines + failed.line + 1
    told |= {"type": failed.error.type, "messages": failed.error.messages}
    return to_json(told)[:-1] + b',"input":' + failed.input + b"}\n"


def _told(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}there is no room left on the disk."
    return f"{where}{error.strerror or error}."

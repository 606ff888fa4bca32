"""The files of a job, and the job itself."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, TextIO

from models_api.management.bulk.options import STANDARD, Options
from models_api.management.bulk.target import Target
from models_api.management.bulk.targets import make_scorers
from models_api.scoring.bytestream import ByteStream
from models_api.scoring.checkpoints import Checkpoint, CheckpointFile
from models_api.scoring.columns import Column, InputSchema
from models_api.scoring.errors import JobRefused
from models_api.scoring.job import Job, Scorers, Sink
from models_api.scoring.parquet import ParquetSource
from models_api.scoring.progress import Progress
from models_api.scoring.results import CSVResults, JSONLinesResults, ResultFormat
from models_api.scoring.rows import CSVRows, JSONLines, ParquetRows, RowFormat
from models_api.scoring.sources import CSVSource, JSONLinesSource, Source

Warn = Callable[[str], None]

_PREFIX = 2**20
"""Bytes at the beginning of the input by which it is known again."""


class BulkJob:
    """What a model is to predict for all rows of a file, with the files that this takes."""

    def __init__(
        self,
        options: Options,
        target: Target,
        warn: Warn,
        progress: TextIO,
        files: ExitStack,
    ) -> None:
        """Look at the input, which `files` closes; nothing is written yet.

        Raises:
            JobRefused: it cannot be read, or has no rows for the model.
        """
        self._options = options
        self._target = target
        self._results = _result_format(options, target)
        self._errors = _errors_path(options)
        _require_apart(options, self._errors)
        self._batch_size = options.batch_size or target.batch_size
        self._source, self._rows = _open_input(options, target, warn, files)
        self._checkpoints = self._checkpoint_file()
        self._progress = Progress(progress, self._size())
        self._standard_output = sys.stdout
        self.reached = Checkpoint()
        """How far the job has come."""

    @property
    def errors(self) -> str:
        """Where rows that failed are listed."""
        return self._errors

    @property
    def can_be_resumed(self) -> bool:
        """Whether the same command goes on where this one ends."""
        return self._checkpoints is not None

    @property
    def rate(self) -> float:
        """Rows a second, since the job began or went on."""
        return self._progress.rate(self.reached.rows)

    def run(
        self, began: Callable[[Checkpoint], None], maximum_errors: int | None, *, restart: bool
    ) -> None:
        """Predict for all rows, or for those that are left.

        Args:
            began: Is told where the job begins, or goes on.
            maximum_errors: Rows that may fail before the job stops; None for any number.
            restart: Whether it begins anew in any case.

        Raises:
            JobRefused: it cannot begin.
            JobStopped: it came to no end.
        """
        checkpoint = None if restart or self._checkpoints is None else self._checkpoints.read()
        self._progress.begin(0, 0)
        with Scorers(make_scorers(self._options, self._target, self._rows, self._results)) as all_:
            output = _sink(self._options.output, self._standard_output)
            errors = _sink(self._errors, sys.stderr)
            job = Job(self._source, output, errors, self._progress, self._checkpoints)
            try:
                lines = self._source.lines if isinstance(self._source, CSVSource) else 0
                job.begin(checkpoint, self._results.header, lines)
                began(job.reached)
                job.run(all_, self._batch_size, maximum_errors)
            finally:
                self.reached = job.reached
                output.close()
                errors.close()
        if not self.reached.failed and self._errors != STANDARD:
            Path(self._errors).unlink(missing_ok=True)

    def _size(self) -> int | None:
        if isinstance(self._source, ParquetSource):
            return self._source.rows
        path = Path(self._options.input)
        return path.stat().st_size if self._options.input != STANDARD and path.is_file() else None

    def _checkpoint_file(self) -> CheckpointFile | None:
        options, files = self._options, (self._options.input, self._options.output)
        if STANDARD in files or not all(_can_be_reread(Path(each)) for each in files):
            return None
        path = Path(options.output)
        return CheckpointFile(path.with_name(f"{path.name}.state.json"), self._identity())

    def _identity(self) -> dict[str, object]:
        options, path = self._options, Path(self._options.input)
        status = path.stat()
        with path.open("rb") as file:
            prefix = hashlib.sha256(file.read(_PREFIX)).hexdigest()[:16]
        return {
            "model": options.model,
            "version of the model": self._target.version,
            **self._target.identity,
            "input": str(path.resolve()),
            "size of the input": status.st_size,
            "beginning of the input": prefix,
            "time of the last change of the input": status.st_mtime_ns,
            "format of the input": options.input_format,
            "encoding": options.encoding,
            "delimiter": options.delimiting,
            "format of the output": options.written_format,
            "file of errors": str(Path(self._errors).resolve()),
            "batch size": self._batch_size,
        }


def _result_format(options: Options, target: Target) -> ResultFormat:
    is_csv = options.written_format == "csv"
    return CSVResults(target.output_schema) if is_csv else JSONLinesResults()


def _open_input(
    options: Options, target: Target, warn: Warn, files: ExitStack
) -> tuple[Source, RowFormat]:
    """Return the rows of the input, and how they are read.

    Raises:
        JobRefused: it cannot be read, or has no rows for the model.
    """
    schema, where = InputSchema(target.input_schema), options.input
    if options.input_format == "parquet":
        if options.input == STANDARD:
            raise JobRefused("--input: Parquet cannot be read from standard input.")
        source = ParquetSource(_opened(options.input, files))
        columns = _columns(schema, source.names, where, warn)
        named = dict(zip(source.names, columns, strict=True))
        taken = {name: column for name, column in named.items() if column is not None}
        source.taken = list(taken)
        return source, ParquetRows(taken)
    stream = ByteStream(_opened(options.input, files), options.encoding)
    if options.input_format == "jsonl":
        return JSONLinesSource(stream), JSONLines()
    lines = CSVSource(stream, options.delimiting, where)
    return lines, CSVRows(_columns(schema, lines.names, where, warn), options.delimiting)


def _columns(schema: InputSchema, names: list[str], where: str, warn: Warn) -> list[Column | None]:
    columns = schema.columns(names, where)
    ignored = [name for name, column in zip(names, columns, strict=True) if column is None]
    if ignored:
        listed = ", ".join(f'"{name}"' for name in ignored)
        warn(f"Columns that the model takes none of are left out: {listed}.")
    return columns


def _opened(path: str, files: ExitStack) -> BinaryIO:
    if path == STANDARD:
        return sys.stdin.buffer
    try:
        return files.enter_context(Path(path).open("rb"))
    except OSError as error:
        raise JobRefused(f"{path} cannot be read: {error.strerror}.") from None


def _errors_path(options: Options) -> str:
    if options.errors is not None:
        return options.errors
    return STANDARD if options.output == STANDARD else f"{options.output}.errors.jsonl"


def _require_apart(options: Options, errors: str) -> None:
    """Raise JobRefused if two of the files are one."""
    names = {"--input": options.input, "--output": options.output, "--errors": errors}
    paths: dict[Path, str] = {}
    for name, given in names.items():
        path = Path(given).resolve()
        is_file = given != STANDARD and (path.is_file() or not path.exists())
        if is_file and path in paths:
            raise JobRefused(f"{paths[path]} and {name} are the same file: {given}.")
        paths[path] = name


def _can_be_reread(path: Path) -> bool:
    return path.is_file() or not path.exists()


def _sink(path: str, stream: TextIO) -> Sink:
    if path != STANDARD:
        return Sink.to_file(Path(path))
    buffer: BinaryIO = getattr(stream, "buffer", io.BytesIO())
    return Sink(buffer, stream.name)

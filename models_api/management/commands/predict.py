"""`manage.py predict`: predictions for all rows of a file."""

from __future__ import annotations

import os
import signal
import sys
import threading
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout
from dataclasses import fields
from io import StringIO
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, SystemCheckError

from models_api.fork import flush_output
from models_api.management.bulk.jobs import BulkJob
from models_api.management.bulk.options import STANDARD, Options
from models_api.management.bulk.target import Target
from models_api.management.bulk.targets import local_target, remote_target
from models_api.scoring.checkpoints import Checkpoint
from models_api.scoring.errors import JobRefused, JobStopped

KEY_VARIABLE = "MODELHOST_API_KEY"
_SOME_FAILED, _REFUSED, _STOPPED = 1, 2, 3
_HELP = """\
Write what a model predicts for each row of a file, in the order of the rows: a line for each,
which is null, or empty in CSV, for a row that failed. A second file says why it failed.

  modelhost predict iris --input rows.csv --output out.jsonl
  modelhost predict iris --input rows.jsonl --output out.csv --processes 4
  modelhost predict iris --input rows.csv --output out.jsonl --url https://models.example.com

If a job was interrupted, however that was, the same command goes on where it was. All that holds
for files is on the page "Files of rows" of the documentation.
"""
_EPILOG = """\
exit status:
  0    there is a prediction for each row
  1    some rows failed; all others have their prediction
  2    nothing was done: the command, the input or the model cannot be used
  3    stopped before the end; the same command goes on from there
  130  interrupted from the keyboard (143: terminated); the same command goes on from there
"""


class _Interrupted(BaseException):
    """A signal asks the job to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


class Command(BaseCommand):
    """Predicts for the rows of a file."""

    help = _HELP
    # With --url there need be no configuration.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Return the parser, which leaves the lines of the help as they are."""
        kwargs |= {"formatter_class": RawDescriptionHelpFormatter, "epilog": _EPILOG}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        add = parser.add_argument
        add("model", help="qualified name of the model")
        add(
            "--model-version",
            metavar="VERSION",
            help="of the model, or its alias (default: whichever takes what names no version)",
        )
        add(
            "-i",
            "--input",
            required=True,
            metavar="FILE",
            help=".csv, .tsv, .jsonl or .parquet; - for standard input",
        )
        add(
            "-o",
            "--output",
            required=True,
            metavar="FILE",
            help=".jsonl or .csv; - for standard output",
        )
        add(
            "--errors",
            metavar="FILE",
            help="where rows that failed are listed (default: OUTPUT.errors.jsonl; standard error "
            "if the output is standard output)",
        )
        add(
            "--format",
            choices=("csv", "jsonl", "parquet"),
            help="of the input (default: by its suffix)",
        )
        add(
            "--output-format",
            choices=("csv", "jsonl"),
            help="of the output (default: by its suffix; jsonl for standard output)",
        )
        add(
            "--delimiter",
            metavar="CHARACTER",
            help="between the cells of CSV, such as ';' or tab (default: a comma; a tab for .tsv)",
        )
        add("--encoding", default="utf-8", help="of CSV and JSONL (default: utf-8)")
        add(
            "--batch-size",
            type=_positive,
            metavar="N",
            help="rows that are predicted in one call (default: max_batch_size of the model's "
            "batching, else 1000; 100 where the model predicts one by one, or in another service)",
        )
        add(
            "--processes",
            type=_positive,
            metavar="N",
            help="that predict, each with the model (default: one for each processor, fewer for "
            "small files)",
        )
        add(
            "--max-errors",
            type=_natural,
            metavar="N",
            help="stop once more rows than these have failed (default: never)",
        )
        add(
            "--restart", action="store_true", help="begin anew where an interrupted job could go on"
        )
        add(
            "--url",
            help="of a running service that predicts; its API key is taken from the "
            f"environment variable {KEY_VARIABLE}",
        )
        add(
            "--concurrency",
            type=_positive,
            default=4,
            metavar="N",
            help="requests at a time, where another service predicts (default: 4)",
        )
        add(
            "--give-up-after",
            type=float,
            default=300.0,
            metavar="SECONDS",
            help="for which a request is sent anew to a service that is busy or does not answer "
            "(default: 300)",
        )

    def handle(self, *args: object, **options: Any) -> None:
        """Predict, and say what came of it."""
        names = [each.name for each in fields(Options) if each.name != "key"]
        own = Options(key=os.environ.get(KEY_VARIABLE), **{name: options[name] for name in names})
        # Standard output may be where the predictions go.
        self._out = self.stderr if own.output == STANDARD else self.stdout
        try:
            with _signals(), ExitStack() as files:
                self._predict(own, options, files)
        except (JobRefused, SystemCheckError) as error:
            raise CommandError(str(error), returncode=_REFUSED) from None
        except _Interrupted as interrupted:
            flush_output()
            # Threads may be waiting for a model, or for a service.
            os._exit(interrupted.status)

    def _predict(self, own: Options, options: dict[str, Any], files: ExitStack) -> None:
        progress = StringIO() if options["verbosity"] < 1 else sys.stderr
        target = self._target(own, files)
        job = BulkJob(own, target, self._warn, progress, files)
        try:
            # What a model prints is none of the predictions.
            with redirect_stdout(sys.stderr) if own.output == STANDARD else nullcontext():
                job.run(self._tell_begin, options["max_errors"], restart=options["restart"])
        except JobStopped as error:
            raise CommandError(f"{error}\n{_remedy(job)}", returncode=_STOPPED) from None
        except _Interrupted:
            self._warn(f"Interrupted. {_remedy(job)}")
            raise
        self._say(_summary(job))
        if job.reached.failed:
            sys.exit(_SOME_FAILED)

    def _target(self, options: Options, files: ExitStack) -> Target:
        if options.url is not None:
            return remote_target(options)
        self.check(app_configs=None, tags=["models_api"])
        return local_target(options, files)

    def _tell_begin(self, checkpoint: Checkpoint) -> None:
        if checkpoint.rows:
            self._say(f"Going on behind row {checkpoint.rows:,}.")

    def _say(self, text: str) -> None:
        self._out.write(text, self.style.NOTICE if self._out is self.stderr else None)

    def _warn(self, text: str) -> None:
        self.stderr.write(text, self.style.WARNING)


def _summary(job: BulkJob) -> str:
    reached = job.reached
    predicted, failed = reached.rows - reached.failed, ""
    if reached.failed:
        where = "standard error" if job.errors == STANDARD else job.errors
        failed = f" (see {where})"
    return (
        f"{reached.rows:,} rows: {predicted:,} predicted, {reached.failed:,} failed{failed}; "
        f"{job.rate:,.0f} rows/s."
    )


def _remedy(job: BulkJob) -> str:
    if not job.can_be_resumed:
        return "The job cannot be resumed, as it does not read and write files."
    return (
        f"{job.reached.rows:,} rows are done, {job.reached.failed:,} of which failed. The same "
        "command goes on from there, or --restart begins anew."
    )


@contextmanager
def _signals() -> Iterator[None]:
    """Stop at the signals that ask for it, wherever the main thread is."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise _Interrupted(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ArgumentTypeError("must be at least 1")
    return number


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ArgumentTypeError("must be at least 0")
    return number

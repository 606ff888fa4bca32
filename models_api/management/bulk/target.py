"""What predicts for a file of rows, as a job knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models_api.cpus import available_cpus
from models_api.hosting.hosted_model import HostedModel
from models_api.management.bulk.options import STANDARD, Options
from models_api.schemas.json_schema import JSONSchema
from models_api.scoring.errors import JobRefused
from models_api.scoring.scorers import BatchPredictor

TOGETHER, ONE_BY_ONE = 1000, 100
"""Rows of a batch, by default."""
ROWS_OF_A_REQUEST = 100
ANY_NUMBER = 2**31
_BYTES_OF_A_PROCESS = 2**19
"""Of a file, for each of which, at least, a process is worth its start."""


@dataclass(frozen=True)
class Target:
    """What predicts: a model here, or one of a service."""

    version: str | None
    input_schema: JSONSchema
    output_schema: JSONSchema
    batch_size: int
    """By default."""
    identity: Mapping[str, object]
    """What must be the same where a job is resumed."""
    elsewhere: BatchPredictor | None = None
    """What asks a model elsewhere, from many threads; None where processes of the job have it."""
    calls: int = 1
    """Batches that it has at a time."""


def useful_processes(options: Options) -> int:
    """Return in how many processes a model is to predict."""
    path = Path(options.input)
    if options.processes is not None:
        return options.processes
    if options.input == STANDARD or not path.is_file():
        return available_cpus()
    return max(1, min(available_cpus(), path.stat().st_size // _BYTES_OF_A_PROCESS))


def unloadable(model: HostedModel) -> JobRefused:
    """Return the error that says why a model cannot be loaded."""
    return JobRefused(f"The model {model.label} cannot be loaded: {model.failure}")

"""What can go wrong with a job: before it begins, in its midst, and with single rows."""

from __future__ import annotations

from typing import NamedTuple

from models_api.error_table import error_kind
from models_api.exceptions import InvalidInput, ModelError, ModelsAPIError


class JobRefused(ModelsAPIError):
    """The job cannot begin; nothing was changed."""


class JobStopped(ModelsAPIError):
    """The job ended before its input did; what was committed stays, and it can be resumed."""


class RowError(NamedTuple):
    """Why there is no prediction for a row, in the words of the HTTP API."""

    type: str
    messages: list[str]

    @classmethod
    def of(cls, error: ModelsAPIError) -> RowError:
        """Return what is told of an error; of a model's failure the reason too."""
        kind = error_kind(error)
        type_ = type(error).__name__ if kind is None else kind.type
        if isinstance(error, InvalidInput):
            return cls(type_, [problem.text for problem in error.problems])
        reason = error.reason if isinstance(error, ModelError) else ""
        return cls(type_, [reason or str(error)])

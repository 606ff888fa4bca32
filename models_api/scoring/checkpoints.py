"""How far a job has come: kept in a file beside its output, from which it is resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from models_api.scoring.errors import JobRefused

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A moment at which the output held all that the input had up to an offset."""

    offset: int = 0
    """In the input."""
    lines: int = 0
    """Of the input, up to there."""
    rows: int = 0
    failed: int = 0
    """Of the rows."""
    written: int = 0
    """Bytes of the output."""
    errors_written: int = 0
    """Bytes of the file of errors."""


class CheckpointFile:
    """The file that holds the last checkpoint of a job, and what the job is."""

    def __init__(self, path: Path, job: Mapping[str, object]) -> None:
        """Make it.

        Args:
            path: Of the file, which is there while the job has not come to its end.
            job: What must be the same for the job to be resumed, by names for people.
        """
        self.path = path
        self._job = json.loads(json.dumps(job))

    def read(self) -> Checkpoint | None:
        """Return the last checkpoint; None where the job has not begun.

        Raises:
            JobRefused: it is that of another job, or cannot be read.
        """
        try:
            found = json.loads(self.path.read_bytes())
            if found["format"] != _FORMAT:
                raise JobRefused(self._refusal("is of another version of modelhost"))
            job, checkpoint = found["job"], Checkpoint(**found["checkpoint"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise JobRefused(self._refusal(f"cannot be read ({error})")) from None
        for name, now in self._job.items():
            if job.get(name) != now:
                told = f"is of a job that was interrupted, whose {name} was {job.get(name)}, not "
                raise JobRefused(self._refusal(f"{told}{now}"))
        return checkpoint

    def write(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; whatever happens, there is this one or the one before."""
        content = {"format": _FORMAT, "job": self._job, "checkpoint": asdict(checkpoint)}
        beside = self.path.with_name(f"{self.path.name}.new")
        with beside.open("wb") as file:
            file.write(json.dumps(content, indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)
        _sync_folder(self.path.parent)

    def remove(self) -> None:
        """Remove the file: the job has come to its end."""
        self.path.unlink(missing_ok=True)

    def _refusal(self, what: str) -> str:
        return (
            f"{self.path} {what}. Give the command as it was then to go on with that job, or "
            "--restart to begin anew."
        )


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

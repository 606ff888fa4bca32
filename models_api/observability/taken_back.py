"""Versions that get no requests any more, kept in a file until the configuration changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from models_api.logs import SafeLogger
from models_api.observability.private_files import locked, write_whole

logger = SafeLogger(__name__)

_CANNOT_READ = (
    "%s cannot be read (%s): what it says of versions that were taken back is not known. Remove it."
)
_CANNOT_WRITE = (
    "That a version is taken back cannot be written to %s: %s. It holds until a restart; let "
    "MODELHOST_STATE_DIRECTORY name a folder that the user of the service can write to."
)


class _Decided(NamedTuple):
    fingerprint: str
    """Of what the configuration said of the versions of the model."""
    reasons: Mapping[str, str]
    """Why versions were taken back."""


_Decisions = Mapping[str, _Decided]
"""By the names of the models."""


class TakenBack:
    """What was decided of versions by any of the workers.

    Safe to use from many processes, one thread of each. Where one folder cannot be used, the next
    one is, and without any this process keeps its decisions to itself.
    """

    def __init__(self, folders: Sequence[Callable[[], Path]], name: str) -> None:
        """Make nothing yet.

        Args:
            folders: Return where the file may be, the best first.
            name: Of the file, without its suffix.
        """
        self._files = [_DecisionsFile(folder, name) for folder in folders]
        self._own: _Decisions = {}
        """What could be written nowhere."""

    def read(self, model: str, fingerprint: str) -> Mapping[str, str]:
        """Return why versions of a model were taken back, while they had this fingerprint."""
        known = [each.read().get(model) for each in self._files] + [self._own.get(model)]
        found: dict[str, str] = {}
        for decided in known:
            if decided is not None and decided.fingerprint == fingerprint:
                found |= decided.reasons
        return found

    def add(self, model: str, fingerprint: str, version: str, reason: str) -> bool:
        """Keep a decision; return whether it is new."""
        for file in self._files:
            try:
                with file.locked():
                    decided = self._decided(model, fingerprint, version, reason)
                    if decided is not None:
                        file.write(model, decided)
                    return decided is not None
            except OSError as error:
                logger.warning(_CANNOT_WRITE, file, error.strerror or error)
        decided = self._decided(model, fingerprint, version, reason)
        if decided is not None:
            self._own = {**self._own, model: decided}
        return decided is not None

    def _decided(self, model: str, fingerprint: str, version: str, reason: str) -> _Decided | None:
        """Return what is known of a model, and this; None if this is known."""
        known = self.read(model, fingerprint)
        return None if version in known else _Decided(fingerprint, {**known, version: reason})


class _DecisionsFile:
    """One of the places where decisions are kept."""

    def __init__(self, folder: Callable[[], Path], name: str) -> None:
        self._folder = folder
        self._name = name
        self._seen: tuple[int, int, int] | None = None
        self._decisions: _Decisions = {}

    def __str__(self) -> str:
        try:
            return str(self._folder())
        except OSError:
            return "a folder that nobody knows"

    @property
    def _path(self) -> Path:
        return self._folder() / f"{self._name}.json"

    def read(self) -> _Decisions:
        """Return what is in it; what was there before, if nobody can read that."""
        try:
            found = self._path.stat()
        except OSError:  # there is none, or it was removed, by hand
            self._seen, self._decisions = None, {}
            return self._decisions
        seen = (found.st_mtime_ns, found.st_ino, found.st_size)
        if seen != self._seen:
            self._decisions, self._seen = self._parsed(), seen
        return self._decisions

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process after the other in.

        Raises:
            OSError: the folder, or the file of the lock, cannot be made.
        """
        path = self._path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock")):
            yield

    def write(self, model: str, decided: _Decided) -> None:
        """Replace what is known of a model.

        Raises:
            OSError: it cannot be written.
        """
        decisions = {**self.read(), model: decided}
        content = {name: each._asdict() for name, each in decisions.items()}
        write_whole(self._path, json.dumps(content, indent=1).encode())
        self._decisions = decisions

    def _parsed(self) -> _Decisions:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return {
                str(model): _Decided(str(decided["fingerprint"]), dict(decided["reasons"]))
                for model, decided in found.items()
            }
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            logger.warning(_CANNOT_READ, self._path, error)
            return self._decisions

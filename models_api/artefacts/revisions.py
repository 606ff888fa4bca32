"""Which source an artefact has, and whether that has something else by now."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from models_api.artefacts.digests import files_of
from models_api.artefacts.source import Source, Temporary, require_package
from models_api.configuration.artefact_addresses import OBJECT_STORES, scheme_of, shown_address
from models_api.exceptions import ArtefactError
from models_api.logs import SafeLogger

logger = SafeLogger(__name__)


def source_of(address: str) -> Source:
    """Return what is asked for the artefact at an address; it asks nothing yet.

    Raises:
        ArtefactError: a package for that is missing, or a variable of the environment.
    """
    # They need packages that not every service has.
    scheme = scheme_of(address)
    if scheme in OBJECT_STORES:
        from models_api.artefacts.objects import ObjectStore  # noqa: PLC0415

        return ObjectStore(address)
    require_package(address)
    if scheme == "mlflow":
        from models_api.artefacts.mlflow import MLflowModel  # noqa: PLC0415

        return MLflowModel(address)
    from models_api.artefacts.web import WebFile  # noqa: PLC0415

    return WebFile(address)


def revision(artefact: Path | str) -> str:
    """Return what changes when an artefact does, at little cost; empty where nobody says it.

    Args:
        artefact: An address, or the path of a file or folder, which may be missing.

    Raises:
        Temporary: its source does not answer; ask later.
        ArtefactError: it is not there, or may not be read.
    """
    if isinstance(artefact, Path):
        return _revision_of_path(artefact)
    with closing(source_of(artefact)) as source:
        return source.revision()


class KnownRevisions:
    """What this process has last heard of the revisions at addresses. For any thread."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, str]] = {}
        self._doubts: dict[str, str] = {}
        self.agreed: Mapping[str, str] = {}
        """By address, what is to be taken whatever its source has by now."""

    def doubt(self, address: str) -> str | None:
        """Return why it is not known whether there is something newer; None where it is."""
        return self._doubts.get(address)

    def note(self, address: str, found: str) -> None:
        """Keep what somebody has heard."""
        self._known[address] = time.monotonic(), found

    def heard(self, address: str) -> str:
        """Return the revision that was heard of last; empty if none was."""
        return self._known.get(address, (0.0, ""))[1]

    def latest(self, address: str, maximum_age_seconds: float | None) -> str:
        """Return the revision at an address; what was heard last, if its source does not tell.

        Args:
            address: Of an artefact.
            maximum_age_seconds: When its source is to be asked again; None for never.
        """
        if address in self.agreed:
            return self.agreed[address]
        heard, known = self._known.get(address, (None, ""))
        if maximum_age_seconds is None:
            return known
        if heard is not None and time.monotonic() - heard < maximum_age_seconds:
            return known
        doubt = None
        try:
            known = revision(address)
        except (ArtefactError, Temporary) as error:
            doubt = f"whether {shown_address(address)} has something newer is not known: {error}"
        self._note_doubt(address, doubt)
        self.note(address, known)
        return known

    def _note_doubt(self, address: str, doubt: str | None) -> None:
        """Keep why a source does not tell, and log it once."""
        if doubt is None:
            if self._doubts.pop(address, None) is not None:
                logger.info("%s tells again what it has", shown_address(address))
            return
        if doubt != self._doubts.get(address):
            logger.warning("What serves stays: %s", doubt)
        self._doubts[address] = doubt


def _revision_of_path(path: Path) -> str:
    if not path.is_dir():
        return _state(path)
    listing = "\n".join(f"{name} {_state(path / name)}" for name in sorted(files_of(path)))
    return hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest()


def _state(path: Path) -> str:
    try:
        state = path.stat()
    except OSError:
        return "missing"
    return f"{state.st_mtime_ns} {state.st_size} {state.st_ino}"

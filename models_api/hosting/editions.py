"""What a model is made from besides its configuration: the state of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from models_api.artefacts.revisions import KnownRevisions
from models_api.artefacts.revisions import revision as revision_of
from models_api.configuration.sections import ModelConfiguration

_DIGITS = 16


def edition_of(configuration: ModelConfiguration, revision: str = "") -> str:
    """Return a text that is another one once something has changed that the model is made from.

    Empty where there is nothing. Times and sizes of files tell it, nothing is read.

    Args:
        configuration: Of the model.
        revision: Of its artefact, where that has an address; empty if it is not known.
    """
    states = [f"{path} {revision_of(path)}" for path in sorted(watched_paths(configuration))]
    states += [revision] if revision else []
    if not states:
        return ""
    return hashlib.sha256("\n".join(states).encode()).hexdigest()[:_DIGITS]


def address_of(configuration: ModelConfiguration) -> str | None:
    """Return the address at which there may be another artefact later; None without one."""
    artefact = configuration.artefact
    may_change = configuration.sha256 is None and not configuration.is_remote
    return artefact if isinstance(artefact, str) and may_change else None


def edition_lately(
    configuration: ModelConfiguration, known: KnownRevisions, maximum_age_seconds: float | None
) -> str:
    """Return the edition that a model would have that is made now.

    Args:
        configuration: Of the model.
        known: What was heard of the sources of artefacts.
        maximum_age_seconds: When a source is to be asked again; None for never.
    """
    address = address_of(configuration)
    revision = known.latest(address, maximum_age_seconds) if address else ""
    return edition_of(configuration, revision)


def watched_paths(configuration: ModelConfiguration) -> list[Path]:
    """Return the files and folders whose change is one of the model."""
    artefact = [configuration.artefact] if isinstance(configuration.artefact, Path) else []
    return [*artefact, *map(Path, getattr(configuration, "watch", ()))]

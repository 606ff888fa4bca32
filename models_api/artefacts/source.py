"""What artefacts come from, whatever it speaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from models_api.configuration.artefact_addresses import MLFLOW_MODEL, OBJECT_STORES, scheme_of
from models_api.exceptions import ArtefactError

CHUNK_BYTES = 1 << 20
"""That are written at a time."""
_SAFE = re.compile(r"[^\w. ()+-]")
_LONGEST_NAME = 100


class Temporary(Exception):
    """A source does not answer as it should, and may do so later; the text tells no secret."""

    def __init__(self, message: str, *, retry_after_seconds: float = 0) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class Moved(Exception):
    """What is at an address has become something else while it was read."""


class RemoteFile(NamedTuple):
    """One file of an artefact."""

    path: str
    """Within the artefact, if that is a folder."""
    size: int | None
    """In bytes; None where nobody says it."""
    tag: str
    """Changes with the content; empty where nobody says it."""


class Listing(NamedTuple):
    """What is at an address now."""

    revision: str
    """Changes with the content; empty where nobody says it."""
    files: Sequence[RemoteFile]
    is_folder: bool

    @property
    def size(self) -> int | None:
        """All bytes; None where nobody says it."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)


class Source(Protocol):
    """What is at one address. Used by one thread, for a short time.

    Every method raises `Temporary` where another try may help, and `ArtefactError` where it does
    not.
    """

    shown: str
    """The address, without secrets."""
    identity: str
    """The address, with all that says what it means here."""
    name: str
    """What its file or folder is called."""

    def revision(self) -> str:
        """Return what changes with the content; asks as little as it can."""

    def listing(self) -> Listing:
        """Return what there is."""

    def read(self, file: RemoteFile, start: int) -> Iterator[bytes]:
        """Yield the content of a file of the listing.

        Args:
            file: Which one.
            start: Byte with which to begin; 0 for a file without a tag.

        Raises:
            Moved: it is not the file of the listing any more.
        """

    def close(self) -> None:
        """Give up what it holds: a connection, or a process."""


def name_at(address: str) -> str:
    """Return what the file or folder at an address is called, as a name that a file can have."""
    if found := MLFLOW_MODEL.fullmatch(address):
        return _safe_name(found["name"])
    parts = urlsplit(address)
    path = unquote(parts.path) if parts.scheme.startswith("http") else address.partition("://")[2]
    return _safe_name(path.rstrip("/").rpartition("/")[2] or (parts.hostname or ""))


def _safe_name(name: str) -> str:
    """Return a name that a file can have, as near to the one that is given as can be."""
    stem, dot, suffix = _SAFE.sub("_", name).strip(". ").rpartition(".")
    whole = f"{stem[:_LONGEST_NAME]}{dot}{suffix[:_LONGEST_NAME]}"
    return whole or "artefact"


def require_package(address: str) -> None:
    """Raise ArtefactError if the package that asks for such an artefact is not installed."""
    scheme = scheme_of(address)
    is_object = scheme in OBJECT_STORES
    package, extra = ("obstore", "object-store") if is_object else ("urllib3", "remote")
    if find_spec(package) is None:
        what = "mlflow:" if scheme == "mlflow" else f"{scheme}://"
        message = f"{what} needs {package}, which is not installed"
        raise ArtefactError(message, f'Install it: pip install "modelhost[{extra}]"')


def checked_path(path: str, shown: str) -> str:
    """Return a path within an artefact.

    Raises:
        ArtefactError: it would lead out of the artefact's folder, or cannot be written there.
    """
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or any(part in ("", ".", "..") for part in parts):
        message = f"{shown} holds a file that cannot be written here: {path!a}"
        raise ArtefactError(message, "Give it another name.")
    return path


def no_files(shown: str) -> ArtefactError:
    """Return the error of a folder without any file."""
    message = f"there is nothing at {shown}"
    return ArtefactError(message, "See that it is written as it is there, capitals included.")

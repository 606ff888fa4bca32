"""The SHA-256 of an artefact, be it a file or a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's listing as `sha256sum` writes it.

    That has a line for each file, in the order of their paths' bytes: the file's SHA-256, two
    blanks, and its path within the folder.
    """
    if not path.is_dir():
        return _sha256_of_file(path)
    listing = hashlib.sha256()
    for name in sorted(files_of(path), key=os.fsencode):
        line = f"{_sha256_of_file(path / name)}  "
        listing.update(line.encode() + os.fsencode(name) + b"\n")
    return listing.hexdigest()


def files_of(folder: Path) -> Iterator[str]:
    """Yield the paths of all files in a folder, from there, with slashes."""
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = Path(parent) / name
            if path.is_file():
                yield path.relative_to(folder).as_posix()


def _sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

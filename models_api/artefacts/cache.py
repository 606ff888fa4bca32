"""The folder of this machine in which artefacts of other places are kept, by their content.

- `content/SHA-256/NAME`: an artefact, complete and checked; beside it what it tells of itself
- `addresses/DIGEST.json`: which content an address has had, by revision
- `partial/DIGEST/`: what is being downloaded from an address
- `locks/DIGEST`: is locked by whoever downloads from that address
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from models_api.artefacts.digests import files_of, sha256_of
from models_api.artefacts.downloads import download, patiently
from models_api.artefacts.revisions import KnownRevisions, source_of
from models_api.artefacts.source import Source, Temporary
from models_api.exceptions import ArtefactError
from models_api.file_locks import HAS_FILE_LOCKS, fcntl
from models_api.logs import SafeLogger

logger = SafeLogger(__name__)

_CONTENT, _ADDRESSES, _PARTIAL, _LOCKS = "content", "addresses", "partial", "locks"


class Fetched(NamedTuple):
    """An artefact on this machine."""

    path: Path
    revision: str
    """Of its source, when it was there; empty where nobody says it."""


class ArtefactCache:
    """Keeps artefacts. Safe to use from many threads and processes, which download each once.

    Nothing is deleted but what a download has left that came to no end.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Make no folder yet.

        Args:
            folder: Where artefacts are kept; by default in the user's folder for caches.
        """
        self.folder = default_folder() if folder is None else folder.expanduser().absolute()
        self.revisions = KnownRevisions()

    def cached(self, address: str, sha256: str | None = None) -> Path | None:
        """Return what was downloaded from an address last, or has that SHA-256; asks nobody."""
        if sha256 is not None:
            return self._with_digest(sha256)
        try:
            with closing(source_of(address)) as source:
                return self._known(source).latest
        except ArtefactError:
            return None

    def fetch(self, address: str, sha256: str | None = None, *, or_latest: bool = True) -> Fetched:
        """Return what is at an address, downloaded unless it is here already.

        Args:
            address: Where it is.
            sha256: What it has to have; then nobody is asked for what is here already.
                Nor is anybody for a revision that is agreed.
            or_latest: Take, with a warning, what was there before, if it cannot be had, unless
                this process has heard that there is something newer.

        Raises:
            Temporary: it cannot be had now, and perhaps later.
            ArtefactError: it cannot be had, or has another SHA-256.
        """
        if sha256 is not None and (path := self._with_digest(sha256)) is not None:
            return Fetched(path, "")
        agreed = self.revisions.agreed.get(address, "")
        with closing(source_of(address)) as source, self._locked(source):
            if sha256 is None and (path := self._known(source).by_revision(agreed)) is not None:
                return Fetched(path, agreed)
            try:
                return self._fetched(source, sha256)
            except (ArtefactError, Temporary) as error:
                known = self._known(source)
                is_newer = self.revisions.heard(address) not in ("", known.latest_revision)
                if known.latest is None or sha256 is not None or is_newer or not or_latest:
                    raise
                logger.warning("%s. What was downloaded from there before is taken.", error)
                return Fetched(known.latest, known.latest_revision)

    def _fetched(self, source: Source, sha256: str | None) -> Fetched:
        listing = patiently(source.shown, source.listing)
        path = self._known(source).by_revision(listing.revision)
        # Whoever had the lock before may have downloaded it.
        if sha256 is not None:
            path = self._with_digest(sha256)
        if path is not None:
            return Fetched(path, listing.revision)
        partial = self._partial(source)
        try:
            partial.mkdir(mode=0o700)
            downloaded, listing = download(source, listing, partial)
            digest = sha256_of(downloaded)
            require_digest(source.shown, digest, sha256)
            path = self._keep(downloaded, digest)
            self._note(source, listing.revision, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return Fetched(path, listing.revision)

    def _with_digest(self, sha256: str) -> Path | None:
        """Return what has a SHA-256; it is read, lest the disk has damaged it."""
        folder = self.folder / _CONTENT / sha256
        with suppress(OSError):
            for path in sorted(folder.iterdir()):
                if _is_content(path) and sha256_of(path) == sha256:
                    return path
        return None

    def _keep(self, downloaded: Path, digest: str) -> Path:
        folder = self.folder / _CONTENT / digest
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = folder / downloaded.name
        if kept.exists() and sha256_of(kept) != digest:
            kept.rename(downloaded.with_name("damaged"))
        if not kept.exists():
            for path in _folders_within(downloaded):
                _sync(path)
            downloaded.rename(kept)
            _sync(folder)
            _sync(folder.parent)
        return kept

    def _known(self, source: Source) -> _Known:
        try:
            told = json.loads(self._record(source).read_bytes())
            return _Known(self.folder / _CONTENT, told["revisions"], told["latest"])
        except (OSError, ValueError, LookupError, TypeError):
            return _Known(self.folder / _CONTENT, {}, "")

    def _note(self, source: Source, revision: str, path: Path) -> None:
        digest, name = path.parent.name, path.name
        revisions = {**self._known(source).revisions, revision: [digest, name]}
        told = {"address": source.shown, "revisions": revisions, "latest": revision}
        record = self._record(source)
        record.parent.mkdir(exist_ok=True, mode=0o700)
        new = record.with_suffix(".new")
        new.write_text(json.dumps(told, indent=1), encoding="utf-8")
        new.replace(record)

    def _record(self, source: Source) -> Path:
        return self.folder / _ADDRESSES / f"{_id(source)}.json"

    def _partial(self, source: Source) -> Path:
        return self.folder / _PARTIAL / _id(source)

    @contextmanager
    def _locked(self, source: Source) -> Iterator[None]:
        """Be the only one that downloads from a source; remove what others have left."""
        try:
            for name in (_PARTIAL, _LOCKS):
                (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = _open_lock(self.folder / _LOCKS / _id(source))
        except OSError as error:
            message = f"no artefact can be kept in {self.folder}: {error.strerror}"
            hint = "Name a folder that this user can write to in MODELHOST_ARTEFACT_CACHE."
            raise ArtefactError(message, hint) from error
        try:
            if not _try_to_lock(lock):
                logger.info("Waiting for another process that downloads %s", source.shown)
                fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.rmtree(self._partial(source), ignore_errors=True)
            self._remove_debris()
            yield
        finally:
            _unlock(lock)

    def _remove_debris(self) -> None:
        """Remove what is partial, and nobody is at: its process was killed."""
        for path in (self.folder / _PARTIAL).iterdir():
            lock = _open_lock(self.folder / _LOCKS / path.name)
            if _try_to_lock(lock):
                shutil.rmtree(path, ignore_errors=True)
            _unlock(lock)


class _Known(NamedTuple):
    """What was downloaded from an address."""

    content: Path
    revisions: Mapping[str, tuple[str, str]]
    """Digest and name of each."""
    latest_revision: str

    @property
    def latest(self) -> Path | None:
        return self._path(self.latest_revision)

    def by_revision(self, revision: str) -> Path | None:
        """Return what is here of a revision; what has none may be anything."""
        return self._path(revision) if revision else None

    def _path(self, revision: str) -> Path | None:
        digest, name = self.revisions.get(revision, ("", ""))
        path = self.content / digest / name
        return path if digest and path.exists() else None


def default_folder() -> Path:
    """Return the folder for artefacts in the user's folder for caches."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "modelhost" / "artefacts"


def require_digest(shown: str, digest: str, expected: str | None) -> None:
    """Raise ArtefactError if an artefact has another SHA-256 than it has to have."""
    if expected is not None and digest != expected:
        message = f"{shown} has the SHA-256 {digest}, and not the one that is expected"
        hint = "Find out who has changed it; if it is right, write that one as sha256."
        raise ArtefactError(message, hint, key="sha256")


def _id(source: Source) -> str:
    return hashlib.sha256(source.identity.encode()).hexdigest()[:32]


def _is_content(path: Path) -> bool:
    return not path.name.endswith(".schema.json")


def _folders_within(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield path
        yield from {(path / name).parent for name in files_of(path)} - {path}


def _sync(folder: Path) -> None:
    with suppress(OSError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)


def _try_to_lock(lock: int) -> bool:
    if not HAS_FILE_LOCKS:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(lock: int) -> None:
    if HAS_FILE_LOCKS:
        # By itself, as a process that was forked meanwhile has it open, too.
        fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)

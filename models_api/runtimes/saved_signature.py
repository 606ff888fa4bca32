"""The signature of an artefact: read from it, or from the file that is kept beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from models_api.artefacts.digests import sha256_of
from models_api.configuration.sections import RuntimeName
from models_api.exceptions import ArtefactError
from models_api.logs import SafeLogger, one_line
from models_api.runtimes.kinds import KINDS, RuntimeOfTypes, kind_of, runtime_of
from models_api.runtimes.signature import SavedSignature, Signature, from_json, to_json
from models_api.runtimes.trust import require_trust

logger = SafeLogger(__name__)


def path_beside(artefact: Path) -> Path:
    """Return where the signature of an artefact is kept."""
    return artefact.with_name(f"{artefact.name}.schema.json")


def read_signature(
    artefact: Path,
    named: RuntimeName | None = None,
    *,
    trusted: bool | Sequence[str] = False,
    kept: Path | None = None,
) -> SavedSignature:
    """Return the signature of an artefact, by the file beside it if that is of this artefact.

    Args:
        artefact: The file. It may be missing where its signature is there.
        named: Of which kind the configuration says that it is.
        trusted: Whether it may execute code where it is read, or which types may.
        kept: Where its signature is kept, if not beside it.

    Raises:
        ArtefactError: it cannot be read, or is not trusted and would have to be.
    """
    if kept is not None and not kept.exists():
        hint = f"Make it: modelhost inspect --schema {kept} {artefact}"
        raise ArtefactError(f"there is no file {kept}", hint, key="schema")
    kept = kept or path_beside(artefact)
    saved = _saved(kept)
    if saved is not None and not artefact.exists():
        require_trust(artefact.name, saved.runtime, saved.signature.types, trusted)
        return saved
    runtime = kind_of(artefact, named)
    digest = _sha256(artefact)
    if saved is not None and (saved.runtime, saved.sha256) == (runtime, digest):
        require_trust(artefact.name, runtime, saved.signature.types, trusted)
        return saved
    if saved is not None:
        logger.warning("%s is of another file than %s, and not used", kept.name, artefact.name)
    require_trust(artefact.name, runtime, _untrusted_types(artefact, runtime), trusted)
    return SavedSignature(runtime, digest, _described(artefact, runtime))


def write_signature(artefact: Path, saved: SavedSignature, kept: Path | None = None) -> Path:
    """Keep the signature of an artefact, beside it unless it is said where; return where."""
    path = kept or path_beside(artefact)
    path.write_bytes(to_json(saved))
    return path


def _described(artefact: Path, runtime: RuntimeName) -> Signature:
    reader = runtime_of(runtime)
    try:
        return reader.describe(artefact)
    except ArtefactError:
        raise
    except Exception as error:
        logger.exception("%s cannot be described", artefact)
        message = f"{artefact.name} cannot be described: {one_line(error)}"
        raise ArtefactError(message, "Write a class that loads it: class_path.") from error


def _saved(path: Path) -> SavedSignature | None:
    try:
        return from_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("%s is not used: %s", path, error)
        return None


def _untrusted_types(artefact: Path, runtime: RuntimeName) -> tuple[str, ...]:
    if not KINDS[runtime].names_types:
        return ()
    return cast("RuntimeOfTypes", runtime_of(runtime)).untrusted_types(artefact)


def _sha256(path: Path) -> str:
    return _sha256_of_folder(path) if path.is_dir() else sha256_of(path)


def _sha256_of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        # Python keeps what it compiles beside the code of a model.
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(folder).as_posix()}\n{_sha256(path)}\n".encode())
    return digest.hexdigest()

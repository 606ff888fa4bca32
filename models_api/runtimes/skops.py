"""Artefacts of scikit-learn that skops wrote, which lists of which types it makes objects."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import skops.io

from models_api.exceptions import ArtefactError
from models_api.logs import one_line
from models_api.runtimes import scikit_learn
from models_api.runtimes.signature import Signature

_LIBRARY = f"skops {skops.__version__}"


def untrusted_types(path: Path) -> tuple[str, ...]:
    """Return the types in the file that skops does not know to be harmless."""
    try:
        return tuple(skops.io.get_untrusted_types(file=path))
    except Exception as error:
        message = f"{_LIBRARY} cannot read {path.name}: {one_line(error)}"
        hint = "Save it again, or copy it again; if a newer skops saved it, install that one."
        raise ArtefactError(message, hint) from error


def describe(path: Path) -> Signature:
    """Return what the estimator says of its columns and classes."""
    types = untrusted_types(path)
    return replace(scikit_learn.signature_of(_read(path, types)), types=types)


def load(path: Path, signature: Signature) -> scikit_learn.Predictor:
    """Read the estimator, if all its types are among those of the signature."""
    return scikit_learn.Predictor(_read(path, signature.types), signature)


def _read(path: Path, types: tuple[str, ...]) -> Any:
    # It has no way to trust whatever there is.
    return scikit_learn.estimator_in(path, _LIBRARY, partial(skops.io.load, trusted=list(types)))

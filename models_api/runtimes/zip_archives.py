"""What a zip archive holds, which several libraries save models in, by the names of its members."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

from models_api.exceptions import ArtefactError

BEGINNING = re.compile(rb"PK\x03\x04")
_EXPORT = "Save it with torch.export.save, or convert it to ONNX."
_ALTERNATIVE = "Convert it to ONNX, or write a class that loads it and name that in class_path."
_OTHERS = tuple(
    (re.compile(pattern), what, hint)
    for pattern, what, hint in (
        (
            r"([^/]+/)?data/aotinductor/.*",
            "a model that AOTInductor compiled for one machine",
            "Save the exported program itself: torch.export.save(program, path)",
        ),
        (r"[^/]+/constants\.pkl", "a model of TorchScript", _EXPORT),
        (
            r"[^/]+/data\.pkl",
            "what torch.save wrote, which holds weights but not what to compute with them",
            _EXPORT,
        ),
        (r"model\.weights\.h5", "a model of Keras", 'Save it with model.export(path, "onnx").'),
        (r".*\.npy", "an archive of numpy's arrays", _ALTERNATIVE),
        (
            r"(.*/)?MLmodel",
            "a packed model of MLflow",
            "Unpack it, and name the model's file in its folder.",
        ),
    )
)


def names_of_members(path: Path) -> list[str]:
    """Return the names of all that an archive holds.

    Raises:
        ArtefactError: it has no end.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError) as error:
        message = f"{path.name} is a zip archive that is cut off or damaged: {error}"
        raise ArtefactError(message, "Save or copy the file again.") from error


def described(names: Sequence[str]) -> tuple[str, str]:
    """Return what an archive is that is of no kind known here, and what to do with it."""
    for pattern, what, hint in _OTHERS:
        if any(map(pattern.fullmatch, names)):
            return what, hint
    return "a zip archive of no kind that is known here", _ALTERNATIVE

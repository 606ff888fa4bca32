"""The import of a model's class before the processes are forked, where they can live with that."""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from models_api.hosting.class_paths import import_class
from models_api.logs import SafeLogger

logger = SafeLogger(__name__)

_EACH_BY_ITSELF = "--each-by-itself"


def preload(class_path: str, given: Mapping[str, Any], label: str) -> None:
    """Import a class once for all processes, which are there the sooner after one has died.

    Where forked processes could not go on with what its modules have begun, start this program
    anew, which then leaves the import to each process.

    Args:
        class_path: Of the class.
        given: What this program has read from its standard input.
        label: What the log calls the model.
    """
    if _EACH_BY_ITSELF in sys.argv:
        return
    with suppress(Exception):
        import_class(class_path, object)
    if obstacle := _obstacle():
        logger.warning(
            "Each process of %s imports its class by itself, as its import %s: do that in __init__",
            label,
            obstacle,
        )
        _begin_anew(given)


def _obstacle() -> str | None:
    """Return what forked processes would lack or could not use; None if there is nothing."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "begins to use a GPU"
    threads = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
    return f"starts threads ({', '.join(threads)})" if threads else None


def _begin_anew(given: Mapping[str, Any]) -> NoReturn:
    with tempfile.TemporaryFile() as file:
        pickle.dump(given, file)
        file.seek(0)
        os.dup2(file.fileno(), sys.stdin.fileno())
    module = sys.modules["__main__"].__spec__
    assert module is not None  # noqa: S101 (for the type checker)
    package = module.name.removesuffix(".__main__")
    os.execv(sys.executable, [sys.executable, "-m", package, *sys.argv[1:], _EACH_BY_ITSELF])  # noqa: S606 (this Python)

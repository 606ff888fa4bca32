"""The Python that runs the processes of a model: this one, or that of another environment."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

_PACKAGE = Path(__file__).absolute().parents[2]
_OURS = ("PYTHONHOME", "VIRTUAL_ENV", "DJANGO_SETTINGS_MODULE")
"""Environment variables that are those of this Python."""


def executable_of(python: str | None) -> str:
    """Return the path of a Python's executable.

    Args:
        python: Its path, or that of a virtual environment's folder; None for this Python.
    """
    if python is None:
        return sys.executable
    path = Path(python).expanduser().absolute()
    return str(path / "bin" / "python" if path.is_dir() else path)


def environment_of(python: str | None, folder: Path) -> dict[str, str]:
    """Return the environment variables with which a Python finds this package, and the models.

    Another Python finds them in its working directory and in what PYTHONPATH has here, and this
    package in a folder of its own: what else is installed for this one does not suit it.

    Args:
        python: As for `executable_of`.
        folder: Where that folder may be made.
    """
    if python is None:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
    paths = filter(None, [str(_package_folder(folder)), os.environ.get("PYTHONPATH")])
    return {**inherited, "PYTHONPATH": os.pathsep.join(paths)}


def _package_folder(folder: Path) -> Path:
    """Return a folder that holds this package, and nothing else."""
    made = folder / "package"
    made.mkdir(exist_ok=True)
    with suppress(FileExistsError):
        (made / _PACKAGE.name).symlink_to(_PACKAGE)
    return made

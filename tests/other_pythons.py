"""Virtual environments with another content than this one, made by pip."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path


def make_environment(folder: Path, *requirements: str) -> Path:
    """Make a virtual environment with these packages, and return its folder."""
    venv.create(folder, symlinks=True)
    if requirements:
        python = str(folder / "bin" / "python")
        pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
        command = [*pip, "install", "--quiet", "--only-binary", ":all:", *requirements]
        subprocess.run(command, check=True, timeout=240)
    return folder

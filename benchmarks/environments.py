"""A virtual environment for each server, made when it is first wanted and kept."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.servers import REPOSITORY

ENVIRONMENTS = Path(os.environ.get("BENCHMARK_ENVIRONMENTS", REPOSITORY / ".venv-benchmarks"))
"""The folder of the environments. BENCHMARK_ENVIRONMENTS names another, which clones may share."""
REQUIREMENTS = Path(__file__).parent / "requirements"
_INCLUDED = re.compile(r"^-r (.+)$", re.MULTILINE)
_SHOWN_PACKAGES = (
    *("django", "djangorestframework", "gunicorn", "granian", "rest_model_service", "fastapi"),
    *("uvicorn", "mlserver", "mlflow", "litserve", "bentoml", "pydantic", "numpy"),
    *("scikit-learn", "pandas", "onnxruntime"),
)


class InstallationFailed(Exception):
    """Pip could not make the environment; the text is the end of what it said."""


def prepare(name: str, say: Callable[[str], None]) -> Path:
    """Make the environment, unless it is there with these requirements, and return its folder.

    Raises:
        InstallationFailed: pip failed.
    """
    folder = ENVIRONMENTS / name
    stamp = folder / ".requirements"
    wanted = requirements_digest(REQUIREMENTS / f"{name}.txt")
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"Installing {name} into {folder} (some minutes) ...")
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        _run([*pip, "--requirement", str(REQUIREMENTS / f"{name}.txt")])
        stamp.write_text(wanted)
    return folder


def requirements_digest(path: Path) -> str:
    """Hash a file of requirements, those that it includes with it."""
    digest = hashlib.sha256(path.read_bytes())
    for included in _INCLUDED.findall(path.read_text(encoding="utf-8")):
        digest.update(requirements_digest(path.parent / included).encode())
    return digest.hexdigest()


def versions(environment: Path) -> dict[str, str]:
    """Return the versions of the packages in the environment that matter for speed."""
    listing = _run([str(environment / "bin" / "python"), "-m", "pip", "list", "--format", "json"])
    installed = {package["name"].lower(): package["version"] for package in json.loads(listing)}
    return {name: installed[name] for name in _SHOWN_PACKAGES if name in installed}


def _run(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    if result.returncode:
        raise InstallationFailed((result.stderr or result.stdout).strip()[-2000:])
    return result.stdout

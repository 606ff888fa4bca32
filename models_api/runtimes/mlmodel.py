"""What the file MLmodel in a folder of MLflow says, read without MLflow and without its models."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from models_api.exceptions import ArtefactError
from models_api.logs import one_line

NAME = "MLmodel"
REQUIREMENTS = "requirements.txt"

Specs = Sequence[Mapping[str, Any]]
"""Columns, tensors or parameters, as MLflow writes them as JSON."""

_PYFUNC = "python_function"
_PATHS = ("data", "model_path", "python_model", "code", "model_code_path")
"""Keys of python_function that name what lies in the folder."""
_PINNED = re.compile(r"(?P<name>[\w.-]+)(\[[^]]*\])?==(?P<version>[^;\s]+)")
_OTHER_NAMES = {"mlflow": "mlflow-skinny", "xgboost": "xgboost-cpu"}
"""Packages that are installed in place of others, and bring the same modules."""
_AGAIN = "Save the model again, or copy the whole folder again."


@dataclass(frozen=True, slots=True)
class MLmodel:
    """A model that MLflow saved."""

    folder: Path
    mlflow_version: str
    flavours: Mapping[str, Mapping[str, Any]]
    inputs: Specs | None
    """What it takes; None if it was saved without a signature."""
    outputs: Specs | None
    params: Specs

    @property
    def loader(self) -> str:
        """The module that loads the model."""
        return str(self.flavours[_PYFUNC].get("loader_module", ""))

    @property
    def has_own_code(self) -> bool:
        """Whether code of its author predicts, not a library of models."""
        return self.loader == "mlflow.pyfunc.model" or not self.loader.startswith("mlflow.")

    @property
    def data(self) -> Path | None:
        """The file with the weights, where there is one."""
        pyfunc = self.flavours[_PYFUNC]
        path = pyfunc.get("data") or pyfunc.get("model_path")
        return self.folder / path if isinstance(path, str) else None

    @property
    def summary(self) -> str:
        """What it is, in a sentence."""
        names = ", ".join(name for name in self.flavours if name != _PYFUNC) or "Python code"
        return f"A model of MLflow {self.mlflow_version} ({names})."

    def differences(self) -> list[str]:
        """Return which libraries the model was saved with that are others here, or missing."""
        saved_by = str(self.flavours[_PYFUNC].get("python_version", ""))
        here = platform.python_version()
        is_other = saved_by and saved_by.split(".")[:2] != here.split(".")[:2]
        found = [f"Python {saved_by} (here {here})"] if is_other else []
        for name, saved in self._pinned():
            installed = _installed(name)
            if installed != saved:
                found.append(f"{name} {saved} ({f'here {installed}' if installed else 'missing'})")
        return found

    def _pinned(self) -> Iterator[tuple[str, str]]:
        try:
            text = (self.folder / REQUIREMENTS).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        for line in text.splitlines():
            pinned = _PINNED.match(line.strip())
            if pinned is not None:
                yield pinned["name"], pinned["version"]


def read_mlmodel(folder: Path) -> MLmodel:
    """Read the file MLmodel of a folder, and see that what it names is there.

    Raises:
        ArtefactError: it is broken, or something is missing.
    """
    read = _yaml(folder)
    flavours = read.get("flavors")
    if not isinstance(flavours, dict) or not isinstance(flavours.get(_PYFUNC), dict):
        message = f"the {NAME} of {folder.name} has no flavour {_PYFUNC}, by which it would predict"
        raise ArtefactError(message, f"{_AGAIN} Every flavour of MLflow for Python has it.")
    signature = read.get("signature") or {}
    try:
        inputs, outputs, params = (_specs(signature, k) for k in ("inputs", "outputs", "params"))
    except (ValueError, AttributeError) as error:
        message = f"the signature in the {NAME} of {folder.name} is broken: {one_line(error)}"
        raise ArtefactError(message, _AGAIN) from error
    written_by = str(read.get("mlflow_version") or "of an unknown version")
    model = MLmodel(folder, written_by, flavours, inputs, outputs, params or ())
    _require_files(model)
    return model


def _yaml(folder: Path) -> Mapping[str, Any]:
    try:
        read = yaml.safe_load((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(f"there is no {NAME} in {folder}", "Name its folder.") from None
    except OSError as error:
        message = f"{folder / NAME} cannot be read ({error.strerror})"
        raise ArtefactError(message, "Let the user of the service read it.") from error
    except (yaml.YAMLError, ValueError) as error:
        message = f"the {NAME} of {folder.name} is no YAML: {one_line(error)}"
        raise ArtefactError(message, _AGAIN) from error
    if not isinstance(read, dict):
        raise ArtefactError(f"the {NAME} of {folder.name} is empty, or no mapping", _AGAIN)
    return read


def _specs(signature: Mapping[str, Any], key: str) -> Specs | None:
    text = signature.get(key)
    if text is None:
        return None
    specs = json.loads(text) if isinstance(text, str) else text
    if not isinstance(specs, list) or not all(isinstance(each, dict) for each in specs):
        raise ValueError(f"{key} is no list")
    return specs or None


def _require_files(model: MLmodel) -> None:
    pyfunc = model.flavours[_PYFUNC]
    artifacts = pyfunc.get("artifacts")
    named = [pyfunc.get(key) for key in _PATHS]
    if isinstance(artifacts, dict):
        named += [each.get("path") for each in artifacts.values() if isinstance(each, dict)]
    for path in named:
        if isinstance(path, str) and not (model.folder / path).exists():
            message = f"{model.folder.name} lacks {path}, which its {NAME} names"
            raise ArtefactError(message, "Copy the whole folder again.")


def _installed(name: str) -> str | None:
    for each in (name, _OTHER_NAMES.get(name, name)):
        try:
            return version(each)
        except PackageNotFoundError:
            continue
    return None

"""What the classes of models tell that only another Python can import."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from models_api.configuration.sections import ModelConfiguration
from models_api.hosting.survey import Mistake, Survey, survey_from
from models_api.prediction.backends.interpreters import environment_of, executable_of

UNUSABLE_PYTHON = "models_api.E010"
SURVEYOR = "models_api.model_processes.describe"
"""The module that runs in the other Python."""

_KEYS = ("execution", "python")
_PATH_HINT = (
    "Write the path of a Python, or of the folder of a virtual environment, which python -m venv "
    "makes."
)

Environment = tuple[tuple[str, str], ...]


class _UnusablePython(Exception):
    """No survey can be had from a Python."""

    def __init__(self, message: str, hint: str) -> None:
        self.mistake = Mistake(UNUSABLE_PYTHON, _KEYS, message, hint)
        super().__init__(message)


def survey_elsewhere(configurations: Sequence[ModelConfiguration]) -> list[Survey | None]:
    """Survey the models that another Python hosts; None for each of the others."""
    surveys: list[Survey | None] = [None] * len(configurations)
    groups: dict[tuple[str, Environment], list[int]] = defaultdict(list)
    for index, configuration in enumerate(configurations):
        execution = configuration.execution
        if execution.python is not None:
            groups[execution.python, tuple(execution.environment.items())].append(index)
    for (python, environment), indexes in groups.items():
        members = [configurations[index] for index in indexes]
        for index, survey in zip(indexes, _surveys(python, environment, members), strict=True):
            surveys[index] = survey
    return surveys


def _surveys(
    python: str, environment: Environment, configurations: Sequence[ModelConfiguration]
) -> list[Survey]:
    try:
        # As plain data, which any version of pydantic takes; YAML has more of it than JSON.
        plain = [each.model_dump(exclude_unset=True) for each in configurations]
        return [*_answers(python, environment, pickle.dumps(plain, protocol=4))]
    except _UnusablePython as error:
        if len(configurations) == 1:
            return [Survey(None, [error.mistake])]
    # It may have died of one of them.
    return [survey for each in configurations for survey in _surveys(python, environment, [each])]


@lru_cache(maxsize=64)
def _answers(python: str, environment: Environment, content: bytes) -> Sequence[Survey]:
    """Return what another Python finds out.

    Raises:
        _UnusablePython: it finds out nothing.
    """
    executable = executable_of(python)
    if not Path(executable).exists():
        raise _UnusablePython(f'there is no Python at "{executable}"', _PATH_HINT)
    with TemporaryDirectory(prefix="modelhost-survey-") as folder:
        result = Path(folder) / "result"
        variables = {**environment_of(python, Path(folder)), **dict(environment)}
        try:
            ended = subprocess.run(  # noqa: S603 (what the file of the service's owner names)
                [executable, "-m", SURVEYOR, str(result)],
                input=content,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
        except OSError as error:
            message = f'"{executable}" cannot be started: {error.strerror}'
            raise _UnusablePython(message, _PATH_HINT) from error
        if not result.exists():
            raise _UnusablePython(_end_of(executable, ended), _PATH_HINT)
        found = json.loads(result.read_bytes())
    if "unfit" in found:
        raise _UnusablePython(*found["unfit"])
    return [survey_from(each) for each in found["surveys"]]


def _end_of(executable: str, ended: subprocess.CompletedProcess[bytes]) -> str:
    code = ended.returncode
    how = signal.Signals(-code).name if code < 0 else f"status {code}"
    *_, last = ended.stdout.decode(errors="replace").strip().splitlines() or [""]
    said = f": {last}" if last else ""
    return f'"{executable}" ended with {how} while it imported the classes{said}'

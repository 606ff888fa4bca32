"""The protocol where numpy is not installed: processes that cannot find it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.server import REPOSITORY, Server

HIDE_NUMPY = """\
import sys
from importlib.machinery import PathFinder


class WithoutNumpy(PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return None if fullname == "numpy" else PathFinder.find_spec(fullname, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutNumpy
"""
CONFIGURATION = """\
models:
  - class_path: tests.fakes.batching.BatchingModel
open_inference:
  enabled: true
"""
WHAT = "the Open Inference Protocol needs numpy, which is not installed"
HINT = 'Install it: pip install "modelhost[open-inference]"'


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "rest_config.yaml"
    path.write_text(CONFIGURATION, encoding="utf-8")
    return path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of a Python which runs `sitecustomize` as it starts, and so finds no numpy."""
    folder = tmp_path / "hides_numpy"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HIDE_NUMPY, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY)])}


def check(configuration: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=REPOSITORY,
        env={**os.environ, **environment, "REST_CONFIG": str(configuration)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_check_says_what_to_install(configuration: Path, environment: dict[str, str]) -> None:
    done = check(configuration, environment)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "SystemCheckError: System check identified some issues:\n\nERRORS:\n"
        f"{configuration}:4: open_inference.enabled: (models_api.E008) {WHAT}\n\tHINT: {HINT}\n\n"
        "System check identified 1 issue (0 silenced).\n",
    )


@pytest.mark.long
def test_without_the_key_nothing_is_missed(
    configuration: Path, environment: dict[str, str]
) -> None:
    configuration.write_text(CONFIGURATION.partition("open_inference")[0], encoding="utf-8")
    done = check(configuration, environment)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.long
def test_a_server_does_not_start(configuration: Path, environment: dict[str, str]) -> None:
    with Server(configuration, environment=environment, wait_for="exit") as server:
        assert server.process.returncode != 0
        assert (
            "The configuration has 1 problem:\n\n"
            f"{configuration}:4: open_inference.enabled: {WHAT}\n    {HINT}\n"
        ) in server.log
        assert "Traceback" not in server.log

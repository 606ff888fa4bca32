"""The console script, run in a folder that holds nothing but a model and its configuration."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import django
import pytest
from django.core.management import get_commands

from modelhost.cli import DJANGOS, OWN

MODEL = """
from ml_base import MLModel
from pydantic import BaseModel


class Number(BaseModel):
    x: float


class Own(MLModel):
    display_name = "Own"
    qualified_name = "own"
    description = "Of one's own."
    version = "1.0"
    input_schema = Number
    output_schema = Number

    def __init__(self):
        raise RuntimeError("no command needs the model itself")

    def predict(self, data):
        return data
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own_model.py").write_text(MODEL)
    (tmp_path / "rest_config.yaml").write_text("models: [{class_path: own_model.Own}]")
    return tmp_path


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MODELHOST_")
        and name not in ("DJANGO_SETTINGS_MODULE", "PYTHONPATH", "REST_CONFIG")
    }
    script = Path(sys.executable).with_name("modelhost")
    return subprocess.run(
        [script, *arguments],
        cwd=folder,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_command_finds_the_models_of_the_working_directory(folder: Path) -> None:
    done = run(folder, "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no issues" in done.stdout


def test_the_openapi_document_is_made_where_the_models_are(folder: Path) -> None:
    done = run(folder, "spectacular", "--file", "schema.yaml", "--validate", "--fail-on-warn")
    assert (done.returncode, done.stderr) == (0, "")
    assert "/api/models/own/prediction:" in (folder / "schema.yaml").read_text()


def test_a_command_that_fails_says_so(folder: Path) -> None:
    (folder / "rest_config.yaml").write_text("models: [{class_path: own_model.Onw}]")
    done = run(folder, "check")
    assert done.returncode == 1
    assert "Did you mean own_model.Own?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_variable_that_cannot_be_meant_is_explained_without_a_traceback(folder: Path) -> None:
    done = run(folder, "check", MODELHOST_MAX_BODY_BYTES="much")
    assert done.returncode == 1
    assert done.stderr == "MODELHOST_MAX_BODY_BYTES is 'much'; write a whole number.\n"


@pytest.mark.parametrize("arguments", [(), ("help",), ("--help",), ("-h",)])
def test_the_commands_of_the_service_are_listed_before_those_of_django(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    done = run(folder, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert listed == [*OWN, *DJANGOS]


def test_every_command_that_is_listed_is_there_and_none_of_the_services_is_left_out() -> None:
    found = get_commands()
    assert {*OWN, *DJANGOS} <= set(found)
    assert {name for name, app in found.items() if app in ("models_api", "modelhost")} <= set(OWN)


def test_the_list_for_completion_has_all_commands(folder: Path) -> None:
    assert {*OWN, "migrate", "dbshell"} <= set(run(folder, "help", "--commands").stdout.split())


def test_help_on_a_command_tells_its_options(folder: Path) -> None:
    assert "--threads" in run(folder, "help", "serve").stdout


@pytest.mark.parametrize(
    "arguments", [("--version",), ("version",), ("serve", "--version"), ("check", "--version")]
)
def test_the_version_is_the_services_with_djangos_beside_it(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    done = run(folder, *arguments)
    assert done.stdout == (
        f"modelhost {version('modelhost')} (Django {django.get_version()},"
        f" Python {platform.python_version()})\n"
    )


def test_the_check_warns_of_variables_that_nothing_reads(folder: Path) -> None:
    done = run(folder, "check", MODELHOST_WORKER="4", MODELHOST_ZZZ="1", MODELHOST_WORKERS="2")
    assert done.returncode == 0
    assert (
        "MODELHOST_WORKER is none of modelhost's, and does nothing. Did you mean MODELHOST_WORKERS?"
    ) in done.stderr
    assert "MODELHOST_ZZZ is none of modelhost's" in done.stderr
    assert done.stderr.count("modelhost.W001") == 2

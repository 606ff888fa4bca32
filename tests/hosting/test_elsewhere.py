"""Models of another Python, where there is no such Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_api.configuration.sections import ModelConfiguration
from models_api.hosting.elsewhere import survey_elsewhere
from models_api.prediction.backends.interpreters import environment_of, executable_of


def of(python: object) -> ModelConfiguration:
    execution = {"kind": "process", "python": str(python)}
    return ModelConfiguration.model_validate({"class_path": "a.B", "execution": execution})


def message(python: object) -> str:
    (survey,) = survey_elsewhere([of(python)])
    assert survey is not None
    assert survey.profile is None
    (mistake,) = survey.mistakes
    assert mistake[:2] == ("models_api.E010", ("execution", "python"))
    assert "python -m venv" in mistake.hint
    return mistake.message


def test_a_path_that_leads_nowhere_is_a_mistake(tmp_path: Path) -> None:
    assert message(tmp_path / "no") == f'there is no Python at "{tmp_path}/no"'
    # A folder is taken for that of a virtual environment.
    assert message(tmp_path) == f'there is no Python at "{tmp_path}/bin/python"'


def test_what_cannot_be_started_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "python"
    file.write_text("no program")
    assert message(file) == f'"{file}" cannot be started: Permission denied'
    file.chmod(0o700)
    assert message(file) == f'"{file}" cannot be started: Exec format error'


def test_what_is_no_python_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "python"
    file.write_text("#!/bin/sh\necho no Python at all >&2\nexit 3\n")
    file.chmod(0o700)
    ended = f'"{file}" ended with status 3 while it imported the classes'
    assert message(file) == f"{ended}: no Python at all"


def test_models_of_this_python_are_left_to_this_process() -> None:
    assert survey_elsewhere([ModelConfiguration(class_path="a.B")]) == [None]


def test_another_python_finds_this_package_and_nothing_else_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/srv/team:/srv/other")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "modelhost.settings")
    monkeypatch.setenv("TOKEN", "secret")
    for _ in range(2):  # as several workers do
        variables = environment_of("/usr/bin/python3", tmp_path)
        package, *others = variables["PYTHONPATH"].split(":")
        assert others == ["/srv/team", "/srv/other"]
        assert [each.name for each in Path(package).iterdir()] == ["models_api"]
        assert (Path(package) / "models_api" / "for_models.py").exists()
        assert variables["TOKEN"] == "secret"
        assert "DJANGO_SETTINGS_MODULE" not in variables


def test_the_path_of_a_python_may_begin_at_home_or_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "venv").mkdir()
    expected = str(tmp_path / "venv" / "bin" / "python")
    assert {executable_of(each) for each in ("~/venv", "venv", "venv/bin/python")} == {expected}

"""The files of a model project, to begin with."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from models_api.configuration.file import ConfigurationFile


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(name: str) -> list[str]:
    output = io.StringIO()
    call_command("new", name, stdout=output)
    return output.getvalue().splitlines()


@pytest.mark.parametrize(
    ("name", "module", "cls"),
    [
        ("rent", "rent_model", "RentModel"),
        ("house-prices", "house_prices_model", "HousePricesModel"),
        ("iris_2", "iris_2_model", "Iris2Model"),
    ],
)
def test_the_files_fit_together(folder: Path, name: str, module: str, cls: str) -> None:
    said = new(name)
    files = sorted(path.name for path in (folder / name).iterdir())
    assert files == sorted(
        [
            *("Dockerfile", "requirements.txt", "rest_config.yaml", "rows.csv"),
            *(f"{module}.py", f"test_{module}.py"),
        ]
    )
    assert said[: len(files)] == sorted(f"{name}/{file}" for file in files)
    source = (folder / name / f"{module}.py").read_text(encoding="utf-8")
    assert f"class {cls}(MLModel):" in source
    assert f'qualified_name = "{name}"' in source
    for path in (folder / name).glob("*.py"):
        compile(path.read_text(encoding="utf-8"), str(path), "exec")
    configuration = ConfigurationFile(folder / name / "rest_config.yaml").configuration
    assert configuration is not None
    assert [model.class_path for model in configuration.models] == [f"{module}.{cls}"]
    assert "FROM ${MODELHOST_IMAGE}\n" in (folder / name / "Dockerfile").read_text()


@pytest.mark.parametrize("name", ["Rent", "1st", "a b", "../a", "a--b", "a-", "é", ""])
def test_a_name_that_no_module_can_have_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(CommandError, match="can be no name here"):
        new(name)
    assert list(folder.iterdir()) == []


def test_what_is_there_is_left_alone(folder: Path) -> None:
    (folder / "rent").mkdir()
    with pytest.raises(CommandError, match="rent is there already; nothing was written"):
        new("rent")
    assert list((folder / "rent").iterdir()) == []


@pytest.mark.long
def test_a_new_project_passes_its_own_tests_and_predicts(folder: Path) -> None:
    def run(*command: str) -> str:
        done = subprocess.run(
            command,
            cwd=folder / "house-prices",
            env={
                name: value
                for name, value in os.environ.items()
                if name not in ("REST_CONFIG", "DJANGO_SETTINGS_MODULE", "PYTHONPATH")
                and not name.startswith("PYTEST")
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    new("house-prices")
    modelhost = str(Path(sys.executable).with_name("modelhost"))
    assert "2 passed" in run(sys.executable, "-m", "pytest", "-q", "-p", "no:django")
    assert "no issues" in run(modelhost, "check")
    output = run(modelhost, "predict", "house-prices", "-i", "rows.csv", "-o", "-")
    assert output == '{"value":6.0}\n{"value":6.0}\n'

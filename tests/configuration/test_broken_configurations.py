"""Every broken configuration gives exactly the problems that its first lines say."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from models_api.apps import ModelsAPIConfig
from models_api.configuration.file import ConfigurationFile
from models_api.exceptions import ConfigurationError
from tests.broken_configurations import FILES, expected

ROOT = Path(__file__).parents[2]
IDS = [path.stem for path in FILES]
# What `manage.py check` runs for most of them in this process, it runs for these as a user would.
BY_COMMAND = ("many_problems", "logging_with_an_unknown_level", "module_that_exits")


@pytest.fixture(params=FILES, ids=IDS)
def path(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def served(app_config: ModelsAPIConfig, root_logger: logging.Logger, path: Path) -> ModelsAPIConfig:
    """The app, as it is when Django starts with this file."""
    app_config.configuration_file = ConfigurationFile(path)
    app_config.configuration_file.apply_logging()
    return app_config


def said(text: str, path: Path) -> str:
    return text.replace(str(path), path.name)


def is_read_by_editors(path: Path) -> bool:
    """Whether an editor gets as far as the schema."""
    try:
        yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError):
        return False
    return ConfigurationFile(path).document.data is not None


def test_there_are_plenty_of_them() -> None:
    assert len(FILES) >= 50
    assert all(expected(path) for path in FILES)


def test_the_registry_cannot_be_made(served: ModelsAPIConfig, path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _ = served.registry
    assert said(str(caught.value), path) == expected(path)


def test_the_checks_list_every_problem(served: ModelsAPIConfig, path: Path) -> None:
    with pytest.raises(SystemCheckError) as caught:
        call_command("check", stdout=io.StringIO(), stderr=io.StringIO())
    assert checked_problems(str(caught.value), path) == expected_problems(path)


@pytest.mark.parametrize("name", BY_COMMAND)
def test_the_check_command_lists_every_problem_without_a_traceback(name: str) -> None:
    path = next(path for path in FILES if path.stem == name)
    process = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**os.environ, "REST_CONFIG": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stdout == ""
    assert checked_problems(process.stderr, path) == expected_problems(path)
    assert "Traceback" not in process.stderr


def checked_problems(text: str, path: Path) -> list[str]:
    """The problems that a check printed, sorted, with neither ids nor what stands around them."""
    text = said(text, path)
    found = re.findall(
        r"^(\S.*)\(models_api\.E\d{3}\) (.*)\n\tHINT: (.*)$", text, flags=re.MULTILINE
    )
    return sorted("".join([place, message, "\n    ", hint]) for place, message, hint in found)


def expected_problems(path: Path) -> list[str]:
    return sorted(expected(path).split("\n\n")[1:])


@pytest.fixture(scope="module")
def schema() -> Any:
    output = io.StringIO()
    call_command("config_schema", stdout=output)
    return json.loads(output.getvalue())


@pytest.mark.parametrize(
    "path", [path for path in FILES if is_read_by_editors(path)], ids=lambda path: path.stem
)
def test_an_editor_sees_the_mistakes_of_structure(path: Path, schema: Any) -> None:
    problems = ConfigurationFile(path).problems
    structural = any(problem.id == "models_api.E003" for problem in problems)
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert jsonschema.Draft202012Validator(schema).is_valid(document) is not structural

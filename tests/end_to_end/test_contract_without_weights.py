"""Commands that describe the service run no `__init__` of models that say what they are."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIGURATION = """
models:
  - class_path: tests.fakes.models.MarkingModel
  - class_path: tests.fakes.models.FailingModel
    decorators:
      - class_path: tests.fakes.decorators.Plain
      - class_path: tests.fakes.decorators.Negative
      - class_path: tests.fakes.decorators.Failing
  - class_path: tests.fakes.models.ExitingModel
    decorators:
      - class_path: tests.fakes.decorators.WithoutModel
  - class_path: tests.fakes.models.PropertiesModel
    create_endpoint: false
"""


@pytest.fixture
def manage(tmp_path: Path) -> Any:
    (tmp_path / "service.yaml").write_text(CONFIGURATION, encoding="utf-8")
    environment = {
        **os.environ,
        "REST_CONFIG": str(tmp_path / "service.yaml"),
        "MARKER_FILE": str(tmp_path / "marker"),
    }

    def manage(*arguments: str) -> str:
        process = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        assert not (tmp_path / "marker").exists()
        assert "models_api.hosting.registry" not in process.stderr  # which logs each loading
        return process.stdout

    return manage


@pytest.mark.parametrize(
    "arguments",
    [
        ("check",),
        ("check", "--deploy"),
        ("migrate",),
        ("showmigrations",),
        ("diffsettings",),
        ("config_schema",),
    ],
    ids=" ".join,
)
def test_a_command_runs_no_init(manage: Any, arguments: tuple[str, ...]) -> None:
    manage(*arguments)


def test_the_contract_is_written_without_any_init(manage: Any, tmp_path: Path) -> None:
    manage("spectacular", "--file", "schema.yaml", "--validate", "--fail-on-warn")
    document = yaml.safe_load((tmp_path / "schema.yaml").read_text(encoding="utf-8"))
    predictions = [path for path in document["paths"] if path.endswith("/prediction")]
    assert predictions == [
        "/api/models/exiting/prediction",
        "/api/models/failing/prediction",
        "/api/models/marking/prediction",
    ]
    operation = document["paths"]["/api/models/failing/prediction"]["post"]
    response = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert response == {"$ref": "#/components/schemas/Output"}
    assert document["components"]["schemas"]["Output"]["required"] == ["negative"]

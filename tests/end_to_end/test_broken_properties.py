"""A decorator whose schema raises AttributeError is not served as if it were not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.server import REPOSITORY, STARTERS

FAKES = "tests.fakes.broken_properties"
MESSAGE = (
    "OldFieldsDecorator.input_schema raised AttributeError: "
    "'FieldInfo' object has no attribute 'outer_type_'"
)
CONFIGURATION = {
    "models": [
        {
            "class_path": "tests.fakes.models.DoublingModel",
            "decorators": [
                {"class_path": f"{FAKES}.OldFieldsDecorator"},
                {"class_path": "tests.fakes.decorators.Plain"},
            ],
        },
        {
            "class_path": "tests.fakes.models.TreblingModel",
            "decorators": [{"class_path": f"{FAKES}.LateDecorator"}],
        },
    ]
}


@pytest.mark.parametrize("start", STARTERS.values(), ids=STARTERS)
def test_the_other_models_are_served_and_the_broken_one_is_named(start: type) -> None:
    with start(
        CONFIGURATION, wait_for="listening", environment={"MODELHOST_WORKERS": "1"}
    ) as server:
        server.wait_until(lambda: MESSAGE in server.log or None, "the reason")
        server.wait_until(
            lambda: server.client.get("/api/health/startup").status_code == 200 or None, "started"
        )
        trebled, doubled = (
            server.client.post(f"/api/models/{name}/prediction", json={"value": 2})
            for name in ("trebling", "doubling")
        )
        assert trebled.json() == {"value": 6.0, "late": True}
        assert (doubled.status_code, doubled.json()["type"]) == (503, "ModelNotReady")
        assert server.client.get("/api/health/ready").status_code == 503
        paths = server.client.get("/openapi.json").json()["paths"]
        assert "/api/models/doubling/prediction" not in paths
        assert "/api/models/trebling/prediction" in paths


@pytest.mark.parametrize(
    "command", [("check",), ("load_models",), ("spectacular", "--file", "schema.yaml")]
)
def test_commands_name_decorator_and_attribute(command: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "service.yaml"
    path.write_text(yaml.safe_dump(CONFIGURATION), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "manage.py"), *command],
        cwd=tmp_path,
        env={**os.environ, "REST_CONFIG": str(path), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert MESSAGE in done.stderr
    assert "models[0].decorators[0].class_path" in done.stderr
    assert not (tmp_path / "schema.yaml").exists()

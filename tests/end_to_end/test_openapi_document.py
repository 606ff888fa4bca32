"""The OpenAPI document as `manage.py spectacular` writes it, and as the real server gives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.end_to_end.server import REPOSITORY, Server
from tests.fakes.awkward import Echo, configuration

EXAMPLES = REPOSITORY / "rest_config.yaml"
GOLDEN = REPOSITORY / "tests" / "golden" / "openapi.yaml"
REGENERATE = "python manage.py spectacular --file tests/golden/openapi.yaml"


def spectacular(
    configuration_file: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> str:
    """Run the command, which ends with status 0, and return what it prints."""
    completed = subprocess.run(
        [sys.executable, "manage.py", "spectacular", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "REST_CONFIG": str(configuration_file), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stderr == ""
    return completed.stdout


@pytest.fixture(scope="module")
def awkward_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("awkward") / "rest_config.yaml"
    path.write_text(yaml.safe_dump(configuration()), encoding="utf-8")
    return path


def test_the_document_of_the_examples_is_the_golden_one() -> None:
    document = spectacular(EXAMPLES, "--validate", "--fail-on-warn")
    assert document == GOLDEN.read_text(encoding="utf-8"), (
        f"The document has changed. If it should have: {REGENERATE}"
    )


def test_the_golden_document_is_valid() -> None:
    OpenAPIV31SpecValidator(yaml.safe_load(GOLDEN.read_text(encoding="utf-8"))).validate()


@pytest.mark.long
def test_the_document_of_awkward_schemas_is_valid_and_the_same_at_each_run(
    awkward_file: Path,
) -> None:
    document = spectacular(awkward_file, "--validate", "--fail-on-warn")
    assert document.count("operationId: predict_") == 2 * len(Echo.all)
    for seed in ("0", "1"):
        assert spectacular(awkward_file, environment={"PYTHONHASHSEED": seed}) == document


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(EXAMPLES) as running:
        yield running


@pytest.mark.long
def test_the_server_gives_the_commands_document(server: Server) -> None:
    golden = GOLDEN.read_bytes()
    response = server.client.get("/openapi.yaml")
    assert response.headers["Content-Type"] == "application/yaml"
    assert response.content == golden
    response = server.client.get("/openapi.json")
    assert response.headers["Content-Type"] == "application/json"
    document = yaml.safe_load(golden)
    assert response.json() == document
    # In the same order, too.
    assert json.dumps(response.json()) == json.dumps(document)


def test_json_is_written_for_people_too(server: Server) -> None:
    text = server.client.get("/openapi.json").text
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False)

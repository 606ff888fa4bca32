"""The command that prints the JSON Schema of the configuration."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from django.core.management import call_command

from models_api.configuration.sections import ServiceConfiguration

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def schema() -> Any:
    output = io.StringIO()
    call_command("config_schema", stdout=output)
    return json.loads(output.getvalue())


@pytest.fixture(scope="module")
def validator(schema: Any) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema)


def test_it_is_a_schema_with_a_title(schema: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert next(iter(schema)) == "$schema"
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "Configuration of modelhost"
    assert list(schema["properties"]) == list(ServiceConfiguration.model_fields)


def test_every_key_is_described_for_whoever_hovers_over_it(schema: Any) -> None:
    for section in [schema, *schema["$defs"].values()]:
        for described in section["properties"].values():
            assert described["description"]


def test_it_works_without_a_configuration_and_is_indented(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "config_schema"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "REST_CONFIG"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stderr == ""
    assert process.stdout == json.dumps(json.loads(process.stdout), indent=2) + "\n"


@pytest.mark.parametrize(
    "path",
    [ROOT / "rest_config.yaml", *sorted((ROOT / "examples").glob("*.yaml"))],
    ids=lambda path: path.name,
)
def test_it_accepts_the_examples(path: Path, validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        ("models: [{class_path: a.B, configuration: , decorators: , batching: }]", True),
        ("models: [{class_path: a.B, create_endpoint: '${ENDPOINT}'}]", True),
        ("models: [{class_path: a.B, create_endpoint: 'perhaps'}]", False),
        ("models: [{class_path: a.B, batching: {max_batch_size: '${SIZE:-16}'}}]", True),
        ("models: [{class_path: a.B, batching: {max_batch_size: '16'}}]", False),
        ("models: [{class_path: a.B, batching: {max_wait_seconds: '${WAIT}'}}]", True),
        ("models: [{class_path: a.B, qualified_name: '${NAME}'}]", True),
        ("models: [{class_path: a.B, qualified_name: 'a b'}]", True),
        ("models: [{class_path: a.B, qualified_name: 模型}]", True),
        ("models: [{class_path: a.B, qualified_name: 'a/b'}]", False),
        ('models: [{class_path: a.B, qualified_name: "a\\tb"}]', False),
        ("models: [{class_path: a.B, timeout_seconds: 0}]", False),
        ("models: [{class_path: a.B, concurrency: {max_queue_size: 0}}]", True),
        ("models: [{class_path: a.B, concurrency: {max_concurrency: '${PLACES}'}}]", True),
        ("models: [{class_path: a.B, concurrency: {max_concurrency: 0}}]", False),
        ("models: [{}]", False),
        ("logging:\nmetrics:", True),
        ("metrics: {round_latency_decimals: -1}", False),
        ("version: 1.10", False),
        ("port: 80", False),
    ],
)
def test_it_says_what_the_service_says(
    text: str, is_valid: bool, validator: jsonschema.Draft202012Validator
) -> None:
    assert validator.is_valid(yaml.safe_load(text)) is is_valid


def test_the_help_says_what_it_is_for() -> None:
    process = subprocess.run(
        [sys.executable, "manage.py", "config_schema", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "JSON Schema of the configuration file" in process.stdout
    assert "yaml-language-server" in process.stdout

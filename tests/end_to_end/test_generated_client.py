"""Clients that openapi-python-client generates from the document."""

from __future__ import annotations

import compileall
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.server import REPOSITORY, Server
from tests.fakes.awkward import Echo, RecursiveAlias, configuration
from tests.in_process import InProcessService

GOLDEN = REPOSITORY / "tests" / "golden" / "openapi.yaml"

# What somebody who has the generated client would write; mypy checks it, too.
PROGRAM = """
import sys

from examples_client import Client
from examples_client.api.diabetes import predict_diabetes
from examples_client.api.digits import predict_digits
from examples_client.api.iris import predict_batch_iris, predict_iris
from examples_client.api.models import get_model_metadata, list_models
from examples_client.api.status import get_readiness
from examples_client.models import (
    DiabetesModelInput,
    DiabetesModelOutput,
    DigitsModelInput,
    DigitsModelOutput,
    Error,
    IrisModelInput,
    IrisModelInputBatch,
    IrisModelOutput,
    IrisModelOutputBatch,
    IrisSpecies,
    ModelDetailsCollection,
    ModelMetadata,
    ReadinessStatus,
    ReadinessStatusResponse,
)

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)

flower = IrisModelInput(sepal_length=5.1, sepal_width=3.5, petal_length=1.4, petal_width=0.2)
iris = predict_iris.sync(client=client, body=flower)
assert isinstance(iris, IrisModelOutput)
assert iris.species is IrisSpecies.SETOSA
assert 0.9 < iris.probability <= 1

batch = predict_batch_iris.sync(client=client, body=IrisModelInputBatch(inputs=[flower, flower]))
assert isinstance(batch, IrisModelOutputBatch)
assert batch.predictions == [iris, iris]

patient = DiabetesModelInput(
    age=59,
    sex=2,
    body_mass_index=32.1,
    blood_pressure=101,
    total_cholesterol=157,
    ldl=93.2,
    hdl=38,
    cholesterol_ratio=4,
    log_triglycerides=4.8598,
    glucose=87,
)
diabetes = predict_diabetes.sync(client=client, body=patient)
assert isinstance(diabetes, DiabetesModelOutput)
assert 25 < diabetes.progression < 346

blank = DigitsModelInput(image=[[0.0] * 8] * 8)
digits = predict_digits.sync(client=client, body=blank)
assert isinstance(digits, DigitsModelOutput)
assert digits.digit in range(10)

refused = predict_digits.sync(client=client, body=DigitsModelInput(image=[]))
assert isinstance(refused, Error)
assert refused.type_ == "ValidationError"

models = list_models.sync(client=client)
assert isinstance(models, ModelDetailsCollection)
assert [model.qualified_name for model in models.models] == ["iris", "diabetes", "digits"]
metadata = get_model_metadata.sync(client=client, qualified_name="iris")
assert isinstance(metadata, ModelMetadata)
assert metadata.input_schema["title"] == "IrisModelInput"
unknown = get_model_metadata.sync(client=client, qualified_name="unknown")
assert isinstance(unknown, Error)
readiness = get_readiness.sync(client=client)
assert isinstance(readiness, ReadinessStatusResponse)
assert readiness.readiness_status is ReadinessStatus.ACCEPTING_TRAFFIC
print("all predicted")
"""


def run(*command: object, folder: Path) -> str:
    """Run a Python module in the folder; it must end with status 0. Returns all that it prints."""
    completed = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "MYPYPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout
    return completed.stdout


def generate(document: Path, package: str) -> str:
    """Generate a client beside the document."""
    # Without the formatting of the code that was generated, which is of no interest here.
    options = document.with_name("options.yaml")
    options.write_text("post_hooks: []\n", encoding="utf-8")
    arguments = ["--path", document, "--output-path", package, "--config", options]
    generator = ["-m", "openapi_python_client", "generate", "--meta", "none"]
    return run(*generator, *arguments, folder=document.parent)


@pytest.fixture(scope="module")
def examples_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client")
    document = folder / "openapi.yaml"
    document.write_bytes(GOLDEN.read_bytes())
    assert generate(document, "examples_client") == "Generating examples_client\n"
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    return folder


@pytest.mark.long
def test_a_client_of_the_examples_type_checks(examples_client: Path) -> None:
    checks = ["-m", "mypy", "--config-file=", "--strict", "--cache-dir", examples_client / "cache"]
    said = run(*checks, "examples_client", "program.py", folder=examples_client)
    assert said.startswith("Success: no issues found")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(REPOSITORY / "rest_config.yaml") as running:
        yield running


def test_a_client_of_the_examples_predicts_with_each_of_them(
    examples_client: Path, server: Server
) -> None:
    assert run("program.py", server.url, folder=examples_client) == "all predicted\n"


@pytest.mark.long
def test_a_client_of_awkward_schemas_is_complete(tmp_path: Path) -> None:
    document = tmp_path / "openapi.yaml"
    # The generator knows no recursion but that of objects.
    models = [model for model in Echo.all if model is not RecursiveAlias]
    service = InProcessService(configuration(*models))
    document.write_text(yaml.safe_dump(service.document), encoding="utf-8")
    # No warning, such as of two schemas that would have one name.
    assert generate(document, "awkward_client") == "Generating awkward_client\n"
    assert compileall.compile_dir(tmp_path / "awkward_client", quiet=1)
    program = "from awkward_client import models; print(*models.__all__)"
    classes = {name.lower() for name in run("-c", program, folder=tmp_path).split()}
    missing = [
        name
        for name, schema in service.components.items()
        if (schema.get("type") == "object" or "enum" in schema)
        and re.sub("[^a-z0-9]", "", name.lower()) not in classes
    ]
    assert missing == []
    apis = {path.name for path in (tmp_path / "awkward_client" / "api").glob("*/predict_*.py")}
    for model in models:
        assert f"predict_{model.qualified_name}.py" in apis
        assert f"predict_batch_{model.qualified_name}.py" in apis

"""Models of MLflow predict by HTTP what they predict in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from tests.end_to_end.server import REPOSITORY, Server
from tests.runtimes.serving import assert_alike, predictions_of_tensors, tensors_of_rows

PYTHON = REPOSITORY / ".venv-mlflow" / "bin" / "python"
NAMES = ("signed", "unsigned", "tensor", "code")

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),  # the models among it
    pytest.mark.skipif(
        not PYTHON.exists() and "CI" not in os.environ,
        reason="there is no MLflow; make .venv-mlflow/.ready installs it",
    ),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    command = [str(PYTHON), "-m", "tests.fakes.mlflow_models", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=400)
    return folder


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    execution = {"kind": "process", "python": str(PYTHON)}
    entries = [
        # Rows that come at a time are predicted together, or a thousand would take a minute.
        {"artefact": str(models / name), "trusted": True, "execution": execution, "batching": {}}
        for name in NAMES
    ]
    configuration = {"models": entries, "open_inference": {"enabled": True}}
    with Server(configuration, timeout=400) as running:
        yield running


def loaded(*folders: Path) -> list[list[str]]:
    """Return message and hint of what is wrong with folders that cannot be loaded."""
    command = [str(PYTHON), "-m", "tests.fakes.mlflow_loading", *map(str, folders)]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=400)
    found: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def cases(folder: Path, name: str) -> tuple[list[Any], list[Any]]:
    rows, expected = (
        json.loads((folder / f"{name}.{what}.json").read_bytes()) for what in ("rows", "expected")
    )
    return rows, expected


@pytest.mark.parametrize("name", NAMES)
def test_it_predicts_what_mlflow_predicts(name: str, server: Server, models: Path) -> None:
    rows, expected = cases(models, name)
    path = f"/api/models/{name}/prediction"
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda row: server.client.post(path, json=row).json(), rows))
    assert_alike(answers, expected)
    answer = server.client.post(f"{path}/batch", json={"inputs": rows}).json()
    assert_alike(answer["predictions"], expected)


@pytest.mark.parametrize("name", ["signed", "unsigned", "tensor"])
def test_it_predicts_the_same_by_open_inference(name: str, server: Server, models: Path) -> None:
    rows, expected = cases(models, name)
    body = {"inputs": tensors_of_rows(rows)}
    answer = server.client.post(f"/v2/models/{name}/infer", json=body).json()
    assert_alike(predictions_of_tensors(answer["outputs"], len(rows)), expected)


def test_what_does_not_fit_the_signature_is_refused(server: Server, models: Path) -> None:
    rows, _ = cases(models, "code")
    for wrong, said in (
        ({"buyer": {"age": "x"}}, "age"),
        ({"buyer": None}, "Expected data to be dictionary"),
        ({"day": "yesterday"}, "day"),
        ({"things": [1]}, "things"),
    ):
        answer = server.client.post("/api/models/code/prediction", json={**rows[0], **wrong})
        assert answer.status_code == 400
        assert said in answer.text


def test_an_error_in_code_of_the_author_is_no_fault_of_the_client(
    server: Server, models: Path
) -> None:
    rows, _ = cases(models, "code")
    answer = server.client.post("/api/models/code/prediction", json={**rows[0], "price": -1.0})
    assert answer.status_code == 500
    assert "below zero" not in answer.text
    assert "a price below zero" in server.log


def test_other_versions_than_it_was_saved_with_are_warned_of(server: Server) -> None:
    assert "signed was saved with scikit-learn 0.1.2 (here" in server.log


def spoilt(folder: Path, name: str, content: bytes, requirements: str = "") -> Path:
    made = folder / name
    copytree(folder / "unsigned", made)
    (made / "model.pkl").write_bytes(content)
    (made / "requirements.txt").write_text(requirements, encoding="utf-8")
    return made


def test_what_cannot_be_loaded_says_what_to_do(models: Path) -> None:
    whole = (models / "unsigned" / "model.pkl").read_bytes()
    cut = spoilt(models, "cut", whole[: len(whole) // 2])
    gone = spoilt(models, "gone", b"\x80\x04csklearn.gone\nModel\n.", "scikit-learn==0.1.2\n")
    other = spoilt(models, "other", b"PK\x03\x04")
    found = loaded(cut, gone, other)
    assert [message.split(":")[0].rsplit(" ", 1)[1] for message, _ in found] == [
        "cut",
        "gone",
        "other",
    ]
    assert found[0][1] == found[2][1]
    assert found[0][1].endswith("copy the whole folder again.")
    assert "No module named 'sklearn.gone'" in found[1][0]
    assert found[1][1].startswith("It was saved with scikit-learn 0.1.2 (here")
    assert f"pip install -r {gone / 'requirements.txt'}" in found[1][1]
    assert "execution: {kind: process, python: " in found[1][1]

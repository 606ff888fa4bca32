"""Versions of a library, neither of which reads what the other pickles, in one service."""

from __future__ import annotations

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_iris

from tests.end_to_end.server import REPOSITORY, serve
from tests.other_pythons import make_environment

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

LIBRARIES = {
    # The last that reads forests of its kind, and what that needs.
    "old": ("scikit-learn==1.2.2", "numpy<2"),
    "new": ("scikit-learn>=1.6,<2",),
}


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the module of the models in one of the environments."""
    return subprocess.run(
        [str(python / "bin" / "python"), "-W", "ignore", "forests.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_pickles_of_two_versions_of_scikit_learn_are_served_together(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "tests" / "fakes" / "forests.py", tmp_path)
    with ThreadPoolExecutor() as makers:
        made = {
            name: makers.submit(make_environment, tmp_path / name, "ml_base", "pydantic", *wanted)
            for name, wanted in LIBRARIES.items()
        }
        pythons = {name: each.result() for name, each in made.items()}
    told: dict[str, Any] = {}
    for name, python in pythons.items():
        fitted = run(python, tmp_path, "fit", f"{name}.pickle")
        assert fitted.returncode == 0, fitted.stderr
        told[name] = json.loads(fitted.stdout)
    assert told["old"]["library"] == "1.2.2"
    assert told["new"]["library"] > "1.6"
    assert run(pythons["new"], tmp_path, "read", "old.pickle").returncode != 0
    models = [
        {
            "class_path": f"forests.{name.capitalize()}Forest",
            "configuration": {"path": str(tmp_path / f"{name}.pickle")},
            "execution": {"kind": "process", "python": str(python)},
        }
        for name, python in pythons.items()
    ]
    flowers = load_iris().data[::15].tolist()
    with serve({"models": models}, folder=tmp_path) as server:
        for name in LIBRARIES:
            rows = {"inputs": [{"measures": measures} for measures in flowers]}
            answer = server.client.post(f"/api/models/{name}/prediction/batch", json=rows)
            assert answer.status_code == 200, answer.text
            found = answer.json()["predictions"]
            assert [each["probabilities"] for each in found] == told[name]["probabilities"]
            assert {each["library"] for each in found} == {told[name]["library"]}
        listed = server.client.get("/api/models").json()["models"]
    assert [each["version"] for each in listed] == [told[name]["library"] for name in LIBRARIES]

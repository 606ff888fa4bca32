"""Requests that schemathesis makes of the live document, in all the ways that it knows.

All tests together send at least 11 000 of them, and a sixth of that in CI. A failure shows the
request, as a curl command.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.server import REPOSITORY, Server
from tests.fakes.awkward import Echo, configuration
from tests.sweeps import number

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

SEED = os.environ.get("SCHEMATHESIS_SEED", "1")
"""The same each time, unless somebody goes looking for more."""
EXAMPLES: dict[str, Any] = {
    "models": [
        {"class_path": "examples.iris.IrisModel", "batching": {}},
        {"class_path": "examples.diabetes.DiabetesModel"},
        {"class_path": "examples.digits.DigitsModel", "configuration": {"trees": 3}},
    ],
    "metrics": {"enabled": True},
    "open_inference": {"enabled": True},
}


IN_PROCESSES = {
    **EXAMPLES,
    "models": [{**model, "execution": {"kind": "process"}} for model in EXAMPLES["models"]],
}


def awkward(part: slice) -> Mapping[str, object]:
    return configuration(*Echo.all[part])


def schemathesis(server: Server, folder: Path, *arguments: str) -> dict[str, Any]:
    """Run all checks in all phases, and return the report."""
    report = folder / "report.json"
    completed = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
            *("--checks", "all", "--exclude-checks", "response_schema_conformance"),
            *("--seed", SEED, "--generation-database", "none"),
            *("--continue-on-failure", "--no-shrink", "--no-color"),
            *("--suppress-health-check", "all", "--request-timeout", "60"),
            *("--report", "json", "--report-json-path", str(report)),
            *arguments,
        ],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "SCHEMATHESIS_HOOKS": "tests.end_to_end.schemathesis_hooks",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.exists(), completed.stdout + completed.stderr
    result: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    result["output"] = completed.stdout + completed.stderr
    return result


@pytest.mark.parametrize(
    ("served", "examples", "least"),
    [
        pytest.param(awkward(slice(0, 16)), 66, 3000, id="awkward models, first third"),
        pytest.param(awkward(slice(16, 32)), 66, 3000, id="awkward models, second third"),
        pytest.param(awkward(slice(32, None)), 66, 3000, id="awkward models, last third"),
        pytest.param(EXAMPLES, 42, 1000, id="examples, with all that there is"),
        pytest.param(IN_PROCESSES, 27, 600, id="examples in processes"),
    ],
)
def test_whatever_is_sent_the_answer_is_as_documented(
    served: Mapping[str, object], examples: int, least: int, tmp_path: Path
) -> None:
    with Server(served, "--threads", "2") as server:
        result = schemathesis(server, tmp_path, "--max-examples", str(number(examples, 6)))
    assert (result["failures"], result["errors"]) == ([], []), result["output"]
    assert result["complete"]
    assert result["operations"]["tested"] == result["operations"]["total"] > 5
    assert result["test_cases"]["generated"] >= number(least, 6)


def test_it_is_as_documented_where_another_service_computes(tmp_path: Path) -> None:
    names = ("iris", "diabetes", "digits")
    with Server(EXAMPLES, "--threads", "2") as there:
        remote = {"kind": "remote", "url": there.url}
        models = [{"qualified_name": name, "execution": remote} for name in names]
        with Server({**EXAMPLES, "models": models}, "--threads", "2") as server:
            result = schemathesis(server, tmp_path, "--max-examples", str(number(27, 6)))
    assert (result["failures"], result["errors"]) == ([], []), result["output"]
    assert result["test_cases"]["generated"] >= number(600, 6)


def test_a_model_that_does_not_keep_what_it_documents_is_found(tmp_path: Path) -> None:
    models = {"models": [{"class_path": "tests.fakes.misdocumented.MisdocumentedModel"}]}
    with Server(models) as server:
        result = schemathesis(server, tmp_path, "--include-tag", "misdocumented", "-n", "20")
    found = {failure["title"] for failure in result["failures"]}
    assert found == {
        "Custom check failed: `response_is_as_documented`",
        "Schema-violating request accepted",
        "Server error",
    }

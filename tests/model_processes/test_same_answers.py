"""A model in a process of its own answers as it would on a thread of the worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.modelhost.corpus import CONFIGURATION, corpus
from tests.modelhost.test_fast_lane import METRICS, Seen, differences, run

IN_PROCESSES: dict[str, Any] = {
    "models": [
        {**model, "execution": {"kind": "process"}}
        for model in CONFIGURATION["models"]  # type: ignore[attr-defined]
    ]
}
PROCESS = "(this process)"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, Seen]:
    """What is seen of models in processes, and of models on threads."""
    folder: Path = tmp_path_factory.mktemp("executions")
    sections: dict[str, object] = {"metrics": METRICS}
    variables: dict[str, str] = {}
    threads = run(folder, "fast", sections, variables)
    (folder / "processes").mkdir()
    return run(folder / "processes", "fast", {**sections, **IN_PROCESSES}, variables), threads


pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def test_clients_get_the_same_answers(both: tuple[Seen, Seen]) -> None:
    assert len(list(corpus())) > 500
    assert differences(both, "status") == []
    # One of the models tells in which process it is.
    tell = [name for name, seen in both[1]["answers"].items() if PROCESS in seen.get("body", "")]
    assert 0 < len(tell) < 10
    for seen in both:
        seen["answers"] = {name: each for name, each in seen["answers"].items() if name not in tell}
    assert differences(both, "headers", "body") == []


def test_the_access_log_says_the_same(both: tuple[Seen, Seen]) -> None:
    for seen in both:
        # How many rows a request has that is answered too late, only its process knows.
        late = [name for name in seen["answers"] if name.startswith("late")]
        for name in late:
            del seen["answers"][name]
        for answer in seen["answers"].values():
            answer["access"] = [
                each for each in answer.get("log", []) if each["logger"] == "models_api.access"
            ]
    assert differences(both, "access") == []


def test_the_metrics_count_the_same(both: tuple[Seen, Seen]) -> None:
    counted = [
        [line for line in seen["metrics"] if not line.startswith("modelhost_info")] for seen in both
    ]
    assert counted[0] == counted[1]

"""Clients cannot tell where a model computes: servers of every kind give the same answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.end_to_end.comparison import EXAMPLES, differences, requests, sound_requests
from tests.end_to_end.server import Server, serve
from tests.modelhost.corpus import CONFIGURATION, ENVIRONMENT

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

Models = list[dict[str, Any]]
MODELS: Models = [
    # As many as a server can start within a minute; tests/model_processes asks all of them.
    {"class_path": "tests.fakes.misbehaving.ObedientModel"},
    {"class_path": "tests.fakes.tensors.EchoModel"},
    {"class_path": "tests.fakes.batching.BatchingModel", "batching": {"max_batch_size": 4}},
    {"class_path": "tests.fakes.columns.ColumnsModel"},
    {"class_path": "tests.fakes.refusing.RefusingBatchModel", "batching": {}},
    {"class_path": "tests.fakes.asking.AskingModel"},
    *EXAMPLES,
]
NAMES = [
    "obedient",
    "echo",
    "batching",
    "columns",
    "refusing_batch",
    "asking",
    "iris",
    "diabetes",
    "digits",
]


@contextmanager
def serving(models: Models) -> Iterator[Server]:
    """Serve models, as each of them says."""
    variables = {**ENVIRONMENT, "MODELHOST_WORKERS": "1", "MODELHOST_MAX_BATCH_ROWS": "500"}
    with serve({**CONFIGURATION, "models": models}, environment=variables, timeout=180) as server:
        yield server


@contextmanager
def in_processes(models: Models) -> Iterator[Server]:
    """Serve models that compute in processes."""
    with serving([{**model, "execution": {"kind": "process"}} for model in models]) as server:
        yield server


@contextmanager
def in_another_service(models: Models, protocol: str = "modelhost") -> Iterator[Server]:
    """Serve models that compute in a second instance of the service."""
    with serving(models) as there:
        remote = {"kind": "remote", "url": there.url, "protocol": protocol}
        with serving([{"qualified_name": name, "execution": remote} for name in NAMES]) as server:
            yield server


KINDS: dict[str, Callable[[Models], Any]] = {
    "process": in_processes,
    "remote": in_another_service,
}
OTHERWISE: dict[str, tuple[str, ...]] = {
    "process": (),
    "remote": (
        # By the schema of the model, which is there, a value may count more.
        "/api/models/obedient/prediction/batch many values:",
        # The row that does not fit is found among rows, instead of columns.
        "columns of misfit:",
    ),
}
"""Requests that are known to be answered in other words, and why."""


@pytest.fixture(scope="module")
def on_threads() -> Iterator[Server]:
    """A server whose models compute on its own threads."""
    with serving(MODELS) as server:
        yield server


@pytest.mark.parametrize("kind", KINDS)
def test_clients_get_the_answers_that_they_get_from_threads(on_threads: Server, kind: str) -> None:
    asked = list(requests())
    assert len(asked) > 1500
    assert len({each.name for each in asked}) == len(asked)
    with KINDS[kind](MODELS) as other:
        found = differences(on_threads, other, asked)
    found = [each for each in found if not each.startswith(OTHERWISE[kind])]
    assert found == [], "\n".join(found)


def test_the_open_inference_protocol_brings_the_same_answers(on_threads: Server) -> None:
    asked = list(sound_requests())
    assert len(asked) > 300
    with in_another_service(MODELS, "open_inference") as other:
        found = differences(on_threads, other, asked)
    assert found == [], "\n".join(found)

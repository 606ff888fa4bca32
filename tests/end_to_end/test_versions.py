"""Versions of one model through real servers: each answers for itself, and says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote

import numpy
import pytest
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from tests.end_to_end.server import Server, granian, gunicorn

pytestmark = pytest.mark.long

ODD = "2 é/<a>,%?#"
DOUBLING = "tests.fakes.models.DoublingModel"
CONFIGURATION: dict[str, Any] = {
    "models": [
        {"class_path": DOUBLING, "version": "1", "aliases": ["stable"]},
        {
            "class_path": DOUBLING,
            "version": ODD,
            "aliases": ["next"],
            "configuration": {"factor": 3},
            "execution": {"kind": "process"},
        },
        {
            "class_path": DOUBLING,
            "version": "3",
            "configuration": {"factor": 4},
            "execution": {"kind": "process"},
            "concurrency": {"max_concurrency": 2},
        },
        {
            "class_path": "tests.fakes.models.FailingModel",
            "qualified_name": "doubling",
            "version": "4",
            "required": False,
        },
    ],
    "open_inference": {"enabled": True},
    "metrics": {"enabled": True},
}
FACTORS = {"1": 2, "stable": 2, ODD: 3, "next": 3, "3": 4}


STARTERS: dict[str, Callable[[], Server]] = {
    "gunicorn": lambda: gunicorn(CONFIGURATION, environment={"MODELHOST_WORKERS": "2"}),
    "granian": lambda: granian(CONFIGURATION),
}


@pytest.fixture(scope="module", params=STARTERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with STARTERS[request.param]() as server:
        yield server


def prediction(version: str, end: str = "") -> str:
    return f"/api/models/doubling/versions/{quote(version, safe='')}/prediction{end}"


def test_each_version_answers_by_its_name_and_its_aliases(server: Server) -> None:
    name = {"stable": "1", "next": ODD}
    for version, factor in FACTORS.items():
        single = server.client.post(prediction(version), json={"value": 2})
        many = server.client.post(prediction(version, "/batch"), json={"inputs": [{"value": 2}]})
        assert single.json() == {"value": 2 * factor}
        assert many.json() == {"predictions": [{"value": 2 * factor}]}
        for answer in (single, many):
            assert unquote(answer.headers["X-Model-Version"]) == name.get(version, version)
    named = server.client.post("/api/models/doubling/prediction", json={"value": 2})
    assert (named.json(), named.headers["X-Model-Version"]) == ({"value": 4}, "1")


def test_what_fails_says_which_version_it_was(server: Server) -> None:
    answer = server.client.post(prediction("4"), json={"value": 2})
    assert (answer.status_code, answer.headers["X-Model-Version"]) == (503, "4")
    unknown = server.client.post(prediction("5"), json={"value": 2})
    assert unknown.status_code == 404
    assert "X-Model-Version" not in unknown.headers


def test_metrics_have_a_series_for_each_version(server: Server) -> None:
    before = counted(server)
    for version, requests in (("1", 1), (ODD, 2), ("next", 1), ("3", 5)):
        for _ in range(requests):
            server.client.post(prediction(version), json={"value": 2})
    after = counted(server)
    grown = {version: after[version] - before.get(version, 0) for version in after}
    assert grown == {"1": 1, ODD: 3, "3": 5, "4": 0}


def counted(server: Server) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in server.client.get("/metrics").text.splitlines():
        if line.startswith("model_predictions_total") and 'outcome="success"' in line:
            version = line.partition('version="')[2].partition('"')[0]
            found[version] = float(line.rpartition(" ")[2])
    return found


def test_the_list_has_each_version_wherever_it_computes(server: Server) -> None:
    listed = server.client.get("/api/models").json()["models"]
    assert [(each["version"], each["state"], each["traffic"]) for each in listed] == [
        ("1", "ready", 100.0),
        (ODD, "ready", 0.0),
        ("3", "ready", 0.0),
        ("4", "failed", 0.0),
    ]


def test_tritons_client_asks_versions_and_lists_them(server: Server) -> None:
    rows = InferInput("value", [1], "FP64").set_data_from_numpy(numpy.array([2.0]))
    with InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        assert client.get_model_metadata("doubling")["versions"] == ["1", ODD, "3", "4"]
        index = [(each["version"], each["state"]) for each in client.get_model_repository_index()]
        assert index == [("1", "READY"), (ODD, "READY"), ("3", "READY"), ("4", "UNAVAILABLE")]
        for version, factor in FACTORS.items():
            result = client.infer("doubling", [rows], model_version=quote(version, safe=""))
            assert result.as_numpy("value").tolist() == [2.0 * factor]
        assert client.is_model_ready("doubling", "3") is True
        assert client.is_model_ready("doubling", "4") is False
        statistics = client.get_inference_statistics("doubling", "3")["model_stats"]
        assert [each["version"] for each in statistics] == ["3"]
        assert statistics[0]["inference_count"] >= 1


def test_tritons_client_is_told_that_it_cannot_change_the_models(server: Server) -> None:
    with InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        for change in (client.load_model, client.unload_model):
            with pytest.raises(InferenceServerException, match="the configuration file") as caught:
                change("doubling")
            assert caught.value.status() == "403"
        assert client.is_model_ready("doubling") is True

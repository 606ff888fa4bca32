"""The metrics of this service beside those of rest_model_service, for the same file and requests.

What differs on purpose: the parameter of a route has another name, which the documents of both say
too; and rest_model_service takes a model that it does not have for no route at all, where here it
matches the route of all models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end.rest_model_service.server import RestModelService
from tests.end_to_end.server import Server

pytestmark = pytest.mark.long

FILES = Path(__file__).parent / "rest_model_service"
ECHO = "/api/models/echo"
BODY = {"count": 1, "names": ["a"]}
REQUESTS = [
    ("GET", "/api/models"),
    ("GET", f"{ECHO}/metadata"),
    ("GET", "/api/health"),
    ("GET", "/api/health"),
    ("GET", "/api/health/ready"),
    ("GET", "/api/health/startup"),
    ("GET", "/openapi.json"),
    ("GET", "/nothing/here"),
    ("POST", "/nothing/here"),
    ("GET", f"{ECHO}/prediction"),
]


@dataclass(frozen=True)
class Pair:
    """What both services show after the same requests."""

    theirs: dict[str, Metric]
    ours: dict[str, Metric]


def ask(client: httpx.Client) -> None:
    for method, path in REQUESTS:
        client.request(method, path)


def families(client: httpx.Client) -> dict[str, Metric]:
    text = client.get("/metrics").text.replace("{model_qualified_name}", "{qualified_name}")
    return {family.name: family for family in text_string_to_metric_families(text)}


@pytest.fixture(scope="module", params=["metrics", "metrics_options"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    file = FILES / f"{request.param}.yaml"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("METRICS_PLEASE", "true")
        with Server(file) as ours:
            # As with several workers: each of them shows what all have counted.
            shared = tmp_path_factory.mktemp("shared")
            environment.setenv("PROMETHEUS_MULTIPROC_DIR", str(shared))
            with RestModelService(file) as theirs:
                theirs.wait()
                for client in (theirs.client, ours.client):
                    ask(client)
                yield Pair(families(theirs.client), families(ours.client))


def test_the_same_names_have_the_same_types(pair: Pair) -> None:
    assert len(pair.theirs) >= 5
    assert {name: family.type for name, family in pair.theirs.items()} == {
        name: pair.ours[name].type for name in pair.theirs if name in pair.ours
    }


def test_the_rest_is_of_this_service_alone(pair: Pair) -> None:
    more = pair.ours.keys() - pair.theirs.keys()
    assert all(name.startswith(("model_", "modelhost_")) for name in more)


def test_each_sample_has_the_same_labels(pair: Pair) -> None:
    for name, family in pair.theirs.items():
        assert label_names(pair.ours[name]) == label_names(family), name


def label_names(family: Metric) -> dict[str, set[str]]:
    return {sample.name: set(sample.labels) for sample in family.samples}


def test_the_buckets_have_the_same_limits(pair: Pair) -> None:
    for name in ("http_request_duration_seconds", "http_request_duration_highr_seconds"):
        limits = [
            {sample.labels["le"] for sample in side[name].samples if "le" in sample.labels}
            for side in (pair.theirs, pair.ours)
        ]
        assert limits[0] == limits[1]


def test_the_same_requests_have_the_same_label_values_and_counts(pair: Pair) -> None:
    counts = [
        {
            tuple(sorted(sample.labels.items())): sample.value
            for sample in side["http_requests"].samples
            if sample.labels["handler"] != "/api/health/startup"  # asked until it has started
            and sample.labels["handler"] != "/api/health/ready"
        }
        for side in (pair.theirs, pair.ours)
    ]
    assert counts[0] == counts[1]


def test_handlers_have_the_same_names_in_every_family(pair: Pair) -> None:
    for name in ("http_request_size_bytes", "http_response_size_bytes"):
        handlers = [
            {sample.labels["handler"] for sample in side[name].samples}
            for side in (pair.theirs, pair.ours)
        ]
        assert handlers[0] == handlers[1]

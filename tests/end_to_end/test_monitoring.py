"""The dashboard and the alert rules ask for metrics that a live service has."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.end_to_end.server import REPOSITORY, Server

DASHBOARD = REPOSITORY / "deploy" / "grafana" / "dashboard.json"
ALERTS = REPOSITORY / "deploy" / "prometheus" / "alerts.yaml"
CONFIGURATION: dict[str, Any] = {
    "models": [
        {
            "class_path": "tests.fakes.batching.BatchingModel",
            "batching": {"max_queue_size": 1},
            "concurrency": {"max_concurrency": 1},
        },
        {"class_path": "tests.fakes.measured.LateModel", "timeout_seconds": 0.001},
        {"class_path": "tests.fakes.models.FailingModel", "required": False},
        {"class_path": "tests.fakes.models.DoublingModel", "version": "1"},
        {"class_path": "tests.fakes.models.DoublingModel", "version": "2", "traffic": 10},
        {"class_path": "tests.fakes.models.DoublingModel", "version": "3", "shadow": True},
    ],
    "metrics": {"enabled": True},
}
# What Prometheus itself knows of whom it asks.
OF_PROMETHEUS = {"up"}
OPERATORS = {"and", "or", "unless", "bool"}
LABELS_OF_PROMETHEUS = {"job", "instance"}

_BY = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"\b([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?(?![\w:]*\s*\()")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')


def dashboard_expressions() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def alert_expressions() -> list[str]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def grouped_by(expression: str) -> set[str]:
    found = _BY.findall(expression)
    return {label.strip() for labels in found for label in labels.split(",")} - {""}


def selectors(expression: str) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The metrics that an expression asks for, each with its matchers of labels."""
    bare = re.sub(r"\[[^\]]*\]", "", _BY.sub("", expression))
    return [
        (name, list(_MATCHER.findall(matchers)))
        for name, matchers in _SELECTOR.findall(bare)
        if name not in OPERATORS
    ]


def fits(sample: Sample, matchers: list[tuple[str, str, str]]) -> bool:
    for label, sign, wanted in matchers:
        if label in LABELS_OF_PROMETHEUS:
            continue
        if label not in sample.labels:
            return False
        pattern = ".*" if "$" in wanted else wanted if "~" in sign else re.escape(wanted)
        if bool(re.fullmatch(pattern, sample.labels[label])) is sign.startswith("!"):
            return False
    return True


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    with Server(CONFIGURATION, "--worker-class", "gthread", "--threads", "16") as server:

        def predict(model: str, value: int) -> int:
            response = server.client.post(f"/api/models/{model}/prediction", json={"value": value})
            return response.status_code

        with ThreadPoolExecutor(16) as pool:
            statuses = set(pool.map(lambda value: predict("batching", value), [1] * 200))
        statuses |= {predict("batching", -2), predict("late", 1), predict("batching", 5000)}
        assert statuses == {200, 400, 500, 503, 504}
        text = server.client.get("/metrics").text
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


@pytest.mark.parametrize("expression", dashboard_expressions() + alert_expressions())
def test_an_expression_finds_series_of_a_live_service(
    expression: str, samples: list[Sample]
) -> None:
    asked = [each for each in selectors(expression) if each[0] not in OF_PROMETHEUS]
    assert asked or "up" in expression
    for name, matchers in asked:
        found = [sample for sample in samples if sample.name == name and fits(sample, matchers)]
        assert found, f"nothing fits {name} {matchers}"
        labels = grouped_by(expression) - LABELS_OF_PROMETHEUS
        assert labels <= set(found[0].labels) | ({"le"} if "_bucket" not in name else set())


def test_selectors_are_found_in_an_expression() -> None:
    expression = 'sum by (a) (rate(one_total{b="x", c=~"5.."}[5m])) / sum(two) > 0.5'
    assert selectors(expression) == [
        ("one_total", [("b", "=", "x"), ("c", "=~", "5..")]),
        ("two", []),
    ]
    assert grouped_by(expression) == {"a"}


@pytest.mark.parametrize("label", ["nothing", "model"])
def test_a_series_that_is_not_there_is_not_found(label: str, samples: list[Sample]) -> None:
    matchers = [(label, "=", "nobody")]
    assert not [each for each in samples if fits(each, matchers)]


def test_each_rule_says_what_is_wrong_and_how_bad_it_is() -> None:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 5
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        labels = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
        assert set(labels) <= grouped_by(rule["expr"])


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        assert max(x for x, _ in own) < 24
        cells |= own
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])

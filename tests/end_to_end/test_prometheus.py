"""A real Prometheus reads the metrics, and its rules and the dashboard make sense of them."""

from __future__ import annotations

import hashlib
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from models_api.hosting.hosted_model import ModelState
from tests.end_to_end.prometheus import RULES, Prometheus, program
from tests.end_to_end.server import REPOSITORY, Server, gunicorn
from tests.end_to_end.test_monitoring import alert_expressions, dashboard_expressions

pytestmark = pytest.mark.long

TESTS_OF_RULES = REPOSITORY / "tests/prometheus/alerts_test.yaml"
CONFIGURATION: dict[str, Any] = {
    "models": [
        {
            "class_path": "tests.fakes.batching.BatchingModel",
            "batching": {"max_queue_size": 1},
            "concurrency": {"max_concurrency": 1},
        },
        {"class_path": "tests.fakes.measured.LateModel", "timeout_seconds": 0.001},
        {"class_path": "tests.fakes.models.FailingModel", "required": False},
    ],
    "metrics": {"enabled": True},
}
PREDICTIONS = 200


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        [program("promtool"), *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_rule_fires_when_it_should_and_not_else() -> None:
    promtool("test", "rules", str(TESTS_OF_RULES))


def test_every_rule_has_a_test_in_which_it_fires() -> None:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    tests = yaml.safe_load(TESTS_OF_RULES.read_text(encoding="utf-8"))["tests"]
    asked = [each for test in tests for each in test["alert_rule_test"]]
    assert {rule["alert"] for group in groups for rule in group["rules"]} == {
        each["alertname"] for each in asked if each["exp_alerts"]
    }


def test_prometheus_has_nothing_to_say_against_its_configuration() -> None:
    assert "SUCCESS" in promtool("check", "config", "deploy/prometheus/prometheus.yaml")


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Server, Prometheus]]:
    with gunicorn(CONFIGURATION) as server, Prometheus(server.port) as prometheus:
        # A rate needs a value from before.
        prometheus.wait_for('up{job="modelhost"} == 1')

        def predict(model: str, value: int) -> int:
            response = server.client.post(f"/api/models/{model}/prediction", json={"value": value})
            return response.status_code

        with ThreadPoolExecutor(16) as pool:
            statuses = set(pool.map(lambda value: predict("batching", value), [1] * PREDICTIONS))
        statuses |= {predict("batching", -2), predict("late", 1), predict("batching", 5000)}
        assert statuses == {200, 400, 500, 503, 504}
        prometheus.wait_for('model_predictions_total{outcome="failure"} > 0')
        time.sleep(2)  # two values more of each series, so that there are rates
        yield server, prometheus


def test_prometheus_counts_what_was_asked(served: tuple[Server, Prometheus]) -> None:
    _, prometheus = served
    (found,) = prometheus.query('sum(model_predictions_total{model="batching"})')
    assert float(found["value"][1]) == PREDICTIONS + 2


@pytest.mark.parametrize("expression", dashboard_expressions())
def test_a_panel_of_the_dashboard_shows_something(
    served: tuple[Server, Prometheus], expression: str
) -> None:
    _, prometheus = served
    asked = re.sub(r"\$(job|instance|model)", ".*", expression)
    asked = asked.replace("$__rate_interval", "1m")
    assert prometheus.query(asked)


@pytest.mark.parametrize("expression", alert_expressions())
def test_an_alert_can_be_asked_of_the_metrics_of_a_service(
    served: tuple[Server, Prometheus], expression: str
) -> None:
    _, prometheus = served
    prometheus.query(expression)


def test_prometheus_takes_the_rules(served: tuple[Server, Prometheus]) -> None:
    _, prometheus = served
    groups = prometheus.client.get("/api/v1/rules").json()["data"]["groups"]
    assert [rule["health"] for group in groups for rule in group["rules"]] == ["ok"] * 14


def test_a_model_that_failed_and_is_not_required_has_an_alert_of_its_own(
    served: tuple[Server, Prometheus],
) -> None:
    _, prometheus = served
    (found,) = prometheus.wait_for('ALERTS{alertname="OptionalModelFailed"}')
    assert (found["metric"]["model"], found["metric"]["alertstate"]) == ("failing", "pending")
    assert not prometheus.query('ALERTS{alertname="ModelNotReady"}')
    # What the rule leaves out would be reported otherwise.
    (unready,) = prometheus.query("model_ready == 0")
    assert unready["metric"]["model"] == "failing"


def test_prometheus_knows_the_state_of_each_model(served: tuple[Server, Prometheus]) -> None:
    _, prometheus = served
    states = {
        (each["metric"]["model"], each["metric"]["required"], each["metric"]["state"])
        for each in prometheus.query("model_state == 1")
    }
    assert states == {
        ("batching", "true", "ready"),
        ("late", "true", "ready"),
        ("failing", "false", "failed"),
    }
    (count,) = prometheus.query("count(model_state)")
    assert int(count["value"][1]) == 3 * len(ModelState)


def test_prometheus_knows_what_the_server_runs(served: tuple[Server, Prometheus]) -> None:
    server, prometheus = served
    (info,) = prometheus.query("modelhost_info")
    content = Path(server.configuration).read_bytes()
    assert info["value"][1] == "1"
    assert info["metric"]["version"] == version("modelhost")
    assert info["metric"]["configuration"] == hashlib.sha256(content).hexdigest()[:12]


def test_a_server_that_goes_is_told_by_its_address(served: tuple[Server, Prometheus]) -> None:
    server, prometheus = served
    assert not prometheus.query('ALERTS{alertname="MetricsMissing"}')
    server.process.terminate()
    server.process.wait(60)
    (found,) = prometheus.wait_for('ALERTS{alertname="MetricsMissing"}')
    assert found["metric"]["instance"] == f"127.0.0.1:{server.port}"

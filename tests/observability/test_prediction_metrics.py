"""What is measured of models, by an observer of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric

from models_api.exceptions import (
    DeadlineExceeded,
    InvalidInput,
    ModelNotReady,
    Overloaded,
    PredictionFailed,
    SchemaRejected,
)
from models_api.hosting.hosted_model import ModelState
from models_api.observability.metric_types import Key
from models_api.observability.prediction_metrics import ModelMeter, ModelMetrics
from models_api.observability.shared_memory import SharedMemoryMetrics, Totals
from models_api.prediction.request_context import RequestContext
from tests.in_process import InProcessService

STATES = [str(state) for state in ModelState]
LABELS = 'model="doubling",version="1.0.0"'


class Measured:
    """A service whose models are measured."""

    def __init__(self, folder: Path, *models: dict[str, object]) -> None:
        self.service = InProcessService({"models": list(models)})
        self.shared = SharedMemoryMetrics(lambda: folder)
        self.metrics = ModelMetrics(self.shared)
        self.meters = [self.metrics.meter(model) for model in self.service.registry]
        self.metrics.publish()

    @property
    def meter(self) -> ModelMeter:
        return self.meters[0]

    def collect(self) -> Iterator[Metric]:
        return self.metrics.families(self.shared.read())

    def lines(self, name: str) -> list[str]:
        text = generate_latest(self).decode()
        return sorted(line for line in text.splitlines() if line.startswith(name))


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[Measured]:
    made = Measured(tmp_path, {"class_path": "tests.fakes.models.DoublingModel"})
    yield made
    made.shared.close()


def test_a_model_is_there_before_its_first_prediction(measured: Measured) -> None:
    assert measured.lines("model_predictions_total") == [
        'model_predictions_total{model="doubling",outcome="success",version="1.0.0"} 0.0'
    ]
    assert measured.lines("model_ready") == [f"model_ready{{{LABELS}}} 1.0"]
    (line,) = measured.lines("model_load_seconds")
    assert float(line.split()[1]) > 0


def test_what_can_come_of_copies_for_a_shadow_is_there_before_the_first(tmp_path: Path) -> None:
    entry: dict[str, object] = {"class_path": "tests.fakes.models.DoublingModel"}
    versions: list[dict[str, object]] = [
        {**entry, "version": "1"},
        {**entry, "version": "2", "shadow": True},
    ]
    measured = Measured(tmp_path, *versions)
    shadow = measured.meters[1]
    try:
        shadow.shadowed("dropped")

        assert measured.lines("model_shadow_copies_total") == [
            f'model_shadow_copies_total{{model="doubling",result="{result}",version="2"}} {count}'
            for result, count in (
                *(("agrees", 0.0), ("differs", 0.0)),
                *(("dropped", 1.0), ("failed", 0.0)),
            )
        ]
    finally:
        measured.shared.close()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (InvalidInput([]), "invalid_input"),
        (SchemaRejected("doubling", "no"), "invalid_input"),
        (ModelNotReady("doubling", "not yet", retry_after_seconds=5), "not_ready"),
        (Overloaded("busy"), "overloaded"),
        (DeadlineExceeded(1.0), "deadline_exceeded"),
        (PredictionFailed("doubling", "failed"), "failure"),
        (KeyboardInterrupt(), "failure"),
    ],
)
def test_an_error_is_an_outcome_and_goes_on(
    measured: Measured, error: BaseException, outcome: str
) -> None:
    with pytest.raises(type(error)), measured.meter.prediction():
        raise error
    line = f'model_predictions_total{{model="doubling",outcome="{outcome}",version="1.0.0"}} 1.0'
    assert line in measured.lines("model_predictions_total")
    assert measured.lines("model_in_flight") == [f"model_in_flight{{{LABELS}}} 0.0"]


def test_predictions_that_have_not_ended_are_in_flight(measured: Measured) -> None:
    with measured.meter.prediction():
        with measured.meter.prediction():
            assert measured.lines("model_in_flight") == [f"model_in_flight{{{LABELS}}} 2.0"]
        assert measured.lines("model_in_flight") == [f"model_in_flight{{{LABELS}}} 1.0"]
    assert measured.lines("model_in_flight") == [f"model_in_flight{{{LABELS}}} 0.0"]


def test_predictions_that_are_in_flight_together_are_each_counted_once(
    measured: Measured,
) -> None:
    asked, answered = threading.Barrier(4), threading.Barrier(4)

    def predict() -> None:
        with measured.meter.prediction():
            asked.wait(60)
            answered.wait(60)

    for _ in range(3):
        threads = [threading.Thread(target=predict) for _ in range(3)]
        for thread in threads:
            thread.start()
        asked.wait(60)
        assert measured.lines("model_in_flight") == [f"model_in_flight{{{LABELS}}} 3.0"]
        answered.wait(60)
        for thread in threads:
            thread.join()
        assert measured.lines("model_in_flight") == [f"model_in_flight{{{LABELS}}} 0.0"]
    (line,) = measured.lines("model_predictions_total")
    assert line.endswith(" 9.0")


def test_a_prediction_of_the_service_is_counted_and_timed(measured: Measured) -> None:
    with measured.meter.prediction():
        pass
    labels = 'model="doubling",outcome="success",version="1.0.0"'
    lines = measured.lines("model_prediction_duration_seconds")
    assert f"model_prediction_duration_seconds_count{{{labels}}} 1.0" in lines
    assert len([line for line in lines if "_bucket" in line]) == 21


@pytest.mark.parametrize("seconds", [0.00004, 0.0001, 0.0003, 0.002, 0.009])
def test_the_time_of_a_quick_prediction_is_told_to_a_factor_of_two_and_a_half(
    measured: Measured, seconds: float
) -> None:
    measured.meter.series.durations["success"].observe(seconds)
    limits = [
        (float(line.partition('le="')[2].partition('"')[0]), float(line.split()[-1]))
        for line in measured.lines("model_prediction_duration_seconds_bucket")
    ]
    below = max(limit for limit, count in limits if not count)
    above = min(limit for limit, count in limits if count)
    assert below < seconds <= above <= 2.5 * below * 1.0001


def test_the_time_of_a_prediction_begins_with_the_arrival_of_its_request(
    measured: Measured, context: RequestContext
) -> None:
    context.received -= 3
    with measured.meter.prediction():
        pass
    lines = measured.lines("model_prediction_duration_seconds")
    labels = 'model="doubling",outcome="success",version="1.0.0"'
    assert f'model_prediction_duration_seconds_bucket{{le="2.5",{labels}}} 0.0' in lines
    assert f'model_prediction_duration_seconds_bucket{{le="5.0",{labels}}} 1.0' in lines


def test_the_time_that_predictions_waited_is_told_of_each(
    measured: Measured, context: RequestContext
) -> None:
    for waits in ((), (0.2, 0.4), ()):
        context.queue_seconds = 0.0
        with suppress(Overloaded), measured.meter.prediction():
            for seconds in waits:
                measured.meter.waited(time.monotonic() - seconds, seconds)
            if waits:
                raise Overloaded("busy")
    lines = measured.lines("model_queue_seconds")
    assert f'model_queue_seconds_bucket{{le="0.0005",{LABELS}}} 2.0' in lines
    assert f'model_queue_seconds_bucket{{le="0.5",{LABELS}}} 2.0' in lines
    assert f'model_queue_seconds_bucket{{le="1.0",{LABELS}}} 3.0' in lines
    assert f"model_queue_seconds_count{{{LABELS}}} 3.0" in lines
    (total,) = [line for line in lines if "_sum" in line]
    assert float(total.split()[-1]) == pytest.approx(0.6)


def test_batches_and_queues_are_measured(measured: Measured) -> None:
    for rows in (1, 2, 3, 5000):
        measured.meter.batch(rows)
    for change in (1, 1, 8, -3):
        measured.meter.queue(change)
    lines = measured.lines("model_batch_size")
    assert f'model_batch_size_bucket{{le="1.0",{LABELS}}} 1.0' in lines
    assert f'model_batch_size_bucket{{le="4.0",{LABELS}}} 3.0' in lines
    assert f'model_batch_size_bucket{{le="1024.0",{LABELS}}} 3.0' in lines
    assert f"model_batch_size_count{{{LABELS}}} 4.0" in lines
    assert f"model_batch_size_sum{{{LABELS}}} 5006.0" in lines
    assert measured.lines("model_queue_depth") == [f"model_queue_depth{{{LABELS}}} 7.0"]


def test_a_model_that_fails_to_load_is_not_ready(tmp_path: Path) -> None:
    measured = Measured(tmp_path, {"class_path": "tests.fakes.models.FailingModel"})
    labels = 'model="failing",version="1.0.0"'
    assert measured.lines("model_ready") == [f"model_ready{{{labels}}} 0.0"]
    measured.shared.close()


def states(measured: Measured) -> dict[tuple[str, str], set[str]]:
    """The states that are 1, of each model and whether it is required."""
    found: dict[tuple[str, str], set[str]] = {}
    for family in measured.collect():
        for sample in family.samples if family.name == "model_state" else ():
            own = found.setdefault((sample.labels["model"], sample.labels["required"]), set())
            own |= {sample.labels["state"]} if sample.value else set()
    return found


def test_the_state_of_each_model_is_one_of_those_that_there_are(tmp_path: Path) -> None:
    fakes = "tests.fakes.models"
    measured = Measured(
        tmp_path,
        {"class_path": f"{fakes}.DoublingModel"},
        {"class_path": f"{fakes}.FailingModel", "required": False},
        {"class_path": f"{fakes}.LateFailingModel"},
    )
    assert states(measured) == {
        ("doubling", "true"): {"ready"},
        ("failing", "false"): {"failed"},
        (f"{fakes}.LateFailingModel", "true"): {"failed"},
    }
    assert len(measured.lines("model_state{")) == 3 * len(STATES)
    measured.shared.close()


STATES_OF_WORKERS = [
    (["ready", "loading"], "loading"),
    (["ready", "failed"], "failed"),
    (["loading", "failed"], "failed"),
    (["ready", "unhealthy"], "unhealthy"),
    (["unhealthy", "loading"], "loading"),
    (["ready", "unloaded"], "unloaded"),
]


@pytest.mark.parametrize(("of_workers", "told"), STATES_OF_WORKERS)
def test_the_worst_state_of_the_workers_counts_and_not_that_of_dead_ones(
    tmp_path: Path, of_workers: list[str], told: str
) -> None:
    live = [{Key("state", ("m", "1", "true")): [float(STATES.index(s) + 1)]} for s in of_workers]
    dead = {Key("state", ("m", "1", "true")): [100.0]}
    metrics = ModelMetrics(SharedMemoryMetrics(lambda: tmp_path))
    (family,) = [
        each for each in metrics.families(Totals(dead, live, 1)) if each.name == "model_state"
    ]
    assert {s.labels["state"]: s.value for s in family.samples} == {
        state: state == told for state in STATES
    }

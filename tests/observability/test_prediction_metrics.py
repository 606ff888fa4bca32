"""What is measured of models, by an observer of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
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
from models_api.hosting.hosted_model import HostedModel
from models_api.observability.prediction_metrics import ModelMetrics
from models_api.observability.shared_memory import SharedValues
from tests.in_process import InProcessService

LABELS = 'model="doubling",version="1.0.0"'


class Measured:
    """A service whose models are measured."""

    def __init__(self, folder: Path, *models: dict[str, object]) -> None:
        self.service = InProcessService({"models": list(models)})
        self.shared = SharedValues(lambda: folder)
        self.metrics = ModelMetrics(self.shared)
        self.metrics.watch(self.service.registry)
        self.metrics.publish()

    @property
    def model(self) -> HostedModel:
        return next(iter(self.service.registry))

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
    def predict(_body: bytes) -> bytes:
        raise error

    assert measured.model.observer is not None
    with pytest.raises(type(error)):
        measured.model.observer.measured(predict)(b"")
    line = f'model_predictions_total{{model="doubling",outcome="{outcome}",version="1.0.0"}} 1.0'
    assert line in measured.lines("model_predictions_total")
    assert measured.lines("model_in_flight") == [f"model_in_flight{{{LABELS}}} 0.0"]


def test_predictions_that_have_not_ended_are_in_flight(measured: Measured) -> None:
    asked, answered = threading.Event(), threading.Event()

    def predict(body: bytes) -> bytes:
        asked.set()
        assert answered.wait(60)
        return body

    assert measured.model.observer is not None
    thread = threading.Thread(target=measured.model.observer.measured(predict), args=(b"",))
    thread.start()
    assert asked.wait(60)
    assert measured.lines("model_in_flight") == [f"model_in_flight{{{LABELS}}} 1.0"]
    answered.set()
    thread.join()
    assert measured.lines("model_in_flight") == [f"model_in_flight{{{LABELS}}} 0.0"]


def test_predictions_that_are_in_flight_together_are_each_counted_once(
    measured: Measured,
) -> None:
    assert measured.model.observer is not None
    asked, answered = threading.Barrier(4), threading.Barrier(4)

    def predict(body: bytes) -> bytes:
        asked.wait(60)
        answered.wait(60)
        return body

    predictor = measured.model.observer.measured(predict)
    for _ in range(3):
        threads = [threading.Thread(target=predictor, args=(b"",)) for _ in range(3)]
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
    assert measured.model.observer is not None
    predict = measured.model.observer.measured(lambda body: body)
    assert predict(b"as it is") == b"as it is"
    labels = 'model="doubling",outcome="success",version="1.0.0"'
    lines = measured.lines("model_prediction_duration_seconds")
    assert f"model_prediction_duration_seconds_count{{{labels}}} 1.0" in lines
    assert len([line for line in lines if "_bucket" in line]) == 17


def test_batches_and_queues_are_told_by_their_observer(measured: Measured) -> None:
    assert measured.model.observer is not None
    for rows in (1, 2, 3, 5000):
        measured.model.observer.observe_batch(rows)
    measured.model.observer.observe_queue(7)
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

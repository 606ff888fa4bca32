"""A `predict_batch` that never works is warned of, once; its rows are predicted all the same."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from django.test import RequestFactory

from models_api.api.views import BatchPredictionView
from tests.in_process import InProcessService

LOGGER = "models_api.prediction.mistakes"
BODY = json.dumps({"inputs": [{"square_metres": each} for each in (1, 2, 3)]})
PREDICTIONS = {"predictions": [{"value": 2.0}, {"value": 4.0}, {"value": 6.0}]}


def load(how: str, **entry: Any) -> InProcessService:
    path = "tests.fakes.beginners.ForgetfulModel"
    return InProcessService(
        {"models": [{"class_path": path, "configuration": {"how": how}, **entry}]}
    )


def ask(service: InProcessService) -> Any:
    view = BatchPredictionView.as_view(registry=service.registry, qualified_name="forgetful")
    response = view(RequestFactory().post("/", BODY, content_type="application/json"))
    return json.loads(response.content)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == LOGGER]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "nothing",
            "returned None; it should return a list with a prediction for each row",
        ),
        ("a number", "returned an int; it should return a list with a prediction for each row"),
        ("too few", "returned 2 predictions for 3 rows; it should return one for each"),
        ("raises", "raised RuntimeError: no batches today (tests/fakes/beginners.py, line "),
    ],
)
@pytest.mark.parametrize("entry", [{}, {"batching": {}}])
def test_what_a_batch_does_wrong_is_said_once(
    how: str, message: str, entry: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    service = load(how, **entry)
    assert [ask(service), ask(service)] == [PREDICTIONS, PREDICTIONS]
    (warning,) = warnings(caplog)
    assert warning.startswith(f"predict_batch of forgetful {message}")
    assert "predicted one by one" in warning


def test_requests_that_share_a_call_are_warned_of_likewise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = load("raises", batching={"max_batch_size": 2, "max_wait_seconds": 30})
    answers: list[Any] = []

    def predict() -> None:
        response = service.predict("forgetful", b'{"square_metres": 1}')
        answers.append(json.loads(response.content))

    threads = [threading.Thread(target=predict) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [{"value": 2.0}] * 2
    (warning,) = warnings(caplog)
    assert warning.startswith("predict_batch of ForgetfulModel raised RuntimeError: no batches")


def test_a_batch_that_works_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert ask(load("works")) == PREDICTIONS
    assert warnings(caplog) == []

"""The line that each request has in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import ResolverMatch

from models_api.api.views import HealthView, ModelsView
from models_api.observability.access_log import log_access
from models_api.prediction.request_context import note_model, note_rows

factory = RequestFactory()


def matched(view: Callable[..., Any], route: str) -> HttpRequest:
    request = factory.post("/api/models/a-secret?token=secret", headers={"token": "secret"})
    request.resolver_match = ResolverMatch(view, (), {}, route=route)
    return request


def line(
    caplog: pytest.LogCaptureFixture, request: HttpRequest, status: int = 200
) -> logging.LogRecord:
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "models_api.access"):
        log_access(request, HttpResponse(b"secret", status=status), 0.0123456)
    (record,) = caplog.records
    return record


def fields(record: Any) -> dict[str, Any]:
    names = (
        *("method", "route", "status", "milliseconds"),
        *("model", "version", "rows", "batch_size"),
    )
    return {name: value for name, value in vars(record).items() if name in names}


def test_a_request_has_its_method_route_status_and_milliseconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    record = line(caplog, matched(ModelsView.as_view(), "api/models"))
    assert record.getMessage() == "POST /api/models 200 12.3 ms"
    assert fields(record) == {
        "method": "POST",
        "route": "/api/models",
        "status": 200,
        "milliseconds": 12.346,
    }


@pytest.mark.usefixtures("context")
def test_a_prediction_has_its_model_version_rows_and_batch_size(
    caplog: pytest.LogCaptureFixture,
) -> None:
    note_model("iris", "1.0.0")
    note_rows(3)
    record = line(caplog, matched(ModelsView.as_view(), "api/models/iris/prediction"), 500)
    assert record.getMessage() == (
        "POST /api/models/iris/prediction 500 12.3 ms model=iris version=1.0.0 rows=3 batch_size=1"
    )
    assert fields(record) == {
        "method": "POST",
        "route": "/api/models/iris/prediction",
        "status": 500,
        "milliseconds": 12.346,
        "model": "iris",
        "version": "1.0.0",
        "rows": 3,
        "batch_size": 1,
    }


@pytest.mark.usefixtures("context")
def test_what_is_not_known_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    note_model("late", None)
    record = line(caplog, matched(ModelsView.as_view(), "api/models/late/prediction"), 503)
    assert record.getMessage() == "POST /api/models/late/prediction 503 12.3 ms model=late"


def test_where_no_route_matches_the_path_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    record = line(caplog, factory.get("/secret"), 404)
    assert record.getMessage() == "GET - 404 12.3 ms"


@pytest.mark.parametrize(
    ("view", "status", "level"),
    [
        (HealthView, 200, logging.DEBUG),
        (HealthView, 503, logging.INFO),
        (ModelsView, 200, logging.INFO),
        (ModelsView, 404, logging.INFO),
    ],
)
def test_a_probe_that_finds_all_well_is_for_debugging(
    caplog: pytest.LogCaptureFixture, view: Any, status: int, level: int
) -> None:
    record = line(caplog, matched(view.as_view(), "somewhere"), status)
    assert record.levelno == level


def test_a_log_that_is_switched_off_by_its_level_gets_no_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "models_api.access"):
        log_access(factory.get("/"), HttpResponse(), 1)
    assert caplog.records == []

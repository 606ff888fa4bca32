"""Spans of requests and of the stages of a prediction."""

from __future__ import annotations

import time
from typing import Any

import numpy
import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import ResolverMatch
from models_api.prediction.stages import Stages
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from models_api.observability import tracing
from models_api.observability.tracing import TracingMiddleware, traced_stages
from models_api.prediction.request_context import RequestContext, current_request
from tests.fakes.models import Doubled, DoublingModel, Number

factory = RequestFactory()


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What keeps the spans, instead of a provider of the whole process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("tests"))
    monkeypatch.setattr(tracing, "start_exporting", lambda: None)
    return exporter


def spans(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def answering(status: int = 200, route: str | None = "api/models") -> Any:
    def answer(request: HttpRequest) -> HttpResponse:
        if route is not None:
            request.resolver_match = ResolverMatch(answer, (), {}, route=route)
        return HttpResponse(status=status)

    return answer


@pytest.mark.parametrize(
    ("status", "is_error"), [(200, False), (404, False), (500, True), (503, True)]
)
def test_a_request_is_a_span_and_fails_only_by_the_services_fault(
    exporter: InMemorySpanExporter, status: int, is_error: bool
) -> None:
    TracingMiddleware(answering(status))(factory.get("/api/models", {"q": "secret"}))
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.status.is_ok) == ("GET /api/models", not is_error)
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "/api/models",
        "http.response.status_code": status,
    }


def test_a_request_that_no_route_matches_has_its_method_alone(
    exporter: InMemorySpanExporter,
) -> None:
    TracingMiddleware(answering(404, route=None))(factory.get("/secret"))
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET"
    assert span.attributes == {"http.request.method": "GET", "http.response.status_code": 404}


def test_the_request_knows_its_trace(exporter: InMemorySpanExporter) -> None:
    context = RequestContext("mine")
    token = current_request.set(context)
    try:
        TracingMiddleware(answering())(factory.get("/"))
    finally:
        current_request.reset(token)
    (span,) = exporter.get_finished_spans()
    assert context.trace_id == f"{span.context.trace_id:032x}"
    assert span.attributes is not None
    assert span.attributes["modelhost.request_id"] == "mine"


def test_an_exception_ends_the_span_without_its_text(exporter: InMemorySpanExporter) -> None:
    def fail(_request: HttpRequest) -> HttpResponse:
        raise ValueError("secret")

    with pytest.raises(ValueError, match="secret"):
        TracingMiddleware(fail)(factory.get("/"))
    (span,) = exporter.get_finished_spans()
    assert not span.status.is_ok
    assert "secret" not in span.to_json()


def test_each_stage_does_what_it_did_and_is_a_span(exporter: InMemorySpanExporter) -> None:
    stages, model = traced_stages(Stages()), DoublingModel()
    row = stages.parse(b'{"value": 3}', Number)
    prediction = stages.predict(model, row)
    assert stages.serialise(prediction, Doubled) == b'{"value":6.0}'
    assert stages.predict_together(model, [row, row]) is None
    assert stages.serialise_together([prediction], Doubled) == b'[{"value":6.0}]'
    assert stages.validate_rows([{"value": 3}], {"value": int}, Number) == [row]
    assert stages.gather_columns([prediction], Doubled) == {"value": [6.0]}
    names = [span.name for span in exporter.get_finished_spans()]
    assert names[:5] == ["parse", "predict", "serialise", "predict", "serialise"]
    assert names[5:] == ["parse", "serialise"]


def test_the_stages_of_columns_are_spans_too(exporter: InMemorySpanExporter) -> None:
    stages, values = traced_stages(Stages()), numpy.array([1.0, 2.0])
    given = {"value": values}
    assert stages.validate_columns(given, {"value": float}, Number) == {"value": values}
    assert stages.predict_columns(DoublingModel(), given, 2) is None
    assert stages.written_columns({"value": values}, 2, Doubled) == {"value": [1.0, 2.0]}
    names = [span.name for span in exporter.get_finished_spans()]
    assert names == ["parse", "predict", "serialise"]


def test_the_time_in_the_queue_is_a_span_within_that_of_the_prediction(
    exporter: InMemorySpanExporter,
) -> None:
    context = RequestContext("mine")
    context.queue_seconds = 7  # of another row

    def wait_and_predict(_model: Any, _row: Any) -> str:
        assert context.queue_seconds is None
        context.queue_seconds = 0.25
        return "prediction"

    token = current_request.set(context)
    try:
        before = time.time_ns()
        stages = traced_stages(Stages(predict=wait_and_predict))
        assert stages.predict(DoublingModel(), Number(value=1)) == "prediction"
    finally:
        current_request.reset(token)
    queue, predict = spans(exporter)["queue"], spans(exporter)["predict"]
    assert queue.parent == predict.context
    assert queue.start_time is not None
    assert queue.end_time == queue.start_time + 250_000_000
    assert before <= queue.start_time <= time.time_ns()


def test_a_row_that_did_not_wait_has_no_span_of_a_queue(exporter: InMemorySpanExporter) -> None:
    token = current_request.set(RequestContext("mine"))
    try:
        traced_stages(Stages()).predict(DoublingModel(), Number(value=1))
    finally:
        current_request.reset(token)
    assert spans(exporter).keys() == {"predict"}

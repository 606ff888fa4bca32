"""Spans of requests and of the stages of a prediction."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import ResolverMatch
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from models_api.observability import tracing
from models_api.observability.tracing import TracedInstruments
from models_api.prediction.instruments import Instruments, Stage
from models_api.prediction.request_context import RequestContext
from models_api.tracing import TracingMiddleware

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


def test_another_service_that_is_asked_can_go_on_with_the_trace(
    exporter: InMemorySpanExporter,
) -> None:
    instruments = TracedInstruments(Instruments())
    with instruments.stage("predict"):
        headers = instruments.trace()
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert headers["traceparent"].split("-")[1:3] == [
        f"{span.context.trace_id:032x}",
        f"{span.context.span_id:016x}",
    ]
    assert Instruments().trace() == {}


@pytest.mark.usefixtures("context")
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
        "modelhost.request_id": "mine",
    }


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("is_wanted", [False, True])
@pytest.mark.parametrize(
    "path",
    ["/api/health", "/api/health/ready", "/api/models/iris/ready", "/docs/assets/a/b.css"],
)
def test_probes_and_files_are_spans_only_where_that_is_wanted(
    exporter: InMemorySpanExporter, settings: Any, path: str, is_wanted: bool
) -> None:
    settings.MODELS_API_LOG_PROBES = is_wanted
    TracingMiddleware(answering(503))(factory.get(path))
    assert len(exporter.get_finished_spans()) == is_wanted


@pytest.mark.usefixtures("context")
def test_a_span_has_its_route_as_documents_have_it(exporter: InMemorySpanExporter) -> None:
    route = "api/models/<str:qualified_name>/prediction"
    TracingMiddleware(answering(404, route))(factory.post("/api/models/unknown/prediction"))
    (span,) = exporter.get_finished_spans()
    assert span.name == "POST /api/models/{qualified_name}/prediction"
    assert span.attributes is not None
    assert span.attributes["http.route"] == "/api/models/{qualified_name}/prediction"


@pytest.mark.usefixtures("context")
def test_a_request_that_no_route_matches_has_its_method_alone(
    exporter: InMemorySpanExporter,
) -> None:
    TracingMiddleware(answering(404, route=None))(factory.get("/secret"))
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET"
    assert span.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 404,
        "modelhost.request_id": "mine",
    }


def test_the_request_knows_its_trace(
    exporter: InMemorySpanExporter, context: RequestContext
) -> None:
    TracingMiddleware(answering())(factory.get("/"))
    (span,) = exporter.get_finished_spans()
    assert context.trace_id == f"{span.context.trace_id:032x}"


def test_the_span_of_a_prediction_has_its_model_rows_and_batch_size(
    exporter: InMemorySpanExporter, context: RequestContext
) -> None:
    context.model, context.version, context.rows, context.batch_size = "iris", "1.0.0", 3, 1
    TracingMiddleware(answering())(factory.get("/"))
    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert {name: span.attributes[f"modelhost.{name}"] for name in ("model", "rows")} == {
        "model": "iris",
        "rows": 3,
    }


def test_an_exception_ends_the_span_without_its_text(exporter: InMemorySpanExporter) -> None:
    def fail(_request: HttpRequest) -> HttpResponse:
        raise ValueError("secret")

    with pytest.raises(ValueError, match="secret"):
        TracingMiddleware(fail)(factory.get("/"))
    (span,) = exporter.get_finished_spans()
    assert not span.status.is_ok
    assert "secret" not in span.to_json()


class Remembering(Instruments):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    @contextmanager
    def prediction(self) -> Iterator[None]:
        """Remember the prediction."""
        self.told.append("prediction")
        yield

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Remember the stage."""
        self.told.append(name)
        yield

    def batch(self, rows: int) -> None:
        """Remember the rows."""
        self.told.append(rows)

    def queue(self, change: int) -> None:
        """Remember the change."""
        self.told.append(change)

    def publish(self) -> None:
        """Remember that it was called."""
        self.told.append("published")


def test_each_stage_is_a_span_and_other_instruments_are_told_too(
    exporter: InMemorySpanExporter,
) -> None:
    others = Remembering()
    traced = TracedInstruments(others)
    with traced.prediction():
        for name in ("parse", "predict", "serialise"):
            with traced.stage(name):
                pass
    traced.batch(3)
    traced.queue(-1)
    traced.publish()
    names = [span.name for span in exporter.get_finished_spans()]
    assert names == ["parse", "predict", "serialise"]
    assert others.told == ["prediction", *names, 3, -1, "published"]


def test_the_stage_that_failed_has_the_type_of_the_error(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="secret"), TracedInstruments(Instruments()).stage("parse"):
        raise ValueError("secret")
    (span,) = exporter.get_finished_spans()
    assert (span.status.is_ok, span.attributes) == (False, {"error.type": "ValueError"})
    assert "secret" not in span.to_json()


def test_the_time_in_the_queue_is_a_span_within_that_of_the_stage(
    exporter: InMemorySpanExporter, context: RequestContext
) -> None:
    traced = TracedInstruments(Instruments())
    began, before = time.monotonic() - 0.25, time.time_ns() - 250_000_000
    with traced.stage("predict"):
        traced.waited(began, 0.125)
        traced.waited(began, 0.125)
    assert context.queue_seconds == 0.25
    queue, predict = spans(exporter)["queue"], spans(exporter)["predict"]
    assert queue.parent == predict.context
    assert queue.start_time is not None
    assert queue.end_time == queue.start_time + 125_000_000
    assert before - 1_000_000 <= queue.start_time <= time.time_ns() - 250_000_000

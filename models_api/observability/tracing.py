"""Traces of requests, by OpenTelemetry; imported only where its environment variables ask for it.

Spans say how long something took and whether it failed. What clients sent is not in them, nor is
the text of exceptions.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any, TypeVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, StatusCode

from models_api.prediction.request_context import RequestContext, current_request
from models_api.prediction.stages import Stages

T = TypeVar("T")

logger = logging.getLogger(__name__)

_EXPORTERS = "opentelemetry_traces_exporter"
# What the variable calls it, and what the package does.
_ENTRY_POINTS = {"otlp": "otlp_proto_http"}
_tracer = trace.get_tracer("modelhost")
_starting = threading.Lock()


def start_exporting() -> None:
    """Begin to export what is traced, unless this process does so already.

    Not before it has to answer requests: the threads that export do not survive a fork. A project
    that hosts the app may have begun with a provider of its own, which stays.
    """
    with _starting:
        if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            return
        provider = TracerProvider()
        for name in (os.environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(","):
            try:
                provider.add_span_processor(BatchSpanProcessor(_exporter(name.strip())))
            except Exception:
                # Requests are answered all the same.
                logger.exception("Traces are not exported to %s", name)
        trace.set_tracer_provider(provider)


def _exporter(name: str) -> SpanExporter:
    wanted = _ENTRY_POINTS.get(name, name)
    found = list(entry_points(group=_EXPORTERS, name=wanted))
    if not found:
        raise LookupError(f"No package that is installed has an exporter {wanted}.")
    exporter: SpanExporter = found[0].load()()
    return exporter


class _Headers(Getter[Mapping[str, Any]]):
    """Finds headers where WSGI puts them."""

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        value = carrier.get(f"HTTP_{key.upper().replace('-', '_')}")
        return None if value is None else [value]

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        return [key[5:].lower().replace("_", "-") for key in carrier if key.startswith("HTTP_")]


_headers = _Headers()


class TracingMiddleware:
    """Makes a span of each request, in the trace that its headers name.

    Next to RequestMiddleware, within it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        self._has_started = False

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on within its span."""
        if not self._has_started:
            start_exporting()
            self._has_started = True
        method = request.method or ""
        parent = propagate.extract(request.META, getter=_headers)
        with _span(method, parent, SpanKind.SERVER) as span:
            span.set_attribute("http.request.method", method)
            context = current_request.get()
            if context is not None:
                context.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
            response = self._get_response(request)
            _describe(span, request, response, context)
        return response


def _describe(
    span: Span, request: HttpRequest, response: HttpResponseBase, context: RequestContext | None
) -> None:
    match = request.resolver_match
    if match is not None:
        span.update_name(f"{request.method} /{match.route}")
        span.set_attribute("http.route", f"/{match.route}")
    span.set_attribute("http.response.status_code", response.status_code)
    if response.status_code >= 500:
        span.set_status(StatusCode.ERROR)
    if context is not None:
        span.set_attribute("modelhost.request_id", context.id)
        for name in ("model", "version", "rows", "batch_size"):
            value = getattr(context, name)
            if value is not None:
                span.set_attribute(f"modelhost.{name}", value)


@contextmanager
def _span(name: str, parent: Any = None, kind: SpanKind = SpanKind.INTERNAL) -> Iterator[Span]:
    with _tracer.start_as_current_span(
        name, parent, kind, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(StatusCode.ERROR)
            raise


def traced_stages(stages: Stages) -> Stages:
    """Make a span of each stage of a prediction, and of the time that it waits in a queue."""
    return Stages(
        parse=_traced("parse", stages.parse),
        validate_rows=_traced("parse", stages.validate_rows),
        validate_columns=_traced("parse", stages.validate_columns),
        predict=_traced("predict", _with_queue(stages.predict)),
        predict_together=_traced("predict", _with_queue(stages.predict_together)),
        predict_columns=_traced("predict", _with_queue(stages.predict_columns)),
        serialise=_traced("serialise", stages.serialise),
        serialise_together=_traced("serialise", stages.serialise_together),
        gather_columns=_traced("serialise", stages.gather_columns),
        written_columns=_traced("serialise", stages.written_columns),
    )


def _traced(name: str, stage: Callable[..., T]) -> Callable[..., T]:
    def run(*arguments: Any) -> T:
        with _span(name):
            return stage(*arguments)

    return run


def _with_queue(predict: Callable[..., T]) -> Callable[..., T]:
    def run(*arguments: Any) -> T:
        context = current_request.get()
        if context is None:
            return predict(*arguments)
        begun = time.time_ns()
        context.queue_seconds = None
        try:
            return predict(*arguments)
        finally:
            _trace_queue(begun, context.queue_seconds)

    return run


def _trace_queue(begun: int, seconds: float | None) -> None:
    # Afterwards: only whoever predicted the batch knew how long the row had waited.
    if seconds is not None:
        _tracer.start_span("queue", start_time=begun).end(begun + round(seconds * 1e9))

"""Traces of requests, by OpenTelemetry; imported only where its environment variables ask for it.

Spans say how long something took and whether it failed. What clients sent is not in them, nor is
the text of exceptions.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import entry_points
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, StatusCode

from models_api.logs import SafeLogger
from models_api.observability.requests import FinishedRequest, path_template
from models_api.prediction.instruments import Instruments, Stage
from models_api.prediction.request_context import current_request

logger = SafeLogger(__name__)

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


def stop_exporting() -> None:
    """Export what is still to be exported, at the end of a process that ends without `atexit`."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.shutdown()


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


@contextmanager
def request_span(environ: Mapping[str, Any]) -> Iterator[Span]:
    """Surround a request with its span, in the trace that its headers name; see `describe`.

    Within RequestRecorder's `begin` and `end`, so that the access log has the trace too.

    Args:
        environ: That of WSGI.
    """
    start_exporting()
    method = environ["REQUEST_METHOD"]
    parent = propagate.extract(environ, getter=_headers)
    with _span(method, parent, SpanKind.SERVER) as span:
        span.set_attribute("http.request.method", method)
        context = current_request.get()
        if context is not None:
            context.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        yield span


@contextmanager
def continued(carrier: Mapping[str, str]) -> Iterator[None]:
    """Go on with a trace of another process, see `TracedInstruments.trace`, on this thread."""
    start_exporting()
    token = attach(propagate.extract(carrier))
    try:
        yield
    finally:
        detach(token)


def describe(span: Span, request: FinishedRequest) -> None:
    """Write into the span of a request how it was answered."""
    if request.route is not None:
        route = path_template(request.route)
        span.update_name(f"{request.method} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", request.status)
    if request.status >= 500:
        span.set_status(StatusCode.ERROR)
    context = request.context
    span.set_attribute("modelhost.request_id", context.id)
    for name in ("model", "version", "rows", "batch_size"):
        value = getattr(context, name)
        if value is not None:
            span.set_attribute(f"modelhost.{name}", value)


@contextmanager
def _span(
    name: str, parent: Context | None = None, kind: SpanKind = SpanKind.INTERNAL
) -> Iterator[Span]:
    with _tracer.start_as_current_span(
        name, parent, kind, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(StatusCode.ERROR)
            raise


def _past_span(name: str, began: float, seconds: float) -> None:
    # The clocks of spans are those of the calendar.
    start = time.time_ns() - round((time.monotonic() - began) * 1e9)
    _tracer.start_span(name, start_time=start).end(start + round(seconds * 1e9))


class TracedInstruments(Instruments):
    """Makes a span of each stage of a prediction, and of each time that it waits.

    What other instruments record of the prediction, they still do.
    """

    def __init__(self, others: Instruments) -> None:
        self._others = others

    def prediction(self) -> AbstractContextManager[None]:
        """Surround one request for predictions, which has its span already."""
        return self._others.prediction()

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Make a span of one stage of a prediction."""
        with _span(name), self._others.stage(name):
            yield

    def batch(self, rows: int) -> None:
        """Pass it on."""
        self._others.batch(rows)

    def queue(self, change: int) -> None:
        """Pass it on."""
        self._others.queue(change)

    def waited(self, began: float, seconds: float) -> None:
        """Make a span of the time that the current request has waited."""
        self._others.waited(began, seconds)
        _past_span("queue", began, seconds)

    def took(self, name: Stage, began: float, seconds: float) -> None:
        """Make a span of a stage that took place in another process."""
        self._others.took(name, began, seconds)
        _past_span(name, began, seconds)

    def trace(self) -> Mapping[str, str]:
        """Return the headers that name the span which the current thread is in."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return carrier

    def traffic(self, configured: float, now: float) -> None:
        """Pass it on."""
        self._others.traffic(configured, now)

    def publish(self) -> None:
        """Pass it on."""
        self._others.publish()

    def withdraw(self) -> None:
        """Pass it on."""
        self._others.withdraw()

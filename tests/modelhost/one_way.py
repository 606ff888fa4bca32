"""Asks the service all requests of the corpus, and writes all that can be seen of the answers.

A program: `python -m tests.modelhost.one_way fast`, or `django` for the way through its handler, or
`asgi` for what a server of that kind is answered.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import random
import re
import sys
import threading
import time
from collections.abc import Iterable
from http.client import responses
from pathlib import Path
from typing import Any

from tests.modelhost.corpus import Asked, asked, corpus

_DURATIONS = re.compile(r"(seconds_(bucket|sum)|_created|^# |load_seconds)")
# Its model tells which process it is in, by four digits or five.
_LENGTHS = re.compile(r'http_response_size_bytes_sum\{handler="/api/models/(batching|short)/')
_NUMBERS = re.compile(r"\d+\.\d+ ms|queue_ms=\d+\.\d+")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request"}
_LENGTH = "Content-Length"
_PATIENT = "/api/models/patient/prediction"


class Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, Any]] = []
        self.predictions: list[dict[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record, but for when and where it was made."""
        error = record.exc_info[1] if record.exc_info else None
        more = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        more |= {name: "…" for name in ("milliseconds", "queue_ms", "exc_text") if name in more}
        self.found.append(
            {
                "logger": record.name,
                "level": record.levelname,
                "message": _NUMBERS.sub("…", record.getMessage()),
                "error": None if error is None else f"{type(error).__name__}: {error}",
                "more": {name: str(value) for name, value in more.items()},
            }
        )


def main(way: str) -> None:
    """Ask, and write."""
    spans = _spans() if os.environ.get("OTEL_TRACES_EXPORTER") else None
    from modelhost.wsgi import application

    application = _one_way(application, way)
    _wait_for_models()
    records = Records()
    _listen(records)
    if "RECORDS_PREDICTIONS" in os.environ:
        _hear_predictions(records)
    answers = {each.name: _answer(application, each, records, spans) for each in corpus()}
    answers |= _overload(application, records, spans)
    json.dump({"answers": answers, "metrics": _metrics()}, sys.stdout)


def _one_way(application: Any, way: str) -> Any:
    """Return what answers; each request that Django is asked is counted there."""
    from modelhost.fast_lane import FastLane

    lane = getattr(application, "_application", application)
    assert isinstance(lane, FastLane)
    way_of_django = Counting(lane._django)
    lane._django = way_of_django  # type: ignore[assignment]
    answering = lane if way == "fast" else way_of_django
    if application is not lane:
        application._application, answering = answering, application
    return OneWay(ByASGI(lane) if way == "asgi" else answering, way_of_django)


class Counting:
    """Django, and how often it was asked."""

    def __init__(self, django: Any) -> None:
        self.asked = 0
        self._django = django

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Answer."""
        self.asked += 1
        return self._django(environ, start_response)


class OneWay:
    """What answers, and the way through Django that may be part of it."""

    def __init__(self, answering: Any, django: Counting) -> None:
        self._answering = answering
        self._django = django

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Answer."""
        return self._answering(environ, start_response)


class ByASGI:
    """What answers, asked as servers of ASGI ask."""

    def __init__(self, answering: Any) -> None:
        from modelhost.asgi import ASGIApplication
        from models_api.conf import maximum_body_bytes

        self._application = ASGIApplication(answering, maximum_body_bytes())

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Answer."""
        sent: list[dict[str, Any]] = []
        asyncio.run(self._ask(environ, sent))
        start, body = sent
        status = f"{start['status']} {responses[start['status']]}"
        headers = [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]]
        start_response(status, headers)
        return [body["body"]]

    async def _ask(self, environ: Any, sent: list[dict[str, Any]]) -> None:
        body = environ["wsgi.input"].getvalue()
        # In two pieces, as a body may come.
        pieces = [body[:7], body[7:]]

        async def receive() -> Any:
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._application(_scope(environ), receive, send)


def _scope(environ: Any) -> dict[str, Any]:
    """Return a request as ASGI has it."""
    named = {
        name.removeprefix("HTTP_").lower().replace("_", "-"): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
    }
    return {
        "type": "http",
        "http_version": environ["SERVER_PROTOCOL"].removeprefix("HTTP/"),
        "method": environ["REQUEST_METHOD"],
        "scheme": environ["wsgi.url_scheme"],
        "path": environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace"),
        "query_string": environ["QUERY_STRING"].encode("latin-1"),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in named.items()],
        "client": (environ["REMOTE_ADDR"], 1),
        "server": (environ["SERVER_NAME"], int(environ["SERVER_PORT"])),
    }


def _wait_for_models() -> None:
    from models_api.apps import current_service

    while not current_service().registry.has_started:
        time.sleep(0.01)


def _listen(records: Records) -> None:
    """Hear all that is logged from now on, as handlers of the service do."""
    from models_api.observability.log_records import RequestFilter

    records.addFilter(RequestFilter())
    root = logging.getLogger()
    root.handlers = [records]
    root.setLevel(logging.DEBUG)
    logging.getLogger("models_api.access").setLevel(logging.DEBUG)


def _hear_predictions(records: Records) -> None:
    """Keep what receivers of the signal hear, too; every third time they fail."""
    from models_api.signals import prediction_made

    def hear(seconds: float, **given: Any) -> None:
        assert 0 < seconds < 300
        del given["signal"]
        text = repr(sorted(given.items(), key=str)).replace(str(os.getpid()), "(this process)")
        records.predictions.append({"heard": text})
        if len(records.predictions) % 3 == 0:
            raise ValueError("the record is full")

    prediction_made.connect(hear, weak=False)


def _spans() -> Any:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def _answer(application: Any, each: Asked, records: Records, spans: Any) -> dict[str, Any]:
    # Of ids of requests, traces and spans.
    random.seed(each.name)
    records.found, records.predictions = [], []
    environ, django = each.environ(), application._django.asked
    begun: list[Any] = []
    parts: Iterable[bytes] = application(environ, lambda *given: begun.append(given))
    # Whole numbers only: the digits may well be in the middle of an id.
    _wait_for_shadows()
    body = re.sub(rb"\b%d\b" % os.getpid(), b"(this process)", b"".join(parts))
    if hasattr(parts, "close"):
        parts.close()
    ((status, headers, *_),) = begun
    # That some models tell which process they are in makes the body longer or shorter.
    headers = [
        each for each in headers if b"(this process)" not in body or each[0].title() != _LENGTH
    ]
    found = {
        "asked django": application._django.asked - django,
        "status": status,
        "headers": sorted(headers),
        "body": body.decode("latin-1"),
        "left of the body": len(environ["wsgi.input"].getvalue()) - environ["wsgi.input"].tell(),
        "log": records.found,
        "predictions": records.predictions,
        "spans": [],
    }
    if spans is not None:
        found["spans"] = _described(spans.get_finished_spans())
        spans.clear()
    return {**found, "digest": hashlib.sha256(body).hexdigest()}


def _wait_for_shadows() -> None:
    """Wait until nobody has a copy of a request, so that what comes of it belongs to that."""
    from models_api.apps import current_service

    for model in current_service().registry:
        while model.shadow is not None and model.shadow._called.is_set():
            time.sleep(0.0005)


def _described(spans: Iterable[Any]) -> list[dict[str, Any]]:
    names = {span.context.span_id: span.name for span in spans}
    return [
        {
            "name": span.name,
            "kind": span.kind.name,
            "trace": f"{span.context.trace_id:x}",
            "parent": None if span.parent is None else names.get(span.parent.span_id, "remote"),
            "status": span.status.status_code.name,
            "attributes": {name: str(value) for name, value in span.attributes.items()},
            "events": [event.name for event in span.events],
        }
        for span in spans
    ]


def _overload(application: Any, records: Records, spans: Any) -> dict[str, Any]:
    """Ask while a prediction is in hand: for more of them, and for the metrics."""
    gate = Path(os.environ["OVERLOAD_GATES"], "open")
    held = asked("held", _PATIENT, b'{"gate": "open"}')
    thread = threading.Thread(target=_consume, args=(application, held))
    thread.start()
    _wait_for_prediction()
    found = {}
    for end in ("", "/batch"):
        each = asked(f"overloaded{end}", f"{_PATIENT}{end}", b'{"inputs": []}')
        found[each.name] = _answer(application, each, records, spans)
    found["infer"] = _answer(
        application, asked("infer", "/v2/models/patient/infer"), records, spans
    )
    found["metrics meanwhile"] = {"metrics": _metrics()}
    gate.touch()
    thread.join(60)
    if spans is not None:
        spans.clear()
    return found


def _consume(application: Any, each: Asked) -> None:
    b"".join(application(each.environ(), lambda *_: None))


def _wait_for_prediction() -> None:
    from models_api.apps import current_service

    while not [slot for slot in current_service().limiter.running() if slot.model == "patient"]:
        time.sleep(0.01)


def _metrics() -> list[str]:
    from models_api.apps import current_service

    metrics = current_service().metrics
    lines = [] if metrics is None else metrics.text().decode().splitlines()
    return [line for line in lines if not (_DURATIONS.search(line) or _LENGTHS.match(line))]


if __name__ == "__main__":
    main(sys.argv[1])

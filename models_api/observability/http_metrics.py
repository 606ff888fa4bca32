"""What is measured of HTTP requests: the metrics of rest_model_service, by their names and labels.

That service has them from prometheus-fastapi-instrumentator, whose options they follow.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import cast

from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from models_api.api.header_store import header_store
from models_api.configuration.sections import MetricsConfiguration
from models_api.observability.histogram import cumulative
from models_api.observability.shared_memory import Places, Records, SharedValues, Totals

HIGH_RESOLUTION_BUCKETS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5),
    *(3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0, 60.0),
)
"""In seconds."""
_QUICK = HIGH_RESOLUTION_BUCKETS[0]  # up to which no search for the bucket is needed
LOW_RESOLUTION_BUCKETS = (0.1, 0.5, 1.0)

# Kinds of records, and where the numbers are in one of a request.
_REQUEST, _IN_PROGRESS = "request", "in progress"
_BUCKETS = len(HIGH_RESOLUTION_BUCKETS) + 1
_SECONDS, _REQUEST_BYTES, _RESPONSE_BYTES = range(_BUCKETS, _BUCKETS + 3)
_NO_LENGTH = ("Content-Length", "0")

# Clients may send any word as a method, and any path: each would be a series of its own.
_METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
)
_OTHER_METHODS = "OTHER"
_UNMATCHED = "none"
_MAXIMUM_PATHS = 100
_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


class HTTPMetrics:
    """Measures requests, and tells what the worker processes of a service have measured."""

    def __init__(self, shared: SharedValues, configuration: MetricsConfiguration) -> None:
        self._shared = shared
        self._configuration = configuration
        self._excluded = _compiled(configuration.excluded_handlers)
        self._with_body = _compiled(configuration.body_handlers)
        rounds = configuration.should_round_latency_decimals
        self._decimals = configuration.round_latency_decimals if rounds else None
        self._places: dict[tuple[str | None, str | None, int], Places | None] = {}
        self._paths: set[str] = set()
        self.on_first_request: Callable[[], None] = _do_nothing
        """Called before the first record of a process is made."""

    def observe(self, request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
        """Count a request that took so many seconds."""
        match = request.resolver_match
        route = match.route if match is not None else None
        places = self._places.get((route, request.method, response.status_code))
        if places is None:
            places = self._find_places(request, route, response.status_code)
        if places is None:
            return
        if self._decimals is not None:
            seconds = round(seconds, self._decimals)
        request_bytes = _content_length(request.META.get("CONTENT_LENGTH"))
        _, told = header_store(response).get("content-length", _NO_LENGTH)
        response_bytes = _content_length(told)
        bucket = 0 if seconds <= _QUICK else bisect_left(HIGH_RESOLUTION_BUCKETS, seconds)
        first, values = places.take(), self._shared.values
        values[first + bucket] += 1
        values[first + _SECONDS] += seconds
        values[first + _REQUEST_BYTES] += request_bytes
        values[first + _RESPONSE_BYTES] += response_bytes
        places.give_back(first)
        if self._with_body and isinstance(response, StreamingHttpResponse):
            self._measure_stream(request, response, places)

    def add_in_progress(self, request: HttpRequest, number: int) -> None:
        """Add to the number of requests in progress."""
        try:
            handler, is_excluded = self._handler(request, resolve(request.path_info).route)
        except Resolver404:
            handler, is_excluded = self._handler(request, None)
        if is_excluded:
            return
        has_labels = self._configuration.inprogress_labels
        labels = (_known_method(request), handler) if has_labels else ()
        first = self._shared.place(_IN_PROGRESS, labels, 1)
        with self._shared.lock:
            self._shared.values[first] += number

    def families(self, totals: Totals) -> Iterator[Metric]:
        """Yield what all worker processes have measured."""
        records = {
            key.labels: numbers for key, numbers in totals.sums.items() if key.kind == _REQUEST
        }
        yield _total(records)
        yield _sizes("request", "incoming requests", _REQUEST_BYTES, records)
        yield _sizes("response", "outgoing responses", _RESPONSE_BYTES, records)
        yield _high_resolution_durations(records)
        yield _low_resolution_durations(records)
        if self.counts_in_progress:
            yield self._in_progress(totals.live)

    @property
    def counts_in_progress(self) -> bool:
        """Whether requests in progress are to be counted."""
        return self._configuration.should_instrument_requests_inprogress

    @property
    def _groups_paths(self) -> bool:
        return self._configuration.should_group_untemplated

    def _find_places(self, request: HttpRequest, route: str | None, code: int) -> Places | None:
        """Return where such requests are counted; None if they are left out."""
        method, key = _known_method(request), (route, request.method, code)
        if key in self._places:
            return self._places[key]
        handler, is_excluded = self._handler(request, route)
        places = None
        if not is_excluded:
            self.on_first_request()
            is_grouped = self._configuration.should_group_status_codes
            labels = method, handler, f"{code // 100}xx" if is_grouped else str(code)
            places = self._shared.places(_REQUEST, labels, _RESPONSE_BYTES + 1)
        # What clients may choose at will is not remembered.
        if method == request.method and (route is not None or self._groups_paths):
            self._places[key] = places
        return places

    def _handler(self, request: HttpRequest, route: str | None) -> tuple[str, bool]:
        """Return the label of a route, or of what matches none, and whether it is left out."""
        name = request.path if route is None else _handler_name(route)
        is_ignored = route is None and self._configuration.should_ignore_untemplated
        is_excluded = is_ignored or any(pattern.search(name) for pattern in self._excluded)
        if route is None and not is_excluded:
            name = self._path_label(name)
        return name, is_excluded

    def _path_label(self, path: str) -> str:
        if self._groups_paths:
            return _UNMATCHED
        if len(self._paths) < _MAXIMUM_PATHS:
            self._paths.add(path)
        return path if path in self._paths else _UNMATCHED

    def _measure_stream(
        self, request: HttpRequest, response: StreamingHttpResponse, places: Places
    ) -> None:
        """Count the bytes of a response that does not tell its length, as they are sent."""
        match = request.resolver_match
        handler = _handler_name(match.route) if match is not None else _UNMATCHED
        told = "Content-Length" in response.headers
        if told or response.is_async or not any(p.search(handler) for p in self._with_body):
            return
        response.streaming_content = self._counted(
            cast("Iterable[bytes]", response.streaming_content), places
        )

    def _counted(self, parts: Iterable[bytes], places: Places) -> Iterator[bytes]:
        for part in parts:
            first = places.take()
            self._shared.values[first + _RESPONSE_BYTES] += len(part)
            places.give_back(first)
            yield part

    def _in_progress(self, live: list[Records]) -> Metric:
        has_labels = self._configuration.inprogress_labels
        family = GaugeMetricFamily(
            self._configuration.inprogress_name,
            "Number of HTTP requests in progress.",
            labels=("method", "handler") if has_labels else (),
        )
        sums: dict[tuple[str, ...], float] = {} if has_labels else {(): 0.0}
        for records in live:
            for key, numbers in records.items():
                if key.kind == _IN_PROGRESS:
                    sums[key.labels] = sums.get(key.labels, 0.0) + numbers[0]
        for labels, number in sums.items():
            family.add_metric(labels, number)
        return family


def _total(records: dict[tuple[str, ...], list[float]]) -> Metric:
    family = CounterMetricFamily(
        "http_requests",
        "Total number of requests by method, status and handler.",
        labels=("method", "status", "handler"),
    )
    for (method, handler, status), numbers in records.items():
        family.add_metric((method, status, handler), sum(numbers[:_BUCKETS]))
    return family


def _sizes(
    kind: str, plural: str, place: int, records: dict[tuple[str, ...], list[float]]
) -> Metric:
    family = SummaryMetricFamily(
        f"http_{kind}_size_bytes",
        f"Content length of {plural} by handler, where it is told.",
        labels=("handler",),
    )
    for labels, numbers in _grouped(records, lambda _method, handler, _status: (handler,)):
        family.add_metric(labels, int(sum(numbers[:_BUCKETS])), numbers[place])
    return family


def _high_resolution_durations(records: dict[tuple[str, ...], list[float]]) -> Metric:
    family = HistogramMetricFamily(
        "http_request_duration_highr_seconds",
        "Duration of requests in many buckets, for percentiles.",
    )
    sums = dict(_grouped(records, lambda *_: ()))
    for numbers in sums.values() or [[0.0] * (_SECONDS + 1)]:
        buckets = cumulative(HIGH_RESOLUTION_BUCKETS, numbers)
        family.add_metric((), buckets, numbers[_SECONDS])
    return family


def _low_resolution_durations(records: dict[tuple[str, ...], list[float]]) -> Metric:
    family = HistogramMetricFamily(
        "http_request_duration_seconds",
        "Duration of requests in few buckets, by method and handler.",
        labels=("method", "handler"),
    )
    for labels, numbers in _grouped(records, lambda method, handler, _status: (method, handler)):
        buckets = [
            (name, number)
            for (name, number), limit in zip(
                cumulative(HIGH_RESOLUTION_BUCKETS, numbers),
                (*HIGH_RESOLUTION_BUCKETS, None),
                strict=True,
            )
            if limit is None or limit in LOW_RESOLUTION_BUCKETS
        ]
        family.add_metric(labels, buckets, numbers[_SECONDS])
    return family


def _grouped(
    records: dict[tuple[str, ...], list[float]],
    labels_of: Callable[[str, str, str], tuple[str, ...]],
) -> Iterable[tuple[tuple[str, ...], list[float]]]:
    """Add up the records that have the same labels in another family."""
    sums: dict[tuple[str, ...], list[float]] = {}
    for (method, handler, status), numbers in records.items():
        labels = labels_of(method, handler, status)
        known = sums.get(labels)
        sums[labels] = [a + b for a, b in zip(known, numbers, strict=True)] if known else numbers
    return sums.items()


def _handler_name(route: str) -> str:
    """Write a route as rest_model_service does: `/api/models/{qualified_name}/metadata`."""
    return "/" + _PARAMETER.sub(r"{\1}", route)


def _known_method(request: HttpRequest) -> str:
    return request.method if request.method in _METHODS else _OTHER_METHODS


@lru_cache(maxsize=1024)
def _content_length(value: str | None) -> int:
    try:
        return max(int(value or 0), 0)
    except ValueError:
        return 0


def _compiled(patterns: list[str]) -> list[re.Pattern[str]]:
    return [re.compile(pattern) for pattern in patterns]


def _do_nothing() -> None:
    pass

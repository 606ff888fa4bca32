"""What is measured of HTTP requests: the metrics of rest_model_service, by their names and labels.

That service has them from prometheus-fastapi-instrumentator, whose options they follow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from models_api.configuration.sections import MetricsConfiguration
from models_api.observability.metric_types import (
    Gauge,
    Histogram,
    HistogramValues,
)
from models_api.observability.requests import FinishedRequest, path_template
from models_api.observability.shared_memory import SharedMemoryMetrics, Totals

HIGH_RESOLUTION_BUCKETS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5),
    *(3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0, 60.0),
)
"""In seconds."""
LOW_RESOLUTION_BUCKETS = (0.1, 0.5, 1.0)

# Kinds of records.
_REQUEST, _IN_PROGRESS = "request", "in progress"
# What is added up of requests besides their seconds.
_REQUEST_BYTES, _RESPONSE_BYTES = range(2)

# Clients may send any word as a method, and any path: each would be a series of its own.
_METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
)
_OTHER_METHODS = "OTHER"
_UNMATCHED = "none"
_MAXIMUM_PATHS = 100


class HTTPMetrics:
    """Measures requests, and tells what the worker processes of a service have measured."""

    def __init__(
        self,
        shared: SharedMemoryMetrics,
        configuration: MetricsConfiguration,
        on_first_request: Callable[[], None] = lambda: None,
    ) -> None:
        """Make it; `on_first_request` is called before a process makes its first record."""
        self._shared = shared
        self._configuration = configuration
        self._on_first_request = on_first_request
        self._excluded = _compiled(configuration.excluded_handlers)
        self._with_body = _compiled(configuration.body_handlers)
        rounds = configuration.should_round_latency_decimals
        self._decimals = configuration.round_latency_decimals if rounds else None
        self._histograms: dict[tuple[str | None, str, int], Histogram | None] = {}
        self._paths: set[str] = set()

    def observe(self, request: FinishedRequest) -> None:
        """Count one request: an observer for RequestRecorder."""
        key = request.route, request.method, request.status
        histogram = self._histograms.get(key) or self._histogram(request)
        if histogram is None:
            return
        seconds = request.seconds
        if self._decimals is not None:
            seconds = round(seconds, self._decimals)
        histogram.observe(
            seconds,
            _content_length(request.request_length),
            _content_length(request.response_length),
        )

    def count_stream(self, request: FinishedRequest, parts: Iterable[bytes]) -> Iterable[bytes]:
        """Count the bytes of an answer that does not tell its length, as they are sent."""
        handler = _UNMATCHED if request.route is None else path_template(request.route)
        histogram = self._histogram(request)
        is_told = request.response_length is not None
        if is_told or histogram is None or not _any_matches(self._with_body, handler):
            return parts
        return _counted(parts, histogram)

    @property
    def counts_in_progress(self) -> bool:
        """Whether requests in progress are to be counted."""
        return self._configuration.should_instrument_requests_inprogress

    def in_progress(
        self, method: str, route: str | None, path: str
    ) -> AbstractContextManager[None]:
        """Count a request as in progress while the `with` block runs."""
        handler, is_excluded = self._handler(route, path)
        if is_excluded or not self.counts_in_progress:
            return nullcontext()
        has_labels = self._configuration.inprogress_labels
        labels = (_known_method(method), handler) if has_labels else ()
        return _counted_up(self._shared.gauge(_IN_PROGRESS, labels))

    def families(self, totals: Totals) -> Iterator[Metric]:
        """Yield what all worker processes have measured."""
        records = totals.of_kind(_REQUEST)
        yield _total(records)
        yield _sizes("request", "incoming requests", _REQUEST_BYTES, records)
        yield _sizes("response", "outgoing responses", _RESPONSE_BYTES, records)
        yield _high_resolution_durations(records)
        yield _low_resolution_durations(records)
        if self.counts_in_progress:
            yield self._in_progress(totals.live_of_kind(_IN_PROGRESS))

    @property
    def _groups_paths(self) -> bool:
        return self._configuration.should_group_untemplated

    def _histogram(self, request: FinishedRequest) -> Histogram | None:
        """Return where such requests are counted; None if they are left out."""
        route, method, status = key = request.route, request.method, request.status
        if key in self._histograms:
            return self._histograms[key]
        known_method = _known_method(method)
        handler, is_excluded = self._handler(route, request.path)
        histogram = None
        if not is_excluded:
            self._on_first_request()
            is_grouped = self._configuration.should_group_status_codes
            labels = known_method, handler, f"{status // 100}xx" if is_grouped else str(status)
            histogram = self._shared.histogram(_REQUEST, labels, HIGH_RESOLUTION_BUCKETS, 2)
        # What clients may choose at will is not remembered.
        if known_method == method and (route is not None or self._groups_paths):
            self._histograms[key] = histogram
        return histogram

    def _handler(self, route: str | None, path: str) -> tuple[str, bool]:
        """Return the label of a route, or of what matches none, and whether it is left out."""
        name = path if route is None else path_template(route)
        is_ignored = route is None and self._configuration.should_ignore_untemplated
        is_excluded = is_ignored or _any_matches(self._excluded, name)
        if route is None and not is_excluded:
            name = self._path_label(name)
        return name, is_excluded

    def _path_label(self, path: str) -> str:
        if self._groups_paths:
            return _UNMATCHED
        if len(self._paths) < _MAXIMUM_PATHS:
            self._paths.add(path)
        return path if path in self._paths else _UNMATCHED

    def _in_progress(self, live: dict[tuple[str, ...], list[list[float]]]) -> Metric:
        has_labels = self._configuration.inprogress_labels
        family = GaugeMetricFamily(
            self._configuration.inprogress_name,
            "Number of HTTP requests in progress.",
            labels=("method", "handler") if has_labels else (),
        )
        if not has_labels:
            live.setdefault((), [])
        for labels, processes in live.items():
            family.add_metric(labels, sum(number for (number,) in processes))
        return family


Records = dict[tuple[str, ...], list[float]]
LabelsOf = Callable[[str, str, str], tuple[str, ...]]
"""Takes method, handler and status."""


@contextmanager
def _counted_up(gauge: Gauge) -> Iterator[None]:
    gauge.inc()
    try:
        yield
    finally:
        gauge.inc(-1)


def _counted(parts: Iterable[bytes], histogram: Histogram) -> Iterator[bytes]:
    for part in parts:
        histogram.add(_RESPONSE_BYTES, len(part))
        yield part


def _total(records: Records) -> Metric:
    family = CounterMetricFamily(
        "http_requests",
        "Total number of requests by method, status and handler.",
        labels=("method", "status", "handler"),
    )
    for (method, handler, status), record in records.items():
        family.add_metric((method, status, handler), _values(record).count)
    return family


def _sizes(kind: str, plural: str, quantity: int, records: Records) -> Metric:
    family = SummaryMetricFamily(
        f"http_{kind}_size_bytes",
        f"Content length of {plural} by handler, where it is told.",
        labels=("handler",),
    )
    for labels, values in _grouped(records, lambda _method, handler, _status: (handler,)):
        family.add_metric(labels, int(values.count), values.more[quantity])
    return family


def _high_resolution_durations(records: Records) -> Metric:
    family = HistogramMetricFamily(
        "http_request_duration_highr_seconds",
        "Duration of requests in many buckets, for percentiles.",
    )
    nothing = _values([0.0] * (len(HIGH_RESOLUTION_BUCKETS) + 4))
    for _, seconds in _grouped(records, lambda *_: ()) or [((), nothing)]:
        family.add_metric((), seconds.buckets(), seconds.sum)
    return family


def _low_resolution_durations(records: Records) -> Metric:
    family = HistogramMetricFamily(
        "http_request_duration_seconds",
        "Duration of requests in few buckets, by method and handler.",
        labels=("method", "handler"),
    )
    for labels, seconds in _grouped(records, lambda *given: given[:2]):
        limits = (*HIGH_RESOLUTION_BUCKETS, None)
        buckets = [
            bucket
            for bucket, limit in zip(seconds.buckets(), limits, strict=True)
            if limit is None or limit in LOW_RESOLUTION_BUCKETS
        ]
        family.add_metric(labels, buckets, seconds.sum)
    return family


def _grouped(
    records: Records, labels_of: LabelsOf
) -> list[tuple[tuple[str, ...], HistogramValues]]:
    """Add up the records that have the same labels in another family."""
    sums: Records = {}
    for (method, handler, status), numbers in records.items():
        labels = labels_of(method, handler, status)
        known = sums.get(labels)
        sums[labels] = [a + b for a, b in zip(known, numbers, strict=True)] if known else numbers
    return [(labels, _values(record)) for labels, record in sums.items()]


def _values(record: list[float]) -> HistogramValues:
    return HistogramValues.read(HIGH_RESOLUTION_BUCKETS, record)


def _known_method(method: str) -> str:
    return method if method in _METHODS else _OTHER_METHODS


@lru_cache(maxsize=1024)
def _content_length(value: str | None) -> int:
    try:
        return max(int(value or 0), 0)
    except ValueError:
        return 0


def _compiled(patterns: list[str]) -> list[re.Pattern[str]]:
    return [re.compile(pattern) for pattern in patterns]


def _any_matches(patterns: list[re.Pattern[str]], handler: str) -> bool:
    return any(pattern.search(handler) for pattern in patterns)

"""What the observer of requests counts, by each option of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.urls import resolve
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric

from models_api.configuration.sections import MetricsConfiguration
from models_api.observability.http_metrics import HTTPMetrics
from models_api.observability.requests import FinishedRequest
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.prediction.request_context import RequestContext


class Measured:
    """Metrics with these options, in a folder of their own."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.shared = SharedMemoryMetrics(lambda: folder)
        self.http = HTTPMetrics(self.shared, MetricsConfiguration(enabled=True, **options))

    def collect(self) -> Iterator[Metric]:
        return self.http.families(self.shared.read())

    def lines(self, name: str) -> list[str]:
        text = generate_latest(self).decode()
        return sorted(line for line in text.splitlines() if line.startswith(name))

    def ask(
        self,
        path: str = "/api/health",
        method: str = "GET",
        status: int = 200,
        seconds: float = 0.001,
        **more: Any,
    ) -> FinishedRequest:
        request = finished(path, method, status, seconds, **more)
        self.http.observe(request)
        return request


def finished(
    path: str = "/api/health",
    method: str = "GET",
    status: int = 200,
    seconds: float = 0.001,
    **more: Any,
) -> FinishedRequest:
    given: dict[str, Any] = {
        "route": resolve(path).route if status != 404 else None,
        "request_length": None,
        "response_length": None,
        "is_routine": False,
        **more,
    }
    context = RequestContext("mine")
    return FinishedRequest(
        method=method, path=path, status=status, seconds=seconds, context=context, **given
    )


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[Measured]:
    made = Measured(tmp_path)
    yield made
    made.shared.close()


def total(handler: str, method: str, status: str, number: int) -> str:
    labels = f'handler="{handler}",method="{method}",status="{status}"'
    return f"http_requests_total{{{labels}}} {number:.1f}"


def test_requests_are_counted_by_method_route_and_group_of_status(measured: Measured) -> None:
    for status in (200, 204, 503):
        measured.ask(status=status)
    measured.ask("/api/models/iris/metadata", "POST", 405)
    assert measured.lines("http_requests_total") == [
        total("/api/health", "GET", "2xx", 2),
        total("/api/health", "GET", "5xx", 1),
        total("/api/models/{qualified_name}/metadata", "POST", "4xx", 1),
    ]


def test_what_matches_no_route_and_strange_methods_have_one_label(measured: Measured) -> None:
    for number in range(3):
        measured.ask(f"/nothing/{number}", status=404)
        measured.ask(method=f"METHOD{number}")
    assert measured.lines("http_requests_total") == [
        total("/api/health", "OTHER", "2xx", 3),
        total("none", "GET", "4xx", 3),
    ]


def test_durations_are_in_many_buckets_and_by_route_in_few(measured: Measured) -> None:
    for seconds in (0.01, 0.3, 2, 100):
        measured.ask(seconds=seconds)
    many = measured.lines("http_request_duration_highr_seconds")
    assert len(many) == 24
    assert 'http_request_duration_highr_seconds_bucket{le="0.01"} 1.0' in many
    assert 'http_request_duration_highr_seconds_bucket{le="0.025"} 1.0' in many
    assert 'http_request_duration_highr_seconds_bucket{le="2.0"} 3.0' in many
    assert 'http_request_duration_highr_seconds_bucket{le="60.0"} 3.0' in many
    assert 'http_request_duration_highr_seconds_bucket{le="+Inf"} 4.0' in many
    assert "http_request_duration_highr_seconds_sum 102.31" in many
    name, labels = "http_request_duration_seconds", 'handler="/api/health"'
    assert measured.lines(name) == sorted(
        [
            f'{name}_bucket{{{labels},le="0.1",method="GET"}} 1.0',
            f'{name}_bucket{{{labels},le="0.5",method="GET"}} 2.0',
            f'{name}_bucket{{{labels},le="1.0",method="GET"}} 2.0',
            f'{name}_bucket{{{labels},le="+Inf",method="GET"}} 4.0',
            f'{name}_count{{{labels},method="GET"}} 4.0',
            f'{name}_sum{{{labels},method="GET"}} 102.31',
        ]
    )


def test_before_the_first_request_there_is_a_histogram_of_nothing(measured: Measured) -> None:
    assert "http_request_duration_highr_seconds_count 0.0" in measured.lines("http_")


@pytest.mark.parametrize(("told", "counted"), [("12", 12), ("", 0), ("x", 0), ("-5", 0)])
def test_sizes_are_those_that_are_told(measured: Measured, told: str, counted: int) -> None:
    measured.ask(request_length=told, response_length="4")
    measured.ask()
    labels = '{handler="/api/health"}'
    assert measured.lines("http_request_size_bytes") == [
        f"http_request_size_bytes_count{labels} 2.0",
        f"http_request_size_bytes_sum{labels} {counted:.1f}",
    ]
    assert f"http_response_size_bytes_sum{labels} 4.0" in measured.lines("http_response")


def test_codes_are_counted_one_by_one_on_request(tmp_path: Path) -> None:
    measured = Measured(tmp_path, should_group_status_codes=False)
    measured.ask(status=204)
    assert measured.lines("http_requests_total") == [total("/api/health", "GET", "204", 1)]


def test_what_matches_no_route_is_left_out_on_request(tmp_path: Path) -> None:
    measured = Measured(tmp_path, should_ignore_untemplated=True)
    measured.ask("/nothing", status=404)
    measured.ask()
    assert measured.lines("http_requests_total") == [total("/api/health", "GET", "2xx", 1)]


def test_paths_that_match_no_route_are_counted_on_request_but_not_without_end(
    tmp_path: Path,
) -> None:
    measured = Measured(tmp_path, should_group_untemplated=False)
    for number in range(200):
        measured.ask(f"/nothing/{number}", status=404)
    measured.ask("/nothing/7", status=404)
    lines = measured.lines("http_requests_total")
    assert len(lines) == 101
    assert total("/nothing/7", "GET", "4xx", 2) in lines
    assert total("none", "GET", "4xx", 100) in lines


def test_excluded_handlers_are_left_out(tmp_path: Path) -> None:
    measured = Measured(tmp_path, excluded_handlers=["/api/h", "^/not"])
    for _ in range(2):
        measured.ask()
        measured.ask("/nothing", status=404)
        measured.ask("/api/models")
    assert measured.lines("http_requests_total") == [total("/api/models", "GET", "2xx", 2)]


@pytest.mark.parametrize(("decimals", "shown"), [(0, "0.0"), (1, "0.1"), (3, "0.123")])
def test_durations_are_rounded_on_request(tmp_path: Path, decimals: int, shown: str) -> None:
    options = {"should_round_latency_decimals": True, "round_latency_decimals": decimals}
    measured = Measured(tmp_path, **options)
    measured.ask(seconds=0.12345)
    assert f"http_request_duration_highr_seconds_sum {shown}" in measured.lines("http_")


@pytest.mark.parametrize(("handlers", "counted"), [(["health"], 7), (["models"], 0), ([], 0)])
def test_streams_are_measured_for_body_handlers(
    tmp_path: Path, handlers: list[str], counted: int
) -> None:
    measured = Measured(tmp_path, body_handlers=handlers)
    request = measured.ask()
    assert b"".join(measured.http.count_stream(request, [b"some", b"how"])) == b"somehow"
    (line,) = measured.lines("http_response_size_bytes_sum")
    assert line == f'http_response_size_bytes_sum{{handler="/api/health"}} {counted:.1f}'


def test_a_stream_that_tells_its_length_is_counted_by_that(tmp_path: Path) -> None:
    measured = Measured(tmp_path, body_handlers=["health"])
    request, parts = measured.ask(response_length="7"), [b"some", b"how"]
    assert measured.http.count_stream(request, parts) is parts
    (line,) = measured.lines("http_response_size_bytes_sum")
    assert line.endswith(" 7.0")


def test_requests_in_progress_are_counted_on_request(tmp_path: Path) -> None:
    measured = Measured(tmp_path, should_instrument_requests_inprogress=True)
    assert measured.lines("http_requests_inprogress") == ["http_requests_inprogress 0.0"]
    measured.ask()
    with measured.http.in_progress("GET", "api/health", "/api/health"):
        with measured.http.in_progress("GET", "api/health", "/api/health"):
            assert measured.lines("http_requests_inprogress") == ["http_requests_inprogress 2.0"]
        assert measured.lines("http_requests_inprogress") == ["http_requests_inprogress 1.0"]
    assert measured.lines("http_requests_inprogress") == ["http_requests_inprogress 0.0"]


def test_requests_in_progress_have_another_name_and_labels_on_request(tmp_path: Path) -> None:
    measured = Measured(
        tmp_path,
        should_instrument_requests_inprogress=True,
        inprogress_name="busy",
        inprogress_labels=True,
        excluded_handlers=["docs"],
    )
    with ExitStack() as stack:
        for route in ("api/health", None, "docs"):
            stack.enter_context(measured.http.in_progress("GET", route, f"/{route}"))
        assert measured.lines("busy") == [
            'busy{handler="/api/health",method="GET"} 1.0',
            'busy{handler="none",method="GET"} 1.0',
        ]


@pytest.mark.parametrize(
    ("route", "handler"),
    [
        ("", "/"),
        ("shop/<int:year>/<slug>/", "/shop/{year}/{slug}/"),
        ("^old/(?P<name>\\w+)$", "/^old/(?P{name}\\w+)$"),
    ],
)
def test_routes_of_any_project_have_a_label(measured: Measured, route: str, handler: str) -> None:
    measured.ask(route=route)
    (line,) = measured.lines("http_requests_total")
    assert f'handler="{handler}"'.replace("\\", "\\\\") in line

"""The middleware around every request: its id, and its observers."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from django.urls import ResolverMatch

from models_api.api.views import HealthView
from models_api.apps import ModelsAPIConfig
from models_api.configuration.sections import MetricsConfiguration
from models_api.middleware import RequestMiddleware
from models_api.observability.exposition import Metrics
from models_api.observability.requests import FinishedRequest
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.prediction.request_context import current_request

factory = RequestFactory()


@pytest.fixture
def observers(app_config: ModelsAPIConfig) -> list[Any]:
    """The observers of requests; there are none at first."""
    app_config.request_observers = []
    return app_config.request_observers


def answer(_request: HttpRequest) -> HttpResponse:
    context = current_request.get()
    assert context is not None
    return HttpResponse(context.id)


@pytest.mark.usefixtures("observers")
def test_the_clients_id_is_that_of_the_request_and_comes_back() -> None:
    response = RequestMiddleware(answer)(factory.get("/", headers={"x-request-id": "mine-1"}))
    assert isinstance(response, HttpResponse)
    assert (response.content, response["X-Request-ID"]) == (b"mine-1", "mine-1")


@pytest.mark.usefixtures("observers")
def test_a_request_without_an_id_gets_one() -> None:
    middleware = RequestMiddleware(answer)
    ids = {middleware(factory.get("/"))["X-Request-ID"] for _ in range(10)}
    assert len(ids) == 10
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)


@pytest.mark.usefixtures("observers")
def test_after_the_request_its_context_is_gone() -> None:
    RequestMiddleware(answer)(factory.get("/"))
    assert current_request.get() is None


@pytest.mark.usefixtures("observers")
def test_the_context_is_gone_even_if_a_middleware_further_in_raises() -> None:
    def fail(_request: HttpRequest) -> HttpResponse:
        raise SystemExit

    with pytest.raises(SystemExit):
        RequestMiddleware(fail)(factory.get("/"))
    assert current_request.get() is None


def test_observers_are_told_of_the_request_and_its_answer(observers: list[Any]) -> None:
    seen: list[FinishedRequest] = []
    observers.append(seen.append)

    def find(request: HttpRequest) -> HttpResponse:
        request.resolver_match = ResolverMatch(HealthView.as_view(), (), {}, route="api/health")
        return HttpResponse(b"four", status=503, headers={"Content-Length": "4"})

    given: dict[str, Any] = {
        "data": b"six",
        "content_type": "text/plain",
        "headers": {"x-request-id": "mine-1"},
    }
    RequestMiddleware(find)(factory.post("/somewhere?token=secret", **given))
    (request,) = seen
    assert request.context.id == "mine-1"
    assert request._replace(seconds=0.0) == FinishedRequest(
        method="POST",
        route="api/health",
        path="/somewhere",
        status=503,
        seconds=0.0,
        request_length="3",
        response_length="4",
        is_probe=True,
        context=request.context,
    )
    assert 0 < request.seconds < 60


def test_a_request_that_no_route_matches_has_none(observers: list[Any]) -> None:
    seen: list[FinishedRequest] = []
    observers.append(seen.append)
    RequestMiddleware(answer)(factory.get("/"))
    (request,) = seen
    assert (request.route, request.is_probe, request.request_length) == (None, False, None)


@pytest.mark.parametrize("is_measured", [True, False])
def test_a_stream_comes_whole_whether_or_not_its_bytes_are_counted(
    app_config: ModelsAPIConfig, tmp_path: Path, is_measured: bool
) -> None:
    app_config.request_observers = []
    configuration = MetricsConfiguration(enabled=True, body_handlers=[".*"])
    shared = SharedMemoryMetrics(lambda: tmp_path)
    app_config.__dict__["metrics"] = Metrics(configuration, shared) if is_measured else None
    middleware = RequestMiddleware(lambda _request: StreamingHttpResponse([b"some", b"how"]))
    response = middleware(factory.get("/"))
    assert isinstance(response, StreamingHttpResponse)
    assert b"".join(response) == b"somehow"
    sums = shared.read().of_kind("request")
    assert [record[-1] for record in sums.values()] == ([7.0] if is_measured else [])
    shared.close()


def test_an_observer_that_fails_breaks_nothing(
    observers: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_given: Any) -> None:
        raise ZeroDivisionError

    seen: list[Any] = []
    observers += [fail, lambda *given: seen.append(given)]
    with caplog.at_level(logging.ERROR):
        assert RequestMiddleware(answer)(factory.get("/")).status_code == 200
    assert len(seen) == 1
    assert [record.getMessage() for record in caplog.records] == ["An observer of requests failed"]
    assert caplog.records[0].exc_info is not None

"""The middleware around every request: its id, and its observers."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from django.urls import ResolverMatch
from django.utils.functional import SimpleLazyObject

from models_api.api.views import HealthView
from models_api.apps import ModelsAPIConfig
from models_api.configuration.sections import MetricsConfiguration
from models_api.middleware import RequestMiddleware
from models_api.observability.exposition import Metrics
from models_api.observability.requests import FinishedRequest, RequestObserver, RequestRecorder
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.prediction.request_context import RequestContext, current_request

factory = RequestFactory()
GetResponse = Callable[[HttpRequest], HttpResponse]
Around = Callable[..., RequestMiddleware]


@pytest.fixture
def around(app_config: ModelsAPIConfig) -> Around:
    """Makes the middleware around a view, with observers of requests; there are none at first."""

    def around(view: GetResponse, *observers: RequestObserver) -> RequestMiddleware:
        app_config.service.recorder = RequestRecorder(observers)
        return RequestMiddleware(view)

    return around


def answer(_request: HttpRequest) -> HttpResponse:
    context = current_request.get()
    assert context is not None
    return HttpResponse(context.id)


def test_the_clients_id_is_that_of_the_request_and_comes_back(around: Around) -> None:
    response = around(answer)(factory.get("/", headers={"x-request-id": "mine-1"}))
    assert isinstance(response, HttpResponse)
    assert (response.content, response["X-Request-ID"]) == (b"mine-1", "mine-1")


def test_a_request_without_an_id_gets_one(around: Around) -> None:
    middleware = around(answer)
    ids = {middleware(factory.get("/"))["X-Request-ID"] for _ in range(10)}
    assert len(ids) == 10
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)


def test_after_the_request_its_context_is_gone(around: Around) -> None:
    around(answer)(factory.get("/"))
    assert current_request.get() is None


def test_the_context_is_gone_even_if_a_middleware_further_in_raises(around: Around) -> None:
    def fail(_request: HttpRequest) -> HttpResponse:
        raise SystemExit

    with pytest.raises(SystemExit):
        around(fail)(factory.get("/"))
    assert current_request.get() is None


def test_observers_see_request_answer_seconds_and_context(around: Around) -> None:
    seen: list[tuple[FinishedRequest, RequestContext | None]] = []
    middleware = around(answer, lambda request: seen.append((request, current_request.get())))
    middleware(factory.post("/some/path?secret", b"abc", "text/x", headers={"x-request-id": "m"}))
    ((finished, context),) = seen
    assert finished._replace(seconds=0) == FinishedRequest(
        method="POST",
        route=None,
        path="/some/path",
        status=200,
        seconds=0,
        request_length="3",
        response_length=None,
        is_routine=False,
        context=finished.context,
        remote_address="127.0.0.1",
    )
    assert finished.seconds > 0
    assert context is finished.context
    assert context.id == "m"


def test_observers_see_the_user_whom_a_page_has_asked_for(around: Around) -> None:
    seen: list[object] = []

    class User:
        def __init__(self, name: str) -> None:
            self.name, self.is_authenticated = name, bool(name)

        def __str__(self) -> str:
            return self.name

    def ask(request: HttpRequest) -> HttpResponse:
        str(request.user)
        return HttpResponse()

    for page, user in (
        (ask, SimpleLazyObject(lambda: User("ada"))),
        (ask, User("")),
        (answer, None),
    ):
        request = factory.get("/", headers={"x-forwarded-for": "1.1.1.1"})
        request.user = user  # type: ignore[assignment]
        around(page, lambda each: seen.append((str(each.user), each.forwarded_for)))(request)
    assert seen == [("ada", "1.1.1.1"), ("None", "1.1.1.1"), ("None", "1.1.1.1")]


def test_nobody_is_looked_for_on_account_of_the_log(around: Around) -> None:
    seen: list[FinishedRequest] = []
    request = factory.get("/")
    request.user = SimpleLazyObject(lambda: pytest.fail("a query"))  # type: ignore[assignment]
    around(answer, seen.append)(request)
    assert seen[0].user is None


def test_the_seconds_of_a_request_count_from_its_arrival(around: Around) -> None:
    seen: list[FinishedRequest] = []

    def arrived_before(request: HttpRequest) -> HttpResponse:
        context = current_request.get()
        assert context is not None
        context.arrived -= 10
        return HttpResponse()

    around(arrived_before, seen.append)(factory.get("/"))
    assert 10 < seen[0].seconds < 20


def test_an_observer_that_fails_breaks_nothing(
    around: Around, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_request: FinishedRequest) -> None:
        raise ZeroDivisionError

    seen: list[FinishedRequest] = []
    with caplog.at_level(logging.ERROR):
        assert around(answer, fail, seen.append)(factory.get("/")).status_code == 200
    assert len(seen) == 1
    assert [record.getMessage() for record in caplog.records] == ["An observer of requests failed"]
    assert caplog.records[0].exc_info is not None


def test_observers_are_told_which_route_matched_and_whether_it_is_a_probe(around: Around) -> None:
    seen: list[FinishedRequest] = []

    def find(request: HttpRequest) -> HttpResponse:
        request.resolver_match = ResolverMatch(HealthView.as_view(), (), {}, route="api/health")
        return HttpResponse(b"four", status=503, headers={"Content-Length": "4"})

    around(find, seen.append)(factory.get("/somewhere"))
    (request,) = seen
    told = (request.route, request.status, request.response_length, request.is_routine)
    assert told == ("api/health", 503, "4", True)


@pytest.mark.parametrize("is_measured", [True, False])
def test_a_stream_comes_whole_whether_or_not_its_bytes_are_counted(
    around: Around, app_config: ModelsAPIConfig, tmp_path: Path, is_measured: bool
) -> None:
    configuration = MetricsConfiguration(enabled=True, body_handlers=[".*"])
    shared = SharedMemoryMetrics(lambda: tmp_path)
    metrics = Metrics(configuration, shared) if is_measured else None
    app_config.service.metrics = metrics
    middleware = around(
        lambda _request: StreamingHttpResponse([b"some", b"how"]),
        *([metrics.http.observe] if metrics is not None else []),
    )
    response = middleware(factory.get("/"))
    assert isinstance(response, StreamingHttpResponse)
    assert b"".join(response) == b"somehow"
    sums = shared.read().of_kind("request")
    assert [record[-1] for record in sums.values()] == ([7.0] if is_measured else [])
    shared.close()

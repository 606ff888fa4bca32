"""The middleware around every request: its id, and its observers."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from models_api.apps import ModelsAPIConfig
from models_api.middleware import RequestMiddleware
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


def test_observers_see_request_response_seconds_and_context(observers: list[Any]) -> None:
    seen: list[Any] = []
    observers.append(lambda *given: seen.append((*given, current_request.get())))
    middleware = RequestMiddleware(answer)
    request = factory.get("/", headers={"x-request-id": "mine-1"})
    response = middleware(request)
    ((seen_request, seen_response, seconds, context),) = seen
    assert (seen_request, seen_response) == (request, response)
    assert seconds > 0
    assert context.id == "mine-1"


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

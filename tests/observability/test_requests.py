"""What is done around every request, with observers of all kinds."""

from __future__ import annotations

import logging
import re
import time

import pytest

from models_api.observability.requests import FinishedRequest, RequestObserver, RequestRecorder
from models_api.prediction.request_context import RequestContext, current_request


def finished(context: RequestContext) -> FinishedRequest:
    return FinishedRequest(
        method="GET",
        route="api/models",
        path="/api/models",
        status=200,
        seconds=0.1,
        request_length=None,
        response_length="3",
        is_routine=False,
        context=context,
    )


def test_a_request_that_begins_is_current_and_knows_when_it_arrived() -> None:
    recorder = RequestRecorder([])
    before = time.monotonic()
    context = recorder.begin("given-1")
    assert current_request.get() is context
    assert context.id == "given-1"
    assert before <= context.arrived <= time.monotonic()
    recorder.abandon()
    assert current_request.get() is None


@pytest.mark.parametrize("given", [None, "", "not well-formed\n", "x" * 129])
def test_a_request_without_a_usable_id_gets_one(given: str | None) -> None:
    recorder = RequestRecorder([])
    context = recorder.begin(given)
    recorder.end(finished(context))
    assert re.fullmatch("[0-9a-f]{32}", context.id)


def test_observers_are_called_while_the_request_is_current() -> None:
    seen: list[tuple[FinishedRequest, RequestContext | None]] = []
    recorder = RequestRecorder([lambda request: seen.append((request, current_request.get()))])
    request = finished(recorder.begin("mine"))
    recorder.end(request)
    assert seen == [(request, request.context)]
    assert current_request.get() is None


def test_an_observer_that_fails_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_request: FinishedRequest) -> None:
        raise ZeroDivisionError

    seen: list[FinishedRequest] = []
    observers: list[RequestObserver] = [fail, seen.append]
    recorder = RequestRecorder(observers)
    recorder.end(finished(recorder.begin(None)))
    assert len(seen) == 1
    assert [record.getMessage() for record in caplog.records] == ["An observer of requests failed"]
    assert caplog.records[0].exc_info is not None


def test_an_observer_that_fails_while_the_log_does_too_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_given: object, **_more: object) -> None:
        raise OSError

    monkeypatch.setattr(logging.getLogger("models_api.observability.requests"), "handle", fail)
    recorder = RequestRecorder([fail])
    recorder.end(finished(recorder.begin(None)))
    assert current_request.get() is None

"""Answers, errors among them, without any framework."""

from __future__ import annotations

import json
import logging
import re

import pytest
from django.test import override_settings

from models_api.api.answers import (
    Answer,
    Error,
    ErrorBody,
    describe_error,
    json_answer,
    request_path,
)
from models_api.api.request_body import Environ
from models_api.exceptions import (
    DeadlineExceeded,
    InputProblem,
    InvalidInput,
    ModelNotReady,
    PredictionFailed,
)
from models_api.prediction.request_context import RequestContext

ENVIRON: Environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/a b", "wsgi.input": None}


def told(error: BaseException, environ: Environ = ENVIRON) -> tuple[Answer, dict[str, object]]:
    answer = describe_error(error, environ).to_answer()
    return answer, json.loads(answer.body)


def test_a_body_of_json_is_an_answer() -> None:
    assert json_answer(b"{}") == Answer(200, {"Content-Type": "application/json"}, b"{}")


def test_an_error_has_its_status_body_and_headers() -> None:
    error = Error(418, ErrorBody("Teapot", ["short", "stout"]), {"X-A": "b"})
    assert error.to_answer() == Answer(
        418,
        {"Content-Type": "application/json", "X-A": "b"},
        b'{"type":"Teapot","messages":["short","stout"]}',
    )


def test_details_are_told_where_there_are_any() -> None:
    answer, body = told(InvalidInput([InputProblem(("a", 0), "missing", "Field required")]))
    assert answer.status == 400
    assert body == {
        "type": "ValidationError",
        "messages": ["a[0]: Field required"],
        "details": [{"location": ["a", 0], "type": "missing", "message": "Field required"}],
    }


def test_text_goes_out_readable_and_always_as_json() -> None:
    body = ErrorBody("E", ["größer", "lone \ud800 surrogate"]).to_json()
    assert "größer" in body.decode()
    assert json.loads(body)["messages"] == ["größer", "lone \ud800 surrogate"]


def test_who_should_come_again_is_told_when() -> None:
    answer, _ = told(ModelNotReady("m", "Loading.", retry_after_seconds=5))
    assert answer.headers == {"Content-Type": "application/json", "Retry-After": "5"}
    answer, _ = told(DeadlineExceeded(1))
    assert answer.headers == {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "error", [RuntimeError("secret"), SystemExit("secret"), KeyboardInterrupt("secret")]
)
@pytest.mark.parametrize("debug", [False, True])
def test_what_nobody_foresaw_is_logged_under_the_id_of_the_request(
    caplog: pytest.LogCaptureFixture, context: RequestContext, error: BaseException, debug: bool
) -> None:
    with override_settings(MODELS_API_SHOW_REASONS=debug), caplog.at_level(logging.ERROR):
        answer, body = told(error)
    message = (
        "The service failed to answer this request. "
        "The log has the reason under the request id mine."
    )
    reasons = [f"{type(error).__name__}: secret"] if debug else []
    assert (answer.status, answer.headers["X-Request-ID"]) == (500, "mine")
    assert body == {"type": "ServiceError", "messages": [message, *reasons]}
    (record,) = caplog.records
    assert record.getMessage() == "POST /a%20b failed (request mine)"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


@pytest.mark.parametrize("given", [None, "a b", "mine-2"])
def test_without_a_context_the_id_is_the_clients_or_a_new_one(given: str | None) -> None:
    answer, _ = told(PredictionFailed("m", "Failed."), {**ENVIRON, "HTTP_X_REQUEST_ID": given})
    id_ = answer.headers["X-Request-ID"]
    assert id_ == given if given == "mine-2" else re.fullmatch("[0-9a-f]{32}", id_)


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"PATH_INFO": "/a/b"}, "/a/b"),
        ({"SCRIPT_NAME": "/ml/", "PATH_INFO": "/a"}, "/ml/a"),
        ({"PATH_INFO": "/a\r\nforged"}, "/a%0D%0Aforged"),
        ({"PATH_INFO": "/\xc3\xa9", "wsgi.input": None}, "/%C3%A9"),
        ({"PATH_INFO": "/é"}, "/%C3%A9"),
        ({"PATH_INFO": "/\ud800"}, "/%3F"),
        ({}, ""),
    ],
)
def test_a_path_is_escaped_for_the_log(environ: Environ, path: str) -> None:
    assert request_path(environ) == path

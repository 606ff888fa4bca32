"""Each exception as a response."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from pydantic import BaseModel, ValidationError
from rest_framework import exceptions as drf
from rest_framework.request import Request

from models_api.api.errors import MethodNotAllowed, error_response, exception_handler
from models_api.exceptions import (
    DeadlineExceeded,
    InputProblem,
    InvalidInput,
    LengthRequired,
    ModelNotFound,
    ModelNotReady,
    Overloaded,
    PayloadTooLarge,
    PredictionFailed,
    SchemaRejected,
    TensorError,
    UnreadableBody,
    UnsupportedMediaType,
)

factory = RequestFactory()


def handle(exception: Exception, request: HttpRequest | None = None) -> HttpResponse:
    return exception_handler(exception, {"request": request or factory.get("/path")})


def with_headers(exception: drf.APIException, **attributes: Any) -> drf.APIException:
    """As DRF's view hands it to the exception handler."""
    for name, value in attributes.items():
        setattr(exception, name, value)
    return exception


PARSE_DETAIL = {"location": [], "type": "parse_error", "message": "Broken."}
UNREADABLE = "The body could not be read to its end."


@pytest.mark.parametrize(
    ("exception", "status", "body"),
    [
        (
            InvalidInput(
                [
                    InputProblem((), "json_invalid", "Invalid JSON."),
                    InputProblem(("items", 3, "price"), "greater_than", "Too small."),
                    InputProblem((0, "a b"), "missing", "Field required"),
                ]
            ),
            400,
            {
                "type": "ValidationError",
                "messages": [
                    "Invalid JSON.",
                    "items[3].price: Too small.",
                    "[0].a b: Field required",
                ],
                "details": [
                    {"location": [], "type": "json_invalid", "message": "Invalid JSON."},
                    {
                        "location": ["items", 3, "price"],
                        "type": "greater_than",
                        "message": "Too small.",
                    },
                    {"location": [0, "a b"], "type": "missing", "message": "Field required"},
                ],
            },
        ),
        (
            SchemaRejected("iris", "Not in winter."),
            400,
            {"type": "SchemaValidationError", "messages": ["Not in winter."]},
        ),
        (
            drf.ParseError("Broken."),
            400,
            {"type": "ValidationError", "messages": ["Broken."], "details": [PARSE_DETAIL]},
        ),
        (
            UnreadableBody(),
            400,
            {
                "type": "ValidationError",
                "messages": [UNREADABLE],
                "details": [{"location": [], "type": "parse_error", "message": UNREADABLE}],
            },
        ),
        (
            TensorError('Input "a" is missing.'),
            400,
            {"type": "ValidationError", "messages": ['Input "a" is missing.']},
        ),
        (
            SuspiciousOperation("secret"),
            400,
            {"type": "BadRequest", "messages": ["Bad Request."]},
        ),
        (
            ModelNotFound("iris", 'There is no model "iris".'),
            404,
            {"type": "NotFound", "messages": ['There is no model "iris".']},
        ),
        (
            Http404("secret"),
            404,
            {"type": "NotFound", "messages": ["There is nothing at this URL."]},
        ),
        (
            LengthRequired(),
            411,
            {
                "type": "LengthRequired",
                "messages": ["Send a Content-Length: this server cannot read chunked bodies."],
            },
        ),
        (
            PayloadTooLarge.of_bytes(7),
            413,
            {
                "type": "PayloadTooLarge",
                "messages": [
                    "The body is larger than the limit of 7 bytes. Send less at a time, or have "
                    "MODELHOST_MAX_BODY_BYTES raised."
                ],
            },
        ),
        (
            UnsupportedMediaType('Unsupported media type "a/b"; send application/json.'),
            415,
            {
                "type": "UnsupportedMediaType",
                "messages": ['Unsupported media type "a/b"; send application/json.'],
            },
        ),
        (
            Overloaded.of_model(3),
            503,
            {
                "type": "Overloaded",
                "messages": ["The model is busy, and 3 requests are waiting for it already."],
            },
        ),
        (
            DeadlineExceeded(0.5),
            504,
            {
                "type": "DeadlineExceeded",
                "messages": ["The model was busy for more than 0.5 s."],
            },
        ),
        (
            drf.UnsupportedMediaType("text/plain"),
            415,
            {
                "type": "UnsupportedMediaType",
                "messages": ['Unsupported media type "text/plain" in request.'],
            },
        ),
        (
            DjangoPermissionDenied(),
            403,
            {"type": "PermissionDenied", "messages": ["Permission denied."]},
        ),
        (
            DjangoPermissionDenied("Not on Sundays."),
            403,
            {"type": "PermissionDenied", "messages": ["Not on Sundays."]},
        ),
        (
            drf.PermissionDenied(),
            403,
            {
                "type": "PermissionDenied",
                "messages": ["You do not have permission to perform this action."],
            },
        ),
        (
            drf.ValidationError({"a": ["one", "two"], "b": {"c": "three"}}),
            400,
            {"type": "ValidationError", "messages": ["a: one", "a: two", "b: c: three"]},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_foreseen_exception_has_its_status_and_body(
    exception: Exception, status: int, body: dict[str, Any]
) -> None:
    response = handle(exception)
    assert (response.status_code, json.loads(response.content)) == (status, body)
    assert response["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("exception", "status", "headers"),
    [
        (MethodNotAllowed("PUT", ["GET", "HEAD"]), 405, {"Allow": "GET, HEAD"}),
        (ModelNotReady("m", "Loading.", retry_after_seconds=5), 503, {"Retry-After": "5"}),
        (Overloaded.of_worker(), 503, {"Retry-After": "1"}),
        (with_headers(drf.Throttled(2.5), wait=3), 429, {"Retry-After": "3"}),
        (
            with_headers(drf.NotAuthenticated(), auth_header='Basic realm="api"'),
            401,
            {"WWW-Authenticate": 'Basic realm="api"'},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_brings_its_headers(
    exception: Exception, status: int, headers: dict[str, str]
) -> None:
    response = handle(exception)
    assert response.status_code == status
    assert {**response.headers, **headers} == dict(response.headers)


def failure() -> PredictionFailed:
    message = "The model iris failed to make a prediction."
    try:
        try:
            raise ZeroDivisionError("secret")
        except ZeroDivisionError as error:
            raise PredictionFailed("iris", message) from error
    except PredictionFailed as error:
        return error


@pytest.mark.parametrize(
    ("exception", "message", "reason"),
    [
        (failure(), "The model iris failed to make a prediction.", "ZeroDivisionError: secret"),
        (
            RuntimeError("secret"),
            "The service failed to answer this request.",
            "RuntimeError: secret",
        ),
        (KeyError("secret"), "The service failed to answer this request.", "KeyError: 'secret'"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("debug", [False, True])
def test_an_unforeseen_exception_is_logged_and_told_only_while_debugging(
    caplog: pytest.LogCaptureFixture, debug: bool, exception: Exception, message: str, reason: str
) -> None:
    request = factory.post("/path%0D%0Aforged", headers={"x-request-id": "Request-1._"})
    with override_settings(MODELS_API_SHOW_REASONS=debug), caplog.at_level(logging.ERROR):
        response = handle(exception, request)
    told = f"{message} The log has the reason under the request id Request-1._."
    assert response.status_code == 500
    assert json.loads(response.content) == {
        "type": "ServiceError",
        "messages": [told, reason] if debug else [told],
    }
    assert response["X-Request-ID"] == "Request-1._"
    (record,) = caplog.records
    assert record.getMessage() == "POST /path%0D%0Aforged failed (request Request-1._)"
    assert record.exc_info is not None
    assert record.exc_info[1] is exception


@pytest.mark.parametrize("given", [None, "", "a b", "a\r\nb", "é", "a" * 129, "<script>"])
def test_a_request_without_a_usable_id_gets_one(given: str | None) -> None:
    request = factory.get("/")
    if given is not None:
        request.META["HTTP_X_REQUEST_ID"] = given
    response = handle(RuntimeError(), request)
    assert re.fullmatch("[0-9a-f]{32}", response["X-Request-ID"])
    assert response["X-Request-ID"] in response.content.decode()


def test_a_pydantic_error_that_no_one_caught_is_a_failure_of_the_service() -> None:
    class Schema(BaseModel):
        x: int

    with pytest.raises(ValidationError) as caught:
        Schema.model_validate({"x": "secret"})
    response = handle(caught.value)
    assert response.status_code == 500
    assert b"secret" not in response.content


def test_the_body_of_the_request_is_read_before_the_answer() -> None:
    request = factory.post("/", b" " * 100_000, content_type="application/json")
    response = exception_handler(Http404(), {"request": Request(request)})
    assert response.status_code == 404
    assert request.read() == b""


def test_a_body_that_django_finds_too_big_by_itself_is_a_bad_request() -> None:
    assert handle(RequestDataTooBig()).status_code == 400


def test_text_goes_out_readable_and_always_as_json() -> None:
    response = error_response(400, "E", ['größer als \u2028 "', "lone \ud800 surrogate"])
    assert "größer" in response.content.decode()
    assert json.loads(response.content) == {
        "type": "E",
        "messages": ['größer als \u2028 "', "lone \ud800 surrogate"],
    }

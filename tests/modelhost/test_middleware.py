"""HEAD, and the errors that Django answers by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseNotFound,
    HttpResponseNotModified,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.test import RequestFactory
from django.views.debug import technical_500_response

from modelhost.middleware import HeadMiddleware, JSONErrorMiddleware
from models_api.middleware import RequestMiddleware

factory = RequestFactory()


def answering(response: HttpResponseBase) -> Callable[[HttpRequest], HttpResponseBase]:
    return lambda _request: response


def content(response: HttpResponseBase) -> bytes:
    assert isinstance(response, HttpResponse)
    return response.content


def test_a_response_to_get_is_left_alone() -> None:
    response = HttpResponse(b"body")
    assert HeadMiddleware(answering(response))(factory.get("/")) is response
    assert response.content == b"body"


@pytest.mark.parametrize(
    "response",
    [HttpResponse(b"body"), HttpResponseNotFound(b"body"), JsonResponse({}), HttpResponse(b"")],
)
def test_a_response_to_head_has_no_body_but_its_length(response: HttpResponse) -> None:
    length = len(response.content)
    HeadMiddleware(answering(response))(factory.head("/"))
    assert (response.content, response["Content-Length"]) == (b"", str(length))


def test_the_length_that_a_response_to_head_has_already_stays() -> None:
    response = HttpResponse(headers={"Content-Length": "77"})
    HeadMiddleware(answering(response))(factory.head("/"))
    assert response["Content-Length"] == "77"


def test_a_file_is_not_sent_to_head_and_closed_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"body")
    file = path.open("rb")
    response = FileResponse(file)
    HeadMiddleware(answering(response))(factory.head("/"))
    assert (list(response), response["Content-Length"]) == ([], "4")
    # Servers send the file itself where they find one.
    assert response.file_to_stream is None
    response.close()
    assert file.closed


def test_a_stream_is_not_consumed_for_head() -> None:
    stream = iter([b"body"])
    response = StreamingHttpResponse(stream)
    HeadMiddleware(answering(response))(factory.head("/"))
    assert list(response) == []
    assert "Content-Length" not in response
    assert list(stream) == [b"body"]


@pytest.mark.parametrize(
    ("status", "content_type", "type_", "message"),
    [
        (400, "text/html", "BadRequest", "Bad Request."),
        (403, "text/html; charset=utf-8", "PermissionDenied", "Forbidden."),
        (
            404,
            "text/html; charset=utf-8",
            "NotFound",
            "There is nothing at /a/b. GET openapi.json says what there is.",
        ),
        (405, "text/html", "MethodNotAllowed", "Method Not Allowed."),
        (406, "text/html", "NotAcceptable", "Not Acceptable."),
        (500, "text/html", "ServiceError", "Internal Server Error."),
        (500, "text/plain; charset=utf-8", "ServiceError", "Internal Server Error."),
        (503, "text/html", "ServiceError", "Service Unavailable."),
        (499, "text/html", "UnknownStatusCode", "Unknown Status Code."),
    ],
)
def test_an_error_page_becomes_json(
    status: int, content_type: str, type_: str, message: str
) -> None:
    page = HttpResponse(b"<html>", status=status, content_type=content_type)
    response = JSONErrorMiddleware(answering(page))(factory.get("/a/b"))
    assert response.status_code == status
    assert json.loads(content(response)) == {"type": type_, "messages": [message]}
    assert response["Content-Type"] == "application/json"
    assert response["Content-Length"] == str(len(content(response)))


def test_the_headers_and_cookies_of_an_error_page_stay() -> None:
    page = HttpResponseNotAllowed(["GET", "PUT"], b"<html>", headers={"Retry-After": "3"})
    page["Content-Length"] = "6"
    page.set_cookie("a", "b")
    response = JSONErrorMiddleware(answering(page))(factory.post("/"))
    assert isinstance(response, HttpResponse)
    assert response["Allow"] == "GET, PUT"
    assert response["Retry-After"] == "3"
    assert response.cookies["a"].value == "b"
    assert response["Content-Length"] == str(len(response.content))


@pytest.mark.parametrize(
    "response",
    [
        HttpResponse(b"<html>"),
        HttpResponseRedirect("/docs"),
        HttpResponseNotModified(),
        JsonResponse({"mine": 1}, status=400),
        HttpResponse(b"{}", status=404, content_type="application/json; charset=utf-8"),
        HttpResponse(b"{}", status=500, content_type="application/problem+json"),
        HttpResponse(b"<a/>", status=500, content_type="application/xml"),
        StreamingHttpResponse([b"<html>"], status=500),
    ],
)
def test_what_is_no_error_page_is_left_alone(response: HttpResponseBase) -> None:
    before = response.status_code, dict(response.items()), response.getvalue()
    if isinstance(response, StreamingHttpResponse):
        response.streaming_content = iter([before[2]])
    assert JSONErrorMiddleware(answering(response))(factory.get("/")) is response
    assert (response.status_code, dict(response.items()), response.getvalue()) == before


def test_djangos_debug_page_becomes_json() -> None:
    request = factory.get("/a")
    try:
        raise RuntimeError("secret")
    except RuntimeError as error:
        page = technical_500_response(request, type(error), error, error.__traceback__)
    response = JSONErrorMiddleware(answering(page))(request)
    assert json.loads(content(response)) == {
        "type": "ServiceError",
        "messages": ["Internal Server Error."],
    }


def test_a_request_for_another_host_is_told_what_to_do() -> None:
    request = factory.get("/", headers={"host": "evil.example"})
    response = JSONErrorMiddleware(answering(HttpResponse(status=400)))(request)
    assert json.loads(content(response)) == {
        "type": "BadRequest",
        "messages": [
            "This service does not answer to the request's Host header; "
            "whoever runs it lists its names in MODELHOST_ALLOWED_HOSTS."
        ],
    }


def test_the_body_of_a_request_that_gets_an_error_page_is_read_first() -> None:
    request = factory.post("/", b" " * 100_000, content_type="application/json")
    JSONErrorMiddleware(answering(HttpResponseNotFound()))(request)
    assert request.read() == b""


def test_an_error_of_the_service_names_the_request_id() -> None:
    def fail(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(b"<html>", status=500)

    request = factory.get("/", headers={"x-request-id": "mine-1"})
    response = RequestMiddleware(JSONErrorMiddleware(fail))(request)
    assert response["X-Request-ID"] == "mine-1"
    assert json.loads(content(response)) == {
        "type": "ServiceError",
        "messages": [
            "The service failed to answer this request. "
            "The log has the reason under the request id mine-1."
        ],
    }

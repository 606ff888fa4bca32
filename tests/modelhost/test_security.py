from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import DisallowedHost
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.test import RequestFactory, override_settings

from modelhost.security import HostMiddleware, ResponseHeadersMiddleware, ServiceRequest

factory = RequestFactory()


GetResponse = Callable[[HttpRequest], HttpResponseBase]


def chain(get_response: GetResponse) -> ResponseHeadersMiddleware:
    """The two middlewares as Django chains them."""
    inner: Any = convert_exception_to_response(HostMiddleware(get_response))
    return ResponseHeadersMiddleware(inner)


def answer(middleware: ResponseHeadersMiddleware, host: str) -> HttpResponseBase:
    return middleware(factory.get("/", HTTP_HOST=host))


@pytest.fixture
def middleware() -> ResponseHeadersMiddleware:
    return chain(lambda _request: HttpResponse("four"))


@override_settings(ALLOWED_HOSTS=["a.example"])
def test_a_host_that_is_not_allowed_is_refused_each_time(
    middleware: ResponseHeadersMiddleware,
) -> None:
    hosts = ["a.example", "b.example", "a.example:80", "a.example", "b.example", "a.example/"]
    statuses = [answer(middleware, host).status_code for host in hosts]
    assert statuses == [200, 400, 200, 200, 400, 400]


@override_settings(ALLOWED_HOSTS=["a.example"])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/health", 200),
        ("/api/health/ready", 200),
        ("/v2/models", 400),
        ("/api/models", 400),
        ("/", 400),
    ],
)
def test_the_status_is_told_whatever_the_host(
    middleware: ResponseHeadersMiddleware, path: str, status: int
) -> None:
    assert middleware(factory.get(path, HTTP_HOST="10.1.2.3:8000")).status_code == status


@override_settings(ALLOWED_HOSTS=["a.example"], X_FRAME_OPTIONS="SAMEORIGIN")
@pytest.mark.parametrize("host", ["a.example", "b.example"])
def test_every_response_has_the_headers_that_browsers_heed(host: str) -> None:
    middleware = chain(lambda _request: HttpResponse("four"))
    headers = answer(middleware, host).headers
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "Strict-Transport-Security" not in headers


def _answer_with(response: HttpResponseBase, _request: HttpRequest) -> HttpResponseBase:
    return response


@override_settings(ALLOWED_HOSTS=["*"])
def test_a_response_says_how_long_it_is_unless_it_does_already_or_cannot() -> None:
    responses = {
        "4": HttpResponse("four"),
        "7": HttpResponse("", headers={"Content-Length": "7"}),
        None: StreamingHttpResponse(iter([b"four"])),
    }
    for length, response in responses.items():
        middleware = chain(partial(_answer_with, response))
        assert answer(middleware, "a.example").headers.get("Content-Length") == length


@override_settings(ALLOWED_HOSTS=["a.example"])
@pytest.mark.parametrize(("status", "length"), [(200, "4"), (204, None), (404, "4"), (411, None)])
def test_a_response_tells_its_length_unless_it_has_none_or_that_of_the_request_is_unknown(
    status: int, length: str | None
) -> None:
    middleware = chain(lambda _request: HttpResponse("four", status=status))
    assert answer(middleware, "a.example").headers.get("Content-Length") == length


# Names with underscores


def request_to(host: str, **more: Any) -> ServiceRequest:
    return ServiceRequest(factory.get("/", HTTP_HOST=host, **more).environ)


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("models_1", "models_1"),
        ("models_1", "models_1:8000"),
        ("models_1", "Models_1."),
        ("Models_1", "models_1"),
        (".internal", "my_models.internal:80"),
        (".my_team", "models.my_team"),
        (".my_team", "my_team"),
        ("_models", "_models"),
        ("*", "a_b-c.d_"),
        ("models-1", "models-1"),
        ("[::1]", "[::1]:80"),
    ],
)
def test_a_host_may_have_underscores(allowed: str, host: str) -> None:
    with override_settings(ALLOWED_HOSTS=[allowed]):
        assert request_to(host).get_host() == host


@pytest.mark.parametrize("allowed", [["models-1", "models_2", ".my_team"], []])
@pytest.mark.parametrize(
    "host", ["models_1", "models_2.evil.test", "x_models_2", "my_team.evil", "my_team_", "_"]
)
def test_a_host_with_underscores_that_is_not_allowed_is_refused(
    allowed: list[str], host: str
) -> None:
    with override_settings(ALLOWED_HOSTS=allowed), pytest.raises(DisallowedHost):
        request_to(host).get_host()


@override_settings(ALLOWED_HOSTS=["*"])
@pytest.mark.parametrize(
    "host",
    [
        *("a_b\r\nSet-Cookie: c", "a_b\n", "a_b/..", "a_b@evil.test", "a b_c", "a_b:", "a_b:x"),
        *("a_b:80:80", "a_b,c", "\xe4_b", "a_b?", "a_b#", "[a_b]", "a_b\x00", "a_b\\c", "<a_b>"),
    ],
)
def test_what_is_no_name_but_has_underscores_is_refused_whatever_is_allowed(host: str) -> None:
    with pytest.raises(DisallowedHost):
        request_to(host).get_host()


@override_settings(ALLOWED_HOSTS=["a_b", "c.example"], USE_X_FORWARDED_HOST=True)
def test_the_forwarded_host_counts_where_the_settings_say_so() -> None:
    assert request_to("x", HTTP_X_FORWARDED_HOST="a_b").get_host() == "a_b"
    assert request_to("a_b").get_host() == "a_b"
    with pytest.raises(DisallowedHost):
        request_to("a_b", HTTP_X_FORWARDED_HOST="e_vil").get_host()

"""Pages of other sites, which browsers let ask where the service says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.server import Server, gunicorn, serve

pytestmark = pytest.mark.long

CONFIGURATION: dict[str, Any] = {
    "models": [{"class_path": "tests.fakes.misbehaving.ObedientModel"}],
    "metrics": {"enabled": True},
    "open_inference": {"enabled": True},
}
PREDICTION = "/api/models/obedient/prediction"
ALLOWED, OTHER = "https://pages.example", "https://evil.test"
ORIGINS = {"MODELHOST_CORS_ORIGINS": f"{ALLOWED}, http://localhost:3000"}


def start(kind: Any, **environment: str) -> Server:
    server: Server = kind(CONFIGURATION, environment={"MODELHOST_WORKERS": "1", **environment})
    return server


@pytest.fixture(scope="module", params=[gunicorn, serve, DevelopmentServer])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with start(request.param, **ORIGINS) as server:
        yield server


def answers(client: httpx.Client, origin: str | None) -> Iterator[tuple[int, httpx.Response]]:
    """Answers of every kind, and the status that each is to have."""
    headers = {} if origin is None else {"Origin": origin}

    def ask(method: str, path: str, more: dict[str, str] | None = None, **body: Any) -> Any:
        return client.request(method, path, headers={**headers, **(more or {})}, **body)

    yield 200, ask("POST", PREDICTION, json={"x": 1})
    yield 200, ask("POST", f"{PREDICTION}/batch", json={"inputs": [{"x": 1}]})
    yield 400, ask("POST", PREDICTION, json={"x": "a"})
    yield 415, ask("POST", PREDICTION, {"Content-Type": "text/plain"}, content=b"a")
    yield 413, ask("POST", PREDICTION, json={"text": "a" * 11_000_000})
    yield 500, ask("POST", PREDICTION, json={"do": "raise"})
    yield 400, ask("POST", PREDICTION, {"Host": "evil.test"}, json={"x": 1})
    yield 400, ask("GET", "/api/models", {"Host": "evil.test"})
    for path, status in (
        *(("/api/models", 200), ("/nothing", 404), ("/", 302), ("/docs", 200), ("/metrics", 200)),
        *(("/openapi.json", 200), ("/docs/assets/modelhost/pages.css", 200)),
        *(("/api/health", 200), ("/v2/health/live", 200), ("/v2/models/nope", 404)),
    ):
        yield status, ask("GET", path)
    yield 405, ask("DELETE", PREDICTION)
    yield 204, ask("OPTIONS", PREDICTION)


def test_every_answer_says_that_the_page_of_an_allowed_origin_may_read_it(server: Server) -> None:
    for status, response in answers(server.client, ALLOWED):
        assert response.status_code == status, response.request.url
        assert response.headers["Access-Control-Allow-Origin"] == ALLOWED
        assert "origin" in response.headers["Vary"]
        exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"X-Request-ID", "Retry-After"} <= set(exposed)
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("origin", [OTHER, "null", "https://pages.example.evil.test", None])
def test_no_answer_says_so_to_others(server: Server, origin: str | None) -> None:
    for status, response in answers(server.client, origin):
        assert response.status_code == status, response.request.url
        assert "Access-Control-Allow-Origin" not in response.headers
        # A cache must not give it to the page of an allowed origin.
        assert "origin" in response.headers["Vary"]


def preflight(client: httpx.Client, origin: str, path: str = PREDICTION) -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-request-id",
    }
    return client.options(path, headers=headers)


@pytest.mark.parametrize("path", [PREDICTION, "/v2/models/obedient/infer", "/api/models"])
def test_a_browser_is_told_what_the_page_of_an_allowed_origin_may_send(
    server: Server, path: str
) -> None:
    response = preflight(server.client, ALLOWED, path)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Access-Control-Allow-Origin"] == ALLOWED
    assert "POST" in response.headers["Access-Control-Allow-Methods"].split(", ")
    sendable = set(response.headers["Access-Control-Allow-Headers"].split(", "))
    assert {"content-type", "x-request-id", "content-encoding"} <= sendable


def test_a_browser_is_told_nothing_for_other_pages(server: Server) -> None:
    response = preflight(server.client, OTHER)
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_every_origin_may_be_allowed() -> None:
    with start(serve, MODELHOST_CORS_ORIGINS="*") as server:
        for status, response in answers(server.client, OTHER):
            assert response.status_code == status
            assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert preflight(server.client, OTHER).headers["Access-Control-Allow-Origin"] == "*"


def test_without_the_variable_nobody_is_told_anything() -> None:
    with start(serve) as server:
        for status, response in answers(server.client, ALLOWED):
            assert response.status_code == status
            assert not [name for name in response.headers if name.startswith("access-control")]
            assert "Vary" not in response.headers
        assert preflight(server.client, ALLOWED).status_code == 204


def test_an_origin_that_is_none_ends_the_server() -> None:
    environment = {"MODELHOST_CORS_ORIGINS": "pages.example"}
    with gunicorn(CONFIGURATION, environment=environment, wait_for="exit") as server:
        assert server.process.returncode == 3
        assert "MODELHOST_CORS_ORIGINS has 'pages.example'; write origins such as " in server.log


# What browsers heed


@pytest.mark.parametrize("origin", [ALLOWED, OTHER])
def test_every_answer_of_the_service_has_the_headers_that_browsers_heed(
    server: Server, origin: str
) -> None:
    asset = "/docs/assets/modelhost/pages.css"
    modified = server.client.get(asset).headers["Last-Modified"]
    unmodified = server.client.get(asset, headers={"If-Modified-Since": modified})
    assert unmodified.status_code == 304
    every = [response for _, response in answers(server.client, origin)]
    for response in [*every, preflight(server.client, origin), unmodified]:
        assert response.headers["X-Content-Type-Options"] == "nosniff", response.request.url
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"

"""The WSGI application behind a server of ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from modelhost.asgi import ASGIApplication, make_environ
from tests.modelhost.corpus import Asked, corpus, of_framing
from tests.modelhost.test_fast_lane import Seen, differences, run

SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "POST",
    "path": "/a",
    "headers": [],
    "client": None,
    "server": None,
}


def exchange(
    application: ASGIApplication,
    messages: Iterable[dict[str, Any]],
    scope: dict[str, Any] | None = None,
) -> list[Any]:
    """What the application sends after it has received messages."""
    sent: list[Any] = []
    waiting = iter(messages)

    async def receive() -> Any:
        return next(waiting)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(application(scope or SCOPE, receive, send))
    return sent


def chunk(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def echo(environ: Any, start_response: Any) -> Any:
    body = environ["wsgi.input"].read()
    headers = [("X-Told", environ["CONTENT_LENGTH"]), ("X-Request-ID", "1")]
    start_response("201 Created", headers)
    yield body[:1]
    yield body[1:]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_clients_get_the_same_answers_by_asgi(tmp_path: Path) -> None:
    by_asgi, as_ever = run(tmp_path, "asgi", {}, {}), run(tmp_path, "fast", {}, {})
    both: tuple[Seen, Seen] = by_asgi, as_ever
    # Where a body ends is the affair of the server, and paths are decoded by it.
    others = {each.name for each in of_framing()} | {
        each.name for each in corpus() if _is_nothing_to_servers_of_asgi(each)
    }
    for seen in both:
        seen["answers"] = {
            name: {
                **each,
                "headers": sorted([name.lower(), text] for name, text in each["headers"]),
            }
            for name, each in seen["answers"].items()
            if name not in others and "headers" in each
        }
    assert len(both[0]["answers"]) > 400
    assert differences(both, "status", "headers", "body") == []


def _is_nothing_to_servers_of_asgi(each: Asked) -> bool:
    return "SCRIPT_NAME" in each.more or "PATH_INFO" in each.more or "\xff" in each.path


def test_a_body_comes_in_pieces_and_goes_as_one() -> None:
    start, body = exchange(ASGIApplication(echo), [chunk(b"ab", more=True), chunk(b"c")])
    assert start["status"] == 201
    assert start["headers"] == [(b"x-told", b"3"), (b"x-request-id", b"1")]
    assert body == {"type": "http.response.body", "body": b"abc"}


def test_headers_that_the_server_adds_are_left_to_it() -> None:
    application = ASGIApplication(echo, left_out={"x-request-id"})
    start, _ = exchange(application, [chunk(b"")])
    assert start["headers"] == [(b"x-told", b"0")]


def test_no_more_of_a_body_is_kept_than_it_may_have() -> None:
    application = ASGIApplication(echo, maximum_bytes=4)
    start, body = exchange(application, [chunk(b"abc", more=True)] * 2 + [chunk(b"de")])
    assert start["headers"][0] == (b"x-told", b"8")
    assert len(body["body"]) <= 4


def test_a_body_without_an_end_is_answered_all_the_same() -> None:
    application = ASGIApplication(echo, maximum_bytes=4)
    piece = chunk(b"a" * 1024 * 1024, more=True)
    start, _ = exchange(application, [piece] * 100)
    assert int(start["headers"][0][1]) > 64 * 1024 * 1024


def test_a_client_that_leaves_gets_no_answer() -> None:
    gone = {"type": "http.disconnect"}
    assert exchange(ASGIApplication(echo), [chunk(b"a", more=True), gone]) == []


def test_an_application_that_fails_fails_the_request_and_is_closed() -> None:
    closed = []

    class Failing:
        def __iter__(self) -> Any:
            raise RuntimeError("no answer")

        def close(self) -> None:
            closed.append(True)

    with pytest.raises(RuntimeError, match="no answer"):
        exchange(ASGIApplication(lambda *_: Failing()), [chunk(b"")])
    assert closed


def test_the_life_of_the_server_is_followed() -> None:
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = exchange(ASGIApplication(echo), events, {"type": "lifespan"})
    assert [each["type"] for each in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


def test_headers_with_an_underscore_pass_for_no_others() -> None:
    scope = {
        **SCOPE,
        "path": "/größe",
        "root_path": "/größe",
        "headers": [
            (b"x_request_id", b"forged"),
            (b"transfer-encoding", b"chunked"),
            (b"accept", b"a"),
            (b"accept", b"b"),
            (b"content-type", b"text/plain"),
            (b"content-length", b"99"),
        ],
    }
    environ = make_environ(scope, b"ab", 2)
    assert {name: environ[name] for name in environ if name.startswith(("HTTP_", "CONTENT_"))} == {
        "HTTP_ACCEPT": "a,b",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "2",
    }
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (
        "",
        "/größe".encode().decode("latin-1"),
    )
    assert environ["REMOTE_ADDR"] == ""

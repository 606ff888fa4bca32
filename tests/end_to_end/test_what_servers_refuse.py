"""What servers answer before the service sees a request, as docs/http-api.md has it."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.nginx import Nginx
from tests.end_to_end.raw_http import head
from tests.end_to_end.server import REPOSITORY, Server, gunicorn, serve

pytestmark = pytest.mark.long

CONFIGURATION: dict[str, Any] = {"models": [{"class_path": "tests.fakes.deadly.DeadlyModel"}]}
PREDICTION = "/api/models/deadly/prediction"
SERVERS: dict[str, Any] = {"serve": serve, "gunicorn": gunicorn, "runserver": DevelopmentServer}
PAGE = REPOSITORY / "docs" / "http-api.md"


class Case(NamedTuple):
    """A request, and the status that each server gives; None where it is the service's."""

    row: str
    request: bytes
    serve: int | None
    gunicorn: int | None
    runserver: int | None


def posted(*headers: str) -> bytes:
    return head("POST", PREDICTION, "Content-Type: application/json", *headers) + b"{}"


def first_line(length: int) -> bytes:
    """Make a request whose first line has so many bytes, its end included."""
    return head("GET", "/" + "a" * (length - len("GET / HTTP/1.1\r\n")))


LINE = "a first line that is too long"
LONG = "a header that is too long"
MALFORMED = "malformed headers, or two lengths that differ"
CASES = [
    Case("no HTTP at all, or a malformed line", b"nonsense\r\n\r\n", 400, 400, 400),
    Case(
        *("another version of HTTP than 1.0 and 1.1", b"GET / HTTP/9.9\r\nHost: a\r\n\r\n"),
        *(400, 400, 505),
    ),
    Case(LINE, first_line(8190), None, None, None),
    Case(LINE, first_line(8300), None, 414, None),
    Case(LINE, first_line(70_000), 414, 414, 414),
    Case(LONG, head("GET", "/", "A: " + "a" * 8000), None, None, None),
    Case(LONG, head("GET", "/", "A: " + "a" * 9000), None, 431, None),
    Case(LONG, head("GET", "/", "A: " + "a" * 70_000), None, 431, 431),
    Case(
        *("more than 100 headers", head("GET", "/", *[f"A{n}: a" for n in range(110)])),
        *(431, 431, 431),
    ),
    Case(
        "a head of more than 128 KiB altogether",
        head("GET", "/", *[f"A{n}: " + "a" * 7000 for n in range(40)]),
        *(431, None, None),
    ),
    Case(MALFORMED, head("GET", "/", "A b: c"), 400, 400, None),
    Case(MALFORMED, posted("Content-Length: 2", "Content-Length: 3"), 400, 400, None),
    Case(
        "`Transfer-Encoding` other than `chunked`",
        posted("Transfer-Encoding: foo"),
        *(400, 501, None),
    ),
    Case(
        "`Expect` other than `100-continue`",
        posted("Expect: 200-ok", "Content-Length: 2"),
        *(None, 417, None),
    ),
]


@pytest.fixture(scope="module", params=SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def server(kind: str) -> Iterator[Server]:
    with SERVERS[kind](CONFIGURATION, environment={"MODELHOST_WORKERS": "1"}) as server:
        yield server


def answer(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Return the head and the body of what comes back, up to the end of the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        received = b""
        try:
            connection.sendall(request)
            while data := connection.recv(65536):
                received += data
        except ConnectionError:  # with what was not read
            assert received
    first, end, rest = received.partition(b"\r\n\r\n")
    return (first, rest) if end else (b"", received)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}, {len(case.request)}")
def test_a_server_refuses_what_the_page_says_and_in_which_form(
    server: Server, kind: str, case: Case
) -> None:
    status: int | None = getattr(case, kind)
    first, body = answer(server.port, case.request)
    lower = first.lower()
    if status is None:
        assert b"x-request-id: " in lower
        assert b"x-content-type-options: nosniff" in lower
        return
    assert b"x-request-id" not in lower
    assert first == b"" or first.split()[1] == str(status).encode()
    if kind == "serve":
        assert body == b""
    elif kind == "gunicorn":
        assert b"content-type: text/html" in lower
    else:
        message = f"The server refuses this request with status {status}."
        assert json.loads(body) == {"type": "BadRequest", "messages": [message]}
        assert first == b"" or b"content-type: application/json" in lower


def test_the_page_has_these_refusals_and_no_others() -> None:
    section = PAGE.read_text("utf-8").partition("### What the server refuses by itself")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.partition("\n## ")[0].splitlines()
        if line.startswith("| ") and not line.startswith(("| Request", "| ---", "| **"))
    ]
    assert [row[0] for row in rows] == list(dict.fromkeys(case.row for case in CASES))
    for name, *cells in rows:
        for kind, cell in zip(SERVERS, cells, strict=True):
            refusals = {getattr(case, kind) for case in CASES if case.row == name} - {None}
            said = {int(found) for found in re.findall(r"^\d{3}\b", cell)}
            assert said == refusals, (name, kind)


@pytest.mark.parametrize("kind", ["gunicorn", "serve"], indirect=True)
def test_behind_nginx_refusals_are_json_but_for_too_many_headers(server: Server) -> None:
    with Nginx(server.port) as proxy:
        for case in CASES:
            first, body = answer(proxy.port, case.request)
            if case.row == "more than 100 headers":
                assert first.split()[1] == b"431"
                continue
            is_redirect = b" 302 " in first
            assert is_redirect or json.loads(body), (case.row, first)
            assert is_redirect or b"content-type: application/json" in first.lower(), case.row
            assert b"x-content-type-options: nosniff" in first.lower(), case.row

"""Requests byte for byte, as no well-behaved client sends them, and all that comes back."""

from __future__ import annotations

import io
import itertools
import json
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RawResponse:
    """One response as it came over the wire; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def head(method: str, target: str, *headers: str, version: str = "HTTP/1.1") -> bytes:
    """All of a request before its body, for localhost unless the headers name another host."""
    names = {header.partition(":")[0].lower() for header in headers}
    host = [] if "host" in names else ["Host: localhost"]
    closing = [] if "connection" in names else ["Connection: close"]
    lines = [f"{method} {target} {version}", *host, *closing, *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def in_chunks(*chunks: bytes) -> bytes:
    """A body in chunks, and the empty one that ends it."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def exchange(
    port: int,
    request: bytes | Iterable[bytes],
    *,
    half_close: bool = False,
    methods: Sequence[str] = (),
) -> list[RawResponse]:
    """Send everything, then read all that comes until the server closes the connection.

    The server may refuse to read, as long as its answer arrives. `methods` are those of the
    requests, in case there is more than one.
    """
    pieces = iter([request] if isinstance(request, bytes) else request)
    start = next(pieces, b"")
    received = io.BytesIO(receive(port, itertools.chain([start], pieces), half_close=half_close))
    methods = methods or [start[:20].partition(b" ")[0].decode("latin-1")]
    responses = list(_responses(received, methods))
    rest = received.read()
    assert not rest, f"after the last response came {rest[:200]!r}"
    return responses


def receive(port: int, pieces: Iterable[bytes], *, half_close: bool = False) -> bytes:
    """Send everything, and return all that comes, whatever it is.

    A server that learns by a half-closed connection that its client has ended may break off what it
    says: granian does.
    """
    received = io.BytesIO()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                connection.sendall(piece)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            received.write(data)
    return received.getvalue()


def ask(port: int, request: bytes | Iterable[bytes], *, half_close: bool = False) -> RawResponse:
    """Send one request and return its one response."""
    (response,) = exchange(port, request, half_close=half_close)
    return response


def _responses(received: io.BytesIO, methods: Sequence[str]) -> Iterable[RawResponse]:
    for method in methods:
        response = _response(received, method)
        while response is not None and 100 <= response.status < 200:
            yield response
            response = _response(received, method)
        if response is None:
            return
        yield response


def _response(received: io.BytesIO, method: str) -> RawResponse | None:
    status_line = received.readline()
    if not status_line:
        return None
    version, status = status_line.split(maxsplit=2)[:2]
    assert version in (b"HTTP/1.1", b"HTTP/1.0"), status_line
    headers: dict[str, str] = {}
    while line := received.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        assert name.lower() not in headers, f"two headers {name}"
        headers[name.lower()] = value.strip()
    bodiless = method == "HEAD" or status.startswith(b"1") or status in (b"204", b"304")
    body = b"" if bodiless else _body(received, headers)
    return RawResponse(int(status), headers, body)


def _body(received: io.BytesIO, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        return b"".join(_chunks(received))
    if headers.get("connection") == "close" and "content-length" not in headers:
        return received.read()
    length = int(headers["content-length"])
    body = received.read(length)
    assert len(body) == length, "the response breaks off"
    return body


def _chunks(received: io.BytesIO) -> Iterable[bytes]:
    while size := int(received.readline(), 16):
        yield received.read(size)
        assert received.readline() == b"\r\n"
    assert received.readline() == b"\r\n"

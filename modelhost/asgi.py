"""A WSGI application as one of ASGI, for servers that take no other: Ray Serve's replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

Scope = MutableMapping[str, Any]
"""A connection as ASGI has it; https://asgi.readthedocs.io/en/latest/specs/www.html."""
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_MAXIMUM_THREADS = 1024
"""Started only while all others are busy: how many requests come at a time is the server's."""
_OF_FRAMING = (b"content-length", b"transfer-encoding")
"""What they say is over: the body is whole."""
_DISCARDED_BYTES = 64 * 1024 * 1024
"""Of a body that is too large: a client that still sends would never see the answer."""


class _Response(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class ASGIApplication:
    """Answers requests by a WSGI application, each on a thread.

    Args:
        application: What answers; it reads no more of a body than its Content-Length says.
        maximum_bytes: That a body may have; of a larger one no more is kept. None for any number.
        left_out: Names of headers, in lower case, that the server adds to answers by itself.
    """

    def __init__(
        self,
        application: WSGIApplication,
        maximum_bytes: int | None = None,
        left_out: Container[str] = (),
    ) -> None:
        self._application = application
        self._maximum_bytes = maximum_bytes
        self._left_out = left_out
        self._threads = ThreadPoolExecutor(_MAXIMUM_THREADS, "request")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or what the server says of its own life."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        body = await self._read(receive)
        if body is None:
            return
        loop = asyncio.get_running_loop()
        response = await loop.run_in_executor(self._threads, self._respond, scope, *body)
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in response.headers
            if name.lower() not in self._left_out
        ]
        status = response.status
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _read(self, receive: Receive) -> tuple[bytes, int] | None:
        """Return the body and its length, which is larger than what is kept of one too large.

        None where the client leaves before it has sent it all.
        """
        kept, length = bytearray(), 0
        limit = self._maximum_bytes
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            chunk = message.get("body", b"")
            length += len(chunk)
            if limit is None or length <= limit:
                kept += chunk
            is_endless = limit is not None and length > limit + _DISCARDED_BYTES
            if is_endless or not message.get("more_body", False):
                return bytes(kept), length

    def _respond(self, scope: Scope, body: bytes, length: int) -> _Response:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], _error: object = None, /
        ) -> Callable[[bytes], object]:
            started.append((status, headers))
            return _refuse_to_write

        answer = self._application(make_environ(scope, body, length), start_response)
        try:
            content = b"".join(answer)
        finally:
            if hasattr(answer, "close"):
                answer.close()
        status, headers = started[-1]
        return _Response(int(status.split()[0]), headers, content)


def make_environ(scope: Scope, body: bytes, length: int) -> dict[str, Any]:
    """Return a request as WSGI has it.

    Args:
        scope: The request as ASGI has it, whose path is told whole, wherever that is mounted.
        body: As far as it is kept.
        length: In bytes, of the whole body.
    """
    client, server = scope.get("client") or ("", 0), scope.get("server") or ("localhost", 80)
    return {
        **_headers(scope["headers"]),
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "CONTENT_LENGTH": str(length),
        "REMOTE_ADDR": client[0],
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 80),
        "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": BytesIO(body),
        "wsgi.errors": _NoErrors(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def _headers(given: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, value in given:
        # With an underscore it would be taken for another header.
        if b"_" in name or name in _OF_FRAMING:
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
        text = value.decode("latin-1")
        found[key] = f"{found[key]},{text}" if key in found else text
    return found


class _NoErrors:
    def write(self, text: str) -> None: ...

    def flush(self) -> None: ...


def _refuse_to_write(_data: bytes) -> object:
    raise NotImplementedError("Nothing here writes in the way of before WSGI.")


async def _live(receive: Receive, send: Send) -> None:
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return

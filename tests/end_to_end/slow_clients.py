"""Clients that hold a connection for as long as they are let."""

from __future__ import annotations

import itertools
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from tests.end_to_end.raw_http import head

BUNDLE = "/docs/assets/swagger-ui/swagger-ui-bundle.js"
LARGE_ANSWERS = 5
"""So many of them are more than what Linux keeps for a client that does not read."""
_TURN_SECONDS = 0.05


def large_requests() -> bytes:
    """Ask for much, on one connection, which is closed at the end."""
    kept = head("GET", BUNDLE, "Connection: keep-alive")
    return (LARGE_ANSWERS - 1) * kept + head("GET", BUNDLE)


def slow_head(path: str) -> Iterator[bytes]:
    """A request whose head never ends."""
    yield head("POST", path, "Content-Length: 2")[:-2]
    for number in itertools.count():
        yield from (b"%c" % byte for byte in b"X-Number-%d: 1\r\n" % number)


def slow_body(path: str) -> Iterator[bytes]:
    """A body that comes byte by byte, and takes an hour."""
    yield head("POST", path, "Content-Length: 100000", "Content-Type: application/json")
    yield from itertools.repeat(b" ")


def slow_chunks(path: str) -> Iterator[bytes]:
    """A body in chunks of one byte."""
    yield head("POST", path, "Transfer-Encoding: chunked", "Content-Type: application/json")
    yield from itertools.repeat(b"1\r\n \r\n")


def never_reading(_path: str) -> Iterator[bytes]:
    """A request for much that is never read.

    Such a client cannot know whether the server has given it up, so it goes by itself, some time.
    """
    yield large_requests()
    yield from itertools.repeat(b"", 200)


def silent(_path: str) -> Iterator[bytes]:
    """Nothing at all."""
    yield from itertools.repeat(b"")


KINDS: list[Callable[[str], Iterator[bytes]]] = [
    slow_head,
    slow_body,
    slow_chunks,
    never_reading,
    silent,
]


class SlowClients:
    """That many clients of all kinds; one that is thrown out comes back at once."""

    def __init__(self, port: int, path: str, count: int) -> None:
        self._port = port
        self._path = path
        self._kinds = list(itertools.islice(itertools.cycle(KINDS), count))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.thrown_out: Counter[str] = Counter()
        """How often clients of each kind were, or had enough."""
        self.connected = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.connected.wait(60), "not all clients could connect"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        clients = [self._connect(kind) for kind in self._kinds]
        self.connected.set()
        while not self._stopped.is_set():
            for number, kind in enumerate(self._kinds):
                connection, pieces = clients[number]
                if self._is_over(connection, next(pieces, None), kind):
                    self.thrown_out[kind.__name__] += 1
                    connection.close()
                    clients[number] = self._connect(kind)
            time.sleep(_TURN_SECONDS)
        for connection, _ in clients:
            connection.close()

    def _connect(
        self, kind: Callable[[str], Iterator[bytes]]
    ) -> tuple[socket.socket, Iterator[bytes]]:
        connection = socket.socket()
        # Otherwise the system would read for those that do not.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", self._port))
        return connection, kind(self._path)

    def _is_over(
        self,
        connection: socket.socket,
        piece: bytes | None,
        kind: Callable[[str], Iterator[bytes]],
    ) -> bool:
        if piece is None:
            return True
        try:
            connection.sendall(piece)
        except OSError:
            return True
        return kind is not never_reading and _is_readable(connection)


def _is_readable(connection: socket.socket) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        return bool(selector.select(0))

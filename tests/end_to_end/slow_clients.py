"""Clients that hold a connection for as long as they are let.

    python -m tests.end_to_end.slow_clients --kinds slow_body 8000 /api/models/iris/prediction 300

runs 300 of them against a service, or the proxy in front of it, until it is interrupted.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import socket
import subprocess
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from tests.end_to_end.raw_http import head
from tests.end_to_end.server import REPOSITORY

BUNDLE = "/docs/assets/swagger-ui/swagger-ui-bundle.js"
LARGE_ANSWERS = 5
"""So many of them are more than what Linux keeps for a client that does not read."""


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
    """A body that comes byte by byte, and takes hours."""
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


Kind = Callable[[str], Iterator[bytes]]
KINDS: list[Kind] = [slow_head, slow_body, slow_chunks, never_reading, silent]


class SlowClients:
    """Runs that many clients in a process of their own; one that is thrown out comes back."""

    def __init__(
        self, port: int, path: str, count: int, kinds: Sequence[Kind] = tuple(KINDS)
    ) -> None:
        names = [kind.__name__ for kind in kinds]
        self._arguments = [str(port), path, str(count), "--kinds", *names]
        self.thrown_out: Counter[str] = Counter()
        """How often clients of each kind were, or had enough; known when the block has ended."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *self._arguments],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "connected\n", "not all clients could connect"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        printed, _ = self._process.communicate(timeout=60)
        self.thrown_out.update(json.loads(printed))


class _Crowd:
    """The clients, each a task."""

    def __init__(self, port: int, path: str, pause: float) -> None:
        self._port = port
        self._path = path
        self._pause = pause
        self._loop = asyncio.get_running_loop()
        self.thrown_out: Counter[str] = Counter()

    async def connect(self) -> socket.socket:
        connection = socket.socket()
        # Otherwise the system would read for those that do not.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await self._loop.sock_connect(connection, ("127.0.0.1", self._port))
        return connection

    async def hold(self, connection: socket.socket, kind: Kind) -> None:
        while True:
            with connection:
                await self._dawdle(connection, kind)
            self.thrown_out[kind.__name__] += 1
            connection = await self.connect()

    async def _dawdle(self, connection: socket.socket, kind: Kind) -> None:
        for piece in kind(self._path):
            try:
                await self._loop.sock_sendall(connection, piece)
            except OSError:
                return
            await asyncio.sleep(self._pause)
            if kind is not never_reading and _is_over(connection):
                return


def _is_over(connection: socket.socket) -> bool:
    """Whether an answer, or the end of the connection, has come."""
    try:
        connection.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


async def _run(port: int, path: str, count: int, kinds: Sequence[Kind], pause: float) -> None:
    crowd = _Crowd(port, path, pause)
    connections = [await crowd.connect() for _ in range(count)]
    pairs = zip(connections, itertools.cycle(kinds), strict=False)
    tasks = [asyncio.create_task(crowd.hold(connection, kind)) for connection, kind in pairs]
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopped.set)
    print("connected", flush=True)  # noqa: T201
    await stopped.wait()
    for task in tasks:
        task.cancel()
    print(json.dumps(crowd.thrown_out))  # noqa: T201


def _main() -> None:
    names = {kind.__name__: kind for kind in KINDS}
    parser = ArgumentParser(description="Run clients that send and read slowly, until interrupted.")
    parser.add_argument("port", type=int)
    parser.add_argument("path", help="of a prediction")
    parser.add_argument("count", type=int, help="how many clients")
    parser.add_argument("--kinds", nargs="+", choices=names, default=list(names))
    parser.add_argument("--pause", type=float, default=0.2, help="seconds from byte to byte")
    given = parser.parse_args()
    kinds = [names[name] for name in given.kinds]
    asyncio.run(_run(given.port, given.path, given.count, kinds, given.pause))


if __name__ == "__main__":
    _main()

"""A service that answers byte for byte what a test says, over real sockets."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return what its body says."""
        return json.loads(self.body)


def answer(body: object, status: int = 200, *headers: str, kind: str = "application/json") -> bytes:
    """Return a whole answer; a body that is no bytes is written as JSON."""
    written = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(written)}"]
    return "\r\n".join([*head, *headers, "", ""]).encode() + written


Script = Callable[[Asked], "bytes | None"]
"""Returns what is answered; None to close the connection without any answer."""


@dataclass
class ScriptedService:
    """Answers while the `with` block lasts; keeps connections, unless it is told to close them."""

    script: Script
    closes: bool = False
    """Whether it closes each connection behind an answer that promises to keep it."""
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as stream:
            while line := stream.readline():
                method, path, _ = line.decode().split()
                headers = {}
                while field_line := stream.readline().strip():
                    name, _, value = field_line.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                body = stream.read(int(headers.get("content-length", 0)))
                self.asked.append(Asked(method, path, headers, body))
                told = self.script(self.asked[-1])
                if told is None:
                    break
                connection.sendall(told)
                if self.closes:
                    break
            connection.shutdown(socket.SHUT_RDWR)

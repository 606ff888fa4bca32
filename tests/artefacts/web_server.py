"""A web server in the test's own process, which does as its files say."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class File:
    """What is at one path."""

    content: bytes
    statuses: list[int] = field(default_factory=list)
    """Of the answers to the next requests, before it answers with the content."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the next answers with more than one byte break off."""
    has_ranges: bool = True
    has_tags: bool = True
    has_length: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] = lambda: None
    """Called before each answer."""

    @property
    def tag(self) -> str:
        """Its entity tag."""
        return f'"{hashlib.md5(self.content).hexdigest()}"'  # noqa: S324


class WebServer:
    """Serves `files`, and lists the `requests`: path, and header Range or the empty string."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.requests: list[tuple[str, str]] = []
        self.authorizations: list[str | None] = []
        self.url = ""

    def add(self, path: str, content: bytes) -> File:
        """Serve a file."""
        file = self.files[path] = File(content)
        return file


@contextmanager
def running() -> Iterator[WebServer]:
    """Run one."""
    server = WebServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path, requested = self.path.partition("?")[0], self.headers.get("Range", "")
            server.requests.append((path, requested))
            server.authorizations.append(self.headers.get("Authorization"))
            if path not in server.files:
                self.send_error(404)
                return
            _answer(self, server.files[path], requested)

        def do_HEAD(self) -> None:
            self.do_GET()

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _answer(handler: BaseHTTPRequestHandler, file: File, requested: str) -> None:
    file.before()
    content, size = file.content, len(file.content)
    if file.statuses and (status := file.statuses.pop(0)) != 200:
        handler.send_response(status)
        for name, value in file.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    is_part = bool(requested) and file.has_ranges
    if is_part:
        first, _, last = requested.removeprefix("bytes=").partition("-")
        if int(first) >= size:
            handler.send_error(416)
            return
        content = content[int(first) : int(last) + 1 if last else size]
    handler.send_response(206 if is_part else 200)
    if is_part:
        end = int(first) + len(content) - 1
        handler.send_header("Content-Range", f"bytes {first}-{end}/{size}")
    if file.has_tags:
        handler.send_header("ETag", file.tag)
        handler.send_header("Last-Modified", "Sat, 29 Nov 2025 02:24:12 GMT")
    if file.has_length:
        handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    cuts = file.cuts if requested != "bytes=0-0" else []
    _send(handler, content, cuts)


def _send(handler: BaseHTTPRequestHandler, content: bytes, cuts: list[int]) -> None:
    if handler.command == "HEAD":
        return
    if cuts:
        content = content[: cuts.pop(0)]
        handler.close_connection = True
    try:
        handler.wfile.write(content)
    except OSError:
        handler.close_connection = True

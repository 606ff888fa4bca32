"""Requests to another service over HTTP, by connections that are kept."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.response import BaseHTTPResponse

from models_api.fork import call_after_fork
from models_api.logs import one_line

MAXIMUM_BYTES = 1 << 30
"""That an answer may have."""
_CHUNK_BYTES = 1 << 16
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""Seconds, seconds, and number: a host that is gone is noticed within a minute."""


class Reply(NamedTuple):
    """What another service has answered, complete."""

    status: int
    headers: Mapping[str, str]
    """Their names are found in any case."""
    body: bytes


class NoAnswer(Exception):
    """There is no answer, or not all of it; the text says why, without any secret."""


class ConnectionFailed(NoAnswer):
    """No connection came about, or it broke before the answer had come."""


class TooLate(NoAnswer):
    """The answer did not come in time."""


class TLSFiles(NamedTuple):
    """What is needed to know the other service, and to be known there."""

    authorities: str | None = None
    certificate: str | None = None
    key: str | None = None


class HTTPPool:
    """The connections of this process to one service. Safe to use from many threads."""

    def __init__(
        self, url: str, *, size: int, connect_seconds: float, files: TLSFiles | None = None
    ) -> None:
        """Make it; it connects with the first request.

        Args:
            url: What the paths of requests are put behind.
            size: Connections that are kept; while more requests are under way, there are more.
            connect_seconds: That a connection may take to come about.
            files: For TLS.
        """
        self.url = url
        self._size = size
        self._connect_seconds = connect_seconds
        self._files = files or TLSFiles()
        self._prefix = urlsplit(url).path.rstrip("/")
        self._begin()
        # The connections that a forked child has are the parent's.
        call_after_fork(self._begin)

    def request(
        self,
        method: Literal["GET", "POST"],
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        seconds: float,
    ) -> Reply:
        """Return the answer to a request, whatever its status; redirects are not followed.

        Raises:
            ConnectionFailed, TooLate, NoAnswer: there is none.
        """
        until = time.monotonic() + seconds
        try:
            response = self._pool.urlopen(
                *(method, self._prefix + path, body, dict(headers)),
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(
                    connect=min(seconds, self._connect_seconds), read=seconds, total=seconds
                ),
                preload_content=False,
                decode_content=False,
            )
            return Reply(response.status, response.headers, _read(response, until))
        except urllib3.exceptions.ReadTimeoutError as error:
            raise TooLate(f"it has not answered within {seconds:.3g} s") from error
        except urllib3.exceptions.SSLError as error:
            raise ConnectionFailed(f"TLS failed: {one_line(error)}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ConnectionFailed(_reason(error)) from error

    def _begin(self) -> None:
        options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
        files = self._files
        is_tls = self.url.startswith("https:")
        given = {
            "cert_reqs": "CERT_REQUIRED",
            "ca_certs": files.authorities,
            "cert_file": files.certificate,
            "key_file": files.key,
        }
        self._pool = urllib3.connection_from_url(
            self.url,
            maxsize=self._size,
            socket_options=[*HTTPConnection.default_socket_options, *options],
            **({name: value for name, value in given.items() if value} if is_tls else {}),
        )


def _read(response: BaseHTTPResponse, until: float) -> bytes:
    """Read all of a body, however slowly it comes."""
    parts: list[bytes] = []
    size = 0
    try:
        is_bounded = response.length_remaining is not None or response.chunked
        if not is_bounded and response.status == HTTPStatus.OK:
            raise NoAnswer("its answer does not say how long it is")
        while part := response.read1(_CHUNK_BYTES):
            parts.append(part)
            size += len(part)
            if size > MAXIMUM_BYTES:
                raise NoAnswer(f"its answer has more than {MAXIMUM_BYTES} bytes")
            if time.monotonic() > until:
                raise TooLate("its answer has not come to its end in time")
    except BaseException:
        response.close()
        raise
    return b"".join(parts)


def _reason(error: BaseException) -> str:
    cause = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__ or cause
    return one_line(cause)

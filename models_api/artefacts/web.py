"""Artefacts at URLs, and what requests for them have in common."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.response import BaseHTTPResponse

from models_api.artefacts.secrets import without_secrets
from models_api.artefacts.source import (
    CHUNK_BYTES,
    Listing,
    Moved,
    RemoteFile,
    Temporary,
    name_at,
)
from models_api.configuration.artefact_addresses import shown_address
from models_api.exceptions import ArtefactError

_TIMEOUT = urllib3.Timeout(connect=10, read=60)
_TEMPORARY = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
)
_TOTAL = re.compile(r"bytes (?:\d+-\d+|\*)/(\d+)")
_LONGEST_BODY = 2000


class Refused(Exception):
    """A server has answered with a status that another try does not change."""

    def __init__(self, status: int, body: str) -> None:
        self.status = status
        self.body = body
        super().__init__(f"it answers {status}")


class Web:
    """Requests of one thread to servers that answer in their own time."""

    def __init__(self, url: str, headers: Mapping[str, str], ca_file: str = "") -> None:
        """Connect with nobody yet.

        Args:
            url: The server's; which proxy leads there the environment says.
            headers: Of all requests.
            ca_file: Certificates that vouch for the server, instead of those of the system.
        """
        parts = urlsplit(url)
        proxy = getproxies().get(parts.scheme)
        given: dict[str, Any] = {"ca_certs": ca_file} if ca_file else {}
        if proxy and not proxy_bypass(parts.hostname or ""):
            self._pool: urllib3.PoolManager = urllib3.ProxyManager(proxy, **given)
        else:
            self._pool = urllib3.PoolManager(**given)
        self._headers = {
            "Accept-Encoding": "identity",
            "User-Agent": "modelhost",
            **headers,
        }

    @contextmanager
    def opened(self, url: str, **headers: str) -> Iterator[BaseHTTPResponse]:
        """Return an answer whose body has yet to be read.

        Raises:
            Temporary: there is none, or it breaks off.
            Refused: it has a status that says that there will be none.
        """
        try:
            response = self._pool.request(
                "GET",
                url,
                headers={**self._headers, **headers},
                timeout=_TIMEOUT,
                retries=urllib3.Retry(0, redirect=5, raise_on_redirect=True),
                preload_content=False,
                decode_content=False,
            )
            try:
                _check_status(response)
                yield response
            finally:
                response.close()
        except urllib3.exceptions.HTTPError as error:
            raise Temporary(without_secrets(_reason(error))) from None
        except OSError as error:
            raise Temporary(str(error)) from None

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()


def _check_status(response: BaseHTTPResponse) -> None:
    status = response.status
    if status in _TEMPORARY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        seconds = 0.0
        with suppress(ValueError):
            seconds = float(response.headers.get("Retry-After", "0"))
        raise Temporary(f"it answers {status}", retry_after_seconds=seconds)
    if status >= HTTPStatus.BAD_REQUEST:
        body = response.read(_LONGEST_BODY).decode(errors="replace")
        raise Refused(status, body)


def _reason(error: BaseException) -> str:
    while (cause := error.__cause__ or getattr(error, "reason", None)) is not None:
        if not isinstance(cause, BaseException):
            break
        error = cause
    return f"{type(error).__name__}: {error}"


def chunks_of(response: BaseHTTPResponse) -> Iterator[bytes]:
    """Yield a body; one that breaks off raises an HTTPError of urllib3."""
    while chunk := response.read(CHUNK_BYTES):
        yield chunk


class WebFile:
    """A file at a URL."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        user, has_user, host = parts.netloc.rpartition("@")
        self._url = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
        credentials = urllib3.make_headers(basic_auth=unquote(user)) if has_user else {}
        self._web = Web(self._url, credentials)
        self.shown = shown_address(address)
        self.identity = address
        self.name = name_at(address)

    def revision(self) -> str:
        """Return its entity tag, or when it was changed."""
        return self.listing().revision

    def listing(self) -> Listing:
        """Return what the server says of the file."""
        # Not HEAD, which signed URLs and some servers do not take.
        with self._opened(Range="bytes=0-0") as response:
            total = _TOTAL.fullmatch(response.headers.get("Content-Range", ""))
            length = total[1] if total else response.headers.get("Content-Length")
            size = int(length) if length and length.isdecimal() else None
            tag = _tag(response)
        return Listing(tag, [RemoteFile("", size, tag)], is_folder=False)

    def read(self, file: RemoteFile, start: int) -> Iterator[bytes]:
        """Yield the content of the file."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._opened(**headers) as response:
            if _tag(response) != file.tag:
                raise Moved
            # Some servers send all of it, whatever they were asked for.
            passed = start if response.status == HTTPStatus.PARTIAL_CONTENT else 0
            for chunk in chunks_of(response):
                yield chunk[max(start - passed, 0) :]
                passed += len(chunk)

    def close(self) -> None:
        """Close all connections."""
        self._web.close()

    @contextmanager
    def _opened(self, **headers: str) -> Iterator[BaseHTTPResponse]:
        try:
            with self._web.opened(self._url, **headers) as response:
                yield response
        except Refused as error:
            if error.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                if headers["Range"] != "bytes=0-0":
                    raise Moved from None
                raise ArtefactError(f"{self.shown} is empty", "Upload it again.") from None
            raise _refusal(self.shown, error.status) from None


def _refusal(shown: str, status: int) -> ArtefactError:
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return ArtefactError(
            f"there is no {shown}: the server answers {status}",
            "See that the address is right, capitals included.",
        )
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return ArtefactError(
            f"{shown} may not be read: the server answers {status}",
            "Put credentials into environment variables, and write https://${USER}:${PASSWORD}@... "
            "or the variable of a signature; one that was good may have expired.",
        )
    return ArtefactError(f"{shown} cannot be read: the server answers {status}", "Ask its owner.")


def _tag(response: BaseHTTPResponse) -> str:
    headers = response.headers
    return headers.get("ETag") or headers.get("Last-Modified") or ""

"""The body of a request as bytes, whatever way it comes: sized, chunked, or not at all.

What is known of the request is what WSGI's environ has, whether or not Django has seen it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, MutableMapping
from io import BytesIO
from typing import Protocol, cast

from models_api.api.gzip_body import unpack_gzip
from models_api.conf import maximum_body_bytes
from models_api.exceptions import (
    LengthRequired,
    ModelsAPIError,
    PayloadTooLarge,
    UnreadableBody,
    UnsupportedEncoding,
    UnsupportedMediaType,
)

_JSON_MEDIA_TYPE = re.compile(r"application/([a-z0-9!#$&^_.+-]+\+)?json", re.IGNORECASE)
_TENSOR_MEDIA_TYPES = ("application/json", "application/octet-stream")
_READ_BYTES = 65536
_DISCARDED_BYTES = 64 * 1024 * 1024

Environ = Mapping[str, object]
"""A request as WSGI has it; https://peps.python.org/pep-3333/#environ-variables."""
MutableEnviron = MutableMapping[str, object]


class Stream(Protocol):
    """Where the body comes from."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; none at the end."""


class BoundedStream:
    """The body of a request as a server offers it, up to its Content-Length.

    Not every server stops there by itself, and what follows belongs to the next request.
    """

    __slots__ = ("_left", "_stream")

    def __init__(self, environ: Environ) -> None:
        self._stream = cast(Stream, environ["wsgi.input"])
        try:
            self._left = _told_length(environ)
        except ValueError:
            self._left = 0

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; none at the end."""
        found = self._stream.read(min(size, self._left))
        self._left -= len(found)
        return found


def read_json_body(environ: Environ, stream: Stream) -> bytes:
    """Return the whole body of a request that says that it is JSON, or does not say what it is.

    Raises:
        UnsupportedMediaType: it is something else.
        UnsupportedEncoding: it is compressed, and not by gzip.
        PayloadTooLarge: it is larger than Django's DATA_UPLOAD_MAX_MEMORY_SIZE, as it is sent or
            unpacked.
        InvalidInput: it is no gzip where it says so.
        LengthRequired: it is chunked, and the server leaves it to the application to find its end.
        UnreadableBody: it breaks off, or its framing is wrong.
    """
    if environ.get("CONTENT_TYPE") != "application/json":
        _require_json(environ)
    return _read_whole(environ, stream)


def read_tensor_body(environ: Environ, stream: Stream) -> bytes:
    """Return the whole body of a request that may say that it is binary, too.

    Raises:
        ModelsAPIError: as read_json_body.
    """
    if environ.get("CONTENT_TYPE", "application/json") not in _TENSOR_MEDIA_TYPES:
        _require_json(environ)
    return _read_whole(environ, stream)


def peek_body(environ: MutableEnviron, stream: Stream) -> bytes:
    """Return the whole body of a request, and leave it to be read again.

    Args:
        environ: The request.
        stream: Its body, unless that is chunked; another stream has to read it the next time.

    Raises:
        ModelsAPIError: as read_json_body, but for its type of media.
    """
    if not _is_chunked(environ):
        return _read_whole(environ, stream)
    sent = _read_sent(environ, stream)
    environ["wsgi.input"] = BytesIO(sent)
    try:
        return _read_whole(environ, stream)
    finally:
        environ["wsgi.input"] = BytesIO(sent)


def discard_body(environ: Environ, stream: Stream) -> None:
    """Read what is left of the body, up to 64 MiB, and forget it.

    A client that still sends would see its connection reset, and never see the answer.
    """
    left = _DISCARDED_BYTES
    # The request is refused already: another fault of its body changes nothing.
    with contextlib.suppress(Exception):
        for chunk in _chunks(environ, stream):
            left -= len(chunk)
            if left <= 0:
                return


def _require_json(environ: Environ) -> None:
    media_type = str(environ.get("CONTENT_TYPE", "")).partition(";")[0].strip()
    if media_type and not _JSON_MEDIA_TYPE.fullmatch(media_type):
        raise UnsupportedMediaType(f'Unsupported media type "{media_type}"; send application/json.')


def _is_packed(environ: Environ) -> bool:
    encoding = str(environ["HTTP_CONTENT_ENCODING"]).strip()
    codings = [coding.strip().lower() for coding in encoding.split(",")]
    packed = [coding for coding in codings if coding not in ("", "identity")]
    if packed not in ([], ["gzip"], ["x-gzip"]):
        raise UnsupportedEncoding(encoding)
    return bool(packed)


def _read_whole(environ: Environ, stream: Stream) -> bytes:
    if "HTTP_CONTENT_ENCODING" in environ and _is_packed(environ):
        return unpack_gzip(_read_sent(environ, stream), maximum_body_bytes())
    return _read_sent(environ, stream)


def _read_sent(environ: Environ, stream: Stream) -> bytes:
    try:
        return _read(environ, stream)
    except (ModelsAPIError, MemoryError):
        raise
    except Exception as error:
        # Each server has exceptions of its own for a client that went away or a malformed chunk.
        raise UnreadableBody from error


def _read(environ: Environ, stream: Stream) -> bytes:
    is_chunked = _is_chunked(environ)
    if is_chunked and not environ.get("wsgi.input_terminated"):
        raise LengthRequired
    limit = maximum_body_bytes()
    length = 0 if is_chunked else _told_length(environ)
    if limit is not None and length > limit:
        raise PayloadTooLarge.of_bytes(limit)
    body = stream.read(length) if length else b""
    if length and len(body) == length:
        return body
    return _read_pieces(environ, stream, body, length, limit)


def _read_pieces(
    environ: Environ, stream: Stream, begun: bytes, length: int, limit: int | None
) -> bytes:
    body = bytearray(begun)
    for chunk in _chunks(environ, stream, length - len(begun)):
        body += chunk
        if limit is not None and len(body) > limit:
            raise PayloadTooLarge.of_bytes(limit)
    if len(body) < length:
        # What came of it may well be whole JSON by itself.
        raise EOFError("The client left before it had sent the whole body.")
    return bytes(body)


def _told_length(environ: Environ) -> int:
    """Return what a request says of the length of its body; 0 if it says nothing.

    Raises:
        ValueError: that is no number.
    """
    return max(0, int(str(environ.get("CONTENT_LENGTH") or 0)))


def _is_chunked(environ: Environ) -> bool:
    # Under ASGI Django has the whole body already, however it came.
    return "HTTP_TRANSFER_ENCODING" in environ and "wsgi.input" in environ


def _chunks(environ: Environ, stream: Stream, left: int | None = None) -> Iterator[bytes]:
    """Yield what comes of the body, up to its end or its length."""
    if _is_chunked(environ):
        if not environ.get("wsgi.input_terminated"):
            return
        # Django reads no further than the Content-Length, which a chunked body does not have.
        stream, left = environ["wsgi.input"], None  # type: ignore[assignment]
    elif "wsgi.input" not in environ:
        left = None
    elif left is None:
        left = _told_length(environ)
    while left is None or left > 0:
        chunk = stream.read(_READ_BYTES if left is None else min(left, _READ_BYTES))
        if not chunk:
            return
        left = left if left is None else left - len(chunk)
        yield chunk

"""The body of a request as bytes, whatever way it comes: sized, chunked, or not at all."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError, UnsupportedMediaType

from models_api.conf import maximum_body_bytes, maximum_json_values

_JSON_MEDIA_TYPE = re.compile(r"application/([a-z0-9!#$&^_.+-]+\+)?json", re.IGNORECASE)
_TENSOR_MEDIA_TYPES = ("application/json", "application/octet-stream")
_BEGINNINGS = (b",", b"[", b"{")
"""One of these stands before every value, but for a first one that is in nothing else."""
_UNCOUNTED_BYTES = 65536
"""Shorter JSON holds what it will: it cannot take much memory, and most requests are that short."""
_READ_BYTES = 65536
_DISCARDED_BYTES = 64 * 1024 * 1024


class LengthRequired(APIException):
    """The server offers no way to know where the body ends."""

    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_detail = "Send a Content-Length: this server cannot read chunked bodies."
    default_code = "length_required"


class PayloadTooLarge(APIException):
    """The body is larger, or holds more values, than this service reads."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "payload_too_large"

    @classmethod
    def of_bytes(cls, limit: int | None) -> PayloadTooLarge:
        """Name the limit of the body's size."""
        return cls(f"The body is larger than the limit of {limit} bytes.")

    @classmethod
    def of_values(cls, limit: int) -> PayloadTooLarge:
        """Name the limit of what its JSON holds."""
        return cls(f"The body holds more than the limit of {limit} JSON values.")


def read_json_body(request: HttpRequest) -> bytes:
    """Read the whole body of a request that says that it is JSON, or does not say what it is.

    Raises:
        UnsupportedMediaType: it is something else, or compressed.
        PayloadTooLarge: it is larger than Django's DATA_UPLOAD_MAX_MEMORY_SIZE, or holds more
            values than MODELS_API_MAX_JSON_VALUES.
        LengthRequired: it is chunked, and the server leaves it to the application to find its end.
        ParseError: it breaks off, or its framing is wrong.
    """
    if request.META.get("CONTENT_TYPE") != "application/json":
        _require_json(request.META)
    body = _read_whole(request)
    if len(body) > _UNCOUNTED_BYTES:
        _require_few_values(body)
    return body


def read_tensor_body(request: HttpRequest, json_length: int | None) -> bytes:
    """Read the whole body of a request that may say that it is binary, too.

    Its JSON has so many bytes; None if it is all JSON.

    Raises:
        UnsupportedMediaType, PayloadTooLarge, LengthRequired, ParseError: as read_json_body.
    """
    if request.META.get("CONTENT_TYPE", "application/json") not in _TENSOR_MEDIA_TYPES:
        _require_json(request.META)
    body = _read_whole(request)
    if len(body) > _UNCOUNTED_BYTES:
        _require_few_values(body[:json_length])
    return body


def discard_body(request: HttpRequest) -> None:
    """Read what is left of the body, up to 64 MiB, and forget it.

    A client that still sends would see its connection reset, and never see the answer.
    """
    left = _DISCARDED_BYTES
    # The request is refused already: another fault of its body changes nothing.
    with contextlib.suppress(Exception):
        for chunk in _chunks(request):
            left -= len(chunk)
            if left <= 0:
                return


def _require_json(headers: dict[str, Any]) -> None:
    media_type = headers.get("CONTENT_TYPE", "").partition(";")[0].strip()
    if media_type and not _JSON_MEDIA_TYPE.fullmatch(media_type):
        detail = f'Unsupported media type "{media_type}"; send application/json.'
        raise UnsupportedMediaType(media_type, detail)


def _require_uncompressed(headers: dict[str, Any]) -> None:
    encoding = headers["HTTP_CONTENT_ENCODING"].strip()
    if encoding.lower() not in ("", "identity"):
        detail = f'Unsupported content encoding "{encoding}"; send the body uncompressed.'
        raise UnsupportedMediaType(encoding, detail)


def _read_whole(request: HttpRequest) -> bytes:
    if "HTTP_CONTENT_ENCODING" in request.META:
        _require_uncompressed(request.META)
    try:
        return _read(request)
    except RequestDataTooBig:
        raise PayloadTooLarge.of_bytes(maximum_body_bytes()) from None
    except APIException:
        raise
    except Exception as error:
        # Each server has exceptions of its own for a client that went away or a malformed chunk.
        raise ParseError("The body could not be read to its end.") from error


def _read(request: HttpRequest) -> bytes:
    if not _is_chunked(request):
        return _read_sized(request)
    if not request.META.get("wsgi.input_terminated"):
        raise LengthRequired
    limit = maximum_body_bytes()
    body = bytearray()
    for chunk in _chunks(request):
        body += chunk
        if limit is not None and len(body) > limit:
            raise PayloadTooLarge.of_bytes(limit)
    return bytes(body)


def _read_sized(request: HttpRequest) -> bytes:
    body = request.body
    if len(body) < int(request.META.get("CONTENT_LENGTH") or 0):
        # What came of it may well be whole JSON by itself.
        raise EOFError("The client left before it had sent the whole body.")
    return body


def _require_few_values(json: bytes) -> None:
    """Refuse JSON that would take hundreds of times its size while it is validated.

    An empty list of two bytes takes half a kilobyte where it does not fit the schema.
    """
    limit = maximum_json_values()
    # No JSON holds more values than it has bytes.
    if limit is None or len(json) <= max(limit, _UNCOUNTED_BYTES):
        return
    # The first count is quick, but takes the content of strings for values, too.
    if _beginnings(json) > limit and _beginnings_outside_strings(json) > limit:
        raise PayloadTooLarge.of_values(limit)


def _beginnings(json: bytes) -> int:
    return sum(map(json.count, _BEGINNINGS))


def _beginnings_outside_strings(json: bytes) -> int:
    unescaped = json.replace(b"\\\\", b"").replace(b'\\"', b"")
    count, is_in_string = 0, False
    # A part at a time, because there may be millions of pieces.
    for start in range(0, len(unescaped), _READ_BYTES):
        pieces = unescaped[start : start + _READ_BYTES].split(b'"')
        count += _beginnings(b"".join(pieces[is_in_string::2]))
        is_in_string ^= len(pieces) % 2 == 0
    return count


def _is_chunked(request: HttpRequest) -> bool:
    # Under ASGI Django has the whole body already, however it came.
    headers = request.META
    return "HTTP_TRANSFER_ENCODING" in headers and "wsgi.input" in headers


def _chunks(request: HttpRequest) -> Iterator[bytes]:
    # Django reads no further than the Content-Length, which a chunked body does not have.
    chunked = _is_chunked(request) and request.META.get("wsgi.input_terminated")
    stream = request.META["wsgi.input"] if chunked else request
    while chunk := stream.read(_READ_BYTES):
        yield chunk

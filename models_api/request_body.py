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

from models_api.conf import maximum_body_bytes

_JSON_MEDIA_TYPE = re.compile(r"application/([a-z0-9!#$&^_.+-]+\+)?json", re.IGNORECASE)
_TENSOR_MEDIA_TYPES = ("application/json", "application/octet-stream")
_READ_BYTES = 65536
_DISCARDED_BYTES = 64 * 1024 * 1024


class LengthRequired(APIException):
    """The server offers no way to know where the body ends."""

    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_detail = "Send a Content-Length: this server cannot read chunked bodies."
    default_code = "length_required"


class PayloadTooLarge(APIException):
    """The body is larger than this service reads."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "payload_too_large"

    def __init__(self, limit: int | None) -> None:
        super().__init__(f"The body is larger than the limit of {limit} bytes.")


def read_json_body(request: HttpRequest) -> bytes:
    """Read the whole body of a request that says that it is JSON, or does not say what it is.

    Raises:
        UnsupportedMediaType: it is something else, or compressed.
        PayloadTooLarge: it is larger than Django's DATA_UPLOAD_MAX_MEMORY_SIZE.
        LengthRequired: it is chunked, and the server leaves it to the application to find its end.
        ParseError: it breaks off, or its framing is wrong.
    """
    if request.META.get("CONTENT_TYPE") != "application/json":
        _require_json(request.META)
    return _read_whole(request)


def read_tensor_body(request: HttpRequest) -> bytes:
    """Read the whole body of a request that may say that it is binary, too.

    Raises:
        UnsupportedMediaType, PayloadTooLarge, LengthRequired, ParseError: as read_json_body.
    """
    if request.META.get("CONTENT_TYPE", "application/json") not in _TENSOR_MEDIA_TYPES:
        _require_json(request.META)
    return _read_whole(request)


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
        raise PayloadTooLarge(maximum_body_bytes()) from None
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
            raise PayloadTooLarge(limit)
    return bytes(body)


def _read_sized(request: HttpRequest) -> bytes:
    body = request.body
    if len(body) < int(request.META.get("CONTENT_LENGTH") or 0):
        # What came of it may well be whole JSON by itself.
        raise EOFError("The client left before it had sent the whole body.")
    return body


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

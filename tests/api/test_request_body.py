"""Reading the body of a request, however it comes."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.test import override_settings

from models_api.api.request_body import (
    BoundedStream,
    Environ,
    discard_body,
    peek_body,
    read_json_body,
    read_tensor_body,
)
from models_api.api.views import RequestStream
from models_api.error_table import ErrorKind, error_kind
from models_api.exceptions import (
    InvalidInput,
    LengthRequired,
    PayloadTooLarge,
    UnreadableBody,
    UnsupportedEncoding,
    UnsupportedMediaType,
)

BODY = b'{"x": 1}'
DISCARDED = 64 * 1024 * 1024


class Stream(io.BytesIO):
    """A body as a server offers it, that may fail."""

    error: Exception | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.error is not None:
            raise self.error
        return super().read(size)


class Endless:
    """A body without an end, which counts what was read of it."""

    def __init__(self) -> None:
        self.count = 0

    def read(self, size: int) -> bytes:
        self.count += size
        return b" " * size

    def readline(self, size: int = -1) -> bytes:
        raise AssertionError("nobody reads lines")


Request = tuple[Environ, Any]
"""What WSGI tells of a request, and the stream of its body."""


def request(body: Any = BODY, **environ: Any) -> Request:
    stream = Stream(body) if isinstance(body, bytes) else body
    length = {"CONTENT_LENGTH": str(len(body))} if isinstance(body, bytes) else {}
    return {"REQUEST_METHOD": "POST", "wsgi.input": stream, **length, **environ}, stream


def bounded(body: Any = BODY, **environ: Any) -> Request:
    """As the fast lane does, whatever the server does behind the end."""
    known, _ = request(body, **environ)
    return known, BoundedStream(known)


def django(body: Any = BODY, **environ: Any) -> Request:
    """As Django's request offers it."""
    known, _ = request(body, **environ)
    return known, RequestStream(WSGIRequest(dict(known)))


def chunked(body: Any = BODY, **environ: Any) -> Request:
    """As gunicorn offers a chunked body: decoded, and with an end."""
    stream = Stream(body) if isinstance(body, bytes) else body
    framing = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    return request(stream, **framing, **environ)


WAYS = [request, bounded, django, chunked]


def asgi(asked: ASGIRequest) -> Request:
    return asked.META, RequestStream(asked)


def kind_of(error: BaseException) -> ErrorKind:
    kind = error_kind(error)
    assert kind is not None
    return kind


def texts_of(error: InvalidInput) -> list[str]:
    return [problem.text for problem in error.problems]


@pytest.mark.parametrize("make", WAYS)
@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "application/json; charset=utf-8",
        " application/json ;x",
        "Application/JSON",
        "application/vnd.x+json",
        "application/ld+json; profile=x",
    ],
)
def test_json_is_read_under_all_its_names(make: Any, content_type: str) -> None:
    assert read_json_body(*make(CONTENT_TYPE=content_type)) == BODY


def test_a_body_without_a_content_type_is_read() -> None:
    assert read_json_body(*request()) == BODY


@pytest.mark.parametrize(
    ("content_type", "shown"),
    [
        ("text/plain", "text/plain"),
        ("text/json", "text/json"),
        ("application/xml; charset=x", "application/xml"),
        ("application/jsonx", "application/jsonx"),
        ("application/x+jsonx", "application/x+jsonx"),
        ("application/json, text/plain", "application/json, text/plain"),
        ("application/a b+json", "application/a b+json"),
        ("*/*", "*/*"),
    ],
)
def test_other_media_types_are_refused(content_type: str, shown: str) -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        read_json_body(*request(CONTENT_TYPE=content_type))
    assert str(caught.value) == f'Unsupported media type "{shown}"; send application/json.'


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_a_body_that_says_it_is_not_compressed_is_read(encoding: str) -> None:
    assert read_json_body(*request(HTTP_CONTENT_ENCODING=encoding)) == BODY


@pytest.mark.parametrize(
    "encoding", ["br", "deflate", "gzip, br", "gzip, gzip", "nonsense", "gzipp", "zstd"]
)
def test_a_body_that_is_compressed_otherwise_is_refused(encoding: str) -> None:
    with pytest.raises(UnsupportedEncoding) as caught:
        read_json_body(*request(HTTP_CONTENT_ENCODING=encoding))
    assert str(caught.value) == (
        f'Unsupported content encoding "{encoding}"; send the body uncompressed, or compressed by '
        "gzip."
    )


@pytest.mark.parametrize("encoding", ["gzip", "GZip", " x-gzip ", "identity, gzip", "gzip,"])
def test_a_body_that_is_compressed_by_gzip_is_unpacked(encoding: str) -> None:
    packed = gzip.compress(BODY)
    assert read_json_body(*request(packed, HTTP_CONTENT_ENCODING=encoding)) == BODY
    assert read_json_body(*chunked(packed, HTTP_CONTENT_ENCODING=encoding)) == BODY
    more = {"HTTP_CONTENT_ENCODING": encoding, "CONTENT_TYPE": "application/octet-stream"}
    assert read_tensor_body(*request(packed, **more)) == BODY


@override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=1000)
def test_a_compressed_body_may_neither_be_too_large_nor_grow_to_be() -> None:
    packed = {"HTTP_CONTENT_ENCODING": "gzip"}
    assert len(read_json_body(*request(gzip.compress(b" " * 1000), **packed))) == 1000
    for body in (gzip.compress(b" " * 1001), gzip.compress(os.urandom(1001))):
        with pytest.raises(PayloadTooLarge, match="larger than the limit of 1000 bytes"):
            read_json_body(*request(body, **packed))


def test_no_body_is_an_empty_one() -> None:
    assert read_json_body(*request(b"")) == b""
    assert read_json_body(*request(b"", CONTENT_LENGTH="")) == b""
    assert read_json_body(*chunked(b"")) == b""


@pytest.mark.parametrize("make", WAYS)
def test_a_body_may_be_as_large_as_the_limit_and_no_larger(make: Any) -> None:
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=len(BODY)):
        assert read_json_body(*make()) == BODY
        with pytest.raises(PayloadTooLarge) as caught:
            read_json_body(*make(BODY + b" "))
    assert str(caught.value) == (
        "The body is larger than the limit of 8 bytes. Send less at a time, or have "
        "MODELHOST_MAX_BODY_BYTES raised."
    )
    assert kind_of(caught.value).status == 413


@pytest.mark.parametrize("make", WAYS)
def test_without_a_limit_every_size_is_read(make: Any) -> None:
    body = b" " * 11 * 1024 * 1024
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=None):
        assert read_json_body(*make(body)) == body


def test_a_chunked_body_is_not_read_further_than_the_limit() -> None:
    endless = Endless()
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=100_000), pytest.raises(PayloadTooLarge):
        read_json_body(*chunked(endless))
    assert 100_000 < endless.count <= 2 * 65536


def test_a_chunked_body_whose_end_the_server_does_not_tell_wants_a_length() -> None:
    with pytest.raises(LengthRequired) as caught:
        read_json_body(*request(Endless(), HTTP_TRANSFER_ENCODING="chunked"))
    assert kind_of(caught.value).status == 411
    assert str(caught.value) == ("Send a Content-Length: this server cannot read chunked bodies.")


def test_a_chunked_body_under_asgi_has_been_read_already() -> None:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"transfer-encoding", b"chunked")],
    }
    with io.BytesIO(BODY) as body:
        assert read_json_body(*asgi(ASGIRequest(scope, body))) == BODY


@pytest.mark.parametrize("make", WAYS)
@pytest.mark.parametrize("error", [OSError("gone"), ValueError("bad chunk"), EOFError()], ids=repr)
def test_a_body_that_cannot_be_read_is_the_clients_fault(make: Any, error: Exception) -> None:
    stream = Stream(BODY)
    stream.error = error
    with pytest.raises(UnreadableBody) as caught:
        read_json_body(*make(stream, CONTENT_LENGTH="8"))
    assert texts_of(caught.value) == ["The body could not be read to its end."]
    assert kind_of(caught.value).status == 400


@pytest.mark.parametrize("make", WAYS)
def test_a_body_for_which_there_is_no_memory_is_not_the_clients_fault(make: Any) -> None:
    stream = Stream(BODY)
    stream.error = MemoryError()
    with pytest.raises(MemoryError):
        read_json_body(*make(stream, CONTENT_LENGTH="8"))


@pytest.mark.parametrize("make", [request, bounded, django])
@pytest.mark.parametrize("length", ["9", "100", "nonsense", "-", "1" * 5000])
def test_a_body_that_is_shorter_than_its_length_is_refused_though_it_is_json(
    make: Any, length: str
) -> None:
    with (
        override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=None),
        pytest.raises(UnreadableBody) as caught,
    ):
        read_json_body(*make(CONTENT_LENGTH=length))
    assert texts_of(caught.value) == ["The body could not be read to its end."]


def test_what_was_read_before_is_read_again() -> None:
    environ, _ = request()
    before = WSGIRequest(dict(environ))
    assert before.body == BODY
    assert read_json_body(environ, RequestStream(before)) == BODY


@pytest.mark.parametrize("make", WAYS)
def test_a_body_that_nobody_wants_is_read_to_its_end(make: Any) -> None:
    stream = Stream(b" " * 200_000)
    discard_body(*make(stream, CONTENT_LENGTH="200000"))
    assert stream.read() == b""


def test_only_so_much_of_an_endless_body_is_read() -> None:
    endless = Endless()
    discard_body(*chunked(endless))
    assert endless.count == DISCARDED


@pytest.mark.parametrize("make", [request, bounded, django])
def test_a_body_behind_the_length_belongs_to_the_next_request(make: Any) -> None:
    stream = Stream(BODY + b"GET / HTTP/1.1")
    discard_body(*make(stream, CONTENT_LENGTH=str(len(BODY))))
    assert stream.read() == b"GET / HTTP/1.1"


@pytest.mark.parametrize("make", [bounded, django])
@pytest.mark.parametrize("length", [len(BODY), 5, 0, -5, "nonsense"])
def test_nothing_behind_the_length_is_read_even_after_a_part_or_all_of_the_body_was(
    make: Any, length: object
) -> None:
    stream = Stream(BODY + b"GET / HTTP/1.1")
    asked = make(stream, CONTENT_LENGTH=str(length))
    with contextlib.suppress(UnreadableBody):
        read_json_body(*asked)
    discard_body(*asked)
    assert stream.tell() == (max(length, 0) if isinstance(length, int) else 0)


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("bad chunk")], ids=repr)
def test_a_body_that_cannot_be_discarded_is_let_be(error: Exception) -> None:
    stream = Stream(BODY)
    stream.error = error
    discard_body(*chunked(stream))


@pytest.mark.parametrize("make", [request, bounded, django])
def test_a_body_can_be_discarded_after_it_was_read_or_refused(make: Any) -> None:
    read = make()
    read_json_body(*read)
    discard_body(*read)

    too_large = Stream(BODY)
    refused = make(too_large, CONTENT_LENGTH=str(len(BODY)))
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=1), pytest.raises(PayloadTooLarge):
        read_json_body(*refused)
    discard_body(*refused)
    assert too_large.read() == b""


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_a_body_that_is_looked_at_can_be_read_again(encoding: str) -> None:
    sent = gzip.compress(b'{"x": 1}') if encoding else b'{"x": 1}'
    environ: dict[str, object] = {
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input": io.BytesIO(sent),
        "wsgi.input_terminated": True,
        **({"HTTP_CONTENT_ENCODING": encoding} if encoding else {}),
    }
    for _ in range(2):
        assert peek_body(environ, io.BytesIO()) == b'{"x": 1}'
    assert read_json_body(environ, io.BytesIO()) == b'{"x": 1}'

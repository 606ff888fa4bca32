"""What no well-behaved client sends: each request has its documented answer, and none is a 500."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

import pytest

from tests.end_to_end.raw_http import RawResponse, ask, exchange, head, in_chunks
from tests.end_to_end.server import Server, Starter, gunicorn, serve

CONFIGURATION = {"models": [{"class_path": "tests.fakes.misbehaving.ObedientModel"}]}
SERVERS: dict[str, Starter] = {
    "gunicorn sync": partial(Server, environment={"WEB_CONCURRENCY": "1"}),
    "gunicorn": partial(gunicorn, environment={"MODELHOST_WORKERS": "1"}),
    "serve": partial(serve, environment={"MODELHOST_WORKERS": "1"}),
}
PREDICTION = "/api/models/obedient/prediction"
HEALTH = "/api/health"
ASSETS = "/docs/assets/swagger-ui"
BODY = b'{"x": 1}'
PREDICTED = b'{"x":1.0,"Text":"","anything":null,"twice":2.0}'
LIMIT = 10 * 1024 * 1024
FIFTY_MEGABYTES = 50_000_000
BY_THE_SERVER = "by the server"
"""Instead of a type of error: gunicorn answers with a page of its own, granian without a body."""


@dataclass(frozen=True)
class Hostile:
    """A request, and what it is answered."""

    name: str
    request: bytes | tuple[Iterable[bytes], ...]
    status: int
    type: str | None = None
    """Of the error's body; None if there is no error, BY_THE_SERVER where no body is documented."""
    message: str | None = None
    half_close: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    def pieces(self) -> bytes | Iterator[bytes]:
        """The request, a little at a time if it is large."""
        return self.request if isinstance(self.request, bytes) else chain(*self.request)


def post(body: bytes, *headers: str, target: str = PREDICTION, version: str = "HTTP/1.1") -> bytes:
    return head("POST", target, f"Content-Length: {len(body)}", *headers, version=version) + body


def chunked(body: bytes, target: str = PREDICTION) -> bytes:
    return head("POST", target, "Transfer-Encoding: chunked") + body


class Large:
    """Fifty megabytes of spaces, which JSON allows anywhere; iterable more than once."""

    def __init__(self, in_chunks: bool = False) -> None:
        self._in_chunks = in_chunks

    def __iter__(self) -> Iterator[bytes]:
        piece = b" " * 1_000_000
        for _ in range(FIFTY_MEGABYTES // len(piece)):
            yield b"%x\r\n%b\r\n" % (len(piece), piece) if self._in_chunks else piece


def large(target: str, *headers: str, method: str = "POST") -> tuple[Iterable[bytes], ...]:
    return [head(method, target, f"Content-Length: {FIFTY_MEGABYTES}", *headers)], Large()


def invalid_json(name: str, body: bytes, message: str) -> Hostile:
    return Hostile(name, post(body), 400, "ValidationError", f"Invalid JSON: {message}")


UNREADABLE = "The body could not be read to its end."
TOO_LARGE = (
    f"The body is larger than the limit of {LIMIT} bytes. Send less at a time, or have "
    "MODELHOST_MAX_BODY_BYTES raised."
)
LISTED = "GET openapi.json says what there is."
WRONG_HOST = (
    "This service does not answer to the request's Host header; "
    "whoever runs it lists its names in MODELHOST_ALLOWED_HOSTS."
)

BODIES = [
    invalid_json("empty body", b"", "EOF while parsing a value at line 1 column 0"),
    Hostile("no length", head("POST", PREDICTION), 400, "ValidationError"),
    invalid_json("truncated JSON", b'{"x":', "EOF while parsing a value at line 1 column 5"),
    invalid_json("arrays 100 000 deep", b"[" * 100_000, "recursion limit exceeded at line 1"),
    invalid_json(
        "objects 100 000 deep", b'{"anything":' * 100_000, "recursion limit exceeded at line 1"
    ),
    invalid_json(
        "arrays 100 000 deep, all closed",
        b'{"anything":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "recursion limit exceeded at line 1",
    ),
    invalid_json("invalid UTF-8", b'{"text": "\xff\xfe"}', "invalid unicode code point at line 1"),
    invalid_json("overlong UTF-8", b'{"text": "\xc0\xaf"}', "invalid unicode code point at line 1"),
    invalid_json("surrogate in UTF-8", b'{"text": "\xed\xa0\x80"}', "invalid unicode code point"),
    invalid_json("lone surrogate", b'{"text": "\\ud800"}', "unexpected end of hex escape"),
    invalid_json("byte order mark", b"\xef\xbb\xbf" + BODY, "expected value at line 1 column 1"),
    invalid_json("UTF-16", '{"x": 1}'.encode("utf-16"), "expected value at line 1 column 1"),
    invalid_json("raw control character", b'{"text": "\x00"}', "control character"),
    invalid_json("two values", BODY + BODY, "trailing characters at line 1 column 9"),
    invalid_json("a comment", b"/* */" + BODY, "expected value at line 1 column 1"),
    invalid_json("NaN", b'{"x": NaN}', "expected value at line 1 column 7"),
    invalid_json("Infinity", b'{"x": Infinity}', "expected value at line 1 column 7"),
    invalid_json("-Infinity", b'{"x": -Infinity}', "invalid number at line 1 column 8"),
    invalid_json("5000 digits", b'{"x": ' + b"9" * 5000 + b"}", "number out of range at line 1"),
    Hostile(
        "1e999",
        post(b'{"x": 1e999}'),
        400,
        "ValidationError",
        "x: Input should be a finite number",
    ),
    Hostile(
        "1e999 in a key of no field",
        post(b'{"unknown": [{"deep": 1e999}]}'),
        400,
        "ValidationError",
        "unknown[0].deep: Input should be a finite number",
    ),
    Hostile(
        "400 digits for a float",
        post(b'{"x": ' + b"9" * 400 + b"}"),
        400,
        "ValidationError",
        "x: Input should be a finite number",
    ),
    Hostile(
        "NaN in a string",
        post(b'{"x": "\\u004ea_N"}'),
        400,
        "ValidationError",
        "x: Input should be a finite number",
    ),
    Hostile("minus zero", post(b'{"x": 1, "anything": -0}'), 200),
    Hostile("duplicate keys, the last counts", post(b'{"x": 5, "x": 1}'), 200),
    Hostile("escaped NUL in a string", post(b'{"x": 1, "text": "\\u0000"}'), 200),
    Hostile("names of Python's own", post(b'{"__class__": "x", "__dict__": {}, "x": 1}'), 200),
    *(
        Hostile(
            f"{body.decode()} for an object",
            post(body),
            400,
            "ValidationError",
            "Input should be an object",
        )
        for body in (b"null", b"[]", b'"text"', b"1", b"true")
    ),
    Hostile(
        "ninety thousand problems",
        post(b'{"items": [' + b",".join([b'"a"'] * 90_000) + b"]}"),
        400,
        "ValidationError",
        "There are too many problems to list them all.",
    ),
    Hostile(
        "a hundred thousand problems",
        post(b'{"items": [' + b",".join([b'"a"'] * 100_000) + b"]}"),
        400,
        "ValidationError",
        "There may be more problems: of a list in so large a body, only the first is looked for.",
    ),
]


def of_type(media_type: str, status: int, name: str = "") -> Hostile:
    shown = media_type.partition(";")[0]
    return Hostile(
        name or f"content type {media_type or 'empty'}",
        post(BODY, f"Content-Type: {media_type}"),
        status,
        "UnsupportedMediaType" if status == 415 else None,
        f'Unsupported media type "{shown}"; send application/json.' if status == 415 else None,
    )


CONTENT_TYPES = [
    Hostile("no content type", post(BODY), 200),
    of_type("", 200),
    of_type("APPLICATION/JSON", 200),
    of_type("application/json;charset=utf-8", 200),
    of_type("application/json; charset=utf-16", 200),
    of_type("application/json; charset=nonsense", 200),
    of_type("application/json; charset=\xe9", 200),
    of_type("application/json; charset=" + "a" * 5000, 200, "content type with a huge charset"),
    of_type("application/json;;;=;", 200),
    of_type("application/vnd.x+json", 200),
    of_type("text/plain", 415),
    of_type("text/json", 415),
    of_type("application/xml", 415),
    of_type("application/jsonx", 415),
    of_type("application/x-www-form-urlencoded", 415),
    of_type("multipart/form-data", 415),
    of_type("multipart/form-data; boundary=x", 415),
    of_type("application/", 415),
    of_type("*/*", 415),
    of_type("garbage", 415),
    of_type("application/json, text/plain", 415),
    Hostile(
        "two content types",
        post(BODY, "Content-Type: application/json", "Content-Type: text/plain"),
        400,
        BY_THE_SERVER,
    ),
]


def encoded(encoding: str, body: bytes, status: int = 415) -> Hostile:
    return Hostile(
        f"content encoding {encoding or 'empty'}",
        post(body, f"Content-Encoding: {encoding}"),
        status,
        "UnsupportedMediaType" if status == 415 else None,
        f'Unsupported content encoding "{encoding}"; send the body uncompressed, or compressed '
        "by gzip."
        if status == 415
        else None,
    )


CONTENT_ENCODINGS = [
    encoded("gzip", gzip.compress(BODY), 200),
    encoded("X-GZIP", gzip.compress(BODY), 200),
    encoded("gzip, gzip", gzip.compress(gzip.compress(BODY))),
    encoded("deflate", zlib.compress(BODY)),
    encoded("br", BODY),
    encoded("nonsense", BODY),
    encoded("identity, gzip", gzip.compress(BODY), 200),
    encoded("identity", BODY, 200),
    encoded("Identity", BODY, 200),
    encoded("", BODY, 200),
]


def unreadable(name: str, request: bytes, *, half_close: bool = False) -> Hostile:
    return Hostile(name, request, 400, "ValidationError", UNREADABLE, half_close)


def unparsable(
    name: str, request: bytes, status: int = 400, *, half_close: bool = False
) -> Hostile:
    """The server refuses the request line, a header or the framing by itself."""
    return Hostile(name, request, status, BY_THE_SERVER, half_close=half_close)


FRAMING = [
    unreadable(
        "body that breaks off",
        head("POST", PREDICTION, "Content-Length: 99") + b'{"x',
        half_close=True,
    ),
    unreadable(
        "body that breaks off after whole JSON",
        head("POST", PREDICTION, "Content-Length: 99") + BODY,
        half_close=True,
    ),
    Hostile("chunked", chunked(in_chunks(b'{"x"', b": 1}")), 200),
    Hostile("chunked, with an extension", chunked(b"8;a=b\r\n" + BODY + b"\r\n0\r\n\r\n"), 200),
    Hostile("chunked, with a trailer", chunked(b"8\r\n" + BODY + b"\r\n0\r\nX-A: 1\r\n\r\n"), 200),
    Hostile(
        "chunked, in upper case",
        head("POST", PREDICTION, "Transfer-Encoding: CHUNKED") + in_chunks(BODY),
        200,
    ),
    Hostile("chunked, empty", chunked(in_chunks()), 400, "ValidationError"),
    unreadable("chunk size of letters", chunked(b"zz\r\n" + BODY + b"\r\n0\r\n\r\n")),
    unreadable("negative chunk size", chunked(b"-8\r\n" + BODY + b"\r\n0\r\n\r\n")),
    unreadable("huge chunk size", chunked(b"f" * 18 + b"\r\n" + BODY), half_close=True),
    unreadable("chunk that breaks off", chunked(b"64\r\n" + BODY), half_close=True),
    unreadable("no last chunk", chunked(b"8\r\n" + BODY + b"\r\n"), half_close=True),
    unreadable("chunk longer than its size", chunked(b"7\r\n" + BODY + b"\r\n0\r\n\r\n")),
    unreadable(
        "trailer that tells a length",
        chunked(b"8\r\n" + BODY + b"\r\n0\r\nContent-Length: 1\r\n\r\n"),
    ),
    Hostile(
        "malformed chunks where nothing is",
        chunked(b"zz\r\n\r\n", target="/nope"),
        404,
        "NotFound",
        f"There is nothing at /nope. {LISTED}",
    ),
    unparsable("length and chunks", post(b"", "Transfer-Encoding: chunked") + in_chunks(BODY)),
    unparsable(
        "chunked twice",
        head("POST", PREDICTION, "Transfer-Encoding: chunked, chunked") + in_chunks(BODY),
    ),
    unparsable(
        "transfer coding identity",
        head("POST", PREDICTION, "Transfer-Encoding: identity") + BODY,
    ),
    unparsable(
        "unknown transfer coding",
        head("POST", PREDICTION, "Transfer-Encoding: xchunked") + in_chunks(BODY),
        501,
    ),
    unparsable(
        "transfer coding behind a control character",
        head("POST", PREDICTION, "Transfer-Encoding: \x0bchunked") + in_chunks(BODY),
    ),
    unparsable("two lengths", post(BODY, "Content-Length: 9")),
    unparsable("the same length twice", post(BODY, f"Content-Length: {len(BODY)}")),
    *(
        unparsable(
            f"length {length[:8]}", head("POST", PREDICTION, f"Content-Length: {length}") + BODY
        )
        for length in ("abc", "-1", "+8", "8, 8", "0x8", "8.0", " ", "\xb2", "1" * 5000)
    ),
    Hostile(
        "length of thirty digits",
        head("POST", PREDICTION, "Content-Length: " + "1" * 30) + BODY,
        413,
        "PayloadTooLarge",
        TOO_LARGE,
        half_close=True,
    ),
]

SIZES = [
    Hostile(
        "800 000 empty arrays, which take a hundred times that in memory",
        (
            [head("POST", PREDICTION, "Content-Length: 2400016"), b'{"anything": ['],
            [b"[]," * 1000] * 800,
            [b"]}"],
        ),
        413,
        "PayloadTooLarge",
        "The body holds 1 objects and 1600001 other values, which count 1600002 by the model's "
        "input schema; the limit is 1500000. Send less at a time, or have the model's max_values "
        "raised, or MODELHOST_MAX_JSON_VALUES.",
    ),
    Hostile("50 MB", large(PREDICTION), 413, "PayloadTooLarge", TOO_LARGE),
    Hostile(
        "50 MB in chunks",
        ([chunked(b"")], Large(in_chunks=True), [b"0\r\n\r\n"]),
        413,
        "PayloadTooLarge",
        TOO_LARGE,
    ),
    Hostile(
        "50 MB to an unknown model",
        large("/api/models/nope/prediction"),
        404,
        "NotFound",
        'There is no model "nope"; GET api/models lists them.',
    ),
    Hostile("50 MB where nothing is", large("/nope"), 404, "NotFound"),
    Hostile(
        "50 MB to a route that takes none",
        large(HEALTH),
        405,
        "MethodNotAllowed",
        headers={"allow": "GET, HEAD, OPTIONS"},
    ),
    Hostile(
        "50 MB of another type",
        large(PREDICTION, "Content-Type: text/plain"),
        415,
        "UnsupportedMediaType",
    ),
    Hostile(
        "50 MB, compressed in an unknown way",
        large(PREDICTION, "Content-Encoding: br"),
        415,
        "UnsupportedMediaType",
    ),
    Hostile(
        "50 MB, compressed",
        large(PREDICTION, "Content-Encoding: gzip"),
        413,
        "PayloadTooLarge",
        TOO_LARGE,
    ),
    Hostile(
        "50 MB for another host", large(PREDICTION, "Host: evil"), 400, "BadRequest", WRONG_HOST
    ),
    Hostile("one byte too many", post(b" " * (LIMIT + 1)), 413, "PayloadTooLarge", TOO_LARGE),
    Hostile(
        "one byte too many in chunks",
        chunked(in_chunks(b" " * (LIMIT + 1))),
        413,
        "PayloadTooLarge",
        TOO_LARGE,
    ),
    Hostile("just not too many bytes", post(BODY + b" " * (LIMIT - len(BODY))), 200),
    Hostile(
        "just not too many bytes in chunks",
        chunked(in_chunks(BODY + b" " * (LIMIT - len(BODY)))),
        200,
    ),
]

METHODS = [
    *(
        Hostile(
            method,
            head(method, PREDICTION),
            405,
            "MethodNotAllowed",
            f'Method "{method}" not allowed; use POST.',
            headers={"allow": "POST, OPTIONS"},
        )
        for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "FOO", "X-POST")
    ),
    *(
        unparsable(f"method {method[:8]}", head(method, PREDICTION))
        for method in ("post", "get", "P", "A" * 21, "PO ST", "*", "P\xd6ST")
    ),
    Hostile("CONNECT to elsewhere", head("CONNECT", "evil.example:80"), 404, "NotFound"),
    Hostile(
        "a method in a header",
        head("GET", HEALTH, "X-HTTP-Method-Override: DELETE", "X-Original-URL: /nope"),
        200,
    ),
]


def named(name: str, shown: str | None = None) -> Iterator[Hostile]:
    """A name that is no model's; `shown` is how the answer has it, unless it makes a path."""
    start = "There is nothing at " if shown is None else f'There is no model "{shown}"'
    for method, route in (("POST", "prediction"), ("GET", "metadata")):
        request = head(method, f"/api/models/{name}/{route}", "Content-Length: 0")
        yield Hostile(f"{route} of {name[:30]}", request, 404, "NotFound", start)


NAMES = [
    *named("..", ".."),
    *named("%2e%2e", ".."),
    *named("..%2f..%2fetc%2fpasswd"),
    *named("%2fobedient"),
    *named("obedient%2fprediction"),
    *named("../obedient"),
    *named("obedient%00", "obedient\0"),
    *named("%00", "\0"),
    *named("%e2%82%ac", "€"),
    *named("%ff", "%FF"),
    *named("%ed%a0%80", "%ED%A0%80"),
    *named("%", "%"),
    *named("%zz", "%zz"),
    *named("%0d%0aX-Injected:%201", "\r\nX-Injected: 1"),
    *named("%0d%0a%0d%0aHTTP%2f1.1%20200%20OK"),
    *named("obedient%20", "obedient "),
    *named("OBEDIENT", "OBEDIENT"),
    *named("obedient;x=1", "obedient;x=1"),
    *named("obedient\\", "obedient\\"),
    *named("%3Cscript%3E", "<script>"),
    *named("'%22", "'\""),
    *named("%7Bqualified_name%7D", "{qualified_name}"),
    *named("__class__", "__class__"),
    *named("a" * 3000, "a" * 3000),
    unparsable("name in Latin-1", head("GET", "/api/models/\xe9/metadata")),
    unparsable("name of 9000 letters", head("GET", f"/api/models/{'a' * 9000}/metadata"), 414),
]


def nothing_at(target: str, path: str | None = None) -> Hostile:
    message = "There is nothing at " if path is None else f"There is nothing at {path}. {LISTED}"
    return Hostile(f"target {target[:50]}", head("GET", target), 404, "NotFound", message)


TARGETS = [
    nothing_at("//api/health", "//api/health"),
    nothing_at("/api//health", "/api//health"),
    nothing_at("/api/../api/health", "/api/../api/health"),
    nothing_at("//evil.example/api/health", "//evil.example/api/health"),
    nothing_at("/%", "/%"),
    nothing_at("/%00", "/\0"),
    nothing_at("/%ff", "/%FF"),
    *(
        nothing_at(f"{ASSETS}/{path}")
        for path in (
            "../../../../../../../../etc/passwd",
            "%2e%2e/%2e%2e/%2e%2e/modelhost/settings.py",
            "..%2f..%2f..%2fsettings.py",
            "..%5c..%5csettings.py",
            "/etc/passwd",
            "%00",
            ".",
            "%2f",
            "index.html/x",
            "a" * 300,
            "a/" * 1000,
        )
    ),
    nothing_at("/docs/assets/../swagger-ui/index.html"),
    nothing_at("/docs/assets/nope/index.html"),
    Hostile("absolute target", head("GET", f"http://localhost{HEALTH}"), 200),
    Hostile("absolute target on another host", head("GET", f"http://evil.example{HEALTH}"), 200),
    Hostile("fragment", head("GET", f"{HEALTH}#fragment"), 200),
    Hostile("query", head("GET", f"{HEALTH}?%00=%ff&&==&x[]={'a' * 1000}"), 200),
    Hostile("OPTIONS of everything", head("OPTIONS", "*"), 404, "NotFound"),
    unparsable("GET of everything", head("GET", "*")),
    unparsable("target without a slash", head("GET", "api/health")),
    unparsable("long target", head("GET", f"{HEALTH}?{'a' * 10_000}"), 414),
    unparsable("space in the target", head("GET", "/api /health")),
    unparsable("no target", b"GET  HTTP/1.1\r\nHost: localhost\r\n\r\n"),
]


def for_host(host: str) -> Hostile:
    request = head("GET", "/api/models", f"Host: {host}")
    return Hostile(f"host {host or 'empty'}", request, 400, "BadRequest", WRONG_HOST)


HEADERS = [
    *map(
        for_host,
        (
            "evil.example",
            "",
            "localhost:abc",
            "local host",
            "[::1",
            "localhost, evil.example",
            "evil@localhost",
            "localhost/x",
            "\xe9",
            "localhost.evil.example",
        ),
    ),
    Hostile("no host", b"GET /api/health HTTP/1.1\r\nConnection: close\r\n\r\n", 200),
    Hostile("forwarded host", head("GET", HEALTH, "X-Forwarded-Host: evil.example"), 200),
    unparsable("two hosts", head("GET", HEALTH, "Host: localhost", "Host: evil.example")),
    unparsable("NUL in a host", head("GET", HEALTH, "Host: localhost\0")),
    unparsable("huge header", head("GET", HEALTH, f"X-A: {'a' * 100_000}"), 431),
    unparsable("two hundred headers", head("GET", HEALTH, *["X-A: a"] * 200), 431),
    Hostile("large header", head("GET", HEALTH, f"X-A: {'a' * 8000}"), 200),
    unparsable("NUL in a header", head("GET", HEALTH, "X-A: a\0b")),
    unparsable("carriage return in a header", head("GET", HEALTH, "X-A: a\rX-B: b")),
    unparsable("line feed in a header", head("GET", HEALTH, "X-A: a\nX-B: b")),
    unparsable("folded header", head("GET", HEALTH, "X-A: a\r\n b")),
    unparsable("space in the name of a header", head("GET", HEALTH, "X A: a")),
    unparsable("space before the colon", head("GET", HEALTH, "X-A : a")),
    unparsable("no name", head("GET", HEALTH, ": a")),
    unparsable("no colon", head("GET", HEALTH, "nonsense")),
    Hostile("underscore in the name of a header", head("GET", HEALTH, "Content_Length: abc"), 200),
    Hostile("unreadable Accept", head("GET", HEALTH, "Accept: a/b/c;q=x,,\xff"), 200),
    Hostile("nothing acceptable", head("GET", HEALTH, "Accept: text/html;q=0"), 200),
    Hostile("unreadable cookies", head("GET", HEALTH, "Cookie: \xff=;;;=a"), 200),
    Hostile("unreadable credentials", post(BODY, "Authorization: Basic \xff"), 200),
    Hostile("upgrade", head("GET", HEALTH, "Upgrade: h2c", "HTTP2-Settings: x"), 200),
    unparsable("unknown expectation", post(BODY, "Expect: 200-ok"), 417),
    Hostile(
        "unreadable date for an asset",
        head("HEAD", f"{ASSETS}/swagger-ui.css", "If-Modified-Since: Sat, 99 Oct 9999999"),
        200,
    ),
    Hostile(
        "unreadable range", head("HEAD", f"{ASSETS}/swagger-ui.css", "Range: bytes=9-1,-,x"), 200
    ),
]

PROTOCOLS = [
    Hostile("HTTP/1.0", post(BODY, version="HTTP/1.0"), 200),
    Hostile(
        "HTTP/1.0 without a length",
        head("POST", PREDICTION, version="HTTP/1.0") + BODY,
        400,
        "ValidationError",
        half_close=True,
    ),
    unparsable(
        "HTTP/1.0 in chunks",
        head("POST", PREDICTION, "Transfer-Encoding: chunked", version="HTTP/1.0")
        + in_chunks(BODY),
    ),
    unparsable("HTTP/2.0", head("GET", HEALTH, version="HTTP/2.0")),
    unparsable("HTTP/9", head("GET", HEALTH, version="HTTP/9")),
    unparsable("no version", b"GET /api/health\r\n\r\n"),
    unparsable("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    unparsable(
        "bare line feeds", b"GET /api/health HTTP/1.1\nHost: localhost\nConnection: close\n\n"
    ),
    unparsable("only spaces", b"   \r\n\r\n"),
    Hostile("empty line first", b"\r\n" + head("GET", HEALTH), 200),
]

TABLE = [
    *BODIES,
    *CONTENT_TYPES,
    *CONTENT_ENCODINGS,
    *FRAMING,
    *SIZES,
    *METHODS,
    *NAMES,
    *TARGETS,
    *HEADERS,
    *PROTOCOLS,
]

NO_JSON = (400, "ValidationError", "Invalid JSON: EOF while parsing")
NO_METHOD = (405, "MethodNotAllowed", None)
PREDICTS = (200, None, None)
SERVE_ANSWERS: dict[str, tuple[int, str | None, str | None]] = {
    # It reads what is malformed as an end, and whoever waits for the answer knows what they sent.
    "chunk size of letters": NO_JSON,
    "negative chunk size": NO_JSON,
    "huge chunk size": NO_JSON,
    "chunk longer than its size": NO_JSON,
    "chunk that breaks off": PREDICTS,
    "no last chunk": PREDICTS,
    "trailer that tells a length": PREDICTS,
    # It takes the framing that RFC 9112 has it take.
    "length and chunks": PREDICTS,
    "chunked twice": PREDICTS,
    "the same length twice": PREDICTS,
    "unknown transfer coding": (400, BY_THE_SERVER, None),
    "length of thirty digits": (400, BY_THE_SERVER, None),
    # It leaves methods, targets and headers to the application, in a head of up to 128 KiB.
    "method post": NO_JSON,
    "method get": NO_METHOD,
    "method P": NO_METHOD,
    "method AAAAAAAA": NO_METHOD,
    "method *": NO_METHOD,
    "CONNECT to elsewhere": NO_METHOD,
    "name of 9000 letters": (404, "NotFound", "There is no model"),
    "GET of everything": (404, "NotFound", f"There is nothing at /*. {LISTED}"),
    "long target": PREDICTS,
    "huge header": PREDICTS,
    "two content types": PREDICTS,
    "two hosts": PREDICTS,
    "line feed in a header": PREDICTS,
    "unknown expectation": PREDICTS,
    "bare line feeds": PREDICTS,
}
"""Status, type and message where granian understands more than gunicorn, or less."""


def expected(hostile: Hostile, kind: str) -> Hostile:
    """What this server answers to the request."""
    if kind != "serve" or hostile.name not in SERVE_ANSWERS:
        return hostile
    status, type_, message = SERVE_ANSWERS[hostile.name]
    return replace(hostile, status=status, type=type_, message=message, headers={})


@pytest.fixture(scope="module", params=sorted(SERVERS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def server(kind: str) -> Iterator[Server]:
    with SERVERS[kind](CONFIGURATION) as server:
        yield server
        workers = server.log.count("Spawning worker" if kind == "serve" else "Booting worker")
        assert workers == 1, "a worker died of a request"


@pytest.fixture
def port(server: Server) -> Iterator[int]:
    yield server.port
    # Whatever came before, the next client is served.
    assert ask(server.port, post(BODY)).body == PREDICTED


def check_error(response: RawResponse, type_: str, message: str | None) -> None:
    assert response.headers["content-type"] == "application/json"
    error = response.json()
    assert error["type"] == type_
    if message is not None:
        assert any(said.startswith(message) for said in error["messages"]), error["messages"]
    keys = ["type", "messages"] + ["details"] * (type_ == "ValidationError")
    assert list(error) == keys
    for detail in error.get("details", ()):
        assert list(detail) == ["location", "type", "message"]


def check_server_error(response: RawResponse, kind: str) -> None:
    if kind == "serve":
        assert response.headers["content-length"] == "0"
    else:
        assert response.headers["content-type"] == "text/html"
        assert response.body.startswith(b"<html>")


@pytest.mark.parametrize("hostile", TABLE, ids=lambda hostile: hostile.name)
def test_a_hostile_request_gets_its_documented_answer(
    port: int, kind: str, hostile: Hostile
) -> None:
    hostile = expected(hostile, kind)
    response = ask(port, hostile.pieces(), half_close=hostile.half_close)

    assert response.status == hostile.status, response.body
    # HTTP/1.0 closes without being told, which granian leaves out.
    default = "close" if kind == "serve" and "HTTP/1.0" in hostile.name else None
    assert response.headers.get("connection", default) == "close"
    assert "x-injected" not in response.headers
    for name, value in hostile.headers.items():
        assert response.headers[name] == value
    if hostile.type == BY_THE_SERVER:
        check_server_error(response, kind)
    elif hostile.type is not None:
        check_error(response, hostile.type, hostile.message)
    elif b"twice" in response.body:
        assert response.json()["x"] == 1


def test_the_table_is_long_and_no_entry_of_it_is_an_error_of_the_service() -> None:
    assert len(TABLE) >= 200
    assert len({hostile.name for hostile in TABLE}) == len(TABLE)
    assert not [hostile for hostile in TABLE if hostile.status in (500, 502, 503)]


def test_a_client_that_expects_to_be_told_to_go_on_is_told(port: int) -> None:
    interim, response = exchange(port, post(BODY, "Expect: 100-continue"))
    assert (interim.status, response.status, response.body) == (100, 200, PREDICTED)


def test_a_client_that_says_nothing_is_answered_nothing(port: int) -> None:
    assert exchange(port, b"", half_close=True) == []


def test_a_client_that_leaves_in_the_middle_of_its_headers_is_forgotten(port: int) -> None:
    assert exchange(port, head("POST", PREDICTION)[:-2], half_close=True) == []


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (post(BODY, "Connection: keep-alive"), 200),
        (post(b'{"x', "Connection: keep-alive"), 400),
        (post(BODY, "Connection: keep-alive", "Content-Type: text/plain"), 415),
        (post(BODY, "Connection: keep-alive", target="/nope"), 404),
        (post(BODY, "Connection: keep-alive", target=HEALTH), 405),
        (head("POST", PREDICTION, "Connection: keep-alive", "Content-Length: 0"), 400),
        (
            head("POST", PREDICTION, "Connection: keep-alive", "Transfer-Encoding: chunked")
            + in_chunks(BODY),
            200,
        ),
        # A body that no one reads, made to look like a request.
        (
            head("GET", HEALTH, "Connection: keep-alive", "Content-Length: 49")
            + b"POST /evil HTTP/1.1\r\nHost: localhost\r\nX-A: aaa\r\n\r\n"[:49],
            200,
        ),
    ],
)
def test_pipelined_requests_are_answered_in_order_and_never_mixed_up(
    port: int, kind: str, first: bytes, status: int
) -> None:
    responses = exchange(port, first + head("GET", HEALTH), methods=["POST", "GET"])
    # The sync worker closes each connection after one request.
    expected = [status] if kind == "gunicorn sync" else [status, 200]
    assert [response.status for response in responses] == expected


def test_after_a_malformed_chunk_the_connection_is_not_used_again(port: int) -> None:
    request = head("POST", PREDICTION, "Connection: keep-alive", "Transfer-Encoding: chunked")
    smuggled = head("GET", "/evil")
    responses = exchange(port, request + b"zz\r\n" + smuggled, methods=["POST", "GET"])
    assert [response.status for response in responses] == [400]


@pytest.mark.parametrize("given", ["a\tb", "a b", "\xe9", "a" * 129, "", "a;b", '"', "{}"])
def test_a_request_id_that_could_do_harm_is_replaced(port: int, server: Server, given: str) -> None:
    body = b'{"do": "raise"}'
    response = ask(port, post(body, f"X-Request-ID: {given}"))
    assert response.status == 500
    request_id = response.headers["x-request-id"]
    assert len(request_id) == 32
    assert int(request_id, 16)
    assert f"(request {request_id})" in server.log

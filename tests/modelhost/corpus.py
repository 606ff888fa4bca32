"""Requests for predictions of every kind, good and hostile, as WSGI has them."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.fakes.named import ODD
from tests.fakes.refusing import ANSWERS
from tests.open_inference.hostile_requests import HOSTILE_REQUESTS, strings

VERSIONS = ("1", "2 \u00e9/<a>,%{b}?#;", "\U0001f680")
SHARED: dict[str, list[dict[str, Any]]] = {
    "by_chance": [{"traffic": 50}, {}],
    "by_header": [{"traffic": 50, "traffic_key": "header:X-User"}, {}],
    "by_field": [{"traffic": 50, "traffic_key": "field:text"}, {}],
    "on_trial": [{}, {"traffic": 50, "abort": {"min_requests": 100_000}}],
    "shadowed": [{}, {"shadow": True}],
    "shadowed_in_vain": [
        {"traffic": 50},
        {},
        {"shadow": True, "class_path": "tests.fakes.misbehaving.BrokenModel"},
    ],
}
"""Models whose versions share their requests, or get copies of them; what each version says."""
CONFIGURATION = {
    "models": [
        {"class_path": "tests.fakes.misbehaving.ObedientModel"},
        {"class_path": "tests.fakes.misbehaving.HiddenModel", "create_endpoint": False},
        {"class_path": "tests.fakes.misbehaving.BrokenModel"},
        {"class_path": "tests.fakes.tensors.EchoModel"},
        {"class_path": "tests.fakes.batching.BatchingModel", "batching": {"max_batch_size": 4}},
        {"class_path": "tests.fakes.batching.ShortModel"},
        {
            "class_path": "tests.fakes.changing.ScalingModel",
            "decorators": [{"class_path": "tests.fakes.changing.ShiftingDecorator"}],
        },
        {"class_path": "tests.fakes.columns.ColumnsModel"},
        {"class_path": "tests.fakes.named.Chinese"},
        {"class_path": "tests.fakes.named.Odd"},
        {"class_path": "tests.fakes.costly.ShapesModel", "max_values": 200},
        {"class_path": "tests.fakes.costly.FormulaModel"},
        {"class_path": "tests.fakes.overload.HurriedModel", "timeout_seconds": 0.05},
        {
            "class_path": "tests.fakes.overload.PatientModel",
            "concurrency": {"max_concurrency": 1, "max_queue_size": 0},
        },
        {"class_path": "tests.fakes.refusing.RefusingModel"},
        {"class_path": "tests.fakes.refusing.RefusingBatchModel", "batching": {}},
        {
            "class_path": "tests.fakes.refusing.QuietModel",
            "decorators": [{"class_path": "tests.fakes.refusing.QuotaDecorator"}],
        },
        {"class_path": "tests.fakes.asking.AskingModel"},
        {"class_path": "tests.fakes.asking.AskingBatchModel", "batching": {}},
        {"class_path": "tests.fakes.asking.ColumnsModel"},
        *(
            {
                "class_path": "tests.fakes.misbehaving.ObedientModel",
                "qualified_name": "released",
                "version": version,
            }
            for version in VERSIONS
        ),
        *(
            {
                "class_path": "tests.fakes.misbehaving.ObedientModel",
                "qualified_name": name,
                "version": str(number),
                **keys,
            }
            for name, versions in SHARED.items()
            for number, keys in enumerate(versions, 1)
        ),
    ],
    "request_headers": ["X-Tenant", "Accept-Language", "Content-Type"],
    "open_inference": {"enabled": True},
}
ENVIRONMENT = {
    "MODELHOST_ALLOWED_HOSTS": "localhost,127.0.0.1,[::1],.example.org,a_b",
    "MODELHOST_MAX_BODY_BYTES": "200000",
    "MODELHOST_MAX_JSON_VALUES": "70000",
    "MODELHOST_MAX_BATCH_ROWS": "6",
}
SINGLE, BATCH = "/api/models/obedient/prediction", "/api/models/obedient/prediction/batch"
INFER = "/v2/models/echo/infer"
VERSIONED = "/v2/models/echo/versions/2.1.0/infer"
TENSORS: dict[str, dict[str, Any]] = {
    "temperature": {"datatype": "FP64", "shape": [1], "data": [21.5]},
    "count": {"datatype": "INT64", "shape": [1], "data": [3]},
    "active": {"datatype": "BOOL", "shape": [1], "data": [True]},
    "label": {"datatype": "BYTES", "shape": [1], "data": ["a"]},
    "vector": {"datatype": "FP64", "shape": [1, 3], "data": [1.0, 2.0, 3.0]},
}


VALUE = json.dumps(
    {"inputs": [{"name": "value", "datatype": "INT64", "shape": [1], "data": [1]}]}
).encode()


class Asked(NamedTuple):
    """One request."""

    name: str
    path: str
    body: bytes
    method: str
    more: Mapping[str, object]
    """What else the environ holds; what is None is left out."""
    breaks: bool
    """Whether the connection does, behind the body."""

    def environ(self) -> dict[str, Any]:
        """Make the environ, as a server does."""
        stream = Breaking(self.body) if self.breaks else io.BytesIO(self.body)
        found: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": self.path,
            "QUERY_STRING": "",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "localhost:8000",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(self.body)),
            "REMOTE_ADDR": "192.0.2.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": stream,
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            **self.more,
        }
        return {name: value for name, value in found.items() if value is not None}


class Breaking(io.BytesIO):
    """A body whose client goes away."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read what came, and then fail."""
        found = super().read(size)
        if not found:
            raise ConnectionResetError("gone")
        return found


def asked(
    name: str,
    path: str,
    body: bytes = b"{}",
    method: str = "POST",
    *,
    more: Mapping[str, object] | None = None,
    breaks: bool = False,
) -> Asked:
    """Make a request."""
    return Asked(name, path, body, method, more or {}, breaks)


def rows(*given: object) -> bytes:
    """Write the body of a request for many rows."""
    return json.dumps({"inputs": given}).encode()


def tensors(**changed: dict[str, Any]) -> bytes:
    """Write a request that the echo can answer, but for what is changed."""
    inputs = [{"name": name, **given, **changed.get(name, {})} for name, given in TENSORS.items()]
    return json.dumps({"inputs": inputs}).encode()


_HEADER_LENGTH = "HTTP_INFERENCE_HEADER_CONTENT_LENGTH"
GOOD = {
    SINGLE: b'{"x": 1, "text": "\xc3\xa9"}',
    BATCH: rows({"x": 1}, {"x": 2}),
    INFER: tensors(),
    VERSIONED: tensors(),
}
ROUTES = tuple(GOOD)
# Without "endless", a list that holds itself: what its RecursionError says, and clients are told
# while debugging, depends on how deep the stack is.
DEEDS = (
    *("echo", "mapping", "numpy", "nan", "raise", "exit", "reject", "surrogate", "nonsense"),
    *("nothing", "misfit", "unwritable", "deep", "unknown"),
)
BODIES = {
    "empty": b"",
    "blank": b" \n",
    "null": b"null",
    "a list": b"[]",
    "cut off": b'{"x": 1',
    "two values": b"{}{}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "no UTF-8": b'{"text": "\xff"}',
    "a lone surrogate": b'{"text": "\\ud800"}',
    "NaN": b'{"x": NaN}',
    "infinity": b'{"x": 1e999}',
    "infinity in a string": b'{"x": "inf"}',
    "a wrong type": b'{"x": "secret", "items": [1, "a"]}',
    "a key twice": b'{"x": 1, "x": "a"}',
    "deeply nested": b'{"anything": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "no inputs": b'{"inputs": []}',
    "inputs that are none": b'{"inputs": 3}',
    "too many rows": rows(*[{"x": 1}] * 7),
    "a wrong row": rows({"x": 1}, {"x": "a"}),
    "many values": b'{"items": [%b]}' % b",".join([b"1"] * 80_000),
    "many problems": b'{"items": [%b]}' % b",".join([b'"a"'] * 20_000),
    "too large": b'{"text": "%b"}' % (b"a" * 200_000),
    "an object that is no request": b'{"GET / HTTP/1.1": "\\r\\n\\r\\n"}',
}
MEDIA_TYPES = (
    *("application/json; charset=utf-8", "application/vnd.x+json", "APPLICATION/JSON", ""),
    *("text/plain", "application/xml", "multipart/form-data; boundary=x", "*/*"),
    *("application/x-www-form-urlencoded", "application/octet-stream", "application/json, a/b"),
)
ENCODINGS = ("gzip", "br", "x-gzip, gzip", "identity", "", " Identity ", "identity, gzip")
HOSTS = (
    *("localhost", "127.0.0.1:80", "[::1]:8000", "api.example.org", "EXAMPLE.ORG", "example.org."),
    *(
        "evil.test",
        "localhost.evil.test",
        "localhost:x",
        "a_b.example.org",
        "",
        "a b",
        "local\thost",
    ),
    *("a_b", "a_b.", "A_B:80", "a_b.evil.test", "a-b", "a_b:x", "a_b.example.org:1", "_"),
    *("localhost/..", "\xe9.example.org", "[::1", "localhost@evil.test", "x" * 300),
)
IDS = (
    *("mine-1", "A.b_c-9", "a" * 128, "a" * 129, "", " ", "a b", "a\r\nSet-Cookie: x", "\xe9"),
    *("<script>", "a\tb", "\x00", "a,b", "../x"),
)
LENGTHS = (None, "", "0", "5", "9", "1000", "-1", "nonsense", "1e3", " 8 ", "+8", "9" * 30)
METHODS = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "BREW", "post", "Post")
PATHS = (
    *("/api/models/nope/prediction", "/api/models/hidden/prediction", "/v2/models/nope/infer"),
    *("/api/models/obedient/prediction/", "/api/models//prediction", "//api/models/obedient"),
    *(
        "/api/models/obedient/predictions",
        "/api/models/Obedient/prediction",
        "/v2/models/hidden/infer",
    ),
    *("/api/models/obedient/prediction/batch/", "/api/models/a/b/prediction", "/", "", "/nothing"),
    *("/v2/models/echo/versions/9/infer", "/v2/models/echo/infer/", "/api/models/\xff/prediction"),
    *("/v2/models/nope/versions/1/infer", "/api/models/obedient/../echo/prediction"),
)
BROKEN = (
    *("/api/models/broken/prediction", "/api/models/broken/prediction/batch"),
    "/v2/models/broken/infer",
)
HEADERS: dict[str, dict[str, object]] = {
    "a query": {"QUERY_STRING": "format=html&secret=1&_method=DELETE"},
    "another accepted type": {"HTTP_ACCEPT": "text/html"},
    "cookies": {"HTTP_COOKIE": "sessionid=x; csrftoken=y"},
    "an authorisation": {"HTTP_AUTHORIZATION": "Basic eDp5"},
    "conditions": {"HTTP_IF_NONE_MATCH": "*", "HTTP_IF_MODIFIED_SINCE": "nonsense"},
    "another origin": {"HTTP_ORIGIN": "https://evil.test", "HTTP_REFERER": "https://evil.test/"},
    "an allowed origin": {"HTTP_ORIGIN": "https://a.example"},
    "an accepted encoding": {"HTTP_ACCEPT_ENCODING": "br, gzip"},
    "a refused encoding": {"HTTP_ACCEPT_ENCODING": "gzip; q=0, br"},
    "an origin and an encoding": {
        "HTTP_ORIGIN": "https://a.example",
        "HTTP_ACCEPT_ENCODING": "gzip",
    },
    "another method": {"HTTP_X_HTTP_METHOD_OVERRIDE": "DELETE"},
    "another host": {"HTTP_X_FORWARDED_HOST": "evil.test", "HTTP_X_FORWARDED_PORT": "1"},
    "a prefix": {"HTTP_X_FORWARDED_PREFIX": "/outer/inner/"},
    "a hostile prefix": {"HTTP_X_FORWARDED_PREFIX": "//evil.test"},
    "TLS in front": {"HTTP_X_FORWARDED_PROTO": "https"},
    "TLS": {"wsgi.url_scheme": "https", "SERVER_PORT": "443"},
    "a mount": {"SCRIPT_NAME": "/ml"},
    "HTTP/1.0": {"SERVER_PROTOCOL": "HTTP/1.0", "HTTP_HOST": None},
    "another language": {"HTTP_ACCEPT_LANGUAGE": "de"},
    "an expectation": {"HTTP_EXPECT": "100-continue"},
    "a trace": {"HTTP_TRACEPARENT": f"00-{'a' * 32}-{'b' * 16}-01"},
    "a malformed trace": {"HTTP_TRACEPARENT": "00-x", "HTTP_TRACESTATE": "\xe9"},
}


def of_bodies() -> Iterator[Asked]:
    """Ask every route with every body."""
    for path in ROUTES:
        yield asked(f"{path} good", path, GOOD[path])
        for name, body in BODIES.items():
            yield asked(f"{path} {name}", path, body)
    for deed in DEEDS:
        row = {"do": deed, "x": 2}
        yield asked(f"does {deed}", SINGLE, json.dumps(row).encode())
        yield asked(f"does {deed} among others", BATCH, rows({"x": 1}, row, {"x": 3}))


def of_headers() -> Iterator[Asked]:
    """Ask every route with every header."""
    for path in ROUTES:
        body = GOOD[path]
        for media_type in MEDIA_TYPES:
            yield asked(f"{path} as {media_type!r}", path, body, more={"CONTENT_TYPE": media_type})
        for encoding in ENCODINGS:
            yield asked(
                f"{path} in {encoding!r}", path, body, more={"HTTP_CONTENT_ENCODING": encoding}
            )
        for name, packed in {
            "packed": gzip.compress(body),
            "packed twice over": gzip.compress(body[:5]) + gzip.compress(body[5:]),
            "packed with more behind": gzip.compress(body) + b"a",
            "packed and broken": gzip.compress(body)[:-9],
            "a bomb": gzip.compress(b" " * 3_000_000),
            "nothing packed": gzip.compress(b""),
            "not even nothing packed": b"",
        }.items():
            yield asked(f"{path}: {name}", path, packed, more={"HTTP_CONTENT_ENCODING": "gzip"})
        for host in HOSTS:
            yield asked(f"{path} at {host!r}", path, body, more={"HTTP_HOST": host})
        for id_ in IDS:
            yield asked(f"{path} with id {id_!r}", path, body, more={"HTTP_X_REQUEST_ID": id_})
            yield asked(f"{path} wrong with id {id_!r}", path, b"", more={"HTTP_X_REQUEST_ID": id_})
        for name, more in HEADERS.items():
            yield asked(f"{path} with {name}", path, body, more=more)
    failing = b'{"do": "raise"}'
    for id_ in IDS:
        yield asked(f"failing with id {id_!r}", SINGLE, failing, more={"HTTP_X_REQUEST_ID": id_})


def of_framing() -> Iterator[Asked]:
    """Ask every route with bodies of every length, chunked ones and some that break off."""
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": None}
    ended = {**chunked, "wsgi.input_terminated": True}
    for path in ROUTES:
        body = GOOD[path]
        for length in LENGTHS:
            yield asked(f"{path} of length {length!r}", path, body, more={"CONTENT_LENGTH": length})
        yield asked(
            f"{path} behind which more comes",
            path,
            body + b"GET /",
            more={"CONTENT_LENGTH": str(len(body))},
        )
        yield asked(f"{path} chunked", path, body, more=ended)
        yield asked(f"{path} chunked without an end", path, body, more=chunked)
        yield asked(f"{path} chunked and too large", path, b" " * 300_000, more=ended)
        yield asked(f"{path} chunked and broken", path, body, breaks=True, more=ended)
        yield asked(f"{path} broken", path, body, breaks=True, more={"CONTENT_LENGTH": "5000"})
        yield asked(f"{path} larger than allowed", path, body, more={"CONTENT_LENGTH": "200001"})
        yield asked(
            f"{path} of another type and broken",
            path,
            b"",
            breaks=True,
            more={"CONTENT_TYPE": "a/b"},
        )


def of_routes() -> Iterator[Asked]:
    """Ask by every method, and for what there is not."""
    for path in (*ROUTES, *PATHS[:3], *BROKEN[:1]):
        for method in METHODS:
            yield asked(f"{method} {path}", path, GOOD.get(path, b"{}"), method)
    for path in (*PATHS, *BROKEN):
        yield asked(f"{path!r}", path)
        yield asked(f"{path!r} of another type", path, more={"CONTENT_TYPE": "text/plain"})
    yield asked("no path", "", more={"PATH_INFO": None})
    for origin in ("https://a.example", "https://evil.test"):
        preflight = {"HTTP_ORIGIN": origin, "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST"}
        for path in (*ROUTES, "/nothing"):
            yield asked(f"preflight of {origin} for {path}", path, b"", "OPTIONS", more=preflight)


def of_tensors() -> Iterator[Asked]:
    """Ask for inference in ways that are wrong, and in binary."""
    for hostile in HOSTILE_REQUESTS:
        told = None if hostile.header_length is None else str(hostile.header_length)
        for path in (INFER, VERSIONED):
            yield asked(f"{path}: {hostile.name}", path, hostile.body, more={_HEADER_LENGTH: told})
    label = strings(b"ab")
    inputs = [{"name": name, **given} for name, given in TENSORS.items() if name != "label"]
    sized = {"binary_data_size": len(label)}
    inputs.append({"name": "label", "datatype": "BYTES", "shape": [1], "parameters": sized})
    request = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    head = json.dumps(request).encode()
    for length in (str(len(head)), "0", "-1", "nonsense", "9" * 19, str(len(head) + 100)):
        more = {"CONTENT_TYPE": "application/octet-stream", _HEADER_LENGTH: length}
        yield asked(f"binary with {length[:20]}", INFER, head + label, more=more)


def of_models() -> Iterator[Asked]:
    """Ask models that batch, that change their input, that take columns, and that are late."""
    for values in ((1, 2, 3, 4, 5), (1, -1), (1, -2, 3), (-3,), ()):
        given = rows(*({"value": value} for value in values))
        for model in ("batching", "short"):
            yield asked(f"{model} {values}", f"/api/models/{model}/prediction/batch", given)
    for value in (1, -1, -2, -3, 5000):
        given = json.dumps({"value": value}).encode()
        yield asked(f"batching {value}", "/api/models/batching/prediction", given)
    for failure in ("", "RuntimeError", "SystemExit", "too few"):
        given = rows(*({"values": [value], "failure": failure} for value in (51, 255)))
        yield asked(f"scaling {failure}", "/api/models/scaling/prediction/batch", given)
    for name in ("oak", "refused", "raises", "misfit", "exits"):
        yield asked(f"columns of {name}", "/v2/models/columns/infer", plants("oak", name))
    yield asked("late", "/api/models/hurried/prediction", b'{"never": true}')
    for name in ("模型 1", ODD):
        # As WSGI has the bytes of a path.
        path = f"models/{name}".encode().decode("latin-1")
        yield asked(f"named {name}", f"/api/{path}/prediction", b'{"value": 1}')
        yield asked(f"named {name}, wrong", f"/api/{path}/prediction", b'{"value": "a"}')
        yield asked(f"named {name}, rows", f"/api/{path}/prediction/batch", rows({"value": 1}))
        yield asked(f"named {name}, inferred", f"/v2/{path}/infer", VALUE)
        yield asked(f"named {name}, still quoted", f"/api/models/{quote(name)}/prediction")
    yield asked("late batch", "/api/models/hurried/prediction/batch", rows({"never": True}))


def of_requests() -> Iterator[Asked]:
    """Ask models that say which request they work for."""
    more = {"HTTP_X_REQUEST_ID": "mine", "HTTP_X_TENANT": "\xe9", "HTTP_X_SECRET": "secret"}
    for model in ("asking", "asking_batch"):
        path = f"/api/models/{model}/prediction"
        yield asked(f"{model} with headers", path, more=more)
        yield asked(f"{model} of many", f"{path}/batch", rows({}, {}, {}), more=more)
    tensor = {"name": "value", "shape": [2], "datatype": "INT64", "data": [1, 2]}
    body = json.dumps({"inputs": [tensor]}).encode()
    yield asked("asking for inference", "/v2/models/asking_columns/infer", body, more=more)


def of_refusals() -> Iterator[Asked]:
    """Ask models that answer by statuses of their own."""
    for model in ("refusing", "refusing_batch", "quiet"):
        for wish in ANSWERS:
            single, many = {"wish": wish}, rows({}, {"wish": wish}, {"wish": "conflict"})
            path = f"/api/models/{model}/prediction"
            yield asked(f"{model} {wish}", path, json.dumps(single).encode())
            yield asked(f"{model} {wish} among others", f"{path}/batch", many)
        for customer in (404, 429):
            row = json.dumps({"customer": customer}).encode()
            yield asked(f"{model} by {customer}", f"/api/models/{model}/prediction", row)
    tensors_of_wish = [
        {"name": "wish", "shape": [2], "datatype": "BYTES", "data": ["", "too many"]},
        {"name": "customer", "shape": [2], "datatype": "INT64", "data": [1, 2]},
    ]
    body = json.dumps({"inputs": tensors_of_wish}).encode()
    yield asked("refused inference", "/v2/models/refusing/infer", body)


def of_versions() -> Iterator[Asked]:
    """Ask one version of several, and one that there is not."""
    for version in (*VERSIONS, "none", ""):
        text = version.encode().decode("latin-1")
        path = f"/api/models/released/versions/{text}/prediction"
        yield asked(f"version {version}", path, GOOD[SINGLE])
        yield asked(f"version {version}, wrong", path, b'{"x": "a"}')
        yield asked(f"version {version}, failing", path, b'{"do": "raise"}')
        yield asked(f"version {version}, rows", f"{path}/batch", GOOD[BATCH])
        yield asked(f"version {version}, other method", path, method="GET")
    yield asked("the one version", "/api/models/obedient/versions/1.2.3/prediction", GOOD[SINGLE])


def of_shares() -> Iterator[Asked]:
    """Ask models whose versions share their requests, by whose they are, or get copies of them."""
    for model in SHARED:
        path, name = f"/api/models/{model}/prediction", f"sharing {model}"
        for user in ("grace", "ken", "\xe9", ""):
            more = {"HTTP_X_USER": user}
            many = rows(*({"x": 1, "text": text} for text in ("a", "b", user)))
            yield asked(f"{name}, {user!r}", path, json.dumps({"text": user}).encode(), more=more)
            yield asked(f"{name}, rows of {user!r}", f"{path}/batch", many, more=more)
            texts = {"name": "text", "datatype": "BYTES", "shape": [3], "data": ["a", "b", user]}
            inference = json.dumps({"inputs": [texts]}).encode()
            yield asked(f"{name}, tensors of {user!r}", f"/v2/models/{model}/infer", inference)
        for end, body in {
            "good": b"{}",
            "wrong": b'{"x": "a"}',
            "cut off": b'{"x": 1',
            "empty": b"",
            "failing": b'{"do": "raise"}',
            "rejected": b'{"do": "reject"}',
        }.items():
            many = b'{"inputs": [{"text": "a"}, {"text": "b"}, %b]}' % body
            yield asked(f"{name}, {end}", path, body)
            yield asked(f"{name}, {end} among rows", f"{path}/batch", many)
            yield asked(
                f"{name}, {end} for a version", f"/api/models/{model}/versions/2/prediction", body
            )
        yield asked(f"{name}, too many rows", f"{path}/batch", rows(*[{}] * 7))
        yield asked(f"{name}, other method", path, method="GET")


def of_many_values() -> Iterator[Asked]:
    """Ask for what is dear to validate, within the limit of its model and above it."""
    shape = {"a0": 1, "a1": 1, "a2": 1}
    for count in (1, 5, 50):
        given = {"shapes": [shape] * count}
        yield asked(f"{count} shapes", "/api/models/shapes/prediction", json.dumps(given).encode())
        yield asked(f"{count} rows of shapes", "/api/models/shapes/prediction/batch", rows(given))
        data = [json.dumps([shape] * count)]
        tensor = {"name": "shapes", "datatype": "BYTES", "shape": [1], "data": data}
        request = json.dumps({"inputs": [tensor]}).encode()
        yield asked(f"{count} shapes in a tensor", "/v2/models/shapes/infer", request)
    for levels in (1, 40):
        formula = '{"terms": [' * levels + "null" + "]}" * levels
        body = f'{{"formula": {formula}}}'.encode()
        yield asked(f"{levels} levels of terms", "/api/models/formula/prediction", body)


def plants(*names: str) -> bytes:
    """Write tensors of plants."""
    count = len(names)
    values = {
        "height": ("FP64", [1.0] * count),
        "leaves": ("INT64", [1] * count),
        "alive": ("BOOL", [True] * count),
        "plantName": ("BYTES", list(names)),
        "species": ("BYTES", ["setosa"] * count),
    }
    inputs = [
        {"name": name, "datatype": datatype, "shape": [count], "data": data}
        for name, (datatype, data) in values.items()
    ]
    return json.dumps({"inputs": inputs}).encode()


def corpus() -> list[Asked]:
    """Return all requests; their names differ."""
    return [
        *of_bodies(),
        *of_headers(),
        *of_framing(),
        *of_routes(),
        *of_tensors(),
        *of_models(),
        *of_refusals(),
        *of_requests(),
        *of_versions(),
        *of_shares(),
        *of_many_values(),
    ]

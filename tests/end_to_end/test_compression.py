"""Bodies that clients have compressed, and answers that are."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.raw_http import ask, head, in_chunks
from tests.end_to_end.server import Server, gunicorn, serve
from tests.modelhost.corpus import TENSORS
from tests.open_inference.hostile_requests import strings

pytestmark = pytest.mark.long

CONFIGURATION: dict[str, Any] = {
    "models": [
        {"class_path": "tests.fakes.misbehaving.ObedientModel"},
        {"class_path": "tests.fakes.tensors.EchoModel"},
    ],
    "metrics": {"enabled": True},
    "open_inference": {"enabled": True},
}
PREDICTION = "/api/models/obedient/prediction"
BATCH = f"{PREDICTION}/batch"
INFER = "/v2/models/echo/infer"
LIMIT = 1_000_000
PACKED = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
LEAST = 1000


@pytest.fixture(scope="module", params=[gunicorn, serve, DevelopmentServer])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    environment = {
        "MODELHOST_WORKERS": "1",
        "MODELHOST_MAX_BODY_BYTES": str(LIMIT),
        "MODELHOST_COMPRESS_MIN_BYTES": str(LEAST),
    }
    with request.param(CONFIGURATION, environment=environment) as server:
        yield server


def post(server: Server, path: str, content: bytes, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.client.post(path, content=content, headers={**PACKED, **given})


def echoed(response: httpx.Response) -> tuple[int, Any]:
    return response.status_code, response.json().get("x")


# Requests


def test_a_packed_body_is_predicted_as_it_is_unpacked(server: Server) -> None:
    body = gzip.compress(b'{"x": 7}')
    assert echoed(post(server, PREDICTION, body)) == (200, 7.0)
    parts = gzip.compress(b'{"x"') + gzip.compress(b"") + gzip.compress(b": 8}")
    assert echoed(post(server, PREDICTION, parts)) == (200, 8.0)
    assert echoed(post(server, PREDICTION, body, Content_Encoding="X-Gzip")) == (200, 7.0)
    large = json.dumps({"x": 9, "text": "a" * (LIMIT - 100)}).encode()
    assert echoed(post(server, PREDICTION, gzip.compress(large))) == (200, 9.0)


def test_a_packed_batch_is_predicted(server: Server) -> None:
    body = gzip.compress(json.dumps({"inputs": [{"x": 1}, {"x": 2}]}).encode())
    predictions = post(server, BATCH, body).json()["predictions"]
    assert [each["x"] for each in predictions] == [1.0, 2.0]


@pytest.mark.parametrize("binary", [True, False])
def test_packed_tensors_are_inferred(server: Server, binary: bool) -> None:
    inputs = [{"name": name, **given} for name, given in TENSORS.items() if name != "label"]
    label = strings(b"ab") if binary else b""
    how = {"parameters": {"binary_data_size": len(label)}} if binary else {"data": ["ab"]}
    inputs.append({"name": "label", "datatype": "BYTES", "shape": [1], **how})
    text = json.dumps({"inputs": inputs}).encode()
    headers = {"Content_Type": "application/octet-stream" if binary else "application/json"}
    if binary:
        headers["Inference_Header_Content_Length"] = str(len(text))
    response = post(server, INFER, gzip.compress(text + label), **headers)
    assert response.status_code == 200, response.text
    outputs = {each["name"]: each["data"] for each in response.json()["outputs"]}
    assert (outputs["label"], outputs["count"]) == (["ab"], [3])


def test_a_packed_body_may_come_in_chunks(server: Server) -> None:
    packed = gzip.compress(b'{"x": 7}')
    lines = ("Transfer-Encoding: chunked", "Content-Encoding: gzip")
    request = head("POST", PREDICTION, "Content-Type: application/json", *lines)
    response = ask(server.port, request + in_chunks(packed[:5], packed[5:]))
    assert response.status == (411 if isinstance(server, DevelopmentServer) else 200)


@pytest.mark.parametrize("path", [PREDICTION, BATCH, INFER])
def test_a_bomb_is_too_large(server: Server, path: str) -> None:
    for content in (b" " * (LIMIT + 1), bytes(200_000_000)):
        response = post(server, path, gzip.compress(content))
        assert response.status_code == 413
        assert f"limit of {LIMIT} bytes" in response.text
    assert post(server, path, gzip.compress(b"") * 2000).status_code == 413


@pytest.mark.parametrize("path", [PREDICTION, BATCH, INFER])
@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"{}")[:-3],
        gzip.compress(b"{}") + b"garbage",
        b"{}",
        gzip.compress(b""),
        b"",
        gzip.compress(b'{"x"'),
    ],
)
def test_what_is_not_packed_well_is_a_bad_request(
    server: Server, path: str, content: bytes
) -> None:
    assert post(server, path, content).status_code == 400


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "compress"])
@pytest.mark.parametrize("path", [PREDICTION, BATCH, INFER])
def test_another_encoding_is_refused_and_told_which_is_read(
    server: Server, path: str, encoding: str
) -> None:
    response = post(server, path, b"{}", Content_Encoding=encoding)
    assert (response.status_code, response.headers["Accept-Encoding"]) == (415, "gzip")
    assert "compressed by gzip" in response.text
    response = post(server, path, b"{}", Content_Encoding="", Content_Type="text/csv")
    assert response.status_code == 415
    assert "Accept-Encoding" not in response.headers


# Answers


def raw(server: Server, method: str, path: str, accepted: str | None, body: bytes = b"") -> Any:
    lines = [] if accepted is None else [f"Accept-Encoding: {accepted}"]
    length = f"Content-Length: {len(body)}"
    request = head(method, path, "Content-Type: application/json", length, *lines) + body
    return ask(server.port, request)


def predicted(response: Any) -> Any:
    packed = response.headers.get("content-encoding") == "gzip"
    return json.loads(gzip.decompress(response.body) if packed else response.body)


@pytest.mark.parametrize("path", ["/openapi.json", "/docs/assets/modelhost/pages.css", "/metrics"])
def test_answers_are_packed_for_clients_that_accept_it(server: Server, path: str) -> None:
    plain = raw(server, "GET", path, None)
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "Accept-Encoding"
    for accepted in ("gzip", "br, gzip;q=0.5", "gzip, deflate"):
        packed = raw(server, "GET", path, accepted)
        assert packed.headers["content-encoding"] == "gzip", accepted
        if path != "/metrics":
            assert gzip.decompress(packed.body) == plain.body
    for accepted in ("br", "identity", "", "gzip;q=0", "gzip; q=0.000, br"):
        assert "content-encoding" not in raw(server, "GET", path, accepted).headers, accepted


def test_predictions_and_errors_are_packed_if_they_are_long_enough(server: Server) -> None:
    inputs = json.dumps({"inputs": [{"text": "a", "x": 1}] * 50}).encode()
    wrong = json.dumps({"items": ["a"] * 50}).encode()
    for path, body, status in ((BATCH, inputs, 200), (PREDICTION, wrong, 400)):
        plain, packed = (raw(server, "POST", path, each, body) for each in (None, "gzip"))
        assert (plain.status, packed.status) == (status, status)
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert predicted(packed) == predicted(plain)
        assert len(packed.body) == int(packed.headers["content-length"]) < len(plain.body)
        assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    short = raw(server, "POST", PREDICTION, "gzip", b'{"x": 1}')
    assert (short.status, short.headers.get("content-encoding")) == (200, None)
    assert "vary" not in short.headers


def test_a_head_has_the_length_of_what_would_be_sent(server: Server) -> None:
    got, told = (raw(server, each, "/openapi.json", "gzip") for each in ("GET", "HEAD"))
    assert told.body == b""
    for name in ("content-length", "content-encoding", "vary"):
        assert told.headers[name] == got.headers[name]


def test_nothing_is_packed_unless_asked_for() -> None:
    with serve(CONFIGURATION, environment={"MODELHOST_WORKERS": "1"}) as server:
        inputs = json.dumps({"inputs": [{"text": "a", "x": 1}] * 50}).encode()
        for response in (
            raw(server, "POST", BATCH, "gzip", inputs),
            raw(server, "GET", "/openapi.json", "gzip"),
        ):
            assert response.status == 200
            assert not {"content-encoding", "vary"} & set(response.headers)

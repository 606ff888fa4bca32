"""Inference requests that are wrong on purpose: each has its documented answer, none is a 500."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.raw_http import ask, head
from tests.end_to_end.server import STARTERS, Server
from tests.open_inference.hostile_requests import (
    EMPTY_LISTS,
    HOSTILE_REQUESTS,
    HostileRequest,
    strings,
)
from tests.open_inference.mutated_requests import mutated_request
from tests.sweeps import number

CONFIGURATION = {
    "models": [{"class_path": "tests.fakes.tensors.EchoModel"}],
    "open_inference": {"enabled": True},
}
INFER = "/v2/models/echo/infer"
LENGTH = "Inference-Header-Content-Length"
INPUTS: dict[str, dict[str, Any]] = {
    "temperature": {"datatype": "FP64", "shape": [1], "data": [21.5]},
    "count": {"datatype": "INT64", "shape": [1], "data": [3]},
    "active": {"datatype": "BOOL", "shape": [1], "data": [True]},
    "label": {"datatype": "BYTES", "shape": [1], "data": ["a"]},
    "vector": {"datatype": "FP64", "shape": [1, 3], "data": [1.0, 2.0, 3.0]},
}
NAMES = "temperature, count, active, label, vector"
NOT_A_LENGTH = f"{LENGTH} should be a whole number."
CONTENT_TYPES = (
    'Input "label": content_type should be one of np, pd, str, datetime, base64, json, pd_json.'
)
LARGE = 4_000_000
SIZES = {"INT8": 1, "BOOL": 1, "BF16": 2, "BYTES": 4}
# Of elements, some below and some above what one request may hold.
MANY, TOO_MANY = 1_000_000, 1_600_000
FUZZED_REQUESTS = number(20_000, 4)
FUZZING_CLIENTS = 4
FUZZING_MEBIBYTES = 64


@pytest.fixture(scope="module", params=sorted(STARTERS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    environment = {"MODELHOST_WORKERS": "1", "MODELHOST_THREADS": "8"}
    with STARTERS[request.param](CONFIGURATION, environment=environment) as running:
        yield running


def infer(server: Server, body: bytes, header_length: int | None = None) -> httpx.Response:
    headers = {} if header_length is None else {LENGTH: str(header_length)}
    return server.client.post(INFER, content=body, headers=headers)


def echo(**changed: Any) -> bytes:
    """Write a request that the model can answer, but for inputs that are changed, or None."""
    inputs = [
        {"name": name, **INPUTS.get(name, {}), **changed.get(name, {})}
        for name in INPUTS | changed
        if changed.get(name, {}) is not None and name != "request"
    ]
    return json.dumps({"inputs": inputs, **changed.get("request", {})}).encode()


def repeated(rows: int) -> dict[str, Any]:
    """Give all inputs so many rows."""
    return {
        name: {"shape": [rows, *each["shape"][1:]], "data": each["data"] * rows}
        for name, each in INPUTS.items()
    }


def as_bytes(*elements: str, content_type: Any = None) -> dict[str, Any]:
    parameters = {} if content_type is None else {"content_type": content_type}
    return {
        "datatype": "BYTES",
        "shape": [len(elements)],
        "data": elements,
        "parameters": parameters,
    }


UNFITTING = {
    "a missing input": (echo(count=None), 'Input "count" is missing.'),
    "one tensor of all fields where they are of several kinds": (
        json.dumps({"inputs": [{**INPUTS["vector"], "name": "x", "shape": [3, 1]}]}).encode(),
        'Input "x": the model has none of this name, and the shape [3, 1] is not that of rows '
        f"with one element for each of {NAMES}.",
    ),
    "rows that differ in number": (
        echo(active={"shape": [2], "data": [True, False]}),
        'Input "active" has 2 rows, but input "temperature" has 1.',
    ),
    "a tensor without rows": (
        echo(count={"shape": []}),
        'Input "count": the first dimension should be that of rows.',
    ),
    "too many rows": (
        echo(**repeated(1001)),
        "There are 1001 rows; a request may have at most 1000.",
    ),
    "a fraction for an integer": (
        echo(count={"datatype": "FP64", "data": [1.5]}),
        'Input "count", row 0: Input should be a valid integer, got a number with a '
        "fractional part",
    ),
    "text for an integer": (
        echo(count=as_bytes("x")),
        'Input "count", row 0: Input should be a valid integer, unable to parse string as an '
        "integer",
    ),
    "NaN as text": (
        echo(temperature=as_bytes("nan")),
        'Input "temperature", row 0: Input should be a finite number',
    ),
    "infinity as text": (
        echo(temperature=as_bytes("1e999")),
        'Input "temperature", row 0: Input should be a finite number',
    ),
    "a number for a boolean": (
        echo(active={"datatype": "INT8", "data": [7]}),
        'Input "active", row 0: Input should be a valid boolean, unable to interpret input',
    ),
    "a number for a string": (
        echo(label={"datatype": "INT8", "data": [7]}),
        'Input "label", row 0: Input should be a valid string',
    ),
    "lists for a scalar": (
        echo(temperature={"shape": [1, 2], "data": [1.5, 2.5]}),
        'Input "temperature": the shape [1, 2] is not [-1], where -1 is any length.',
    ),
    "lists too short": (
        echo(vector={"shape": [1, 2], "data": [1.0, 2.0]}),
        'Input "vector": the shape [1, 2] is not [-1, 3], where -1 is any length.',
    ),
    "lists of lists": (
        echo(vector={"shape": [1, 3, 1]}),
        'Input "vector": the shape [1, 3, 1] is not [-1, 3], where -1 is any length.',
    ),
    "a scalar for lists": (
        echo(vector={"shape": [1], "data": [1.0]}),
        'Input "vector": the shape [1] is not [-1, 3], where -1 is any length.',
    ),
    "lists of nothing": (
        echo(vector={"shape": [1, 10**6, 0], "data": []}),
        f'Input "vector": {EMPTY_LISTS}',
    ),
    "an unknown content type": (echo(label=as_bytes("a", content_type="pickle")), CONTENT_TYPES),
    "a content type that is a list": (
        echo(label=as_bytes("a", content_type=["np"])),
        CONTENT_TYPES,
    ),
    "a content type of all inputs": (
        echo(request={"parameters": {"content_type": 7}}),
        CONTENT_TYPES,
    ),
    "what is no base64": (
        echo(label=as_bytes("?", content_type="base64")),
        'Input "label": data[0] is not base64.',
    ),
    "base64 of no text": (
        echo(label=as_bytes("/w==", content_type="base64")),
        'Input "label": data[0] is not UTF-8.',
    ),
    "what is no JSON": (
        echo(label=as_bytes("{", content_type="json")),
        'Input "label": data[0] is not JSON: EOF while parsing an object at line 1 column 1',
    ),
    "NaN in JSON": (
        echo(temperature=as_bytes("NaN", content_type="json")),
        'Input "temperature": data[0] is not JSON: expected value at line 1 column 1',
    ),
    "deep nesting in JSON": (
        echo(temperature=as_bytes("[" * 100_000, content_type="json")),
        'Input "temperature": data[0] is not JSON: recursion limit exceeded at line 1 column 202',
    ),
    "an unknown output": (
        echo(request={"outputs": [{"name": "unknown"}]}),
        f'Output "unknown": the model gives none of this name; it gives {NAMES}.',
    ),
}


def test_a_request_without_faults_is_answered(server: Server):
    response = infer(server, echo())
    assert response.status_code == 200, response.text
    outputs = {each.pop("name"): each for each in response.json()["outputs"]}
    assert outputs["label"].pop("parameters") == {"content_type": "str"}
    assert outputs == INPUTS


@pytest.mark.parametrize("hostile", HOSTILE_REQUESTS, ids=lambda hostile: hostile.name)
def test_a_hostile_request_is_refused_and_told_why(server: Server, hostile: HostileRequest):
    response = infer(server, hostile.body, hostile.header_length)
    assert response.status_code == 400, response.text
    assert response.headers["Content-Type"] == "application/json"
    assert list(response.json()) == ["error"]
    pattern = re.escape(hostile.error).replace(r"\{\}", ".*")
    assert re.fullmatch(pattern, response.json()["error"]), response.text


@pytest.mark.parametrize("name", UNFITTING)
def test_tensors_that_do_not_fit_the_model_are_refused_and_told_why(server: Server, name: str):
    body, error = UNFITTING[name]
    response = infer(server, body)
    assert (response.status_code, response.json()) == (400, {"error": error})


def test_bytes_that_are_no_text_are_refused(server: Server):
    label = {"data": None, "parameters": {"binary_data_size": 6}}
    body = echo(label=label)
    response = infer(server, body + strings(b"a\xff"), len(body))
    error = 'Input "label": data[0] is not UTF-8.'
    assert (response.status_code, response.json()) == (400, {"error": error})


@pytest.mark.parametrize(
    "length",
    ["", "abc", "-1", "+5", "1e3", "0x10", "5.0", "5,5", "²", "9" * 19, "9" * 5000],
    ids=lambda length: length[:20],
)
def test_a_length_of_the_json_that_is_no_number_is_refused(server: Server, length: str):
    assert refusal_of_lengths(server, length) == (400, {"error": NOT_A_LENGTH})


def test_two_lengths_of_the_json_are_refused(server: Server):
    assert refusal_of_lengths(server, "5", "5") == (400, {"error": NOT_A_LENGTH})


def refusal_of_lengths(server: Server, *lengths: str) -> tuple[int, Any]:
    body = echo()
    headers = [f"Content-Length: {len(body)}", *(f"{LENGTH}: {length}" for length in lengths)]
    response = ask(server.port, head("POST", INFER, *headers) + body)
    return response.status, response.json()


@pytest.mark.parametrize("media_type", ["text/plain", "multipart/form-data; boundary=x"])
def test_other_media_types_are_refused(server: Server, media_type: str):
    response = server.client.post(INFER, content=echo(), headers={"Content-Type": media_type})
    named = media_type.partition(";")[0]
    error = f'Unsupported media type "{named}"; send application/json.'
    assert (response.status_code, response.json()) == (415, {"error": error})


def test_a_body_beyond_the_limit_is_refused(server: Server):
    response = infer(server, bytes(11_000_000), 5)
    error = (
        "The body is larger than the limit of 10485760 bytes. Send less at a time, or have "
        "MODELHOST_MAX_BODY_BYTES raised."
    )
    assert (response.status_code, response.json()) == (413, {"error": error})


@pytest.mark.parametrize(
    ("datatype", "shape", "field"),
    [
        # One list for each element, were they made.
        ("INT8", [1, MANY, 1], "vector"),
        ("BOOL", [1, MANY], "temperature"),
        ("BF16", [1, MANY], "vector"),
        ("BYTES", [1, MANY], "label"),
    ],
)
def test_a_large_tensor_takes_a_small_multiple_of_its_size(
    server: Server, datatype: str, shape: list[int], field: str
):
    expected = [-1, 3] if field == "vector" else [-1]
    error = f'Input "{field}": the shape {shape} is not {expected}, where -1 is any length.'
    assert refusal_of_zeros(server, field, datatype, shape) == (400, error)


@pytest.mark.parametrize(
    ("datatype", "count"),
    [("INT8", LARGE), ("BOOL", LARGE), ("BF16", LARGE // 2), ("BYTES", TOO_MANY)],
)
def test_more_elements_than_a_request_may_hold_are_refused_before_they_are_made(
    server: Server, datatype: str, count: int
):
    status, error = refusal_of_zeros(server, "vector", datatype, [1, count])
    assert status == 413
    total = count + len(INPUTS) - 1
    assert error.startswith(f"The tensors hold {total} elements, which count {total} by the ")


def refusal_of_zeros(
    server: Server, field: str, datatype: str, shape: list[int]
) -> tuple[int, str]:
    """Say how a tensor of nothing but zeros is refused, which takes little memory."""
    infer(server, echo()).raise_for_status()
    (worker,) = workers(server)
    before = peak_mebibytes(worker)
    data = bytes(math.prod(shape) * SIZES[datatype])
    sized = {"parameters": {"binary_data_size": len(data)}, "data": None}
    body = echo(**{field: {"datatype": datatype, "shape": shape, **sized}})
    response = infer(server, body + data, len(body))
    assert peak_mebibytes(worker) - before < 10 * LARGE / 1024 / 1024
    assert list(response.json()) == ["error"]
    return response.status_code, response.json()["error"]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_thousands_of_mutated_requests_see_no_fault_of_the_server_and_take_no_memory(
    server: Server,
):
    infer(server, echo()).raise_for_status()
    (worker,) = workers(server)
    before = peak_mebibytes(worker)
    part = FUZZED_REQUESTS // FUZZING_CLIENTS
    parts = [range(each, each + part) for each in range(0, FUZZED_REQUESTS, part)]
    with ThreadPoolExecutor(FUZZING_CLIENTS) as pool:
        outcomes = sum(pool.map(lambda seeds: fuzz(server, seeds), parts), Counter())
    assert outcomes.total() == FUZZED_REQUESTS
    assert workers(server) == [worker], "a worker died"
    assert peak_mebibytes(worker) - before < FUZZING_MEBIBYTES
    assert infer(server, echo()).status_code == 200
    # It would be of little use if most were refused for the same few reasons.
    assert outcomes[""] > FUZZED_REQUESTS / 20
    assert len(outcomes) > number(150, 2)


def fuzz(server: Server, seeds: range) -> Counter[str]:
    """Send what comes of each seed; count the errors, numbers aside, and successes as none."""
    outcomes: Counter[str] = Counter()
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        for seed in seeds:
            body, length = mutated_request(seed)
            headers = {} if length is None else {LENGTH: length}
            status, content = post(connection, body, headers)
            assert status in (200, 400), (seed, status, content)
            error = "" if status == 200 else json.loads(content)["error"]
            outcomes[re.sub("[0-9]+", "0", error)] += 1
    return outcomes


def post(
    connection: HTTPConnection, body: bytes, headers: dict[str, str], attempts: int = 2
) -> tuple[int, bytes]:
    try:
        connection.request("POST", INFER, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (HTTPException, ConnectionError):
        connection.close()
        # The server closes a connection that a busy machine left idle; twice in a row is a fault.
        if attempts == 1:
            raise
        return post(connection, body, headers, attempts - 1)


def workers(server: Server) -> list[str]:
    master = server.process.pid
    return Path(f"/proc/{master}/task/{master}/children").read_text().split()


def peak_mebibytes(pid: str) -> float:
    """Find the most memory that a process has held so far."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(line) / 1024

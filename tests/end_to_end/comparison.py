"""What any two servers answer to the same requests, compared whole: status, headers and body."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.end_to_end.raw_http import RawResponse, exchange, head
from tests.end_to_end.server import Server
from tests.end_to_end.test_hostile_requests import TABLE
from tests.modelhost.corpus import (
    Asked,
    asked,
    of_bodies,
    of_headers,
    of_many_values,
    of_models,
    of_refusals,
    of_requests,
    of_routes,
    of_tensors,
)
from tests.open_inference.test_equality import COLUMNS, DATATYPES

EXAMPLES: list[dict[str, Any]] = [
    {"class_path": "examples.iris.IrisModel"},
    {"class_path": "examples.diabetes.DiabetesModel", "batching": {}},
    {"class_path": "examples.digits.DigitsModel", "configuration": {"trees": 5}},
]
_OF_EACH_ANSWER = {"date", "x-request-id"}
_SINGLE_ROWS = 50
_PROCESS = re.compile(rb'"((?:loaded_in_)?process|loaded_in)":\d+')


class Request(NamedTuple):
    """One request, byte for byte."""

    name: str
    sent: bytes
    half_close: bool = False


def requests() -> Iterator[Request]:
    """Make them all: good and hostile, for single rows, for batches and for tensors."""
    for hostile in TABLE:
        # What is sent a little at a time is of a length that only Django's limits concern.
        if isinstance(hostile.request, bytes):
            yield Request(f"hostile: {hostile.name}", hostile.request, hostile.half_close)
    for each in (
        *(*of_bodies(), *of_headers(), *of_routes(), *of_tensors(), *of_models()),
        *(*of_refusals(), *of_requests(), *of_many_values()),
    ):
        if (sent := _on_the_wire(each)) is not None:
            yield Request(each.name, sent)
    for name in COLUMNS:
        yield from _of_example(name)


def sound_requests() -> Iterator[Request]:
    """Make those for rows of the examples that fit: one by one, and all as JSON and as tensors."""
    for name in COLUMNS:
        yield from (each for each in _of_example(name) if " wrong" not in each.name)


def differences(first: Server, second: Server, asked: Iterable[Request]) -> list[str]:
    """Return in what the answers of two servers differ, one line for each request."""
    found = []
    for request in asked:
        answers = [_answer(server, request) for server in (first, second)]
        if answers[0] != answers[1]:
            one, other = _where_they_differ(*map(str, answers))
            found.append(f"{request.name}: {one} is not {other}")
    return found


def _where_they_differ(first: str, second: str) -> tuple[str, str]:
    """Return what two texts have from a little before the first difference on."""
    pairs = enumerate(zip(first, second, strict=False))
    start = max(0, next((index for index, (one, other) in pairs if one != other), 0) - 200)
    return first[start:][:500], second[start:][:500]


def _answer(server: Server, request: Request) -> list[RawResponse]:
    """Return the answer, and what may come before it, such as 100."""
    answers = exchange(server.port, request.sent, half_close=request.half_close)
    return [_without_what_differs(answer, server) for answer in answers]


def _without_what_differs(answer: RawResponse, server: Server) -> RawResponse:
    # Some models tell which process they are in, whose id may be longer or shorter.
    tells = _PROCESS.search(answer.body) is not None
    left_out = {*_OF_EACH_ANSWER, *(["content-length"] if tells else [])}
    headers = {name: value for name, value in answer.headers.items() if name not in left_out}
    body = answer.body.replace(str(server.port).encode(), b"(port)")
    if given := answer.headers.get("x-request-id"):
        body = body.replace(given.encode("latin-1"), b"(id)")
    return RawResponse(answer.status, headers, _PROCESS.sub(b"(process)", body))


def _on_the_wire(each: Asked) -> bytes | None:
    """Write a request of WSGI as a client sends it; None if no client could."""
    given = {"CONTENT_TYPE": "application/json", **each.more}
    if {"SCRIPT_NAME", "PATH_INFO", "SERVER_PROTOCOL", "wsgi.url_scheme"} & given.keys():
        return None
    headers = [f"Content-Length: {len(each.body)}"]
    for name, value in given.items():
        if name == "CONTENT_TYPE" or name.startswith("HTTP_"):
            header = name.removeprefix("HTTP_").replace("_", "-")
            headers += [] if value is None else [f"{header}: {value}"]
    target = quote(each.path.encode("latin-1"))
    if "QUERY_STRING" in given:
        target += f"?{given['QUERY_STRING']}"
    if any(re.search(r"[\r\n\0]", header) for header in headers) or not target:
        return None
    return head(each.method, target, *headers) + each.body


def _of_example(name: str) -> Iterator[Request]:
    """Ask an example for each of many rows, for all of them, and for some that are wrong."""
    columns = {field: values.tolist() for field, values in COLUMNS[name].items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    single, infer = f"/api/models/{name}/prediction", f"/v2/models/{name}/infer"
    for number, row in enumerate(rows[:_SINGLE_ROWS]):
        yield _posted(f"{name}, row {number}", single, {**row})
        yield _posted(
            f"{name}, row {number} in JSON", infer, _tensors(name, slice(number, number + 1))
        )
    yield _posted(f"{name}, all rows", f"{single}/batch", {"inputs": rows})
    yield _posted(f"{name}, all rows in JSON", infer, _tensors(name, slice(None)))
    yield _in_binary(f"{name}, all rows in binary", infer, name)
    for field in columns:
        wrong = [rows[0], {**rows[1], field: "nonsense"}, {**rows[2], field: None}]
        yield _posted(f"{name}, {field} wrong", single, wrong[1])
        yield _posted(f"{name}, {field} wrong among others", f"{single}/batch", {"inputs": wrong})


def _posted(name: str, path: str, body: object) -> Request:
    sent = _on_the_wire(asked(name, path, json.dumps(body).encode()))
    assert sent is not None
    return Request(name, sent)


def _tensors(name: str, rows: slice) -> object:
    inputs = [
        {
            "name": field,
            "shape": [*values[rows].shape],
            "datatype": DATATYPES[values.dtype.kind],
            "data": values[rows].tolist(),
        }
        for field, values in COLUMNS[name].items()
    ]
    return {"inputs": inputs}


def _in_binary(name: str, path: str, model: str) -> Request:
    inputs = [
        {
            "name": field,
            "shape": [*values.shape],
            "datatype": DATATYPES[values.dtype.kind],
            "parameters": {"binary_data_size": values.nbytes},
        }
        for field, values in COLUMNS[model].items()
    ]
    header = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    body = b"".join([header, *(values.tobytes() for values in COLUMNS[model].values())])
    length = {"HTTP_INFERENCE_HEADER_CONTENT_LENGTH": str(len(header))}
    sent = _on_the_wire(asked(name, path, body, more=length))
    assert sent is not None
    return Request(name, sent)

"""Rows that a service predicts, also one that is busy, falls over or refuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from models_api.scoring import patience
from models_api.scoring.errors import JobRefused, JobStopped, RowError
from models_api.scoring.model_name import ModelName
from models_api.scoring.remote import RemotePredictor

Reply = tuple[int, dict[str, str], object]
OVERLOADED = {"type": "Overloaded", "messages": ["Too many requests are waiting."]}


class Service:
    """A service whose first answers a test chooses; then it doubles numbers."""

    def __init__(self) -> None:
        self.first: list[Reply | None] = []
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.answer: Callable[[str, Any], Reply] = doubled
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.loads(raw) if raw else None
                service.requests.append((self.path, dict(self.headers), body))
                reply = service.first.pop(0) if service.first else service.answer(self.path, body)
                if reply is None:
                    self.close_connection = True
                    self.connection.close()
                    return
                status, headers, content = reply
                data = json.dumps(content, separators=(",", ":")).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def doubled(path: str, body: Any) -> Reply:
    if path.endswith("/metadata"):
        return 200, {}, {"version": "1", "input_schema": {}, "output_schema": {}}
    rows = body["inputs"] if path.endswith("/batch") else [body]
    for index, row in enumerate(rows):
        where = f"inputs[{index}]" if path.endswith("/batch") else ""
        if row["x"] == 500:
            return 500, {}, {"type": "ServiceError", "messages": ["id 7"]}
        if row["x"] == 409:
            message = f"{where}: " if where else ""
            return 409, {}, {"type": "Conflict", "messages": [f"{message}closed"]}
    wrong = [index for index, row in enumerate(rows) if row["x"] < 0]
    if wrong:
        prefix = ["inputs[{}].", ""][len(rows) == 1 and not path.endswith("/batch")]
        messages = [f"{prefix.format(i)}x: Input should be greater" for i in wrong]
        details = [{"location": ["inputs", i, "x"]} for i in wrong]
        return 400, {}, {"type": "ValidationError", "messages": messages, "details": details}
    found = [{"y": 2 * row["x"]} for row in rows]
    return 200, {}, {"predictions": found} if path.endswith("/batch") else found[0]


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.stop()


@pytest.fixture
def asking(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., RemotePredictor]]:
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.02)
    made: list[RemotePredictor] = []

    def ask(name: str = "m", **keys: Any) -> RemotePredictor:
        given = {"key": None, "patience": 20.0, "connections": 2, **keys}
        made.append(RemotePredictor(given.pop("url", service.url), ModelName(name), **given))
        return made[-1]

    yield ask
    for each in made:
        each.close()


Asking = Callable[..., RemotePredictor]


def rows(*values: int) -> list[bytes]:
    return [b'{"x":%d}' % value for value in values]


def test_rows_go_together_with_the_key(service: Service, asking: Asking) -> None:
    found = asking("a b/c", key="secret").predict(rows(1, 2, 3), are_json=True)
    assert found == [b'{"y":2}', b'{"y":4}', b'{"y":6}']
    ((path, headers, body),) = service.requests
    assert path == "/api/models/a%20b%2Fc/prediction/batch"
    assert headers["Authorization"] == "Bearer secret"
    assert body == {"inputs": [{"x": 1}, {"x": 2}, {"x": 3}]}


@pytest.mark.parametrize(
    "first",
    [
        [(503, {"Retry-After": "0"}, OVERLOADED)] * 3,
        [(429, {"Retry-After": "0"}, {"type": "Throttled", "messages": ["slowly"]})],
        [(503, {}, OVERLOADED), None],
        [None],
        [(502, {}, "<html>")],
    ],
)
def test_a_service_that_is_busy_is_asked_again(
    service: Service, asking: Asking, first: list[Reply | None]
) -> None:
    count = len(first)
    service.first = [*first]
    assert asking().predict(rows(1, 2), are_json=True) == [b'{"y":2}', b'{"y":4}']
    assert len(service.requests) == count + 1


def test_rows_that_do_not_fit_are_left_out_of_the_next_request(
    service: Service, asking: Asking
) -> None:
    found = asking().predict(rows(1, -1, 2, -2), are_json=True)
    wrong = RowError("ValidationError", ["x: Input should be greater"])
    assert found == [b'{"y":2}', wrong, b'{"y":4}', wrong]
    assert len(service.requests) == 2


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (500, RowError("ServiceError", ["id 7"])),
        (409, RowError("Conflict", ["closed"])),
    ],
)
def test_a_row_that_fails_is_found_by_halves(
    service: Service, asking: Asking, bad: int, error: RowError
) -> None:
    found = asking().predict(rows(1, 2, bad, 4, 5), are_json=True)
    assert found == [b'{"y":2}', b'{"y":4}', error, b'{"y":8}', b'{"y":10}']


def test_too_much_at_once_is_sent_in_parts(service: Service, asking: Asking) -> None:
    def small(path: str, body: Any) -> Reply:
        if len(body.get("inputs", [])) > 2:
            return 413, {}, {"type": "PayloadTooLarge", "messages": ["less"]}
        return doubled(path, body)

    service.answer = small
    found = asking().predict(rows(*range(7)), are_json=True)
    assert found == [b'{"y":%d}' % (2 * value) for value in range(7)]


def test_lines_that_are_no_json_are_not_sent(service: Service, asking: Asking) -> None:
    bodies = [b'{"x":1}', b'{"x":', b'{"x":1},{"x":2}', b'{"x":2}']
    found = asking().predict(bodies, are_json=False)
    wrong = RowError("ValidationError", ["The row is no JSON."])
    assert found == [b'{"y":2}', wrong, wrong, b'{"y":4}']


def test_a_key_that_is_refused_stops_the_job(service: Service, asking: Asking) -> None:
    body = {"type": "NotAuthenticated", "messages": ["Who are you?"]}
    service.answer = lambda *_: (401, {}, body)
    with pytest.raises(JobStopped, match=r"401: Who are you\? .*MODELHOST_API_KEY"):
        asking().predict(rows(1, 2), are_json=True)
    with pytest.raises(JobRefused, match="answers 401: Who are you"):
        asking().describe()


def test_a_service_that_has_moved_is_not_followed_with_the_key(
    service: Service, asking: Asking
) -> None:
    service.answer = lambda *_: (301, {"Location": "https://example.com/"}, "")
    with pytest.raises(JobRefused, match=r"It has moved to https://example.com/"):
        asking(key="secret").describe()


def test_patience_ends(service: Service, asking: Asking) -> None:
    service.answer = lambda *_: (503, {"Retry-After": "5"}, OVERLOADED)
    with pytest.raises(JobStopped, match=r"answered 503, Too many requests are waiting\."):
        asking(patience=0.1).predict(rows(1, 2), are_json=True)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[", "ftp://x"])
def test_a_service_that_is_not_there_is_no_beginning(asking: Asking, url: str) -> None:
    with pytest.raises(JobRefused):
        asking(url=url, patience=0.1).describe()


@pytest.mark.parametrize("answer", ["<html>", {}, {"predictions": 5}, [1]])
def test_an_answer_that_is_no_prediction_stops_the_job(
    service: Service, asking: Asking, answer: object
) -> None:
    service.answer = lambda *_: (200, {}, answer)
    with pytest.raises(JobStopped, match="something else than predictions"):
        asking().predict(rows(1, 2), are_json=True)
    with pytest.raises(JobRefused, match="says nothing of a model"):
        asking().describe()


def test_an_answer_of_another_length_stops_the_job(service: Service, asking: Asking) -> None:
    service.answer = lambda *_: (200, {}, {"predictions": [{"y": 1}]})
    with pytest.raises(JobStopped, match="answered 1 predictions for 2 rows"):
        asking().predict(rows(1, 2), are_json=True)

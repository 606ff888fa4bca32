"""The log of the real server: ids, access lines, JSON, and what must not be in it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from tests.end_to_end.raw_http import head, receive
from tests.end_to_end.server import STARTERS, Server

PREDICTION = "/api/models/talkative/prediction"
MODELS = {"models": [{"class_path": "tests.fakes.talkative.TalkativeModel"}]}
BATCHING = {"class_path": "tests.fakes.talkative.TalkativeBatchModel", "batching": {}}
FAILING_LINE = "tests/fakes/talkative.py, line 51"
MARKER = "swordfish"


@pytest.fixture(scope="module", params=sorted(STARTERS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def start(kind: str, configuration: dict[str, Any], **variables: str) -> Server:
    environment = {"MODELHOST_WORKERS": "2", **variables}
    return STARTERS[kind](configuration, environment=environment)


@pytest.fixture(scope="module")
def server(kind: str) -> Iterator[Server]:
    models = {"models": [*MODELS["models"], BATCHING]}
    with start(kind, models, MODELHOST_LOG_FORMAT="json", SOME_PASSWORD=MARKER) as server:
        yield server


def entries(server: Server, is_wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The wanted ones of the records in the log, each of which must be JSON."""
    # A line that is being written has no end yet.
    lines = server.log.rpartition("\n")[0].splitlines()
    return [entry for entry in map(json.loads, lines) if is_wanted(entry)]


def of_request(server: Server, id_: str, count: int) -> list[dict[str, Any]]:
    """The records of one request; the response may be here before its access line is."""
    deadline = time.monotonic() + 30
    found: list[dict[str, Any]] = []
    while len(found) < count and time.monotonic() < deadline:
        found = entries(server, lambda entry: id_ in entry.get("request_id", "").split(","))
        time.sleep(0.01)
    assert len(found) == count, found
    return found


def ask(server: Server, id_: str, do: str = "say", text: str = "", **given: Any) -> httpx.Response:
    headers = {"X-Request-ID": id_, **given.pop("headers", {})}
    body = {"do": do, "text": text}
    response: httpx.Response = server.client.post(PREDICTION, json=body, headers=headers, **given)
    assert response.headers["x-request-id"] == id_
    return response


def without_times(entry: dict[str, Any]) -> dict[str, Any]:
    changing = {"time", "milliseconds", "traceback"}
    return {name: value for name, value in entry.items() if name not in changing}


@pytest.mark.parametrize("turn", range(4))  # so that, as likely as not, both workers are asked
def test_a_search_by_request_id_finds_access_line_models_line_and_traceback(
    server: Server, turn: int
) -> None:
    assert ask(server, f"failed-{turn}", "raise").status_code == 500
    own, error, access = of_request(server, f"failed-{turn}", 3)
    assert without_times(own) == {
        "level": "INFO",
        "logger": "tests.fakes.talkative",
        "message": "Counting letters",
        "request_id": f"failed-{turn}",
        "unit": "letters",
    }
    assert without_times(error) == {
        "level": "ERROR",
        "logger": "models_api.api.answers",
        "message": f"POST {PREDICTION} failed (request failed-{turn}): predict of talkative raised "
        f"RuntimeError: The letters cannot be counted. ({FAILING_LINE}).",
        "request_id": f"failed-{turn}",
    }
    assert error["traceback"].startswith("Traceback (most recent call last):\n")
    assert "RuntimeError: The letters cannot be counted.\n" in error["traceback"]
    milliseconds = access["milliseconds"]
    assert milliseconds > 0
    assert without_times(access) == {
        "level": "INFO",
        "logger": "models_api.access",
        "message": (
            f"POST {PREDICTION} 500 {milliseconds:.1f} ms"
            " model=talkative version=1.0.0 rows=1 batch_size=1 queue_ms=0.0 client=127.0.0.1"
        ),
        "request_id": f"failed-{turn}",
        "method": "POST",
        "route": PREDICTION,
        "status": 500,
        "model": "talkative",
        "version": "1.0.0",
        "rows": 1,
        "batch_size": 1,
        "queue_ms": 0.0,
        "client": "127.0.0.1",
    }


LINES = {
    "gunicorn": ("gunicorn.error", "Starting gunicorn ", "Listening at: {url} ({pid})", "Booting"),
    "serve": (
        "_granian",
        "Starting granian (main PID: ",
        "Listening at: {url}",
        "Spawning worker-",
    ),
}


def test_the_servers_own_lines_are_json_too(server: Server, kind: str) -> None:
    logger, starting, listening, booting = LINES[kind]
    deadline = time.monotonic() + 30
    messages: list[str] = []
    booted = 0
    # One worker may answer before the other has begun.
    while booted < 2 and time.monotonic() < deadline:
        found = entries(server, lambda entry: entry["logger"] == logger)
        messages = [entry["message"] for entry in found]
        booted = sum(message.startswith(booting) for message in messages)
        time.sleep(0.01)
    assert booted == 2
    assert messages[0].startswith(starting)
    assert messages[1] == listening.format(url=server.url, pid=server.process.pid)


def test_a_request_that_is_refused_has_its_model_too(server: Server) -> None:
    response = server.client.post(PREDICTION, content=b"{", headers={"X-Request-ID": "refused"})
    assert response.status_code == 400
    (access,) = of_request(server, "refused", 1)
    assert (access["status"], access["model"], access["version"]) == (400, "talkative", "1.0.0")
    assert "rows" not in access


def test_a_batch_request_has_its_rows(server: Server) -> None:
    for name, size in (("talkative", 1), ("talkative_batch", 3)):
        url, id_ = f"/api/models/{name}/prediction/batch", f"rows-{name}"
        rows = {"inputs": 3 * [{"text": "abc"}]}
        response = server.client.post(url, json=rows, headers={"X-Request-ID": id_})
        assert response.status_code == 200
        access = of_request(server, id_, 5 - size if size == 1 else 2)[-1]
        assert (access["rows"], access["batch_size"]) == (3, size)


def test_other_requests_have_their_route_and_no_more(server: Server) -> None:
    for path, route, status in (
        ("/api/models", "/api/models", 200),
        ("/api/models/talkative/metadata", "/api/models/{qualified_name}/metadata", 200),
        (f"/{MARKER}", "-", 404),
        ("/api/models/x/prediction", "/api/models/{qualified_name}/prediction", 404),
    ):
        id_ = f"other-{path.count('/')}-{len(path)}"
        server.client.get(path, headers={"X-Request-ID": id_})
        (access,) = of_request(server, id_, 1)
        assert (access["route"], access["status"]) == (route, status)
        assert "model" not in access


def test_a_refused_host_has_a_line_with_the_reason(server: Server) -> None:
    for method, path in (("GET", "/api/models"), ("POST", PREDICTION), ("GET", "/docs")):
        id_ = f"host-{method}-{len(path)}"
        headers = {"Host": "other.example", "X-Request-ID": id_}
        assert server.client.request(method, path, headers=headers).status_code == 400
        (access,) = of_request(server, id_, 1)
        assert without_times(access) == {
            "level": "INFO",
            "logger": "models_api.access",
            "message": access["message"],
            "request_id": id_,
            "method": method,
            "route": "-",
            "status": 400,
            "reason": "host_not_allowed",
            "client": "127.0.0.1",
        }
        assert access["message"].endswith(" ms reason=host_not_allowed client=127.0.0.1")


ROUTINE = (
    *("/api/health", "/api/health/ready", "/api/health/startup", "/api/models/talkative/ready"),
    "/docs/assets/swagger-ui/swagger-ui.css",
)


@pytest.mark.long
def test_probes_and_files_are_in_the_log_only_where_that_is_wanted(kind: str) -> None:
    variables = {"MODELHOST_LOG_FORMAT": "json", "MODELHOST_LOG_PROBES": "1"}
    with start(kind, MODELS, **variables) as server:
        for number, path in enumerate(ROUTINE):
            server.client.get(path, headers={"X-Request-ID": f"wanted-{number}"})
            (access,) = of_request(server, f"wanted-{number}", 1)
            assert (access["level"], access["status"]) == ("INFO", 200)


def test_probes_that_find_all_well_are_not_in_the_log(server: Server) -> None:
    for path in ROUTINE:
        assert server.client.get(path, headers={"X-Request-ID": "probe"}).status_code == 200
    ask(server, "after-the-probes")
    of_request(server, "after-the-probes", 2)
    of_request(server, "probe", 0)


def test_a_thread_of_a_model_has_the_id_in_a_copy_of_the_context(server: Server) -> None:
    assert ask(server, "threads", "thread").status_code == 200
    messages = [entry["message"] for entry in of_request(server, "threads", 3)]
    assert messages[:2] == ["Counting letters", "In a copy"]
    (alone,) = entries(server, lambda entry: entry["message"] == "In a thread")
    assert "request_id" not in alone


def test_what_clients_send_is_never_in_the_log(server: Server) -> None:
    given: dict[str, Any] = {
        "headers": {
            "Authorization": f"Bearer {MARKER}",
            "Cookie": f"session={MARKER}",
            "User-Agent": MARKER,
            "Referer": f"https://{MARKER}.example",
        },
        "params": {"token": MARKER},
    }
    for do, status in {"say": 200, "raise": 500, "misfit": 500, "unwritable": 500}.items():
        assert ask(server, f"marked-{do}", do, MARKER, **given).status_code == status
        of_request(server, f"marked-{do}", 2 if status == 200 else 3)
    post: Callable[..., httpx.Response] = partial(server.client.post, **given)
    assert post(PREDICTION, content=f'{{"text": "{MARKER}').status_code == 400
    assert post(PREDICTION, json={"text": [MARKER], MARKER: MARKER}).status_code == 400
    rows = {"inputs": [{"do": "misfit", "text": MARKER}]}
    assert post(f"{PREDICTION}/batch", json=rows).status_code == 500
    assert post(f"/{MARKER}", json=MARKER).status_code == 404
    assert post("/docs", json=MARKER).status_code == 405
    assert post(PREDICTION, content=MARKER, headers={"Content-Type": MARKER}).status_code == 415
    for line in (
        head("POST", PREDICTION, f"Host: {MARKER}.example", "Content-Length: 0"),
        head("POST", PREDICTION, f"X-Request-ID: {MARKER} {MARKER}", "Content-Length: 0"),
        head("POST", PREDICTION, f"{MARKER} : a"),
        head("POST", PREDICTION, f"A: {MARKER}\x00"),
        head("POST", PREDICTION, "Transfer-Encoding: chunked") + MARKER.encode() + b"\r\n",
        head("POST", PREDICTION, "Transfer-Encoding: chunked") + b"1\r\n" + MARKER.encode(),
        head("POST", PREDICTION, f"Content-Length: {MARKER}"),
        head("POST", PREDICTION, "Content-Length: 99") + MARKER.encode(),
        head(MARKER, PREDICTION),
        head("GET", "/", version=f"HTTP/{MARKER}"),
        f"{MARKER}\r\n\r\n".encode(),
    ):
        receive(server.port, [line], half_close=True)
    ask(server, "last-of-all")
    of_request(server, "last-of-all", 2)
    assert MARKER not in server.log


@pytest.fixture(scope="module")
def configured(kind: str) -> Iterator[Server]:
    """A service whose YAML file says what its log looks like."""
    logging = {
        "version": 1,
        "formatters": {"mine": {"format": "%(levelname)s|%(request_id)s|%(message)s|mine"}},
        "handlers": {"mine": {"class": "logging.StreamHandler", "formatter": "mine"}},
        "root": {"level": "WARNING", "handlers": ["mine"]},
        "loggers": {"tests.fakes.talkative": {"level": "INFO"}},
    }
    variables = {"MODELHOST_LOG_FORMAT": "json", "MODELHOST_ACCESS_LOG": "0"}
    with start(kind, {**MODELS, "logging": logging}, **variables) as server:
        yield server


def test_the_yaml_file_has_the_last_word_and_the_access_log_can_be_left_out(
    configured: Server,
) -> None:
    for do in ("misfit", "say"):
        ask(configured, f"mine-{do}", do, MARKER)
    deadline = time.monotonic() + 30
    while "mine-say" not in configured.log and time.monotonic() < deadline:
        time.sleep(0.01)
    lines = [line for line in configured.log.splitlines() if line.endswith("|mine")]
    assert lines == [
        "INFO|mine-misfit|Counting letters|mine",
        f"ERROR|mine-misfit|POST {PREDICTION} failed (request mine-misfit): predict of talkative "
        "returned letters=a str; the schema says int: return int, or change the schema.|mine",
        "INFO|mine-say|Counting letters|mine",
    ]
    assert "models_api.access" not in configured.log
    assert MARKER not in configured.log

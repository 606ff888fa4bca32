"""Whatever becomes of the log, requests are answered, counted, and hold nothing afterwards."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.end_to_end.scraped import samples, value
from tests.end_to_end.server import STARTERS, TLS, Server

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

FAKES = "tests.fakes.noisy"
PREDICTION = "/api/models/noisy/prediction"
ENVIRONMENT = {"MODELHOST_WORKERS": "1", "MODELHOST_THREADS": "8"}
REQUESTS = 60
STREAM = {"class": "logging.StreamHandler"}
FULL = {"class": "logging.FileHandler", "filename": "/dev/full"}


def logging_section(handler: dict[str, Any], **more: Any) -> dict[str, Any]:
    root = {"handlers": ["own"], "level": "DEBUG"}
    return {"version": 1, "handlers": {"own": handler}, "root": root, **more}


BROKEN = {"broken": {"()": f"{FAKES}.RaisingFormatter"}}
RAISING = {"raising": {"()": f"{FAKES}.RaisingFilter"}}
SECTIONS = {
    "a handler that raises": logging_section({"class": f"{FAKES}.RaisingHandler"}),
    "a handler that exits": logging_section({"class": f"{FAKES}.ExitingHandler"}),
    "a pipe that nobody reads": logging_section({"class": f"{FAKES}.BrokenPipeHandler"}),
    "a full disk": logging_section(FULL),
    "a formatter that raises": logging_section(
        {**STREAM, "formatter": "broken"}, formatters=BROKEN
    ),
    "a filter of a handler": logging_section({**STREAM, "filters": ["raising"]}, filters=RAISING),
    "a filter of loggers": logging_section(
        STREAM,
        filters=RAISING,
        loggers={
            name: {"filters": ["raising"]}
            for name in (f"{FAKES}", "models_api.access", "models_api.api.answers")
        },
    ),
}


def configuration(model: str = "Noisy", **more: object) -> dict[str, Any]:
    models = [{"class_path": f"{FAKES}.{name}"} for name in (model, "Quiet")]
    models[0]["timeout_seconds"] = 60.0  # type: ignore[assignment]
    return {"models": models, "metrics": {"enabled": True}, **more}


def post(server: Server, body: object, path: str = PREDICTION) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=body, timeout=30, verify=TLS)


def counted(server: Server) -> float:
    """How many requests were counted, but for these: each is, a moment after its answer."""
    found = [-1.0, -2.0]
    deadline = time.monotonic() + 30
    while found[-1] != found[-2]:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
        scraped = samples(server)
        of_scrapes = value(scraped, "http_requests_total", handler="/metrics")
        found.append(value(scraped, "http_requests_total") - of_scrapes)
    return found[-1]


def all_is_answered(server: Server) -> None:
    """Ask on both ways, more often than there are threads and places."""
    before = counted(server)
    with ThreadPoolExecutor(4) as pool:
        orders = [{"do": do} for do in ("nothing", "log", "log badly", "raise", "no order")]
        answers = list(pool.map(lambda order: post(server, order), orders * (REQUESTS // 5)))
        batch = {"inputs": [{"do": "nothing"}, {"do": "nothing"}]}
        batches = list(
            pool.map(lambda _: post(server, batch, f"{PREDICTION}/batch"), range(REQUESTS // 5))
        )
        paths = ("/api/models", "/api/nothing", "/docs", "/openapi.json")
        pages = list(pool.map(lambda path: httpx.get(server.url + path, verify=TLS), paths * 4))
    assert Counter(answer.status_code for answer in answers) == {200: 36, 500: 12, 400: 12}
    assert {answer.status_code for answer in batches} == {200}
    assert Counter(page.status_code for page in pages) == {200: 12, 404: 4}
    assert all(answer.headers["X-Request-ID"] for answer in [*answers, *batches, *pages])
    assert all(
        answer.json()["type"] == "ServiceError" for answer in answers if answer.is_server_error
    )
    assert httpx.get(f"{server.url}/api/health/ready", verify=TLS).status_code == 200
    assert counted(server) - before == REQUESTS + 12 + 16 + 1
    after = samples(server)
    assert value(after, "model_in_flight", model="noisy") == 0
    assert value(after, "model_queue_depth", model="noisy") == 0


@pytest.mark.parametrize("kind", sorted(STARTERS))
@pytest.mark.parametrize("section", sorted(SECTIONS))
def test_a_log_that_fails_costs_no_answer(kind: str, section: str) -> None:
    with STARTERS[kind](
        configuration(logging=SECTIONS[section]), environment=ENVIRONMENT
    ) as server:
        all_is_answered(server)
        assert post(server, {}, "/api/models/quiet/prediction").status_code == 200
        # Each handler of each process says once what is wrong with it.
        assert server.log.count("--- Logging error ---") <= 8


@pytest.mark.parametrize("kind", sorted(STARTERS))
@pytest.mark.parametrize("format_", ["text", "json"])
def test_arguments_without_a_text_cost_no_answer(kind: str, format_: str) -> None:
    environment = {**ENVIRONMENT, "MODELHOST_LOG_FORMAT": format_}
    with STARTERS[kind](configuration(), environment=environment) as server:
        all_is_answered(server)
        assert "Predicting" in server.log
        assert "the model's own error" in server.log


@pytest.mark.parametrize("kind", sorted(STARTERS))
def test_a_handler_that_a_model_adds_and_that_fails_costs_only_what_the_model_logs(
    kind: str,
) -> None:
    with STARTERS[kind](
        configuration("NoisyWithItsOwnHandler"),
        environment=ENVIRONMENT,
        ready_path="/api/health/startup",
    ) as server:
        # The model fails to load, as it logs itself; the one after it is loaded all the same.
        assert post(server, {}).status_code == 503
        answers = [post(server, {"do": do}, "/api/models/quiet/prediction") for do in "ab" * 20]
        assert {answer.status_code for answer in answers} == {400}
        fine = [post(server, {}, "/api/models/quiet/prediction") for _ in range(20)]
        assert {answer.status_code for answer in fine} == {200}
        raising = [post(server, {"do": "raise"}, "/api/models/quiet/prediction") for _ in range(20)]
        assert {answer.status_code for answer in raising} == {500}
        assert value(samples(server), "model_predictions_total", model="quiet") == 80


@pytest.mark.parametrize("section", [None, logging_section(STREAM)], ids=["own", "of the file"])
@pytest.mark.parametrize("how", ["close", "close descriptor"])
@pytest.mark.parametrize("kind", sorted(STARTERS))
def test_a_model_that_closes_standard_error_costs_no_answer(
    kind: str, how: str, section: dict[str, Any] | None
) -> None:
    more: dict[str, Any] = {} if section is None else {"logging": section}
    with STARTERS[kind](configuration(**more), environment=ENVIRONMENT) as server:
        for _ in range(2):
            with suppress(httpx.HTTPError):
                assert post(server, {"do": how}).status_code in (200, 500)
        all_is_answered(server)
        server.process.terminate()
        assert server.process.wait(60) == 0


@pytest.fixture
def raw() -> Iterator[socket.socket]:
    with socket.socket() as connection:
        yield connection


@pytest.mark.parametrize("kind", sorted(STARTERS))
def test_no_line_of_the_log_goes_to_a_client_once_standard_error_is_closed(
    kind: str, raw: socket.socket
) -> None:
    with STARTERS[kind](configuration(), environment=ENVIRONMENT) as server:
        assert post(server, {"do": "close descriptor"}).status_code == 200
        raw.settimeout(30)
        raw.connect(("127.0.0.1", server.port))
        head = f"POST {PREDICTION} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n"
        head += "Content-Type: application/json\r\n\r\n"
        received = b""
        for number in range(1, 6):
            raw.sendall(head.encode() + b'{"do":"log"}')
            while received.count(b'{"did":"log"}') < number:
                received += raw.recv(65536)
        assert received.startswith(b"HTTP/1.1 200")
        assert b"INFO" not in received

"""Clients that send and read slowly, through nginx as deploy/ configures it.

They hold no thread of the service, and are not waited for endlessly.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kit.load import Ask, Load
from tests.end_to_end.nginx import Nginx
from tests.end_to_end.raw_http import RawResponse, ask, exchange, head, in_chunks
from tests.end_to_end.server import Server
from tests.end_to_end.slow_clients import (
    BUNDLE,
    LARGE_ANSWERS,
    SlowClients,
    large_requests,
    slow_body,
)

CONFIGURATION: dict[str, Any] = {"models": [{"class_path": "tests.fakes.deadly.DeadlyModel"}]}
PREDICTION = "/api/models/deadly/prediction"
BODY = b'{"number": 5}'
JSON = "Content-Type: application/json"
ASK = Ask("POST", PREDICTION, BODY)
THREADS = 64
# What a test cannot wait for.
IMPATIENT = [
    ("client_header_timeout 15s;", "client_header_timeout 1s;"),
    ("client_body_timeout 30s;", "client_body_timeout 1s;"),
    ("send_timeout 30s;", "send_timeout 1s;"),
    ("keepalive_timeout 75s;", "keepalive_timeout 1s;"),
]


def start(workers: int) -> Server:
    return Server(
        CONFIGURATION,
        *("--config", "python:modelhost.gunicorn_conf"),
        environment={"MODELHOST_WORKERS": str(workers), "MODELHOST_LOG_LEVEL": "WARNING"},
    )


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start(workers=1) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: Server) -> Iterator[Nginx]:
    with Nginx(server.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def impatient(server: Server) -> Iterator[Nginx]:
    with Nginx(server.port, replacements=IMPATIENT) as proxy:
        yield proxy


def connect(proxy: Nginx) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", proxy.port))
    return connection


def read(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_clients_that_dawdle_keep_no_thread_from_others(proxy: Nginx) -> None:
    with (
        SlowClients(proxy.port, PREDICTION, 2 * THREADS),
        Load(proxy.port, [ASK], 4, rate=50) as load,
    ):
        load.wait_for(100)
    assert not load.failures()


@pytest.mark.long
@pytest.mark.alone
def test_three_hundred_slow_bodies_leave_everybody_elses_p99_as_it_is() -> None:
    alone, beside = [], []
    with start(workers=2) as server, Nginx(server.port) as proxy:
        p99(proxy)
        for _ in range(3):
            alone.append(p99(proxy))
            with SlowClients(proxy.port, PREDICTION, 300, [slow_body]) as slow:
                beside.append(p99(proxy))
            assert not slow.thrown_out
    shown = [[round(1000 * each, 1) for each in times] for times in (alone, beside)]
    print(f"p99 in ms without them {shown[0]}, with them {shown[1]}")  # noqa: T201
    # Slack for what else the machine does; a thread that is held would cost seconds.
    assert statistics.median(beside) < 1.5 * statistics.median(alone) + 0.01, shown


def p99(proxy: Nginx) -> float:
    """Seconds within which 99 of 100 predictions are answered, all of them right."""
    with Load(proxy.port, [ASK], 8, rate=100, requests=400) as load:
        load.join()
    assert not load.failures()
    return load.percentile(99)


@pytest.mark.parametrize(
    "start_of_request",
    [
        b"",
        b"POST /api/models",
        head("POST", PREDICTION, "Content-Length: 20", JSON) + b'{"number"',
        head("POST", PREDICTION, "Transfer-Encoding: chunked", JSON) + b'9\r\n{"number"',
    ],
    ids=["nothing", "head", "body", "chunks"],
)
def test_a_request_that_does_not_come_whole_is_given_up(
    impatient: Nginx, start_of_request: bytes
) -> None:
    with connect(impatient) as connection:
        connection.sendall(start_of_request)
        # nginx has no answer to that, not even 408.
        assert read(connection) == b""


def test_a_kept_connection_on_which_nothing_comes_is_closed(impatient: Nginx) -> None:
    with connect(impatient) as connection:
        connection.sendall(head("GET", "/api/health", "Connection: keep-alive"))
        assert read(connection).startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_takes_none_of_its_answer_is_given_up(impatient: Nginx) -> None:
    whole = impatient.client.get(BUNDLE).content
    with connect(impatient) as connection:
        connection.sendall(large_requests())
        deadline = time.monotonic() + 60
        while is_established(impatient.port, connection.getsockname()[1]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert len(read(connection)) < LARGE_ANSWERS * len(whole)


def test_a_client_that_reads_little_by_little_gets_all_of_its_answer(proxy: Nginx) -> None:
    whole = proxy.client.get(BUNDLE).content
    with connect(proxy) as connection:
        connection.sendall(large_requests())
        received = read(connection)
    assert received.count(b"HTTP/1.1 200 OK") == received.count(whole) == LARGE_ANSWERS


def test_a_request_may_come_in_single_bytes(proxy: Nginx) -> None:
    sized = head("POST", PREDICTION, JSON, f"Content-Length: {len(BODY)}") + BODY
    chunked = head("POST", PREDICTION, JSON, "Transfer-Encoding: chunked") + in_chunks(
        BODY[:3], BODY[3:]
    )
    trailers = chunked.removesuffix(b"\r\n") + b"X-Trailer: 1\r\n\r\n"
    for request in (sized, chunked, trailers):
        response = ask(proxy.port, (b"%c" % byte for byte in request))
        assert (response.status, response.json()["number"]) == (200, 5)


def test_requests_that_come_together_are_answered_one_after_the_other(proxy: Nginx) -> None:
    kept = head("POST", PREDICTION, JSON, "Content-Length: 13", "Connection: keep-alive")
    last = head("POST", PREDICTION, JSON, "Transfer-Encoding: chunked")
    requests = b"".join(kept + b'{"number": %d}' % number for number in range(9))
    responses: list[RawResponse] = exchange(
        proxy.port, requests + last + in_chunks(b'{"number": 9}'), methods=["POST"] * 10
    )
    assert [response.json()["number"] for response in responses] == list(range(10))


def test_a_client_that_asks_is_told_to_go_on(proxy: Nginx) -> None:
    with connect(proxy) as connection:
        connection.sendall(
            head("POST", PREDICTION, JSON, "Content-Length: 13", "Expect: 100-continue")
        )
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert read(connection).startswith(b"HTTP/1.1 200 OK")


def is_established(local_port: int, remote_port: int) -> bool:
    """Whether the server's end of a connection is open, as Linux tells."""
    ends = f" 0100007F:{local_port:04X} 0100007F:{remote_port:04X} 01 "
    return ends in Path("/proc/net/tcp").read_text(encoding="ascii")

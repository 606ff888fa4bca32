"""Clients that send and read slowly: they hold no thread, and are not waited for endlessly."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kit.load import Ask, Load
from tests.end_to_end.raw_http import RawResponse, ask, exchange, head, in_chunks
from tests.end_to_end.server import Server
from tests.end_to_end.slow_clients import BUNDLE, LARGE_ANSWERS, SlowClients, large_requests

CONFIGURATION: dict[str, Any] = {"models": [{"class_path": "tests.fakes.deadly.DeadlyModel"}]}
PREDICTION = "/api/models/deadly/prediction"
BODY = b'{"number": 5}'
JSON = "Content-Type: application/json"
ASK = Ask("POST", PREDICTION, BODY)


def start(**environment: str) -> Server:
    return Server(
        CONFIGURATION,
        *("--config", "python:modelhost.gunicorn_conf"),
        environment={
            "MODELHOST_WORKERS": "2",
            "MODELHOST_THREADS": "2",
            "MODELHOST_LOG_LEVEL": "WARNING",
            **environment,
        },
    )


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start(MODELHOST_CLIENT_TIMEOUT_SECONDS="3") as server:
        yield server


def connect(server: Server) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.settimeout(60)
    return connection


def read(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_clients_that_dawdle_keep_no_thread_from_others(server: Server) -> None:
    with SlowClients(server.port, PREDICTION, 30), Load(server.port, [ASK], 4, rate=50) as load:
        load.wait_for(60)
    assert not load.failures()


@pytest.mark.parametrize(
    "start_of_request",
    [
        b"POST /api/models",
        head("POST", PREDICTION, "Content-Length: 20", JSON) + b'{"number"',
        head("POST", PREDICTION, "Transfer-Encoding: chunked", JSON) + b'9\r\n{"number"',
    ],
    ids=["head", "body", "chunks"],
)
def test_a_request_that_does_not_come_whole_is_given_up(
    server: Server, start_of_request: bytes
) -> None:
    response = ask(server.port, start_of_request)
    assert response.status == 408
    assert response.headers["connection"] == "close"
    assert response.json() == {
        "type": "RequestTimeout",
        "messages": ["The request did not arrive whole within 3 seconds."],
    }


def test_a_connection_on_which_nothing_comes_is_closed(server: Server) -> None:
    with connect(server) as connection:
        assert connection.recv(1) == b""


def test_a_client_that_takes_none_of_its_answer_is_given_up(server: Server) -> None:
    whole = server.client.get(BUNDLE).content
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(large_requests())
        deadline = time.monotonic() + 60
        while is_established(server.port, connection.getsockname()[1]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert len(read(connection)) < LARGE_ANSWERS * len(whole)


def test_a_client_that_reads_little_by_little_gets_all_of_its_answer(server: Server) -> None:
    whole = server.client.get(BUNDLE).content
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(large_requests())
        received = read(connection)
    assert received.count(b"HTTP/1.1 200 OK") == received.count(whole) == LARGE_ANSWERS


def test_a_request_may_come_in_single_bytes(server: Server) -> None:
    sized = head("POST", PREDICTION, JSON, f"Content-Length: {len(BODY)}") + BODY
    chunked = head("POST", PREDICTION, JSON, "Transfer-Encoding: chunked") + in_chunks(
        BODY[:3], BODY[3:]
    )
    trailers = chunked.removesuffix(b"\r\n") + b"X-Trailer: 1\r\n\r\n"
    for request in (sized, chunked, trailers):
        response = ask(server.port, (b"%c" % byte for byte in request))
        assert (response.status, response.json()["number"]) == (200, 5)


def test_requests_that_come_together_are_answered_one_after_the_other(server: Server) -> None:
    kept = head("POST", PREDICTION, JSON, "Content-Length: 13", "Connection: keep-alive")
    last = head("POST", PREDICTION, JSON, "Transfer-Encoding: chunked")
    requests = b"".join(kept + b'{"number": %d}' % number for number in range(9))
    responses: list[RawResponse] = exchange(
        server.port, requests + last + in_chunks(b'{"number": 9}'), methods=["POST"] * 10
    )
    assert [response.json()["number"] for response in responses] == list(range(10))


def test_a_client_that_asks_is_told_to_go_on(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(
            head("POST", PREDICTION, JSON, "Content-Length: 13", "Expect: 100-continue")
        )
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert read(connection).startswith(b"HTTP/1.1 200 OK")


def test_when_there_are_too_many_connections_the_one_that_idles_longest_is_closed() -> None:
    limits = ("--worker-connections", "4", "--workers", "1")
    with Server(CONFIGURATION, "-c", "python:modelhost.gunicorn_conf", *limits) as server:
        idle = [connect(server) for _ in range(8)]
        assert ask(server.port, head("GET", "/api/health")).status == 200
        assert idle[0].recv(1) == b""
        for connection in idle:
            connection.close()


def is_established(local_port: int, remote_port: int) -> bool:
    """Whether the server's end of a connection is open, as Linux tells."""
    ends = f" 0100007F:{local_port:04X} 0100007F:{remote_port:04X} 01 "
    return ends in Path("/proc/net/tcp").read_text(encoding="ascii")

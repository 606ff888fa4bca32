"""The load generator itself, for what it says of a server must be right."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from benchmarks.kit.load import CONNECTING, RECEIVING, WAITING, Ask, Load
from tests.end_to_end.server import free_port

ASK = Ask("GET", "/", expected=b"ok")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LAST_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
REFUSAL = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\nRetry-After: 1\r\n\r\nno"
WRONG_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"


@contextmanager
def server(*answers: bytes, resets: bool = False) -> Iterator[int]:
    """Give these answers on each connection, one a request, and close it."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    for answer in answers:
                        connection.recv(65536)
                        connection.sendall(answer)
                    if resets:
                        connection.recv(1)  # what is left unread turns the close into a reset

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextmanager
def silent_server() -> Iterator[int]:
    """Accept connections, and answer nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def run(port: int, requests: int) -> Load:
    with Load(port, [ASK], connections=1, requests=requests) as load:
        load.join()
    assert load.count == requests
    return load


def test_each_answer_is_compared_with_the_one_expected() -> None:
    with server(ANSWER, WRONG_ANSWER, LAST_ANSWER) as port:
        outcomes = run(port, 6).outcomes
    assert [outcome.is_right for outcome in outcomes] == [True, False, True] * 2
    assert [outcome.body for outcome in outcomes] == [b"ok", b"no", b"ok"] * 2


def test_a_connection_is_kept_until_the_server_says_that_it_closes() -> None:
    with server(ANSWER, LAST_ANSWER) as port:
        load = run(port, 4)
    assert not load.failures()
    assert [outcome.reused for outcome in load.outcomes] == [False, True, False, True]
    assert len({outcome.connection for outcome in load.outcomes}) == 2


def test_a_connection_that_closes_without_a_word_fails_the_next_request() -> None:
    with server(ANSWER) as port:
        first, second = run(port, 2).outcomes
    assert first.is_right
    # Which came first, the request or the end of the connection?
    is_lost = second.is_lost and second.moment == WAITING
    assert is_lost if second.reused else second.is_right


def test_resets_are_told_from_ends_and_broken_answers_from_missing_ones() -> None:
    with server(resets=True) as port:
        (outcome,) = run(port, 1).outcomes
        assert (outcome.error, outcome.moment, outcome.is_lost) == ("reset", WAITING, True)
    with server(ANSWER[:-1]) as port:
        (outcome,) = run(port, 1).outcomes
        assert (outcome.error, outcome.moment, outcome.is_lost) == ("closed", RECEIVING, True)


def test_a_server_that_is_not_there_refuses() -> None:
    (outcome,) = run(free_port(), 1).outcomes
    assert (outcome.error, outcome.moment, outcome.is_lost) == ("refused", CONNECTING, False)


def test_with_a_rate_the_time_counts_from_when_a_request_was_due() -> None:
    with server(ANSWER, LAST_ANSWER) as port, Load(port, [ASK], 1, rate=50, requests=20) as load:
        load.join()
    begun = [outcome.began for outcome in load.outcomes]
    assert [round(began - begun[0], 3) for began in begun] == [number / 50 for number in range(20)]
    assert load.percentile(50) <= load.percentile(99)


def test_a_client_that_is_refused_waits_as_long_as_it_is_asked_to() -> None:
    with (
        server(REFUSAL, ANSWER) as port,
        Load(port, [ASK], 1, requests=2, honours_retry_after=True) as load,
    ):
        load.join()
    refused, answered = load.outcomes
    assert (refused.status, refused.retry_after, answered.status) == (503, 1, 200)
    assert 1 <= answered.began - refused.ended < 5


def test_clients_that_are_given_up_go_at_once_without_their_answers() -> None:
    with silent_server() as port, Load(port, [ASK], connections=3) as load:
        time.sleep(0.3)
        begun = time.monotonic()
        load.abandon()
    assert time.monotonic() - begun < 5
    assert [outcome.error for outcome in load.outcomes] == ["abandoned"] * 3


def test_clients_arrive_one_after_the_other() -> None:
    with silent_server() as port, Load(port, [ASK], 3, arrive_within=0.6) as load:
        time.sleep(0.8)
        load.abandon()
    first, *others = sorted(outcome.began for outcome in load.outcomes)
    assert [round(began - first, 1) for began in others] == pytest.approx([0.2, 0.4], abs=0.11)

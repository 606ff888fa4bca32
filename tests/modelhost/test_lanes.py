"""The lanes: predictions queue up, and nothing else waits for them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from modelhost.lanes import Lanes
from models_api.exceptions import Overloaded
from models_api.prediction.admission import Admission, Admitted


class Connection:
    """A connection on which a request has arrived."""

    def __init__(self, request: bytes) -> None:
        self._client, self.sock = socket.socketpair()
        self._client.sendall(request)

    def read(self) -> bytes:
        return self.sock.recv(100)

    def close(self) -> None:
        self._client.close()
        self.sock.close()


def submit(
    lanes: Lanes, handle: Callable[[Connection], Any], connection: Connection
) -> Future[Any]:
    """Let the lanes handle a connection; the future has what comes of it."""
    future: Future[Any] = Future()

    def handle_and_tell(connection: Connection) -> None:
        try:
            future.set_result(handle(connection))
        except Exception as error:  # noqa: BLE001 (whatever it is)
            future.set_exception(error)

    lanes.submit(handle_and_tell, connection)
    lanes.predictions.wake()
    return future


class Workshop:
    """Two threads for predictions, at most three of which are in hand; none ends before told."""

    def __init__(self) -> None:
        self.lanes = Lanes(threads=2, maximum=3)
        self.begun = threading.Semaphore(0)
        self.end = threading.Event()
        self._predict = Admitted(self._hold, Admission(), "model")
        self._connections: list[Connection] = []

    def ask(self, request: bytes) -> Future[Any]:
        connection = Connection(request)
        self._connections.append(connection)
        return submit(self.lanes, self._handle, connection)

    def close(self) -> None:
        self.end.set()
        self.lanes.shutdown()
        for connection in self._connections:
            connection.close()

    def _handle(self, connection: Any) -> bytes:
        request: bytes = connection.read()
        if request.startswith(b"POST"):
            return self._predict(request)
        return b"answer to " + request

    def _hold(self, request: bytes) -> bytes:
        self.begun.release()
        assert self.end.wait(60)
        return b"prediction for " + request


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    workshop = Workshop()
    yield workshop
    workshop.close()


def test_other_requests_are_answered_while_predictions_queue_up(workshop: Workshop) -> None:
    predictions = [workshop.ask(b"POST %d" % number) for number in range(3)]
    assert workshop.ask(b"GET /api/health").result(60) == b"answer to GET /api/health"
    assert workshop.ask(b"HEAD /").result(60) == b"answer to HEAD /"
    assert not any(future.done() for future in predictions)
    workshop.end.set()
    assert [future.result(60) for future in predictions] == [
        b"prediction for POST %d" % number for number in range(3)
    ]


def test_predictions_above_the_maximum_are_refused_until_one_ends(workshop: Workshop) -> None:
    first = [workshop.ask(b"POST first") for _ in range(3)]
    for _ in range(2):
        assert workshop.begun.acquire(timeout=60)
    for _ in range(5):
        with pytest.raises(Overloaded, match=r"busy with other predictions already\."):
            workshop.ask(b"POST more").result(60)
    workshop.end.set()
    for future in first:
        future.result(60)
    assert workshop.ask(b"POST again").result(60) == b"prediction for POST again"


def test_a_request_that_fails_gives_its_place_back() -> None:
    pool = Lanes(threads=1, maximum=1)
    for _ in range(3):
        connection = Connection(b"POST")
        with pytest.raises(ZeroDivisionError):
            submit(pool, lambda _: 1 // 0, connection).result(60)
        connection.close()
    pool.shutdown()

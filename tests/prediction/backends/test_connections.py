"""The connections of a worker to the processes of a model, asked through real sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

import pytest

from models_api.prediction.backends.connections import (
    NUMBER_BYTES,
    Connections,
    ProcessEnded,
)


class OneProcess:
    """A group of one process, which is there already."""

    size = 1

    def __init__(self, address: str) -> None:
        self._address = address

    def address(self, number: int) -> str:
        """Return its socket."""
        return self._address

    def ensure(self) -> None:
        """Do nothing."""


@contextmanager
def answering(folder: Path, answer: Callable[[bytes], bytes]) -> Iterator[Connections]:
    """Answer each message in a thread, and yield what asks."""
    address = str(folder / "0.socket")
    with Listener(address, "AF_UNIX") as listener:

        def serve(connection: Connection) -> None:
            with suppress(EOFError, OSError), connection:
                while True:
                    connection.send_bytes(answer(connection.recv_bytes()))

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=[listener.accept()], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        group: Any = OneProcess(address)
        yield Connections(group)


def test_the_answer_is_what_stands_behind_the_number_of_the_message(tmp_path: Path) -> None:
    with answering(tmp_path, lambda message: message[:NUMBER_BYTES] + b"so") as connections:
        assert [connections.ask(b"what", 0) for _ in range(3)] == [b"so"] * 3


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda _: bytes(NUMBER_BYTES) + b"so", id="of another message"),
        pytest.param(lambda _: b"so", id="shorter than a number"),
        pytest.param(lambda _: b"", id="empty"),
    ],
)
def test_what_answers_another_message_is_no_answer(
    tmp_path: Path, answer: Callable[[bytes], bytes]
) -> None:
    with answering(tmp_path, answer) as connections, pytest.raises(ProcessEnded):
        connections.ask(b"what", 0)


def test_no_two_messages_have_one_number(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def answer(message: bytes) -> bytes:
        seen.append(message[:NUMBER_BYTES])
        return message

    with answering(tmp_path, answer) as connections:
        assert {connections.ask(b"what", 0) for _ in range(50)} == {b"what"}
    assert len({*seen}) == 50


def test_a_connection_whose_process_has_ended_meanwhile_costs_no_request(tmp_path: Path) -> None:
    with answering(tmp_path, lambda message: message) as connections:
        assert connections.ask(b"what", 0) == b"what"
        (peer,) = connections._peers
        peer._idle[0].close()
        assert connections.ask(b"again", 0) == b"again"

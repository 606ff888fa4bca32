"""The connections of one worker to the processes of a model: one for each message on its way."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Client, Connection

from models_api.fork import call_after_fork
from models_api.prediction.backends.process_group import ProcessGroup

NUMBER_BYTES = 8
"""At the head of each message; those of the answer are the same."""
_PAUSE_SECONDS = 0.02
_UNREACHABLE = (FileNotFoundError, ConnectionRefusedError, ConnectionResetError)


class ProcessEnded(Exception):
    """The process has ended since it was asked."""

    def __init__(self, peer: object) -> None:
        self.peer = peer
        super().__init__()


class _MisdirectedError(OSError):
    """What came is no answer to what was asked.

    Native code that closes a descriptor twice may have closed that of a connection, whose number
    another one has by now.
    """


class _NotTakenError(ProcessEnded):
    """The process has not read the whole of a message, and nobody will."""


class NoProcess(Exception):
    """No process of the model takes connections, for longer than somebody would wait."""


class _Peer:
    """One of the processes, as this worker knows it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.in_hand = 0
        """Requests of this worker that it has not answered; the connections' lock guards it."""
        self._idle: list[Connection] = []

    def connect(self) -> Connection:
        """Return a connection that nobody else uses.

        Raises:
            OSError: the process takes none.
        """
        with suppress(IndexError):  # there is none, or another thread took the last
            return self._idle.pop()
        return Client(self._address, "AF_UNIX")

    def ask(self, connection: Connection, message: bytes) -> bytes:
        """Return the answer to a message.

        Raises:
            _NotTakenError: the process had ended before it was asked.
            ProcessEnded: there is none.
        """
        # At random, as other workers ask the same process.
        number = os.urandom(NUMBER_BYTES)
        try:
            connection.send_bytes(number + message)
        except OSError as error:
            connection.close()
            raise _NotTakenError(self) from error
        try:
            answer = connection.recv_bytes()
            if answer[:NUMBER_BYTES] != number:
                raise _MisdirectedError
        except (EOFError, OSError) as error:
            connection.close()
            # The others lead to the same process.
            idle, self._idle = self._idle, []
            for each in idle:
                each.close()
            raise ProcessEnded(self) from error
        self._idle.append(connection)
        return answer[NUMBER_BYTES:]


class Connections:
    """Asks the processes of a model. Safe to use from many threads, and in forked children."""

    def __init__(self, group: ProcessGroup) -> None:
        self._group = group
        self._begin()
        # What a forked child has of them is the parent's.
        call_after_fork(self._begin)

    def ask(
        self, message: bytes, patience_seconds: float, avoided: ProcessEnded | None = None
    ) -> bytes:
        """Return the answer of the process that has the least of this worker's requests in hand.

        Args:
            message: For the process.
            patience_seconds: How long to wait for a process that takes connections.
            avoided: Of a process that is asked only where no other takes connections.

        Raises:
            NoProcess: none does.
            ProcessEnded: it ended before it had answered.
        """
        until = time.monotonic() + patience_seconds
        while True:
            peer, connection = self._connect(until, avoided)
            try:
                return peer.ask(connection, message)
            except _NotTakenError:
                continue  # by another connection, or to another process
            finally:
                with self._lock:
                    peer.in_hand -= 1

    def ask_each(self, message: bytes) -> list[bytes]:
        """Return the answers of all processes; waits for those that are being started.

        Raises:
            OSError: the system lets none be started.
            ProcessEnded: one has ended meanwhile.
        """
        return [peer.ask(self._wait_for(peer), message) for peer in self._all_peers()]

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._peers: list[_Peer] = []

    def _all_peers(self) -> list[_Peer]:
        if not self._peers:
            self._group.ensure()
            with self._lock:
                addresses = map(self._group.address, range(self._group.size))
                self._peers = self._peers or [*map(_Peer, addresses)]
        return self._peers

    def _connect(self, until: float, avoided: ProcessEnded | None) -> tuple[_Peer, Connection]:
        """Connect to the process with the least in hand, or to any that takes connections."""
        last = None if avoided is None else avoided.peer
        while True:
            for peer in sorted(self._all_peers(), key=lambda each: (each is last, each.in_hand)):
                with suppress(*_UNREACHABLE):
                    connection = peer.connect()
                    with self._lock:
                        peer.in_hand += 1
                    return peer, connection
            if time.monotonic() > until:
                raise NoProcess
            self._group.ensure()
            time.sleep(_PAUSE_SECONDS)

    def _wait_for(self, peer: _Peer) -> Connection:
        while True:
            try:
                return peer.connect()
            except _UNREACHABLE:
                self._group.ensure()
                time.sleep(_PAUSE_SECONDS)

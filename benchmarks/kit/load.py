"""Many requests at a time, and what became of each: a load generator that misses nothing.

    with Load(server.port, [Ask("POST", PREDICTION, b'{"value": 1}')], connections=16) as load:
        load.wait_for(1000)
        ...
    assert not load.failures()

It keeps connections open as long as the server lets it, honours `Connection: close`, and never asks
again for what failed: that is recorded as failed. It runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

CONNECTING = "connecting"
SENDING = "sending"
"""The connection failed, or was closed, before the whole request had been handed to the system."""
WAITING = "waiting"
"""The whole request was sent, and no byte of an answer came."""
RECEIVING = "receiving"
"""The answer broke off."""

_IS_LOST = ("reset", "closed")


@dataclass(frozen=True)
class Ask:
    """One request. Only an answer with this status and body is right; None stands for any body."""

    method: str
    path: str
    body: bytes = b""
    expected: bytes | None = None
    status: int = 200
    headers: Sequence[str] = ()

    def encoded(self) -> bytes:
        """The request as it goes over the wire."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: localhost", *self.headers]
        if self.body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


@dataclass(slots=True)
class Outcome:
    """What became of one request."""

    ask: Ask
    began: float
    """On the monotonic clock; with a rate, when the request was due, even if it went out later."""
    seconds: float = 0.0
    status: int = 0
    """0 where no whole answer came."""
    body: bytes = b""
    headers: bytes = b""
    error: str = ""
    """"refused", "reset", "closed", "timed out" or "abandoned"; empty where an answer came."""
    moment: str = ""
    """Of the error: CONNECTING, SENDING, WAITING or RECEIVING."""
    connection: int = 0
    """Number of the connection, so that its other requests can be found."""
    reused: bool = False
    """Whether the connection had carried a request before."""

    @property
    def ended(self) -> float:
        """When the answer, or the error, was there; on the monotonic clock."""
        return self.began + self.seconds

    @property
    def is_right(self) -> bool:
        """Whether the answer is the one that was asked for."""
        return self.status == self.ask.status and self.ask.expected in (None, self.body)

    @property
    def is_lost(self) -> bool:
        """Whether the server took the connection away, rather than refuse to make one."""
        return self.error in _IS_LOST

    @property
    def retry_after(self) -> float:
        """Seconds that the answer asks its client to wait before it asks again."""
        return float(_header(self.headers.lower(), b"retry-after") or 0)

    def __str__(self) -> str:
        what = (
            self.error and f"{self.error} while {self.moment}"
        ) or f"{self.status} {self.body!r}"
        kept = " on a kept connection" if self.reused else ""
        return f"{what}{kept} at {self.began:.3f} after {self.seconds:.3f} s"


class _Connection(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    numbers = itertools.count(1)

    def __init__(self) -> None:
        self.number = next(self.numbers)
        self.is_open = False
        self.requests = 0
        self.outcome: Outcome | None = None
        self._received = bytearray()
        self._transport: asyncio.Transport
        self._answered: asyncio.Future[None]

    def ask(self, encoded: bytes, outcome: Outcome) -> asyncio.Future[None]:
        outcome.connection, outcome.reused = self.number, self.requests > 0
        self.requests += 1
        self.outcome = outcome
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(encoded)
        return self._answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.is_open = transport, True

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self.outcome is None:
            return
        head = bytes(self._received[:end]).lower()
        length = _content_length(head)
        if len(self._received) < end + 4 + length:
            return
        self.outcome.status = int(head.split(b" ", 2)[1])
        self.outcome.headers = bytes(self._received[:end])
        self.outcome.body = bytes(self._received[end + 4 : end + 4 + length])
        del self._received[: end + 4 + length]
        if b"connection: close" in head:
            self.close()
        self._end()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self.fail("reset" if error else "closed")

    def fail(self, error: str) -> None:
        if self.outcome is None:
            return
        is_sent = self._transport.get_write_buffer_size() == 0
        self.outcome.error = error
        self.outcome.moment = RECEIVING if self._received else WAITING if is_sent else SENDING
        self._end()

    def close(self) -> None:
        self.is_open = False
        self._transport.close()

    def abort(self) -> None:
        self.is_open = False
        self._transport.abort()

    def _end(self) -> None:
        assert self.outcome is not None
        self.outcome.seconds = time.monotonic() - self.outcome.began
        self.outcome = None
        if not self._answered.done():
            self._answered.set_result(None)


def _name(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return "timed out" if isinstance(error, TimeoutError) else "reset"


def _content_length(head: bytes) -> int:
    # The service always sends one, but with 204.
    return int(_header(head, b"content-length") or 0)


def _header(head: bytes, name: bytes) -> bytes:
    return head.partition(b"\r\n%s:" % name)[2].partition(b"\r\n")[0]


@dataclass
class Load:
    """Asks the server on this port while the `with` block lasts, each Ask in turn.

    Without a rate as many requests as there are connections are under way all the time (a closed
    loop); with one, that many a second are due whether the server keeps up or not (an open loop).
    Leaving the block waits for the answers that are still due.
    """

    port: int
    asks: Sequence[Ask]
    connections: int = 16
    rate: float | None = None
    """Requests a second; each waits for a free connection, and that counts as its time."""
    is_random: bool = False
    """Whether the moments when requests are due follow chance, as those of many clients do."""
    requests: int | None = None
    """Stop by itself after that many."""
    patience: float = 30.0
    """Seconds until a request counts as timed out."""
    pause_after_refusal: float = 0.02
    """Seconds, so that a server that is gone is not hammered at."""
    arrive_within: float = 0.0
    """Seconds within which the connections begin, each at a moment of its own."""
    honours_retry_after: bool = False
    """Whether a connection that got a 503 waits as long as its Retry-After says."""
    record: Callable[[Outcome], None] | None = None
    """Called with each outcome, in the generator's thread, instead of keeping it in `outcomes`."""
    outcomes: list[Outcome] = field(default_factory=list)
    count: int = 0
    """Of the requests that have ended."""

    def __post_init__(self) -> None:
        self._encoded = [(ask, ask.encoded()) for ask in self.asks]
        self._begun = 0
        self._due = 0.0
        self._stopped = False
        self._is_abandoned = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._open: set[_Connection] = set()
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask no more, and wait for the answers that are due."""
        self._stopped = True
        self._thread.join(self.patience + 30)
        assert not self._thread.is_alive(), "the load generator hangs"
        if self._failure is not None:
            raise self._failure

    def abandon(self) -> None:
        """Ask no more, and close all connections without waiting for the answers that are due."""
        self._is_abandoned = True
        self.stop()

    def wait_for(self, count: int, timeout: float = 60) -> None:
        """Wait until that many more requests have ended."""
        wanted, deadline = self.count + count, time.monotonic() + timeout
        while self.count < wanted:
            assert self._failure is None, self._failure
            assert time.monotonic() < deadline, f"{wanted - self.count} requests never ended"
            assert self._thread.is_alive(), f"ended {wanted - self.count} requests too early"
            time.sleep(0.005)

    def join(self, timeout: float = 100) -> None:
        """Wait until all `requests` have ended."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"only {self.count} requests ended"

    def failures(self) -> list[Outcome]:
        """What was not answered, or not right."""
        return [outcome for outcome in self.outcomes if not outcome.is_right]

    def statuses(self) -> Counter[int]:
        """How often each status came; 0 stands for no answer."""
        return Counter(outcome.status for outcome in self.outcomes)

    def percentile(self, percent: float, status: int = 200) -> float:
        """Seconds within which that part of the answers with this status came."""
        seconds = sorted(o.seconds for o in self.outcomes if o.status == status)
        assert seconds, f"no answer had status {status}"
        return seconds[max(0, math.ceil(len(seconds) * percent / 100) - 1)]

    async def _run(self) -> None:
        try:
            patience = asyncio.create_task(self._lose_patience())
            begins = (self.arrive_within * n / self.connections for n in range(self.connections))
            await asyncio.gather(*(self._keep_asking(begin) for begin in begins))
            patience.cancel()
            for connection in self._open:
                connection.close()
        except BaseException as error:  # noqa: BLE001 (handed to whoever waits)
            self._failure = error

    async def _keep_asking(self, begin: float) -> None:
        connection: _Connection | None = None
        await asyncio.sleep(begin)
        while not self._stopped and self._begun != self.requests:
            number, self._begun = self._begun, self._begun + 1
            ask, encoded = self._encoded[number % len(self._encoded)]
            outcome = Outcome(ask, await self._turn(number))
            if connection is None or not connection.is_open:
                connection = await self._connect(connection, outcome)
            if connection is not None:
                await connection.ask(encoded, outcome)
            self.count += 1
            (self.record or self.outcomes.append)(outcome)
            if connection is None:
                await asyncio.sleep(self.pause_after_refusal)
            elif self.honours_retry_after and outcome.status == 503:
                await self._pause(outcome.retry_after)

    async def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopped and (rest := end - time.monotonic()) > 0:
            await asyncio.sleep(min(rest, 0.1))

    async def _turn(self, number: int) -> float:
        if self.rate is None:
            return time.monotonic()
        due = self._start + number / self.rate
        if self.is_random:
            self._due += random.expovariate(self.rate)
            due = self._start + self._due
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        return due

    async def _connect(self, former: _Connection | None, outcome: Outcome) -> _Connection | None:
        if former is not None:
            self._open.discard(former)
        loop = asyncio.get_running_loop()
        making = loop.create_connection(_Connection, "127.0.0.1", self.port)
        try:
            _, connection = await asyncio.wait_for(making, self.patience)
        except OSError as error:
            outcome.error, outcome.moment = _name(error), CONNECTING
            outcome.seconds = time.monotonic() - outcome.began
            return None
        self._open.add(connection)
        return connection

    async def _lose_patience(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            now = time.monotonic()
            for connection in self._open:
                outcome = connection.outcome
                if outcome is None:
                    continue
                if self._is_abandoned or now - outcome.began > self.patience:
                    connection.fail("abandoned" if self._is_abandoned else "timed out")
                    connection.abort()

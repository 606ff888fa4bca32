"""Gunicorn's threaded worker, with threads that never wait for a client.

The main loop reads each request whole before a thread gets it, and writes what of an answer the
client does not take at once, as a buffering proxy would. So a client that sends or reads slowly, or
not at all, costs memory and a file descriptor, but no thread. HTTP itself stays gunicorn's affair:
what is found out here is only when to hand the bytes over.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from django.apps import apps
from gunicorn.workers.gthread import PollableMethodQueue, TConn, ThreadWorker

from modelhost.environment import number
from modelhost.lanes import Lanes
from modelhost.listeners import STOPPING
from models_api.exceptions import ConfigurationError

_TICK_SECONDS = 0.1
_LOOK_SECONDS = 0.01
_PATIENCE_SECONDS = 0.002
"""For which the main loop leaves the interpreter to threads that have enough to do."""
_IDLE_SECONDS_WHEN_STOPPING = 2.0
"""A request may be under way on a connection that was just promised to be kept."""
_DRAIN_SECONDS = 0.1
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 64 * 1024 * 1024
_READ_BYTES = 64 * 1024
_SENT_AT_ONCE = 64 * 1024
_ACCEPTED_AT_ONCE = 16
_NEIGHBOUR_PATIENCE_SECONDS = 0.2
"""After which a connection that its own worker does not accept is anybody's."""
_BORROWED_SECONDS = 2.0
"""After which such a connection is given back: its client makes another, for its own worker."""
_UNREADY_PATIENCE_SECONDS = 1.0
"""The same for a worker whose models are not loaded: after those that can do better."""

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_EXPECTATION = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class ClientSocket:
    """What a thread sees of a connection: what it reads is there, what it writes is taken."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.unsent = bytearray()
        self.is_overread = False
        """Whether more was asked for than came, so that nobody knows where the next request is."""
        self.received = bytearray()

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Find nothing more; with MSG_PEEK, show the request that is about to be handled."""
        if flags & socket.MSG_PEEK:
            return bytes(self.received[:size])
        self.is_overread = True
        return b""

    def sendall(self, data: bytes) -> None:
        """Take it; it is sent together with what comes after it, if that is soon."""
        self.unsent += data
        if len(self.unsent) > _SENT_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Send what the client takes; the rest is the main loop's to send."""
        while self.unsent:
            try:
                del self.unsent[: self._connection.send(self.unsent)]
            except BlockingIOError:
                return

    send = sendall

    def gettimeout(self) -> None:
        """Never wait."""

    def settimeout(self, seconds: float | None) -> None:
        """Never wait."""

    def setblocking(self, flag: bool) -> None:
        """Never block."""

    def shutdown(self, how: int) -> None:
        """Leave that to the main loop."""

    def close(self) -> None:
        """Leave that to the main loop."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class Connection(TConn):
    """A connection, and how far its next request has come."""

    def __init__(self, cfg: Any, client: socket.socket, address: Any, server: Any) -> None:
        super().__init__(cfg, client, address, server)
        self.client_socket = client
        self.sock: ClientSocket = ClientSocket(client)
        self.data_ready = True  # before a thread sees it
        self.deadline = 0.0
        self.is_cut = False
        """Whether the thread gets less than the client announced."""
        self.discarded = 0
        self.borrowed_until = math.inf
        self.watched_for = 0
        """The event for which the poller watches it; 0 for none."""
        self.on_event: Callable[[Connection], None]
        """What is to be done at that event."""
        self._searched = 0
        self._whole: int | None = None
        """Bytes of the request, or -1 if it is chunked; None before the head has come."""
        self._chunks = Chunks()

    @property
    def received(self) -> bytearray:
        """What has come of the next request."""
        return self.sock.received

    @property
    def is_idle(self) -> bool:
        """Whether the client has sent nothing since the last answer."""
        return not self.sock.received

    def init(self) -> None:
        """Give gunicorn's parser what was received; called by the thread, for each request."""
        super().init()
        self.parser.unreader.unread(bytes(self.sock.received))
        self.sock.received.clear()

    def flush(self) -> bool:
        """Send what the client takes of the answer; whether it is still there to take any."""
        try:
            self.sock.flush()
        except OSError:
            self.sock.unsent.clear()
            return False
        return True

    def begin(self) -> None:
        """Take back what the parser has read of the next request."""
        if self.parser is not None:
            self.sock.received[:] = self.parser.unreader.take_buffered()
        self._searched, self._whole, self._chunks = 0, None, Chunks()

    def is_whole(self, limit: int, head_limit: int) -> bool:
        """Whether to hand over what was received: a whole request, or what will never be one."""
        if self._whole is None and not self._measure(limit, head_limit):
            return self.is_cut
        if self._whole is not None and self._whole >= 0:
            return len(self.received) >= self._whole
        if self._chunks.end_in(self.received):
            return True
        self.is_cut = self._chunks.size > limit or len(self.received) > 8 * limit + head_limit
        return self.is_cut

    def _measure(self, limit: int, head_limit: int) -> bool:
        """Look for the end of the head, and find out what comes after it."""
        received = self.received
        end = received.find(b"\r\n\r\n", self._searched)
        if end < 0:
            is_wrong = _BARE_LINE_FEED.search(received, self._searched)
            self.is_cut = bool(is_wrong) or len(received) > head_limit
            self._searched = max(0, len(received) - 3)
            return False
        head = bytes(received[: end + 2])
        if _CHUNKED.search(head):
            self._whole, self._chunks.position = -1, end + 4
            self._continue(head)
            return True
        length = int(found[1]) if (found := _CONTENT_LENGTH.search(head)) else 0
        self._whole = end + 4 + length
        if length > limit:
            self.is_cut = True
            return False
        if len(received) < self._whole:
            self._continue(head)
        return True

    def _continue(self, head: bytes) -> None:
        """Tell a client to go on that waits for it, and gunicorn that it needn't."""
        if found := _EXPECTATION.search(head):
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            with contextlib.suppress(OSError):  # it will be seen soon enough
                self.sock.flush()
            del self.received[found.start() : found.end()]
            if self._whole is not None and self._whole >= 0:
                self._whole -= found.end() - found.start()
            else:
                self._chunks.position -= found.end() - found.start()


class Chunks:
    """Looks for the end of a chunked body, going on from where it had come to."""

    def __init__(self) -> None:
        self.position = 0
        self.size = 0
        """Bytes that the chunks announce, without what frames them."""

    def end_in(self, received: bytearray) -> bool:
        """Whether the end is there, or what cannot be understood."""
        while (line_end := received.find(b"\r\n", self.position)) >= 0:
            digits = bytes(received[self.position : line_end]).partition(b";")[0].strip()
            try:
                size = int(digits, 16)
            except ValueError:
                return True
            if size == 0:
                trailers = received.find(b"\r\n\r\n", line_end)
                return trailers >= 0
            if len(received) < line_end + 2 + size + 2:
                return False
            self.size += size
            self.position = line_end + 2 + size + 2
        return len(received) - self.position > 8192  # no line of a chunk is that long


class WakingOnce(PollableMethodQueue):
    """Wakes the main loop once for all that is waiting for it, not once for each."""

    _is_woken = False

    def defer(self, callback: Callable[..., Any], *args: Any) -> None:
        """Let the main loop call that; called by threads."""
        self._queue.put(partial(callback, *args))
        if not self._is_woken:
            self._is_woken = True
            with contextlib.suppress(OSError):  # the worker has ended
                os.write(self._write_fd, b"\0")

    def run_callbacks(self, _file: Any) -> None:
        """Call what is there."""
        os.read(self._read_fd, 1)
        # Before it is looked at what is there: what comes from now on wakes the loop again.
        self._is_woken = False
        for _ in range(self._queue.qsize()):
            self._queue.get_nowait()()


class BufferingWorker(ThreadWorker):
    """See the module. All of it runs on the main thread, but for `handle`."""

    relieves_when_ready = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cfg.set("sendfile", False)  # it would wait for the client
        self.method_queue = WakingOnce()
        self._client_seconds = number("CLIENT_TIMEOUT_SECONDS", 30)
        self._limit = number("MAX_BODY_BYTES", 10 * 1024 * 1024)
        self._head_limit = self.cfg.limit_request_line + self.cfg.limit_request_fields * (
            self.cfg.limit_request_field_size + 4
        )
        self._buffer_limit = self.cfg.threads * (self._limit + self._head_limit)
        self._buffered = 0
        self._waiting: dict[Connection, None] = {}
        """Those that no thread has: longest first since their state last changed."""
        self._listening = False
        self._unaccepted_since: dict[Any, float] = {}
        self._is_ready = False
        self._relieved_until = 0.0
        self._next_look = 0.0

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Refuse what this worker does not speak."""
        super().check_config(cfg, log)
        if cfg.is_ssl:
            sys.exit("modelhost's worker speaks plain HTTP; for TLS add: --worker-class gthread")

    def get_thread_pool(self) -> Lanes:
        """Let nothing quick wait for predictions."""
        maximum = number("MAX_CONCURRENT_PREDICTIONS", 0)
        return Lanes(self.cfg.threads, maximum, clients=lambda: self.nr_conns)

    # The life of the worker

    def run(self) -> None:
        """Serve until told to stop, then answer what was accepted."""
        self.poller.register(self.method_queue.fileno(), _READ, self.method_queue.run_callbacks)
        while self.alive and self.is_parent_alive():
            self.notify()
            self._serve(_TICK_SECONDS)
            self._close_late()
            self._look_after_neighbours()
            self._dismiss_late()
        self._stop()

    def _serve(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self.alive and (left := until - time.monotonic()) > 0:
            self._listen_if_able()
            self.wait_for_and_dispatch_events(left)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for events, and see to all of them before threads go on with what they bring.

        The main loop and the threads take turns with the interpreter, and to change turns costs as
        much as a good part of a small prediction. So while there is enough to do the main loop
        doesn't ask for it, and then reads and writes for many clients at once.
        """
        predictions = self.tpool.predictions
        was_behind = predictions.is_behind
        if was_behind:
            predictions.wait_until_taken(_PATIENCE_SECONDS)
            timeout = min(timeout, _LOOK_SECONDS)
        super().wait_for_and_dispatch_events(timeout)
        predictions.wake()
        if was_behind and (now := time.monotonic()) > self._next_look:
            self._next_look = now + _LOOK_SECONDS
            predictions.look()

    def _stop(self) -> None:
        self.alive = False
        begun = time.monotonic()
        is_last = STOPPING.is_set() or not self.is_parent_alive()
        if is_last:
            self._accept_the_last(begun + _DRAIN_SECONDS)
        self._set_listening(False)
        for listener in self.sockets:
            listener.close()
        for connection in self._waiting:
            self._cap(connection)
        while self.nr_conns > 0 and time.monotonic() < begun + self.cfg.graceful_timeout:
            self.notify()
            self.wait_for_and_dispatch_events(_TICK_SECONDS)
            self._close_late()
        for connection in list(self._waiting):
            self._drop(connection)
        self.tpool.shutdown(wait=False)
        self.poller.close()
        self.method_queue.close()

    def _accept_the_last(self, until: float) -> None:
        """Accept what is in the queues, which the system would reset.

        The server has seen to it that nothing new gets in there; see modelhost.listeners.
        """
        while time.monotonic() < until:
            self.notify()
            self.wait_for_and_dispatch_events(_TICK_SECONDS / 10)
        for listener in self.sockets:
            self._accept_all(listener, sys.maxsize)

    # Accepting

    def _listen_if_able(self) -> None:
        if not self._is_ready and self._can_predict():
            self._is_ready = True
            self._relieve(signal.SIGTERM)
            self._relieved_until = time.monotonic() + 1.5 * self.cfg.graceful_timeout
        if self.nr_conns >= self.worker_connections and self._waiting:
            self._drop(next(iter(self._waiting)))  # it has been there longest without a change
        has_room = self.nr_conns < self.worker_connections
        is_first = getattr(self, "is_first", True)
        self._set_listening(has_room and (self._is_ready or is_first))

    def _relieve(self, number: signal.Signals) -> None:
        """Stop the worker from before a reload in whose place this one is."""
        for former in getattr(self, "relieves", ()):
            former.signal(number)

    def _dismiss_late(self) -> None:
        if self._relieved_until and time.monotonic() > self._relieved_until:
            self._relieve(signal.SIGKILL)
            self._relieved_until = 0.0

    def _can_predict(self) -> bool:
        if not (apps.ready and apps.is_installed("models_api")):
            return True
        try:
            registry: Any = apps.get_app_config("models_api").registry  # type: ignore[attr-defined]
        except ConfigurationError:
            return True  # a project may have other pages to serve
        registry.start_loading()  # as the first request would, which is not let in before
        return bool(registry.has_started)

    @property
    def _own(self) -> list[Any]:
        own: list[Any] = getattr(self, "own_listeners", None) or self.sockets
        return own

    def _set_listening(self, wanted: bool) -> None:
        if wanted == self._listening:
            return
        for listener in self._own:
            if wanted:
                listener.setblocking(False)
                accept = partial(self._accept_some, listener)
                self.poller.register(listener, _READ, accept)
            else:
                self.poller.unregister(listener)
        self._listening = wanted

    def _accept_some(self, listener: Any, _file: Any) -> None:
        self._accept_all(listener, _ACCEPTED_AT_ONCE)

    def _accept_all(self, listener: Any, most: int, borrowed_until: float = math.inf) -> None:
        for _ in range(min(most, max(1, self.worker_connections - self.nr_conns))):
            try:
                client, address = listener.accept()
            except OSError:  # none is left, or the client has left
                return
            connection = Connection(self.cfg, client, address, listener.getsockname())
            connection.borrowed_until = borrowed_until
            self.nr_conns += 1
            self._wait(connection, self._client_seconds)
            self._read(connection)

    def _look_after_neighbours(self) -> None:
        """Accept what another worker should have: it is gone, hangs, or loads its models."""
        if self.nr_conns >= self.worker_connections:
            return
        patience = _NEIGHBOUR_PATIENCE_SECONDS if self._is_ready else _UNREADY_PATIENCE_SECONDS
        others = [one for one in self.sockets if not (self._listening and one in self._own)]
        readable = _readable(others)
        now = time.monotonic()
        for listener in others:
            if listener not in readable:
                self._unaccepted_since.pop(listener, None)
            elif now - self._unaccepted_since.setdefault(listener, now) > patience:
                self._accept_all(listener, _ACCEPTED_AT_ONCE, now + _BORROWED_SECONDS)

    # One connection

    def _wait(
        self,
        connection: Connection,
        seconds: float,
        event: int = _READ,
        callback: Callable[[Connection], None] | None = None,
    ) -> None:
        connection.deadline = time.monotonic() + seconds
        connection.on_event = callback or self._read
        self._waiting.pop(connection, None)
        self._waiting[connection] = None
        self._watch(connection, event)
        if not self.alive:
            self._cap(connection)

    def _watch(self, connection: Connection, event: int) -> None:
        if connection.watched_for == event:
            return
        if connection.watched_for:
            self.poller.unregister(connection.client_socket)
        if event:
            self.poller.register(connection.client_socket, event, partial(self._event, connection))
        connection.watched_for = event

    def _event(self, connection: Connection, _file: Any) -> None:
        if connection in self._waiting:
            connection.on_event(connection)
        else:
            # A thread has it, and its client sends on, or has left. That can wait; but to the
            # poller it would be news again and again. It is rare, so until then it is watched:
            # each call that is spared spares a change of threads.
            self._watch(connection, 0)

    def _cap(self, connection: Connection) -> None:
        if connection.is_idle:
            soon = time.monotonic() + _IDLE_SECONDS_WHEN_STOPPING
            connection.deadline = min(connection.deadline, soon)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.client_socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection)
            return
        if not data:
            self._end_of_input(connection)
            return
        if connection.is_idle:
            connection.deadline = time.monotonic() + self._client_seconds
        connection.sock.received += data
        self._buffered += len(data)
        self._hand_over_if_whole(connection)

    def _hand_over_if_whole(self, connection: Connection) -> None:
        if connection.is_whole(self._limit, self._head_limit):
            self._hand_over(connection)
        elif self._buffered > self._buffer_limit:
            self._refuse(connection, 503, "Overloaded", "Too many requests are half sent.")

    def _end_of_input(self, connection: Connection) -> None:
        if connection.is_idle:
            self._drop(connection)
        else:
            connection.is_cut = True
            self._hand_over(connection)

    def _hand_over(self, connection: Connection) -> None:
        del self._waiting[connection]
        self._buffered -= len(connection.received)
        self.enqueue_req(connection)

    def enqueue_req(self, conn: Connection) -> None:
        """Let a thread answer a request."""
        self.tpool.submit(self._answer, conn)

    def _answer(self, connection: Connection) -> None:
        """Answer a request; called by a thread."""
        is_kept = False
        try:
            is_kept = bool(self.handle(connection))
        except BaseException:
            self.log.exception("Error handling request")
        # A thread that has more to do goes on with it, and the main loop sends.
        if not self.tpool.predictions.is_behind:
            is_kept = connection.flush() and is_kept
        self.method_queue.defer(self.finish_request, connection, is_kept)

    def handle_request(self, req: Any, conn: Connection) -> Any:
        """Run the application; called by a thread."""
        if time.monotonic() > conn.borrowed_until:
            req.force_close()
        return super().handle_request(req, conn)

    def finish_request(self, conn: Connection, is_kept: bool) -> None:
        """Write what is left of the answer, then wait for the next request or close."""
        is_kept = conn.flush() and is_kept
        conn.is_cut = conn.is_cut or conn.sock.is_overread or not is_kept
        if conn.sock.unsent:
            self._wait(conn, self._client_seconds, _WRITE, self._write)
        else:
            self._after_answer(conn)

    def _write(self, connection: Connection) -> None:
        if not connection.flush():
            self._drop(connection)
            return
        connection.deadline = time.monotonic() + self._client_seconds
        if not connection.sock.unsent:
            self._after_answer(connection)

    def _after_answer(self, connection: Connection) -> None:
        if connection.is_cut:
            self._linger(connection)
            return
        connection.begin()
        self._buffered += len(connection.received)
        self._wait(connection, self.cfg.keepalive if connection.is_idle else self._client_seconds)
        if not connection.is_idle:
            self._hand_over_if_whole(connection)

    def _linger(self, connection: Connection) -> None:
        """Close, but not before the client has the answer.

        A connection that is closed while input is unread is reset, and the answer may be lost; see
        https://www.rfc-editor.org/rfc/rfc9112#section-9.6.
        """
        try:
            connection.client_socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._forget(connection)
            return
        connection.sock.received.clear()
        self._wait(connection, _LINGER_SECONDS, _READ, self._discard)

    def _discard(self, connection: Connection) -> None:
        try:
            data = connection.client_socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        connection.discarded += len(data)
        if not data or connection.discarded > _LINGER_BYTES:
            self._drop(connection)
        elif connection.discarded >= _READ_BYTES:
            connection.deadline = time.monotonic() + _LINGER_SECONDS

    def _close_late(self) -> None:
        now = time.monotonic()
        for connection in [one for one in self._waiting if one.deadline <= now]:
            if connection.is_idle:
                self._drop(connection)
            else:
                seconds = self._client_seconds
                message = f"The request did not arrive whole within {seconds} seconds."
                self._refuse(connection, 408, "RequestTimeout", message)

    def _refuse(self, connection: Connection, status: int, type_: str, message: str) -> None:
        self._buffered -= len(connection.received)
        body = json.dumps({"type": type_, "messages": [message]}, separators=(",", ":"))
        reason = {408: "Request Timeout", 503: "Service Unavailable"}[status]
        retry = "Retry-After: 1\r\n" if status == 503 else ""
        connection.sock.sendall(
            f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\n{retry}"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        with contextlib.suppress(OSError):
            connection.sock.flush()
        self._linger(connection)

    def _drop(self, connection: Connection) -> None:
        self._buffered -= len(connection.received)
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._waiting.pop(connection, None)
        self._watch(connection, 0)
        self.nr_conns -= 1
        connection.client_socket.close()


def _readable(listeners: list[Any]) -> list[Any]:
    with selectors.DefaultSelector() as selector:
        for listener in listeners:
            selector.register(listener, _READ)
        return [key.fileobj for key, _ in selector.select(0)] if listeners else []

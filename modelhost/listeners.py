"""A listening socket for each of gunicorn's workers, all of them kept open by the master.

With one socket for all, one worker may take all connections. With gunicorn's own `reuse_port` each
worker has a socket, but it is closed with the worker, and what waits in its queue is reset. Here
the system deals connections out among sockets that outlive the workers: one that takes over from
another finds its queue.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import socket
import struct
import sys
from collections import Counter
from typing import Any

from gunicorn import sock

_SO_ATTACH_FILTER = 26
_REFUSE_SYN = (
    (0x30, 0, 0, 13),  # load the byte of the TCP header that has the flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone begins a connection:
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # let everything else pass
)


class SharedFlag:
    """A flag that is seen by all processes forked after it was made."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def set(self) -> None:
        """Set it, for good."""
        self._memory[0] = 1

    def is_set(self) -> bool:
        """Whether any process has set it."""
        return bool(self._memory[0])


STOPPING = SharedFlag()
"""Whether the whole server stops, not just one worker whose sockets others go on listening at."""


def share_out(server: Any) -> None:
    """Make a socket for each worker at every address, before gunicorn makes its own.

    Sockets that were handed to the server, and `reuse_port`, are left to gunicorn.
    """
    handed_over = {"LISTEN_FDS", "GUNICORN_FD"} & os.environ.keys()
    if server.LISTENERS or handed_over or server.cfg.reuse_port or server.cfg.workers < 2:
        return
    if not hasattr(socket, "SO_REUSEPORT"):
        return
    addresses = server.cfg.address
    if all(isinstance(address, tuple) for address in addresses):
        server.LISTENERS = [
            listener
            for address in addresses
            for listener in _listeners(address, server.cfg, server.log)
        ]


def _listeners(address: tuple[str, int], cfg: Any, log: Any) -> list[Any]:
    # With SO_REUSEPORT from the start, a second server at the same port would go unnoticed.
    (first,) = sock.create_sockets(_Only(cfg, address), log)
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listeners = [first]
    for _ in range(cfg.workers - 1):
        another = socket.socket(first.FAMILY, socket.SOCK_STREAM)
        another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        another.bind(first.getsockname())
        listeners.append(type(first)(address, cfg, log, fd=another.detach()))
    return listeners


class _Only:
    """The settings of gunicorn, with one address."""

    def __init__(self, cfg: Any, address: tuple[str, int]) -> None:
        self._cfg = cfg
        self.address = [address]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cfg, name)


def assign(server: Any, worker: Any) -> None:
    """Give a new worker the sockets of the place that has fewest workers."""
    taken = Counter(getattr(one, "place", None) for one in server.WORKERS.values())
    places = max(server.num_workers, 1)
    worker.place = min(range(places), key=lambda place: (taken[place], place))
    groups: dict[Any, list[Any]] = {}
    for listener in server.LISTENERS:
        groups.setdefault(listener.getsockname(), []).append(listener)
    worker.own_listeners = [
        listener
        for group in groups.values()
        for number, listener in enumerate(group)
        if number % places == worker.place or number == worker.place % len(group)
    ]


def refuse_connections(listeners: list[Any]) -> None:
    """Let no new connection begin, while those in the queues can still be accepted.

    Closing a socket resets what is in its queue. So a server that stops first sees to it that
    nothing new gets in, then accepts what is there. Only Linux can; a client that is turned away
    tries again after a second, by itself, and finds the port closed.
    """
    if sys.platform != "linux":
        return
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _REFUSE_SYN)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HL", len(_REFUSE_SYN), ctypes.addressof(buffer))
    for listener in listeners:
        if listener.FAMILY != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

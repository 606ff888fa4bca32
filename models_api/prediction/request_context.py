"""What is known of the request that the current thread works for, whatever its protocol."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence
from contextvars import ContextVar

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestContext:
    """One request: its id, and what is found out about it on its way."""

    __slots__ = (
        "arrived",
        "batch_size",
        "deadline",
        "id",
        "model",
        "others",
        "queue_seconds",
        "rows",
        "trace_id",
        "version",
    )

    arrived: float
    """When it came to this process, on the monotonic clock."""
    deadline: float | None
    """When nobody waits for its prediction any more, on the same clock; None if somebody does."""
    id: str
    model: str | None
    """Qualified name of the model that it asks; None if it asks none."""
    version: str | None
    rows: int | None
    """Rows that it asks predictions for; None until its body has been read."""
    batch_size: int | None
    """Rows of the largest call to the model that any of its rows was in."""
    queue_seconds: float
    """Seconds that it waited for its turn: in the model's queue, and for its batch."""
    others: tuple[str, ...]
    """Ids of the other requests that are worked for in the same call of the model."""
    trace_id: str | None

    def __init__(self, id_: str) -> None:
        self.arrived = time.monotonic()
        self.deadline = None
        self.id = id_
        self.model = None
        self.version = None
        self.rows = None
        self.batch_size = None
        self.queue_seconds = 0.0
        self.others = ()
        self.trace_id = None


current_request: ContextVar[RequestContext | None] = ContextVar("current_request", default=None)
"""None outside of requests, and in threads that models start by themselves."""


def request_id(given: str | None) -> str:
    """Return the id that the client gave if it can do no harm, else a new one."""
    if given and _WELL_FORMED.fullmatch(given):
        return given
    # Nothing secret. The system's source of chance would let another thread have the interpreter,
    # and the change of threads takes longer than all the rest of what is done for the id.
    return random.getrandbits(128).to_bytes(16, "big").hex()


def shared_context(contexts: Sequence[RequestContext]) -> RequestContext | None:
    """Make the context of work that is done for several requests; None if it is for none."""
    if not contexts:
        return None
    first, *others = contexts
    context = RequestContext(first.id)
    context.others = tuple([other.id for other in others])
    context.model, context.version, context.trace_id = first.model, first.version, first.trace_id
    return context


def note_model(name: str | None, version: str | None) -> None:
    """Record which model the current request asks."""
    context = current_request.get()
    if context is not None:
        context.model, context.version = name, version


def note_rows(rows: int) -> None:
    """Record for how many rows the current request asks; nobody has shared a call yet."""
    context = current_request.get()
    if context is not None:
        context.rows, context.batch_size = rows, 1


def note_batch(size: int) -> None:
    """Record that so many rows of the current request were predicted in one call."""
    context = current_request.get()
    if context is not None:
        context.batch_size = max(size, context.batch_size or 0)

"""What is known of the request that the current thread works for, whatever its protocol."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Caller(NamedTuple):
    """Who sent a request, and what they said beside its body."""

    headers: Mapping[str, str] = {}
    """Those that the configuration allows models to read, by their names in lower case."""
    principal: object = None
    """Whom the policies of a project found to have sent it; None where none looked."""
    auth: object = None
    """By which token or the like."""


NOBODY = Caller()


class RequestContext:
    """One request: its id, and what is found out about it on its way."""

    __slots__ = (
        "arrived",
        "batch_size",
        "caller",
        "deadline",
        "id",
        "model",
        "others",
        "queue_seconds",
        "reason",
        "received",
        "rows",
        "trace_id",
        "version",
    )

    arrived: float
    """When it came to this process, on the monotonic clock."""
    caller: Caller
    deadline: float | None
    """When nobody waits for its prediction any more, on the same clock; None if somebody does."""
    id: str
    model: str | None
    """Qualified name of the model that it asks; None if it asks none."""
    version: str | None
    received: float
    """When its body had come, too; deadlines and the times of predictions count from here."""
    rows: int | None
    """Rows that it asks predictions for; None until its body has been read."""
    batch_size: int | None
    """Rows of the largest call to the model that any of its rows was in."""
    queue_seconds: float
    """Seconds that it waited for its turn: in the model's queue, and for its batch."""
    reason: str | None
    """Why it was refused, in a word for the log, where its status leaves that open."""
    others: tuple[str, ...]
    """Ids of the other requests that are worked for in the same call of the model."""
    trace_id: str | None

    def __init__(self, id_: str) -> None:
        self.arrived = self.received = time.monotonic()
        self.caller = NOBODY
        self.deadline = None
        self.id = id_
        self.model = None
        self.version = None
        self.rows = None
        self.batch_size = None
        self.queue_seconds = 0.0
        self.reason = None
        self.others = ()
        self.trace_id = None


class SharedContext(RequestContext):
    """The context of work that is done for rows of several requests."""

    __slots__ = ("requests",)

    def __init__(self, requests: Sequence[RequestContext]) -> None:
        first, *others = requests
        super().__init__(first.id)
        self.others = tuple([other.id for other in others])
        self.model, self.version, self.trace_id = first.model, first.version, first.trace_id
        self.requests = tuple(requests)
        """One for each row."""


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
    return SharedContext(contexts) if contexts else None


@contextmanager
def ensured_context(given_id: str | None) -> Iterator[None]:
    """See to it that there is a context, also where nobody began one when the request came."""
    if current_request.get() is not None:
        yield
        return
    token = current_request.set(RequestContext(request_id(given_id)))
    try:
        yield
    finally:
        current_request.reset(token)


@contextmanager
def nested_context(principal: object = None) -> Iterator[RequestContext]:
    """Begin a context of its own for a prediction that code of this process asks for.

    It has the id of the request that the code works for, if it works for one, and the caller.
    """
    outer = current_request.get()
    context = RequestContext(request_id(None) if outer is None else outer.id)
    if outer is not None:
        context.caller, context.trace_id = outer.caller, outer.trace_id
    if principal is not None:
        context.caller = context.caller._replace(principal=principal)
    token = current_request.set(context)
    try:
        yield context
    finally:
        current_request.reset(token)


@contextmanager
def copied_context(original: RequestContext | None) -> Iterator[RequestContext]:
    """Begin a context for work that nobody waits for, with the id and caller of a request."""
    context = RequestContext(request_id(None) if original is None else original.id)
    if original is not None:
        context.caller = original.caller
    token = current_request.set(context)
    try:
        yield context
    finally:
        current_request.reset(token)


def note_headers(headers: Mapping[str, str]) -> None:
    """Record those headers of the current request that models may read."""
    context = current_request.get()
    if context is not None:
        context.caller = context.caller._replace(headers=headers)


def note_principal(principal: object, auth: object) -> None:
    """Record who sent the current request, as policies found out."""
    context = current_request.get()
    if context is not None:
        context.caller = context.caller._replace(principal=principal, auth=auth)


def note_model(name: str | None, version: str | None) -> None:
    """Record which model the current request asks."""
    context = current_request.get()
    if context is not None:
        context.model, context.version = name, version


def noted_version() -> str | None:
    """Return which version of a model the current request asks; None if it asks none."""
    context = current_request.get()
    return None if context is None else context.version


def note_received() -> None:
    """Record that the body of the current request has come."""
    context = current_request.get()
    if context is not None:
        context.received = time.monotonic()


def note_rows(rows: int) -> None:
    """Record for how many rows the current request asks; nobody has shared a call yet."""
    context = current_request.get()
    if context is not None:
        context.rows, context.batch_size = rows, 1


def noted_rows() -> int:
    """Return for how many rows the current request asks, as far as it is known."""
    context = current_request.get()
    return 1 if context is None or context.rows is None else context.rows


def note_batch(size: int) -> None:
    """Record that so many rows of the current request were predicted in one call."""
    context = current_request.get()
    if context is not None:
        context.batch_size = max(size, context.batch_size or 0)

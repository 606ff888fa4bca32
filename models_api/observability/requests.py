"""What is done around every request, whatever answers it: it gets an id, and observers its end."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from models_api.logs import SafeLogger
from models_api.prediction.request_context import RequestContext, current_request, request_id

logger = SafeLogger(__name__)

_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


class FinishedRequest(NamedTuple):
    """A request that has been answered, and how."""

    method: str
    route: str | None
    """As the URLconf has it, without the first slash; None where none matched."""
    path: str
    status: int
    seconds: float
    """From its arrival in this process until its answer was ready to be sent."""
    request_length: str | None
    """The header Content-Length as the client sent it."""
    response_length: str | None
    """That of the answer; None for one that is streamed."""
    is_routine: bool
    """Whether it is a probe, or for a file of the documentation: logged only if there is news."""
    context: RequestContext
    remote_address: str | None = None
    """Whoever connected to the server: the client, or a proxy."""
    forwarded_for: str | None = None
    """The header X-Forwarded-For, which anybody may have written."""
    user: object = None
    """Whom a project's authentication found to have sent it; None where none did."""


def path_template(route: str) -> str:
    """Write a route as rest_model_service does: `/api/models/{qualified_name}/metadata`."""
    return "/" + _PARAMETER.sub(r"{\1}", route)


class RequestObserver(Protocol):
    """Takes note of requests, on the thread of each, and as quickly as possible."""

    def __call__(self, request: FinishedRequest, /) -> None:
        """Record one request; what this raises is logged, and breaks nothing."""


class RequestRecorder:
    """Begins and ends the records of requests. Safe to use from many threads."""

    def __init__(self, observers: Iterable[RequestObserver]) -> None:
        self._observers = tuple(observers)

    def begin(self, given_id: str | None) -> RequestContext:
        """Make the context of a request that has arrived, which is the current one from now on.

        Args:
            given_id: The header X-Request-ID; it is taken if it is well-formed.
        """
        context = RequestContext(request_id(given_id))
        current_request.set(context)
        return context

    def end(self, request: FinishedRequest) -> None:
        """Hand the current request to the observers, and make it current no more."""
        for observe in self._observers:
            try:
                observe(request)
            except KeyboardInterrupt:
                raise
            except BaseException:
                logger.exception("An observer of requests failed")
        current_request.set(None)

    def abandon(self) -> None:
        """Make the current request current no more: it gets no answer."""
        current_request.set(None)

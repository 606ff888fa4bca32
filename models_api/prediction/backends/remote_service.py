"""Another service in which a model computes, as this process asks it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus

from models_api.configuration.execution import ExecutionConfiguration
from models_api.exceptions import (
    BackendFailed,
    BackendRefused,
    BackendSilent,
    DeadlineExceeded,
    ModelNotReady,
)
from models_api.logs import SafeLogger
from models_api.prediction.backends.circuit_breaker import CircuitBreaker, CircuitOpen
from models_api.prediction.backends.http_pool import (
    ConnectionFailed,
    HTTPPool,
    NoAnswer,
    Reply,
    TLSFiles,
    TooLate,
)
from models_api.prediction.instruments import Instruments
from models_api.prediction.request_context import current_request

logger = SafeLogger(__name__)

PATIENCE_SECONDS = 60.0
"""How long a prediction is waited for that has no deadline."""
_RETRY_SECONDS = 0.1
"""After which is tried again: what stands before a service may find another one meanwhile."""
_REFUSING = frozenset(
    [
        *(HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND, HTTPStatus.SEE_OTHER),
        *(HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT),
        *(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND),
        HTTPStatus.METHOD_NOT_ALLOWED,
    ]
)
"""That no other rows would change, unless the answer tells an error of the model's own."""
_PASSING = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
"""Of what stands before it, or of a service that is no more or not yet there."""
_OWN_HEADERS = frozenset(
    [
        *("accept", "accept-encoding", "authorization", "connection", "content-encoding"),
        *("content-length", "content-type", "expect", "host", "inference-header-content-length"),
        *("keep-alive", "proxy-authorization", "te", "trailer", "traceparent", "tracestate"),
        *("transfer-encoding", "upgrade", "user-agent", "x-request-id"),
    ]
)
"""That a request there has on account of this service, whatever the client's has."""


class RemoteService:
    """Asks another service for one model. Safe to use from many threads."""

    def __init__(  # noqa: PLR0913
        self,
        execution: ExecutionConfiguration,
        label: str,
        *,
        pool_size: int,
        timeout_seconds: float | None,
        instruments: Instruments,
        on_change: Callable[[], object],
    ) -> None:
        """Make it; it asks nothing yet.

        Args:
            execution: Where it is, and how it is asked.
            label: The model's qualified name here.
            pool_size: Connections to keep, unless `execution` says how many.
            timeout_seconds: That a request may take; None for as long as it is waited for.
            instruments: Hear of the predictions.
            on_change: Called whenever it changes whether the service is left alone.
        """
        self.url = execution.url or ""
        self.label = label
        self._retry = execution.retry
        self._timeout_seconds = timeout_seconds
        self._instruments = instruments
        self._headers = {"User-Agent": "modelhost", "Accept": "application/json, */*"}
        if execution.token_env is not None:
            self._headers["Authorization"] = f"Bearer {os.environ.get(execution.token_env, '')}"
        self._pool = HTTPPool(
            self.url,
            size=execution.pool_size or pool_size,
            connect_seconds=execution.connect_timeout_seconds,
            files=TLSFiles(execution.ca_file, execution.client_certificate, execution.client_key),
        )
        self._breaker = CircuitBreaker(
            execution.breaker_failures,
            execution.breaker_seconds,
            f"{self.url}, where {label} computes,",
            on_change,
        )

    @property
    def is_left_alone(self) -> bool:
        """Whether requests are refused at once, because those before had no answer."""
        return self._breaker.is_open

    def look(self, path: str, seconds: float) -> Reply:
        """Return what the service answers to a request that changes nothing.

        Raises:
            NoAnswer: it does not.
        """
        return self._pool.request("GET", path, self._headers, seconds=seconds)

    def ask(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        is_own: Callable[[Reply], bool] = lambda _reply: True,
    ) -> Reply:
        """Return what the service answers to a request for predictions, whatever that is.

        Args:
            path: Behind the URL of the service.
            body: Of the request.
            headers: What it has besides those that every request has.
            is_own: Whether an answer is of the service itself, and not of what stands before it,
                which may know another way when it is asked once more.

        Raises:
            BackendFailed: it does not answer.
            ModelNotReady: it is being left alone, as it has not answered those before.
            DeadlineExceeded: it has not answered in time.
        """
        context = current_request.get()
        deadline = None if context is None else context.deadline
        try:
            self._breaker.begin()
        except CircuitOpen as circuit:
            raise self._not_ready(circuit.seconds) from None
        given = {**self._forwarded(), **headers, **self._headers}
        try:
            reply = self._try(partial(self._send, path, given, body, deadline), is_own)
        except TooLate as error:
            self._note_late(str(error), deadline)
            raise DeadlineExceeded(self._timeout_seconds or PATIENCE_SECONDS) from None
        except NoAnswer as error:
            self._breaker.failed(str(error))
            raise self._failure(str(error), BackendSilent) from None
        self._breaker.succeeded()
        return reply

    def failure(self, reason: str, status: int = HTTPStatus.OK) -> BackendFailed:
        """Log why a request has no usable answer, and return its error, which tells no secret.

        Args:
            reason: Of it.
            status: Of the answer.
        """
        if status in _PASSING:
            return self._failure(reason, BackendSilent)
        return self._failure(reason, BackendRefused if status in _REFUSING else BackendFailed)

    def _failure(self, reason: str, kind: type[BackendFailed]) -> BackendFailed:
        context = current_request.get()
        id_ = "" if context is None else f" (request {context.id})"
        logger.warning("%s failed %s%s: %s", self.url, self.label, id_, reason)
        message = f"The service where the model {self.label} computes gave no usable answer."
        return kind(self.label, message, f"{self.url}: {reason}")

    def _try(self, send: Callable[[], Reply], is_own: Callable[[Reply], bool]) -> Reply:
        if not self._retry:
            return send()
        with suppress(ConnectionFailed):
            reply = send()
            if reply.status < HTTPStatus.INTERNAL_SERVER_ERROR or is_own(reply):
                return reply
        time.sleep(_RETRY_SECONDS)
        return send()

    def _send(
        self, path: str, headers: Mapping[str, str], body: bytes, deadline: float | None
    ) -> Reply:
        seconds = self._seconds_left(deadline)
        return self._pool.request("POST", path, headers, body, seconds=seconds)

    def _seconds_left(self, deadline: float | None) -> float:
        if deadline is None:
            return PATIENCE_SECONDS
        left = deadline - time.monotonic()
        if left <= 0:
            raise TooLate("there is no time left for it")
        return left

    def _note_late(self, reason: str, deadline: float | None) -> None:
        """Count an answer that is late, unless the request itself came late to be asked."""
        context = current_request.get()
        if context is not None and deadline is not None and self._timeout_seconds is not None:
            seconds = deadline - context.received - context.queue_seconds
            if seconds < self._timeout_seconds / 2:
                return
        self._breaker.failed(reason)

    def _forwarded(self) -> dict[str, str]:
        """Return what the request has of its client, and of its trace."""
        context = current_request.get()
        traced = self._instruments.trace()
        if context is None:
            return dict(traced)
        of_client = {
            name: value
            for name, value in context.caller.headers.items()
            if name not in _OWN_HEADERS and value.isprintable()
        }
        return {**of_client, **traced, "X-Request-ID": context.id}

    def _not_ready(self, seconds: float) -> ModelNotReady:
        message = f"The service where the model {self.label} computes does not answer."
        reason = f"{self.url} has not answered the requests before."
        after = max(1, round(seconds))
        return ModelNotReady(self.label, message, reason, retry_after_seconds=after)

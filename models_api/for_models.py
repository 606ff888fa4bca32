"""What the code of models and decorators may use of this package; nothing of it needs Django."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from models_api.exceptions import (
    Conflict,
    Refusal,
    ResourceNotFound,
    TooManyRequests,
    Unprocessable,
)
from models_api.prediction import request_context
from models_api.prediction.request_context import RequestContext, SharedContext

__all__ = [
    "Conflict",
    "CurrentRequest",
    "Headers",
    "Refusal",
    "ResourceNotFound",
    "TooManyRequests",
    "Unprocessable",
    "current_request",
    "current_requests",
]


class Headers(Mapping[str, str]):
    """Headers by their names, whatever their case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        """Make them of headers whose names are in lower case."""
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        """Return the value of a header.

        Raises:
            KeyError: it was not sent, or is not among `request_headers` of the YAML file.
        """
        return self._headers[name.lower()]

    def __iter__(self) -> Iterator[str]:
        """Yield the names in lower case."""
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)

    def __repr__(self) -> str:
        # Without values, which may be secrets.
        return f"<Headers {', '.join(self._headers)}>"


class CurrentRequest(NamedTuple):
    """The request that the calling code works for; all of it is empty outside of requests."""

    id: str = ""
    """The client's X-Request-ID, or one that was made; the log has it in each line."""
    headers: Mapping[str, str] = Headers({})
    """Those among `request_headers` of the YAML file that were sent."""
    principal: object = None
    """The user whom the policies of a Django project authenticated; None without."""
    auth: object = None
    """What they were authenticated by, such as a token."""
    deadline: float | None = None
    """When nobody waits for the prediction any more, on the clock of time.monotonic(); None where
    the model has no `timeout_seconds`."""

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline, negative behind it; None if there is none."""
        return None if self.deadline is None else self.deadline - time.monotonic()


def current_request() -> CurrentRequest:
    """Return the request that the calling code works for.

    Raises:
        RuntimeError: one call of the model was made for rows of several requests; see
            `current_requests`.
    """
    context = request_context.current_request.get()
    if isinstance(context, SharedContext):
        raise RuntimeError(
            "This call is made for rows of several requests: ask current_requests(len(data)), "
            "which has one for each row."
        )
    return _described(context)


def current_requests(rows: int) -> Sequence[CurrentRequest]:
    """Return the request of each row, in the order of the rows.

    Args:
        rows: How many rows `predict_batch` or `predict_columns` was given.

    Raises:
        ValueError: the call was made for another number of rows.
    """
    context = request_context.current_request.get()
    if not isinstance(context, SharedContext):
        return [_described(context)] * rows
    if rows != len(context.requests):
        raise ValueError(f"This call was made for {len(context.requests)} rows, not for {rows}.")
    return [_described(each) for each in context.requests]


def _described(context: RequestContext | None) -> CurrentRequest:
    if context is None:
        return CurrentRequest()
    caller = context.caller
    return CurrentRequest(
        context.id, Headers(caller.headers), caller.principal, caller.auth, context.deadline
    )

"""What each error is to clients, to metrics and to the documents: one line for each.

HTTP answers, the metrics' outcomes, OpenAPI and the Open Inference Protocol all read this table.
"""

from __future__ import annotations

from typing import NamedTuple

from models_api import exceptions

FAILURE = "failure"
"""Outcome of a prediction that ends with an error which is not in the table."""
REFUSED = "refused"
"""Outcome of a prediction that the model itself answers by another status than 400."""


class ErrorKind(NamedTuple):
    """What one kind of error is."""

    exception: type[Exception] | None
    """None for what only the policies of a host project answer."""
    status: int
    type: str
    """In the body of the answer."""
    outcome: str
    """Of a prediction that ends with it, in the metrics."""
    example: str
    """A message as it may be in the body."""
    text: str = ""
    """Describes the status in documents; empty where another kind with this status does."""
    header: str | None = None
    """Name of the header that comes with it."""

    @property
    def is_refusal(self) -> bool:
        """Whether models raise it, so that only those that list it are documented to do so."""
        return self.exception is not None and issubclass(self.exception, exceptions.Refusal)


_RETRY, _ID = "Retry-After", "X-Request-ID"

# fmt: off
ERROR_KINDS = (
    ErrorKind(exceptions.InvalidInput, 400, "ValidationError", "invalid_input",
              "Invalid JSON: expected value at line 1 column 1",
              "The body is not JSON, or does not fit the model's input schema."),
    ErrorKind(exceptions.TensorError, 400, "ValidationError", "invalid_input", ""),
    ErrorKind(exceptions.UnreadableBody, 400, "ValidationError", "invalid_input", ""),
    ErrorKind(exceptions.SchemaRejected, 400, "SchemaValidationError", "invalid_input",
              "What the model itself says of the data."),
    ErrorKind(None, 401, "NotAuthenticated", FAILURE,
              "Authentication credentials were not provided.",
              "The request does not say who it is from."),
    ErrorKind(None, 403, "PermissionDenied", FAILURE,
              "You do not have permission to perform this action.",
              "Whoever the request is from may not do this."),
    ErrorKind(exceptions.ModelNotFound, 404, "NotFound", FAILURE,
              'There is no model "unknown".',
              "There is no such model."),
    ErrorKind(exceptions.ResourceNotFound, 404, "ResourceNotFound", REFUSED,
              "There is no customer 42.",
              "What the request asks about does not exist, says the model.", _RETRY),
    ErrorKind(exceptions.Conflict, 409, "Conflict", REFUSED,
              "The account 42 is closed.",
              "The request does not go with the state of what it asks about, says the model.",
              _RETRY),
    ErrorKind(exceptions.LengthRequired, 411, "LengthRequired", FAILURE,
              "Send a Content-Length: this server cannot read chunked bodies.",
              "The body is chunked, and the server cannot read that."),
    ErrorKind(exceptions.PayloadTooLarge, 413, "PayloadTooLarge", "invalid_input",
              str(exceptions.PayloadTooLarge.of_bytes(10485760)),
              "The body is larger, or holds more values, than the service reads."),
    ErrorKind(exceptions.UnsupportedMediaType, 415, "UnsupportedMediaType", FAILURE,
              'Unsupported media type "text/csv"; send application/json.',
              "The body says that it is something else than JSON, or is compressed by something "
              "else than gzip."),
    ErrorKind(exceptions.UnsupportedEncoding, 415, "UnsupportedMediaType", FAILURE, "",
              header="Accept-Encoding"),
    ErrorKind(exceptions.Unprocessable, 422, "Unprocessable", REFUSED,
              "No road leads from A to B.",
              "The data fits the schema, and the model can make nothing of it.", _RETRY),
    ErrorKind(exceptions.TooManyRequests, 429, "TooManyRequests", REFUSED,
              "The quota of customer 42 is used up.",
              "Whoever the request is from has used up what they may have, says the model.",
              _RETRY),
    ErrorKind(None, 429, "Throttled", FAILURE,
              "Request was throttled. Expected available in 10 seconds.",
              "Too many requests.", _RETRY),
    ErrorKind(exceptions.PredictionFailed, 500, "ServiceError", FAILURE,
              "The service failed to answer this request.",
              "The model or the service failed; the log has the reason under the request's id.",
              _ID),
    ErrorKind(exceptions.BackendFailed, 502, "BackendFailed", FAILURE,
              "The process of the model ended while it was to make this prediction.",
              "Where the model computes, the process has ended under this request, or another "
              "service gave no usable answer."),
    ErrorKind(exceptions.ModelNotReady, 503, "ModelNotReady", "not_ready",
              "The model is not loaded yet.",
              "The model is not loaded, or too many requests are waiting for it.", _RETRY),
    ErrorKind(exceptions.Overloaded, 503, "Overloaded", "overloaded",
              "Too many requests are waiting for the model."),
    ErrorKind(exceptions.DeadlineExceeded, 504, "DeadlineExceeded", "deadline_exceeded",
              "The request waited for the model for too long.",
              "The request waited for the model longer than its configuration allows."),
)
# fmt: on

_BY_EXCEPTION: dict[type[BaseException], ErrorKind] = {
    kind.exception: kind for kind in ERROR_KINDS if kind.exception is not None
}


def error_kind(exception: BaseException) -> ErrorKind | None:
    """Return the kind of an error; None for what nobody foresaw."""
    return kind_of(type(exception))


def outcome_of(exception: type[BaseException]) -> str:
    """Return what a prediction that ends with such an error counts as."""
    kind = kind_of(exception)
    return FAILURE if kind is None else kind.outcome


def kind_of(exception: type[BaseException]) -> ErrorKind | None:
    """Return the kind of all errors of a class; None for what nobody foresaw."""
    # Models derive errors of their own from the refusals.
    found = (_BY_EXCEPTION.get(base) for base in exception.__mro__)
    return next(filter(None, found), None)

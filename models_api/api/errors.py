"""Every error as an HTTP response with one kind of body: `{"type": ..., "messages": [...]}`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.encoding import escape_uri_path
from rest_framework import exceptions as drf
from rest_framework.views import set_rollback

from models_api.api.request_body import discard_body
from models_api.configuration.document import key_path
from models_api.exceptions import (
    DeadlineExceeded,
    InputProblem,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    Overloaded,
    PredictionFailed,
    SchemaRejected,
    TensorError,
)
from models_api.prediction.request_context import current_request, request_id

logger = logging.getLogger(__name__)


class MethodNotAllowed(drf.MethodNotAllowed):
    """The route does not know the method; `headers` name those that it does."""

    def __init__(self, method: str, allowed: list[str]) -> None:
        super().__init__(method)
        self.headers = {"Allow": ", ".join(allowed)}


def error_response(
    status: int,
    type_: str,
    messages: list[str],
    *,
    details: list[dict[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """Make the response that every error has."""
    body: dict[str, Any] = {"type": type_, "messages": messages}
    if details is not None:
        body["details"] = details
    # Text from a model can hold lone surrogates; replaced by backslashes, they are JSON's escapes.
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return HttpResponse(
        content.encode("utf-8", "backslashreplace"),
        status=status,
        content_type="application/json",
        headers=headers,
    )


def exception_handler(exception: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """Answer an exception from one of this app's views, in the way of DRF's EXCEPTION_HANDLER.

    What no one foresaw is logged with its traceback; the client only gets the request's id.
    """
    set_rollback()
    request = context["request"]
    response = _response(exception, request)
    discard_body(getattr(request, "_request", request))
    return response


def _response(exception: Exception, request: HttpRequest) -> HttpResponse:
    for kind, respond in _RESPONSES.items():
        if isinstance(exception, kind):
            return respond(exception)
    return _internal_error(exception, request)


def _invalid_input(exception: InvalidInput) -> HttpResponse:
    details = [
        {"location": problem.location, "type": problem.type, "message": problem.message}
        for problem in exception.problems
    ]
    messages = [_message(problem) for problem in exception.problems]
    return error_response(400, "ValidationError", messages, details=details)


def _message(problem: InputProblem) -> str:
    if not problem.location:
        return problem.message
    return f"{key_path(problem.location)}: {problem.message}"


def _tensor_error(exception: TensorError) -> HttpResponse:
    return error_response(400, "ValidationError", [str(exception)])


def _schema_rejected(exception: SchemaRejected) -> HttpResponse:
    return error_response(400, "SchemaValidationError", [str(exception)])


def _model_not_found(exception: ModelNotFound) -> HttpResponse:
    return error_response(404, "NotFound", [str(exception)])


def _model_not_ready(exception: ModelNotReady) -> HttpResponse:
    headers = {"Retry-After": str(exception.retry_after_seconds)}
    return error_response(503, "ModelNotReady", [str(exception)], headers=headers)


def _overloaded(exception: Overloaded) -> HttpResponse:
    headers = {"Retry-After": str(exception.retry_after_seconds)}
    return error_response(503, "Overloaded", [str(exception)], headers=headers)


def _deadline_exceeded(exception: DeadlineExceeded) -> HttpResponse:
    return error_response(504, "DeadlineExceeded", [str(exception)])


def _not_found(_exception: Http404) -> HttpResponse:
    return error_response(404, "NotFound", ["There is nothing at this URL."])


def _bad_request(_exception: SuspiciousOperation) -> HttpResponse:
    return error_response(400, "BadRequest", ["Bad Request."])


def _permission_denied(exception: DjangoPermissionDenied) -> HttpResponse:
    return error_response(403, "PermissionDenied", [str(exception) or "Permission denied."])


def _parse_error(exception: drf.ParseError) -> HttpResponse:
    detail = {"location": [], "type": "parse_error", "message": str(exception.detail)}
    return error_response(400, "ValidationError", [str(exception.detail)], details=[detail])


def _api_exception(exception: Any) -> HttpResponse:
    headers = dict(getattr(exception, "headers", {}))
    # DRF's view adds the challenge of the host's authentication to the exception.
    if getattr(exception, "auth_header", None):
        headers["WWW-Authenticate"] = exception.auth_header
    if getattr(exception, "wait", None) is not None:
        headers["Retry-After"] = str(int(exception.wait))
    messages = _texts(exception.detail)
    return error_response(
        exception.status_code, type(exception).__name__, messages, headers=headers
    )


def _texts(detail: Any) -> list[str]:
    if isinstance(detail, dict):
        return [f"{key}: {text}" for key, value in detail.items() for text in _texts(value)]
    if isinstance(detail, list):
        return [text for item in detail for text in _texts(item)]
    return [str(detail)]


def _internal_error(exception: Exception, request: HttpRequest) -> HttpResponse:
    id_ = _request_id(request)
    # Escaped, because an encoded line break would begin a line of its own in the log.
    path = escape_uri_path(request.path)
    logger.error("%s %s failed (request %s)", request.method, path, id_, exc_info=exception)
    known = isinstance(exception, PredictionFailed)
    message = str(exception) if known else "The service failed to answer this request."
    messages = [f"{message} The log has the reason under the request id {id_}."]
    if settings.DEBUG:
        cause = (exception.__cause__ if known else None) or exception
        messages.append(f"{type(cause).__name__}: {cause}")
    return error_response(500, "ServiceError", messages, headers={"X-Request-ID": id_})


def _request_id(request: HttpRequest) -> str:
    context = current_request.get()
    # A project that hosts the app may do without RequestMiddleware.
    return context.id if context else request_id(request.META.get("HTTP_X_REQUEST_ID"))


_RESPONSES: dict[type[Exception], Callable[[Any], HttpResponse]] = {
    InvalidInput: _invalid_input,
    TensorError: _tensor_error,
    SchemaRejected: _schema_rejected,
    ModelNotFound: _model_not_found,
    ModelNotReady: _model_not_ready,
    Overloaded: _overloaded,
    DeadlineExceeded: _deadline_exceeded,
    Http404: _not_found,
    SuspiciousOperation: _bad_request,
    DjangoPermissionDenied: _permission_denied,
    drf.ParseError: _parse_error,
    drf.APIException: _api_exception,
}

"""Every exception of a view as a response with one kind of body."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions as drf
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import set_rollback

from models_api.api.answers import Answer, Error, ErrorBody, describe_error
from models_api.api.request_body import discard_body
from models_api.exceptions import ModelNotFound

_LONGEST_NAME = 200


class MethodNotAllowed(drf.MethodNotAllowed):
    """The route does not know the method; `headers` name those that it does."""

    def __init__(self, method: str, allowed: list[str]) -> None:
        names = " or ".join(each for each in allowed if each != "OPTIONS")
        super().__init__(method, f'Method "{method}" not allowed; use {names}.')
        self.headers = {"Allow": ", ".join(allowed)}


def to_response(answer: Answer) -> HttpResponse:
    """Return an answer as Django has it."""
    return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))


def error_response(status: int, type_: str, messages: Sequence[str]) -> HttpResponse:
    """Return the response that every error has."""
    return to_response(Error(status, ErrorBody(type_, messages), {}).to_answer())


def exception_handler(exception: Exception, context: Mapping[str, object]) -> HttpResponse:
    """Answer an exception from one of this app's views, in the way of DRF's EXCEPTION_HANDLER.

    What no one foresaw is logged with its traceback; the client only gets the request's id.
    """
    return to_response(describe_exception(exception, context).to_answer())


def describe_exception(exception: Exception, context: Mapping[str, object]) -> Error:
    """Return what is told of an exception of a view; its transaction is rolled back."""
    set_rollback()
    request = context["request"]
    http_request = request._request if isinstance(request, Request) else request
    assert isinstance(http_request, HttpRequest)  # noqa: S101 (for the type checker)
    discard_body(http_request.META, http_request)
    error = _described_by_framework(exception) or describe_error(exception, http_request.META)
    nearest = _nearest_name(exception, context.get("view"))
    return error if nearest is None else error.with_sentence(f'Did you mean "{nearest}"?')


def _nearest_name(exception: Exception, view: object) -> str | None:
    """Return a model's name that is spelt nearly as the one that was not found.

    None where there is none, and where policies may hide models from whoever asks.
    """
    is_name = isinstance(exception, ModelNotFound) and len(exception.qualified_name) < _LONGEST_NAME
    if not is_name or any(each is not AllowAny for each in getattr(view, "permission_classes", ())):
        return None
    known = [each.known_name for each in getattr(view, "registry", ()) if each.known_name]
    name = exception.qualified_name  # type: ignore[attr-defined]
    nearest = difflib.get_close_matches(name, known, n=1)
    return nearest[0] if nearest and name not in known else None


class _Known(NamedTuple):
    """What is told of an exception of Django, whose own text is not for clients."""

    exception: type[Exception]
    status: int
    type: str
    message: str


_DJANGO = (
    _Known(Http404, 404, "NotFound", "There is nothing at this URL."),
    _Known(SuspiciousOperation, 400, "BadRequest", "Bad Request."),
)


def _described_by_framework(exception: Exception) -> Error | None:
    if isinstance(exception, drf.APIException):
        return _api_error(exception)
    if isinstance(exception, DjangoPermissionDenied):
        message = str(exception) or "Permission denied."
        return Error(403, ErrorBody("PermissionDenied", [message]), {})
    for known in _DJANGO:
        if isinstance(exception, known.exception):
            return Error(known.status, ErrorBody(known.type, [known.message]), {})
    return None


def _api_error(exception: drf.APIException) -> Error:
    if isinstance(exception, drf.ParseError):
        text = str(exception.detail)
        detail = {"location": [], "type": "parse_error", "message": text}
        return Error(400, ErrorBody("ValidationError", [text], [detail]), {})
    headers: dict[str, str] = dict(getattr(exception, "headers", {}))
    # DRF's view adds the challenge of the host's authentication to the exception.
    if challenge := getattr(exception, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if (wait := getattr(exception, "wait", None)) is not None:
        headers["Retry-After"] = str(int(wait))
    body = ErrorBody(type(exception).__name__, list(_texts(exception.detail)))
    return Error(exception.status_code, body, headers)


def _texts(detail: object) -> Iterator[str]:
    if isinstance(detail, dict):
        for key, value in detail.items():
            yield from (f"{key}: {text}" for text in _texts(value))
    elif isinstance(detail, list):
        for item in detail:
            yield from _texts(item)
    else:
        yield str(detail)

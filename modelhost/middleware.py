"""JSON for the errors that Django answers by itself."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse

from models_api.exception_handler import error_response
from models_api.request_body import discard_body

_TYPES = {400: "BadRequest", 403: "PermissionDenied", 404: "NotFound", 413: "PayloadTooLarge"}


class JSONErrorMiddleware:
    """Turns Django's own error pages, also those of DEBUG, into the body of every error."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on, and replace the response if it is an error page."""
        response = self._get_response(request)
        if response.status_code < 400 or response.headers.get("Content-Type") == "application/json":
            return response
        discard_body(request)
        type_ = _TYPES.get(response.status_code, "ServiceError")
        headers = {name: value for name, value in response.items() if name == "Allow"}
        return error_response(
            response.status_code, type_, [_message(request, response.status_code)], headers=headers
        )


def _message(request: HttpRequest, status: int) -> str:
    if status == HTTPStatus.BAD_REQUEST:
        try:
            request.get_host()
        except DisallowedHost:
            return (
                "This service does not answer to the request's Host header; "
                "whoever runs it lists its names in MODELHOST_ALLOWED_HOSTS."
            )
    if status == HTTPStatus.NOT_FOUND:
        return f"There is nothing at {request.path}."
    return f"{HTTPStatus(status).phrase}."

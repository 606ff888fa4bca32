"""What HTTP asks of every response, and JSON for the errors that Django answers by itself."""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from models_api.api.errors import error_response
from models_api.api.request_body import discard_body
from models_api.prediction.request_context import current_request

GetResponse = Callable[[HttpRequest], HttpResponseBase]

_TYPES = {403: "PermissionDenied", 413: "PayloadTooLarge"}


class HeadMiddleware:
    """Leaves the body out of the answer to a HEAD request, but not its length."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on, and empty the response if it is for HEAD."""
        response = self._get_response(request)
        if request.method != "HEAD":
            return response
        if isinstance(response, StreamingHttpResponse):
            response.streaming_content = ()
        elif isinstance(response, HttpResponse):
            response.headers.setdefault("Content-Length", str(len(response.content)))
            response.content = b""
        return response


class JSONErrorMiddleware:
    """Turns Django's own error pages, those of DEBUG included, into the body of every error."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on, and replace the content of the response if it is an error page."""
        response = self._get_response(request)
        if response.status_code < 400 or not isinstance(response, HttpResponse):
            return response
        if not _is_error_page(response):
            return response
        discard_body(request.META, request)
        status = response.status_code
        phrase = response.reason_phrase
        type_ = _TYPES.get(status, phrase.title().replace(" ", ""))
        message = _message(request, status) or f"{phrase}."
        error = error_response(status, type_ if status < 500 else "ServiceError", [message])
        response.content = error.content
        response.headers["Content-Type"] = "application/json"
        response.headers["Content-Length"] = str(len(error.content))
        return response


def _is_error_page(response: HttpResponse) -> bool:
    media_type = response.headers.get("Content-Type", "").partition(";")[0]
    return media_type in ("text/html", "text/plain")


def _message(request: HttpRequest, status: int) -> str | None:
    if status == 400:
        try:
            request.get_host()
        except DisallowedHost:
            return (
                "This service does not answer to the request's Host header; "
                "whoever runs it lists its names in MODELHOST_ALLOWED_HOSTS."
            )
    if status == 404:
        slash = " Leave out the slash at its end." if request.path.endswith("/") else ""
        return f"There is nothing at {request.path}.{slash} GET openapi.json says what there is."
    context = current_request.get()
    if status == 500 and context is not None:
        log = f"The log has the reason under the request id {context.id}."
        return f"The service failed to answer this request. {log}"
    return None

"""Checks which hosts requests are for, and sets the length of each answer."""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import DisallowedHost
from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware

GetResponse = Callable[[HttpRequest], HttpResponseBase]

# Orchestrators ask by address, not by name, and the answer depends on neither.
_STATUS_ROUTES = ("/api/health", "/v2/health", "/metrics")
# RFC 9110 allows 204 no length.
STATUSES_WITHOUT_LENGTH = (204, 411)
"""That of a request whose end is unknown, too: its connection is to be closed."""


class HostMiddleware:
    """Refuses requests for hosts that ALLOWED_HOSTS does not hold, but for those for the status.

    Django leaves that check to whoever asks for the host. It comes before Django's own middlewares
    for security, of which the one that redirects to TLS does so.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response
        self._security = SecurityMiddleware(get_response)
        self._frame_options = XFrameOptionsMiddleware(get_response)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on if its host is allowed, and set the length of the answer."""
        try:
            if not request.path_info.startswith(_STATUS_ROUTES):
                request.get_host()
        except DisallowedHost as error:
            response: HttpResponseBase = self._refusal(request, error)
        else:
            response = self._get_response(request)
        _set_length(response)
        return response

    def _refusal(self, request: HttpRequest, error: DisallowedHost) -> HttpResponse:
        """Return Django's answer, with the headers that browsers heed."""
        response = response_for_exception(request, error)
        self._security.process_response(request, response)
        self._frame_options.process_response(request, response)
        return response


def _set_length(response: HttpResponseBase) -> None:
    # A body without a length has no end that can be found, so its connection has to be closed:
    # which the development server does after a response that has no length either.
    if isinstance(response, HttpResponse) and response.status_code not in STATUSES_WITHOUT_LENGTH:
        response.headers.setdefault("Content-Length", str(len(response.content)))

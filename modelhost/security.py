"""Checks which hosts requests are for, and adds to each answer what browsers heed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.request import validate_host
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware

GetResponse = Callable[[HttpRequest], HttpResponseBase]

# Orchestrators ask by address, not by name, and the answer depends on neither.
_STATUS_ROUTES = ("/api/health", "/v2/health", "/metrics")
# RFC 9110 allows 204 no length.
STATUSES_WITHOUT_LENGTH = (204, 411)
"""That of a request whose end is unknown, too: its connection is to be closed."""

_HOST = re.compile(r"([a-z0-9._-]+)(?::[0-9]+)?", re.ASCII)


class HostRequest(HttpRequest):
    """A request to a host whose name may have underscores, as those of containers do.

    Django refuses such names, even where ALLOWED_HOSTS holds them.
    """

    def get_host(self) -> str:
        """Return the host, with its port if the request tells one.

        Raises:
            DisallowedHost: ALLOWED_HOSTS does not hold it.
        """
        try:
            return super().get_host()
        except DisallowedHost:
            host = self._told_host()
            found = _HOST.fullmatch(host.lower()) if "_" in host else None
            if not (found and validate_host(found[1].removesuffix("."), settings.ALLOWED_HOSTS)):
                raise
            return host

    def _told_host(self) -> str:
        if settings.USE_X_FORWARDED_HOST and "HTTP_X_FORWARDED_HOST" in self.META:
            return str(self.META["HTTP_X_FORWARDED_HOST"])
        return str(self.META.get("HTTP_HOST", ""))


class ServiceRequest(HostRequest, WSGIRequest):
    """A request as a server hands it to the service."""


class ServiceHandler(WSGIHandler):
    """Django's handler of requests, for hosts with underscores too."""

    request_class = ServiceRequest


class ResponseHeadersMiddleware:
    """Adds to every response its length, and the headers that browsers heed.

    Django's own middlewares for these see no response that one before them gives: that to a host
    which is not allowed, and that to a browser which asks whether another site's page may ask.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on, and add the headers to its response."""
        response = self._get_response(request)
        add_browser_headers(request, response)
        _set_length(response)
        return response


class HostMiddleware:
    """Refuses requests for hosts that ALLOWED_HOSTS does not hold, but for those for the status.

    Django leaves that check to whoever asks for the host. It comes before Django's own middlewares
    for security, of which the one that redirects to TLS does so.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on if its host is allowed."""
        if not request.path_info.startswith(_STATUS_ROUTES):
            request.get_host()
        return self._get_response(request)


def add_browser_headers(request: HttpRequest, response: HttpResponseBase) -> None:
    """Add the headers that browsers heed, as Django's middlewares do to what goes through them."""
    for middleware in (SecurityMiddleware, XFrameOptionsMiddleware):
        # They only look at headers.
        middleware(_nothing).process_response(request, cast(HttpResponse, response))


def _nothing(_request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def _set_length(response: HttpResponseBase) -> None:
    # A body without a length has no end that can be found, so its connection has to be closed:
    # which the development server does after a response that has no length either.
    if isinstance(response, HttpResponse) and response.status_code not in STATUSES_WITHOUT_LENGTH:
        response.headers.setdefault("Content-Length", str(len(response.content)))

"""What Django's middlewares for security do for every request, for less."""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import DisallowedHost
from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware

from models_api.api.header_store import header_store
from models_api.api.request_body import LengthRequired

GetResponse = Callable[[HttpRequest], HttpResponseBase]

_REMEMBERED_HOSTS = 100
# Orchestrators ask by address, not by name, and the answer depends on neither.
_STATUS_ROUTES = ("/api/health", "/v2/health", "/metrics")


class HostAndHeadersMiddleware:
    """Refuses hosts that ALLOWED_HOSTS does not hold; adds the headers that browsers heed.

    Django decides both. But the same few hosts come again and again, and the headers are always the
    same, so Django is asked once: its own middlewares take a quarter of the time of a prediction.
    What depends on the request, TLS, is left to Django's SecurityMiddleware where it is wanted.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response
        self._allowed_hosts: set[str] = set()
        self._headers = _constant_headers(get_response)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on if its host is allowed, and add to the response."""
        try:
            self._check_host(request)
        except DisallowedHost as error:
            response: HttpResponseBase = response_for_exception(request, error)
        else:
            response = self._get_response(request)
        headers = header_store(response)
        headers.update(self._headers)
        # A body without a length has no end that can be found, so its connection has to be closed:
        # which the development server does after a response that has no length either.
        if (
            isinstance(response, HttpResponse)
            and response.status_code != LengthRequired.status_code
            and "content-length" not in headers
        ):
            headers["content-length"] = ("Content-Length", str(len(response.content)))
        return response

    def _check_host(self, request: HttpRequest) -> None:
        host = request.META.get("HTTP_HOST", "")
        if host in self._allowed_hosts or request.path_info.startswith(_STATUS_ROUTES):
            return
        request.get_host()
        if len(self._allowed_hosts) < _REMEMBERED_HOSTS:
            self._allowed_hosts.add(host)


def _constant_headers(get_response: GetResponse) -> dict[str, tuple[str, str]]:
    request, response = HttpRequest(), HttpResponse()
    del response.headers["Content-Type"]
    SecurityMiddleware(get_response).process_response(request, response)
    XFrameOptionsMiddleware(get_response).process_response(request, response)
    return header_store(response).copy()

"""Django's way to the traces of requests; imports OpenTelemetry.

The path of TracingMiddleware is documented.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from models_api.conf import logs_probes
from models_api.middleware import find_route, finished_request, is_routine
from models_api.observability.tracing import describe, request_span
from models_api.prediction.request_context import RequestContext, current_request


class TracingMiddleware:
    """Makes a span of each request, in the trace that its headers name; of probes only if wanted.

    Next to RequestMiddleware, within it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        self._traces_probes = logs_probes()

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on within its span."""
        if not self._traces_probes and (match := find_route(request)) and is_routine(match):
            return self._get_response(request)
        with request_span(request.META) as span:
            response = self._get_response(request)
            context = current_request.get() or RequestContext("-")
            describe(span, finished_request(request, response, context))
        return response

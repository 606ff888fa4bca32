"""Predictions answered before Django's handler sees them, as whitenoise does with files.

Django's handler takes several times as long as a small prediction. Where nothing that it would do
makes a difference, because no policy restricts who may predict, the endpoint is asked directly;
what clients, logs and metrics see is the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from http.client import responses
from typing import TYPE_CHECKING, Any, NamedTuple

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import get_resolver

from modelhost.compression import CompressionMiddleware
from modelhost.security import STATUSES_WITHOUT_LENGTH, HostRequest, add_browser_headers
from models_api.api.answers import Answer
from models_api.api.literal_routes import LiteralRoutes
from models_api.api.predictions import PredictionEndpoint
from models_api.api.request_body import BoundedStream
from models_api.api.views import PredictionView
from models_api.observability.requests import FinishedRequest
from models_api.prediction.request_context import RequestContext
from models_api.service import ModelService
from models_api.threads import cleanup

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

Environ = dict[str, Any]

_NOTHING = nullcontext()
_REMEMBERED_HOSTS = 100
_CORS = "corsheaders.middleware.CorsMiddleware"
_KNOWN_MIDDLEWARE = {
    "models_api.middleware.RequestMiddleware",
    "models_api.middleware.RequestsInProgressMiddleware",
    "models_api.observability.tracing.TracingMiddleware",
    "models_api.tracing.TracingMiddleware",
    "modelhost.middleware.HeadMiddleware",
    "modelhost.middleware.JSONErrorMiddleware",
    "modelhost.security.ResponseHeadersMiddleware",
    "modelhost.security.HostMiddleware",
    "modelhost.compression.CompressionMiddleware",
    _CORS,
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.security.SecurityMiddleware",
}
"""Whose effects on a prediction are known here."""


class Lane(NamedTuple):
    """A route for predictions, and what answers them."""

    route: str
    endpoint: PredictionEndpoint


def applies() -> bool:
    """Whether the settings are such that Django's handler would do no more than a fast lane."""
    needs_tls = settings.SECURE_SSL_REDIRECT or settings.SECURE_HSTS_SECONDS
    makes_transactions = any(each.get("ATOMIC_REQUESTS") for each in settings.DATABASES.values())
    needs_more = needs_tls or makes_transactions or settings.USE_X_FORWARDED_HOST
    return not needs_more and _KNOWN_MIDDLEWARE.issuperset(settings.MIDDLEWARE)


class FastLane:
    """A WSGI application that answers predictions, and leaves everything else to Django."""

    def __init__(self, django: WSGIHandler, service: ModelService) -> None:
        self._django = django
        self._service = service
        self._lanes: dict[object, Lane] = {}
        """By path; none before the models are loaded, which may tell their names only then."""
        self._finding = threading.Lock()
        service.registry.after_replacing.append(self._find)
        self._allowed_hosts: set[object] = set()
        self._answers_other_origins = _CORS in settings.MIDDLEWARE
        self._headers = _constant_headers(self._answers_other_origins)
        self._compression_bytes: int = getattr(settings, "MODELHOST_COMPRESS_MIN_BYTES", 0)
        self._cleanup = cleanup()
        self._counts_in_progress = (
            service.metrics is not None and service.metrics.http.counts_in_progress
        )

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        lane = self._lane(environ) if environ["REQUEST_METHOD"] == "POST" else None
        if lane is None or self._is_of_page(environ) or not self._is_allowed(environ):
            return self._django(environ, start_response)
        between_requests = self._cleanup.between_requests
        between_requests()  # before and after, as Django does
        recorder = self._service.recorder
        context = recorder.begin(environ.get("HTTP_X_REQUEST_ID"))
        try:
            with self._in_progress(lane):
                answer, finished = self._answer(lane, environ, context)
        except BaseException:
            recorder.abandon()
            raise
        recorder.end(finished)
        between_requests()
        start_response(f"{answer.status} {responses[answer.status]}", list(answer.headers.items()))
        # Of a list of one, wsgiref would tell the length.
        return [answer.body] if "Content-Length" in answer.headers else iter([answer.body])

    def _answer(
        self, lane: Lane, environ: Environ, context: RequestContext
    ) -> tuple[Answer, FinishedRequest]:
        if not self._service.settings.makes_traces:
            return self._plain_answer(lane, environ, context)
        # Late, because not every service has OpenTelemetry.
        from models_api.observability.tracing import describe, request_span  # noqa: PLC0415

        with request_span(environ) as span:
            answer, finished = self._plain_answer(lane, environ, context)
            describe(span, finished)
        return answer, finished

    def _plain_answer(
        self, lane: Lane, environ: Environ, context: RequestContext
    ) -> tuple[Answer, FinishedRequest]:
        status, headers, body = lane.endpoint.answer(environ, BoundedStream(environ))
        headers = {**headers, **self._headers, "X-Request-ID": context.id}
        if status not in STATUSES_WITHOUT_LENGTH:
            headers["Content-Length"] = str(len(body))
        if self._compression_bytes and len(body) >= self._compression_bytes:
            headers, body = _compressed(environ, headers, body)
        finished = FinishedRequest(
            method="POST",
            route=lane.route,
            path=environ["PATH_INFO"],
            status=status,
            seconds=time.monotonic() - context.arrived,
            request_length=environ.get("CONTENT_LENGTH"),
            response_length=headers.get("Content-Length"),
            is_routine=False,
            context=context,
            remote_address=environ.get("REMOTE_ADDR"),
            forwarded_for=environ.get("HTTP_X_FORWARDED_FOR"),
        )
        return Answer(status, headers, body), finished

    def _in_progress(self, lane: Lane) -> AbstractContextManager[None]:
        metrics = self._service.metrics
        if metrics is None or not self._counts_in_progress:
            return _NOTHING
        return metrics.http.in_progress("POST", lane.route, f"/{lane.route}")

    def _lane(self, environ: Environ) -> Lane | None:
        if not self._lanes and self._service.registry.has_started:
            self._service.registry.take_requests()
            self._find()
        return self._lanes.get(environ.get("PATH_INFO"))

    def _find(self) -> None:
        # One after the other, so that what is found last is what there is.
        with self._finding:
            self._lanes = _find_lanes()

    def _is_of_page(self, environ: Environ) -> bool:
        """Whether the answer depends on which site's page asks: browsers are left to Django."""
        return self._answers_other_origins and "HTTP_ORIGIN" in environ

    def _is_allowed(self, environ: Environ) -> bool:
        """Whether ALLOWED_HOSTS holds the host; if it does not, Django answers."""
        host = environ.get("HTTP_HOST")
        if host in self._allowed_hosts:
            return True
        request = HostRequest()
        request.META = environ
        try:
            request.get_host()
        except DisallowedHost:
            return False
        # Those without the header have the address that the server listens at.
        if host is not None and len(self._allowed_hosts) < _REMEMBERED_HOSTS:
            self._allowed_hosts.add(host)
        return True


def _find_lanes() -> dict[object, Lane]:
    """Return the routes of the URLconf that predict, without policies and without parameters."""
    lanes: dict[object, Lane] = {}
    for resolver in get_resolver().url_patterns:
        routes = resolver.routes if isinstance(resolver, LiteralRoutes) else {}
        for route, pattern in routes.items():
            made_by: Any = pattern.callback
            view = made_by.cls(**made_by.initkwargs)
            # What a subclass does besides, nobody knows here.
            is_ours = type(view).__module__.startswith("models_api.")
            if isinstance(view, PredictionView) and is_ours and not view.has_policies():
                # WSGI gives the bytes of the path as if they were Latin-1.
                path = f"/{route}".encode().decode("latin-1")
                endpoint = view.endpoint(view.qualified_name or "", view.version)
                lanes[path] = Lane(route, endpoint)
    return lanes


def _constant_headers(answers_other_origins: bool) -> dict[str, str]:
    """Return the headers for browsers that middlewares add to every answer."""
    request, response = HttpRequest(), HttpResponse()
    del response.headers["Content-Type"]
    add_browser_headers(request, response)
    if answers_other_origins:
        CorsMiddleware(lambda _request: response)(request)
    return dict(response.headers)


def _compressed(
    environ: Environ, headers: dict[str, str], body: bytes
) -> tuple[dict[str, str], bytes]:
    """Return headers and body as the middleware leaves them."""
    request = HttpRequest()
    request.META = environ
    response = HttpResponse(body, headers=headers)
    CompressionMiddleware(lambda _request: response)(request)
    return dict(response.headers), response.content

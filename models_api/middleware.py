"""What is done around every request that Django answers: thin layers on the observability."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import cast

from django.core.exceptions import DisallowedHost, MiddlewareNotUsed
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import Resolver404, ResolverMatch, resolve
from django.utils.functional import SimpleLazyObject, empty

from models_api.apps import current_service
from models_api.observability.requests import FinishedRequest
from models_api.prediction.request_context import RequestContext
from models_api.service import ModelService


class RequestMiddleware:
    """Gives each request an id, and hands it to the observers once it has its response.

    The id is that of the header X-Request-ID if it is well-formed, else a new one, and every
    response brings it back. Outermost among the middlewares, so that it sees all that clients see.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        current_service()  # whatever is wrong with the settings shows at the start

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on, with its context set for this thread."""
        service = current_service()  # tests may have changed it
        recorder = service.recorder
        context = recorder.begin(request.META.get("HTTP_X_REQUEST_ID"))
        try:
            response = self._get_response(request)
        except BaseException:
            recorder.abandon()
            raise
        response.headers["X-Request-ID"] = context.id
        if response.status_code == 400 and request.resolver_match is None and _lacks_host(request):
            context.reason = "host_not_allowed"
        finished = finished_request(request, response, context)
        recorder.end(finished)
        if isinstance(response, StreamingHttpResponse) and not response.is_async:
            _count_stream(service, finished, response)
        return response


def _count_stream(
    service: ModelService, finished: FinishedRequest, response: StreamingHttpResponse
) -> None:
    if service.metrics is not None:
        parts = cast("Iterable[bytes]", response.streaming_content)
        response.streaming_content = service.metrics.http.count_stream(finished, parts)


class RequestsInProgressMiddleware:
    """Counts the requests that are in progress, where the configuration of metrics asks for it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        metrics = current_service().metrics
        if metrics is None or not metrics.http.counts_in_progress:
            raise MiddlewareNotUsed
        self._metrics = metrics.http

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on."""
        match = find_route(request)
        route = None if match is None else match.route
        with self._metrics.in_progress(request.method or "", route, request.path):
            return self._get_response(request)


def finished_request(
    request: HttpRequest, response: HttpResponseBase, context: RequestContext
) -> FinishedRequest:
    """Describe a request that has its response."""
    match = request.resolver_match
    return FinishedRequest(
        method=request.method or "",
        route=match.route if match is not None else None,
        path=request.path,
        status=response.status_code,
        seconds=time.monotonic() - context.arrived,
        request_length=request.META.get("CONTENT_LENGTH"),
        response_length=response.headers.get("Content-Length"),
        is_routine=match is not None and is_routine(match),
        context=context,
        remote_address=request.META.get("REMOTE_ADDR"),
        forwarded_for=request.META.get("HTTP_X_FORWARDED_FOR"),
        user=_user(request, context),
    )


def find_route(request: HttpRequest) -> ResolverMatch | None:
    """Return the route of a request that has yet to come to its view; None if there is none."""
    try:
        return resolve(request.path_info)
    except Resolver404:
        return None


def is_routine(match: ResolverMatch) -> bool:
    """Return whether a route is that of a probe, or of files of the documentation."""
    return getattr(getattr(match.func, "cls", None), "is_routine", False)


def _lacks_host(request: HttpRequest) -> bool:
    """Return whether ALLOWED_HOSTS does not hold the host."""
    try:
        request.get_host()
    except DisallowedHost:
        return True
    return False


def _user(request: HttpRequest, context: RequestContext) -> object:
    """Return who sent a request, if somebody has found that out; costs no query."""
    user = context.caller.principal
    if user is None:
        user = vars(request).get("user")
        if isinstance(user, SimpleLazyObject) and vars(user)["_wrapped"] is empty:
            return None  # of a page that asked for nobody
    return user if getattr(user, "is_authenticated", user is not None) else None

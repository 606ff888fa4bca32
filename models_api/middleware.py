"""What is done around every request: it gets an id, and those who want to know hear of its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from django.apps import apps
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from models_api.api.header_store import header_store
from models_api.prediction.request_context import RequestContext, current_request, request_id

if TYPE_CHECKING:
    from models_api.apps import ModelsAPIConfig

logger = logging.getLogger(__name__)


class RequestMiddleware:
    """Gives each request an id, and hands it with its response and the seconds to the observers.

    The id is that of the header X-Request-ID if it is well-formed, else a new one, and every
    response brings it back. Outermost among the middlewares, so that it sees all that clients see.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        app_config = cast("ModelsAPIConfig", apps.get_app_config("models_api"))
        self._observers = app_config.all_request_observers

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on, with its context set for this thread."""
        begun = time.perf_counter()
        context = RequestContext(request_id(request.META.get("HTTP_X_REQUEST_ID")))
        token = current_request.set(context)
        try:
            response = self._get_response(request)
            header_store(response)["x-request-id"] = ("X-Request-ID", context.id)
            seconds = time.perf_counter() - begun
            for observe in self._observers:
                try:
                    observe(request, response, seconds)
                except Exception:
                    # What watches the service must not break it.
                    logger.exception("An observer of requests failed")
        finally:
            current_request.reset(token)
        return response


class RequestsInProgressMiddleware:
    """Counts the requests that are in progress, where the configuration of metrics asks for it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        app_config = cast("ModelsAPIConfig", apps.get_app_config("models_api"))
        if app_config.metrics is None or not app_config.metrics.http.counts_in_progress:
            raise MiddlewareNotUsed
        self._metrics = app_config.metrics.http

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on."""
        self._metrics.add_in_progress(request, 1)
        try:
            return self._get_response(request)
        finally:
            self._metrics.add_in_progress(request, -1)

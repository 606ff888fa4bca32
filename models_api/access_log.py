"""The access log: one line for each request."""

from __future__ import annotations

import logging
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from models_api.request_context import RequestContext, current_request

logger = logging.getLogger("models_api.access")


def log_access(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    """Write the line of a request: an observer for RequestMiddleware.

    Of what the client sent it has the method alone: the route is the URLconf's, and `-` where none
    matched. A probe that finds all well is for DEBUG, everything else for INFO.
    """
    match = request.resolver_match
    status = response.status_code
    view = getattr(match.func, "cls", None) if match else None
    level = logging.DEBUG if status < 400 and getattr(view, "is_probe", False) else logging.INFO
    if not logger.isEnabledFor(level):
        return
    fields: dict[str, Any] = {
        "method": request.method,
        "route": f"/{match.route}" if match else "-",
        "status": status,
        "milliseconds": round(seconds * 1000, 3),
    }
    message = "{method} {route} {status} {milliseconds:.1f} ms".format_map(fields)
    context = current_request.get()
    if context is not None and context.model is not None:
        known = _prediction(context)
        message += "".join([f" {name}={value}" for name, value in known.items()])
        fields |= known
    logger.log(level, message, extra=fields)


def _prediction(context: RequestContext) -> dict[str, Any]:
    known = {
        "model": context.model,
        "version": context.version,
        "rows": context.rows,
        "batch_size": context.batch_size,
    }
    return {name: value for name, value in known.items() if value is not None}

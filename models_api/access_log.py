"""The access log: one line for each request."""

from __future__ import annotations

import logging

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from models_api.request_context import current_request

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
    milliseconds = round(seconds * 1000, 3)
    route = f"/{match.route}" if match else "-"
    message = f"{request.method} {route} {status} {milliseconds:.1f} ms"
    fields = {
        "method": request.method,
        "route": route,
        "status": status,
        "milliseconds": milliseconds,
    }
    context = current_request.get()
    if context is not None and context.model is not None:
        for name in ("model", "version", "rows", "batch_size"):
            value = getattr(context, name)
            if value is not None:
                fields[name] = value
                message += f" {name}={value}"
    # What logger.info(message, extra=fields) does, but for looking up who calls: half of its time.
    record = logger.makeRecord(logger.name, level, __file__, 0, message, (), None)
    vars(record).update(fields)
    logger.handle(record)

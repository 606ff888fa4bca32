"""The access log: one line for each request."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch

from models_api.line_writer import LineWriter
from models_api.request_context import RequestContext, current_request

logger = logging.getLogger("models_api.access")
_NO_CONTEXT = RequestContext("-")


def log_access(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    """Write the line of a request: an observer for RequestMiddleware.

    Of what the client sent it has the method alone: the route is the URLconf's, and `-` where none
    matched. A probe that finds all well is for DEBUG, everything else for INFO.
    """
    match = request.resolver_match
    status = response.status_code
    if status < 400 and match is not None and _is_probe(match):
        if logger.isEnabledFor(logging.DEBUG):
            context = current_request.get()
            message, fields = _line(context, request.method, match.route, status, seconds)
            logger.debug(message, extra=fields)
    elif logger.isEnabledFor(logging.INFO):
        route = match.route if match is not None else None
        _lines.write(request.method, route, status, seconds)


def _is_probe(match: ResolverMatch) -> bool:
    return getattr(getattr(match.func, "cls", None), "is_probe", False)


def _line(
    context: RequestContext | None,
    method: str | None,
    route: str | None,
    status: int,
    seconds: float,
) -> tuple[str, dict[str, Any]]:
    """Return the message, and its parts as the fields of the record."""
    context = context or _NO_CONTEXT
    begin, end, known = _known(method, route, status, context.model, context.version)
    milliseconds = int(seconds * 1e6 + 0.5) / 1000
    message = f"{begin} {milliseconds:.1f} ms{end}"
    fields = {**known, "milliseconds": milliseconds}
    if context.rows is not None:
        fields["rows"], fields["batch_size"] = context.rows, context.batch_size
        message += f" rows={context.rows} batch_size={context.batch_size}"
    return message, fields


@lru_cache(maxsize=1024)
def _known(
    method: str | None, route: str | None, status: int, model: str | None, version: str | None
) -> tuple[str, str, dict[str, Any]]:
    """Return what comes before and after the milliseconds, and the fields, but for the numbers.

    Most requests have it in common with one before.
    """
    shown = f"/{route}" if route is not None else "-"
    of_model = {"model": model, "version": version}
    fields = {name: value for name, value in of_model.items() if value is not None}
    end = "".join([f" {name}={value}" for name, value in fields.items()])
    begin = {"method": method, "route": shown, "status": status}
    return f"{method} {shown} {status}", end, begin | fields


_lines = LineWriter(logger, _line)

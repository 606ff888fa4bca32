"""The access log: one line for each request."""

from __future__ import annotations

import logging
from functools import lru_cache

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch

from models_api.observability.line_writer import LineWriter
from models_api.observability.log_records import Template
from models_api.prediction.request_context import RequestContext, current_request

logger = logging.getLogger("models_api.access")
_NO_CONTEXT = RequestContext("-")
_TIME = ("milliseconds",)
_NUMBERS = (*_TIME, "rows", "batch_size")
_Request = tuple[str | None, str | None, int]
"""Method, route and status."""


def log_access(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    """Write the line of a request: an observer for RequestMiddleware.

    Of what the client sent it has the method alone: the route is the URLconf's, and `-` where none
    matched. A probe that finds all well is for DEBUG, everything else for INFO.
    """
    match = request.resolver_match
    status = response.status_code
    if status < 400 and match is not None and _is_probe(match):
        if logger.isEnabledFor(logging.DEBUG):
            template, numbers = _line((request.method, match.route, status), seconds)
            message, fields = template.record(numbers)
            logger.debug(message, extra=fields)
    elif logger.isEnabledFor(logging.INFO):
        route = match.route if match is not None else None
        _lines.write(*_line((request.method, route, status), seconds))


def _is_probe(match: ResolverMatch) -> bool:
    return getattr(getattr(match.func, "cls", None), "is_probe", False)


def _line(request: _Request, seconds: float) -> tuple[Template, tuple[float, ...]]:
    context = current_request.get() or _NO_CONTEXT
    milliseconds = int(seconds * 1e6 + 0.5) / 1000
    rows = context.rows
    if rows is None:
        template = _template(request, context.model, context.version, _TIME)
        return template, (milliseconds,)
    template = _template(request, context.model, context.version, _NUMBERS)
    return template, (milliseconds, rows, context.batch_size or 0)


@lru_cache(maxsize=1024)
def _template(
    request: _Request, model: str | None, version: str | None, numbers: tuple[str, ...]
) -> Template:
    """Return what a line has in common with those of most requests before."""
    method, route, status = request
    shown = f"/{route}" if route is not None else "-"
    of_model = {"model": model, "version": version}
    known = {name: value for name, value in of_model.items() if value is not None}
    begin = f"{method} {shown} {status}".replace("%", "%%")
    end = "".join([f" {name}={value}" for name, value in known.items()]).replace("%", "%%")
    counts = "".join([f" {name}=%({name})d" for name in numbers[1:]])
    fields = {"method": method, "route": shown, "status": status, **known}
    return Template(f"{begin} %(milliseconds).1f ms{end}{counts}", fields, numbers)


_lines = LineWriter(logger)

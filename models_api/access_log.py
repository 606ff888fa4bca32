"""The access log: one line for each request."""

from __future__ import annotations

import logging
from functools import lru_cache

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch

from models_api.line_writer import LineWriter
from models_api.log_records import Template
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
            template, numbers = _line(context, request.method, match.route, status, seconds)
            message, fields = template.record(numbers)
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
) -> tuple[Template, tuple[float, ...]]:
    context = context or _NO_CONTEXT
    milliseconds = int(seconds * 1e6 + 0.5) / 1000
    if context.rows is None:
        template = _template(method, route, status, context.model, context.version)
        return template, (milliseconds,)
    template = _template_with_rows(method, route, status, context.model, context.version)
    return template, (milliseconds, context.rows, context.batch_size or 0)


@lru_cache(maxsize=1024)
def _template(
    method: str | None, route: str | None, status: int, model: str | None, version: str | None
) -> Template:
    """Return what a line has in common with those of most requests before."""
    shown = f"/{route}" if route is not None else "-"
    of_model = {"model": model, "version": version}
    known = {name: value for name, value in of_model.items() if value is not None}
    begin = f"{method} {shown} {status}".replace("%", "%%")
    end = "".join([f" {name}={value}" for name, value in known.items()]).replace("%", "%%")
    fields = {"method": method, "route": shown, "status": status, **known}
    return Template(f"{begin} %.1f ms{end}", fields, ("milliseconds",))


@lru_cache(maxsize=1024)
def _template_with_rows(
    method: str | None, route: str | None, status: int, model: str | None, version: str | None
) -> Template:
    rowless = _template(method, route, status, model, version)
    message = f"{rowless.message} rows=%d batch_size=%d"
    return Template(message, rowless.fields, (*rowless.numbers, "rows", "batch_size"))


_lines = LineWriter(logger, _line)

"""The access log: one line for each request."""

from __future__ import annotations

import logging
import os
import threading
import time
from functools import lru_cache

from models_api.observability.requests import FinishedRequest

LOGGER = "models_api.access"
logger = logging.getLogger(LOGGER)

Fields = dict[str, str | int | float | None]
_About = tuple[str, str | None, int, str | None, str | None]
"""Method, route, status, and the model with its version."""
_FORMATS = {
    "milliseconds": " %(milliseconds).1f ms",
    "rows": " rows=%(rows)d",
    "batch_size": " batch_size=%(batch_size)d",
    "queue_ms": " queue_ms=%(queue_ms).1f",
}


def log_access(request: FinishedRequest) -> None:
    """Write the line of a request: an observer for RequestRecorder.

    Of what the client sent it has the method alone: the route is the URLconf's, and `-` where none
    matched. A probe that finds all well is for DEBUG, everything else for INFO.
    """
    level = logging.DEBUG if request.is_probe and request.status < 400 else logging.INFO
    if not logger.isEnabledFor(level):
        return
    context = request.context
    numbers: Fields = {"milliseconds": _milliseconds(request.seconds)}
    if context.rows is not None:
        numbers["rows"], numbers["batch_size"] = context.rows, context.batch_size or 0
    if context.rows is not None or context.queue_seconds:
        numbers["queue_ms"] = _milliseconds(context.queue_seconds)
    about = request.method, request.route, request.status, context.model, context.version
    if logging.getLogRecordFactory() is logging.LogRecord:
        logger.handle(_record(_alike(os.getpid(), level, about, *numbers), numbers))
    else:
        message, fields = _message(about, *numbers)
        logger.log(level, message, numbers, extra={**fields, **numbers})


def _milliseconds(seconds: float) -> float:
    return int(seconds * 1e6 + 0.5) / 1000


def _message(about: _About, *numbers: str) -> tuple[str, Fields]:
    """Return the text of a line, a %-format for these numbers, and what else is told in it."""
    method, route, status, model, version = about
    shown = f"/{route}" if route is not None else "-"
    of_model = {"model": model, "version": version}
    known: Fields = {name: value for name, value in of_model.items() if value is not None}
    begin = f"{method} {shown} {status}".replace("%", "%%")
    end = "".join([f" {name}={value}" for name, value in known.items()]).replace("%", "%%")
    time_, *counts = [_FORMATS[name] for name in numbers]
    message = "".join([begin, time_, end, *counts])
    return message, {"method": method, "route": shown, "status": status, **known}


@lru_cache(maxsize=1024)
def _alike(_pid: int, level: int, about: _About, *numbers: str) -> dict[str, object]:
    """Return the attributes that the records of most requests before had too."""
    message, fields = _message(about, *numbers)
    name = log_access.__name__
    return vars(logger.makeRecord(LOGGER, level, __file__, 0, message, (), None, name, fields))


def _record(alike: dict[str, object], numbers: Fields) -> logging.LogRecord:
    """Make the record that the logger would, in a tenth of the time."""
    record = logging.LogRecord.__new__(logging.LogRecord)
    record.__dict__ = values = alike | numbers
    now, thread = time.time(), threading.current_thread()
    values["args"] = numbers
    values["created"], values["msecs"] = now, now % 1 * 1000 // 1
    values["thread"], values["threadName"] = thread.ident, thread.name
    return record

"""The access log: one line for each request."""

from __future__ import annotations

import logging
from functools import lru_cache

from models_api.observability.requests import FinishedRequest

LOGGER = "models_api.access"
logger = logging.getLogger(LOGGER)


def log_access(request: FinishedRequest) -> None:
    """Log one request: an observer for RequestRecorder.

    A probe that finds all well is for DEBUG, everything else for INFO. Of what the client sent the
    line has the method alone: the route is the URLconf's, and `-` where none matched.
    """
    level = logging.DEBUG if request.is_probe and request.status < 400 else logging.INFO
    if logger.isEnabledFor(level):
        message, fields = _describe(request)
        # As logger.log does, but for the searches for its caller and for fields of its own names.
        make_record = logging.getLogRecordFactory()
        record = make_record(LOGGER, level, __file__, 0, message, (), None, log_access.__name__)
        vars(record).update(fields)
        logger.handle(record)


def _describe(request: FinishedRequest) -> tuple[str, dict[str, object]]:
    """Return the message, and the fields that programs read."""
    context = request.context
    begin, end, known = _known(
        (request.method, request.route, request.status), (context.model, context.version)
    )
    milliseconds, rows = _milliseconds(request.seconds), context.rows
    fields: dict[str, object] = {**known, "milliseconds": milliseconds}
    message = f"{begin} {milliseconds:.1f} ms{end}"
    if rows is not None:
        size = context.batch_size or 0
        fields["rows"], fields["batch_size"] = rows, size
        message = f"{message} rows={rows} batch_size={size}"
    if rows is not None or context.queue_seconds:
        fields["queue_ms"] = queue_ms = _milliseconds(context.queue_seconds)
        message = f"{message} queue_ms={queue_ms:.1f}"
    return message, fields


def _milliseconds(seconds: float) -> float:
    return int(seconds * 1e6 + 0.5) / 1000


@lru_cache(maxsize=1024)
def _known(
    about: tuple[str, str | None, int], model: tuple[str | None, str | None]
) -> tuple[str, str, dict[str, object]]:
    """Return how a message begins and ends, and the fields that many requests have in common."""
    method, route, status = about
    shown = f"/{route}" if route is not None else "-"
    of_model = zip(("model", "version"), model, strict=True)
    known: dict[str, object] = {name: value for name, value in of_model if value is not None}
    end = "".join([f" {name}={_word(value)}" for name, value in known.items()])
    fields = {"method": method, "route": shown, "status": status, **known}
    return f"{method} {_word(shown)} {status}", end, fields


def _word(value: object) -> str:
    """Write a value without blanks, which stand between the words of a line."""
    return str(value).replace(" ", "%20")

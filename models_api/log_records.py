"""Log records that say which request they belong to, as text or as JSON."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from models_api.request_context import current_request

_encode = json.JSONEncoder(allow_nan=False, default=str).encode
REQUEST_FILTER = "models_api.log_records.RequestFilter"

_STANDARD = frozenset(vars(logging.makeLogRecord({})))
# `request` is Django's: as text it has the query string.
_LEFT_OUT = _STANDARD | {"message", "asctime", "taskName", "request_id", "trace_id", "request"}
# Up to where no quotation mark follows, so that no value can pretend to end earlier.
_INPUT_VALUE = re.compile(
    r"input_value=.*?, (?=input_type=[\w.<>\[\], ]+\]\)?$)", re.DOTALL | re.MULTILINE
)


class RequestFilter(logging.Filter):
    """Gives each record a `request_id` and a `trace_id`, `-` where there is none; drops none.

    A record that is written while rows of several requests are predicted together has the ids of
    all of them, with commas. From tracebacks the values that pydantic quotes are taken out: they
    are what clients sent, or what was made of it. For handlers; a logger's filter would not see
    what other loggers hand on to it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add to the record, and let it pass."""
        context = current_request.get()
        record.trace_id = (context and context.trace_id) or "-"
        record.request_id = ",".join((context.id, *context.others)) if context else "-"
        if isinstance(record.exc_info, tuple) and not record.exc_text:
            text = logging.Formatter().formatException(record.exc_info)
            record.exc_text = _INPUT_VALUE.sub("", text)
        return True


@lru_cache(maxsize=2)
def _utc(second: int) -> str:
    # Most records share their second with the one before.
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class TextFormatter(logging.Formatter):
    """Writes a record as Python does, with the time of UTC, and faster."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Write the time of a record."""
        if datefmt:
            return super().formatTime(record, datefmt)
        return f"{_utc(int(record.created))}.{int(record.msecs):03d}Z"


class JSONFormatter(logging.Formatter):
    """Writes a record as one line of JSON, with what its `extra` held and its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record."""
        entry: dict[str, Any] = {
            "time": f"{_utc(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("request_id", "trace_id"):
            if (id_ := getattr(record, name, "-")) != "-":
                entry[name] = id_
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            entry["traceback"] = record.exc_text
        if record.stack_info:
            entry["stack"] = self.formatStack(record.stack_info)
        for name, value in vars(record).items():
            if name not in _LEFT_OUT:
                entry.setdefault(name, value)
        return _dump(entry)


def _dump(entry: dict[str, Any]) -> str:
    try:
        return _encode(entry)
    except (TypeError, ValueError):  # NaN, a key that is no string, or a list that holds itself
        return json.dumps({name: str(value) for name, value in entry.items()})

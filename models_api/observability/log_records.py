"""Log records that say which request they belong to, as text or as JSON."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from itertools import filterfalse
from types import MappingProxyType
from typing import Any

from models_api.exceptions import Problem
from models_api.prediction.request_context import RequestContext, current_request

_encode = json.JSONEncoder(allow_nan=False, default=str, separators=(",", ":")).encode

_ID_NAMES = ("request_id", "trace_id")
_MILLISECONDS = [f".{number:03d}Z" for number in range(1000)]
_STANDARD = frozenset(vars(logging.makeLogRecord({})))
# `request` is Django's: as text it has the query string.
_LEFT_OUT = _STANDARD | {"message", "asctime", "taskName", *_ID_NAMES, "request"}
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
        record.request_id, record.trace_id = ids(current_request.get())
        if isinstance(record.exc_info, tuple) and not record.exc_text:
            text = logging.Formatter().formatException(record.exc_info)
            record.exc_text = _INPUT_VALUE.sub("", text)
        return True


def ids(context: RequestContext | None) -> tuple[str, str]:
    """Return the ids of request and trace as lines of a log show them."""
    if context is None:
        return "-", "-"
    others = context.others
    id_ = ",".join((context.id, *others)) if others else context.id
    return id_, context.trace_id or "-"


def utc(created: float) -> str:
    """Write seconds since the epoch as the time of UTC."""
    second, millisecond = divmod(int(created * 1000), 1000)
    return _utc_second(second) + _MILLISECONDS[millisecond]


@lru_cache(maxsize=2)
def _utc_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class TextFormatter(logging.Formatter):
    """Writes a record as Python does, with the time of UTC, and faster."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Write the time of a record."""
        if datefmt:
            return super().formatTime(record, datefmt)
        return utc(record.created)


class JSONFormatter(logging.Formatter):
    """Writes a record as one line of JSON, with what its `extra` held and its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record."""
        entry: dict[str, Any] = {
            "time": utc(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in _ID_NAMES:
            if (id_ := getattr(record, name, "-")) != "-":
                entry[name] = id_
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            entry["traceback"] = record.exc_text
        if record.stack_info:
            entry["stack"] = self.formatStack(record.stack_info)
        values = vars(record)
        for name in filterfalse(_LEFT_OUT.__contains__, values):
            entry.setdefault(name, values[name])
        return _dump(entry)


def logs_json() -> bool:
    """Return whether the log is JSON, as far as the handlers of the root logger are."""
    return any(isinstance(each.formatter, JSONFormatter) for each in logging.getLogger().handlers)


def problem_lines(problems: Iterable[Problem]) -> list[str]:
    """Write problems of the configuration as records of a log that is JSON, one a line."""
    return [error_line(str(problem), problem.fields) for problem in problems]


def error_line(message: str, fields: Mapping[str, object] = MappingProxyType({})) -> str:
    """Write an error as a record of a log that is JSON, for who cannot log it."""
    record = logging.LogRecord("modelhost", logging.ERROR, "", 0, message, None, None)
    vars(record).update(fields)
    return JSONFormatter().format(record)


def _dump(entry: dict[str, Any]) -> str:
    try:
        return _encode(entry)
    except (TypeError, ValueError):
        written = [f"{_encode(str(name))}:{_written(value)}" for name, value in entry.items()]
        return "{" + ",".join(written) + "}"


def _written(value: Any) -> str:
    try:
        return _encode(value)
    except (TypeError, ValueError):  # NaN, a key that is no string, or a list that holds itself
        return _encode(str(value))

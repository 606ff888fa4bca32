"""Log records that say which request they belong to, as text or as JSON."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from functools import lru_cache
from itertools import compress, filterfalse
from typing import Any, NamedTuple

from models_api.request_context import RequestContext, current_request

_encode = json.JSONEncoder(allow_nan=False, default=str, separators=(",", ":")).encode
REQUEST_FILTER = "models_api.log_records.RequestFilter"

_IDS = ("request_id", "trace_id")
_STANDARD = frozenset(vars(logging.makeLogRecord({})))
# `request` is Django's: as text it has the query string.
_LEFT_OUT = _STANDARD | {"message", "asctime", "taskName", *_IDS, "request"}
# Up to where no quotation mark follows, so that no value can pretend to end earlier.
_INPUT_VALUE = re.compile(
    r"input_value=.*?, (?=input_type=[\w.<>\[\], ]+\]\)?$)", re.DOTALL | re.MULTILINE
)


class Template:
    """What many lines of a log have in common: formatters write it once, and keep that."""

    __slots__ = ("fields", "message", "numbers")

    def __init__(self, message: str, fields: dict[str, Any], numbers: tuple[str, ...]) -> None:
        """Make it.

        Args:
            message: A %-format for the numbers, each of them once, in their order.
            fields: What every record of this kind would have as `extra`.
            numbers: Names of what each of them has besides, none of which JSONFormatter writes.
        """
        self.message = message
        self.fields = fields
        self.numbers = numbers

    def record(self, numbers: tuple[float, ...]) -> tuple[str, dict[str, Any]]:
        """Return message and `extra` of a record with these numbers."""
        told = dict(zip(self.numbers, numbers, strict=True))
        return self.message % numbers, self.fields | told


class Event(NamedTuple):
    """What a line of a log tells, for a formatter that needs no record for it."""

    created: float
    """Seconds since the epoch."""
    context: RequestContext | None
    """Of the request that it belongs to."""
    template: Template
    numbers: tuple[float, ...]
    """Those that the template names, all finite."""


class RequestFilter(logging.Filter):
    """Gives each record a `request_id` and a `trace_id`, `-` where there is none; drops none.

    A record that is written while rows of several requests are predicted together has the ids of
    all of them, with commas. From tracebacks the values that pydantic quotes are taken out: they
    are what clients sent, or what was made of it. For handlers; a logger's filter would not see
    what other loggers hand on to it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add to the record, and let it pass."""
        record.request_id, record.trace_id = _ids(current_request.get())
        if isinstance(record.exc_info, tuple) and not record.exc_text:
            text = logging.Formatter().formatException(record.exc_info)
            record.exc_text = _INPUT_VALUE.sub("", text)
        return True


def _ids(context: RequestContext | None) -> tuple[str, str]:
    if context is None:
        return "-", "-"
    others = context.others
    id_ = ",".join((context.id, *others)) if others else context.id
    return id_, context.trace_id or "-"


def _utc(created: float) -> str:
    return _utc_millisecond(int(created * 1000))


@lru_cache(maxsize=2)
def _utc_millisecond(number: int) -> str:
    # Under load most records share their millisecond with the one before.
    second, millisecond = divmod(number, 1000)
    return f"{_utc_second(second)}.{millisecond:03d}Z"


@lru_cache(maxsize=2)
def _utc_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class TextFormatter(logging.Formatter):
    """Writes a record as Python does, with the time of UTC, and faster."""

    def __init__(
        self, fmt: str | None = None, datefmt: str | None = None, style: Any = "%", **more: Any
    ) -> None:
        super().__init__(fmt, datefmt, style, **more)
        self._layout = fmt or ""
        self.needs_records = bool(more) or not _is_plain(fmt, datefmt, style)
        """Whether `line` cannot write what `format` would."""

    def line(self, logger: str, event: Event) -> str:
        """Write what becomes of a record at INFO, without a record."""
        request_id, trace_id = _ids(event.context)
        return self._layout % {
            "asctime": _utc(event.created),
            "levelname": "INFO",
            "name": logger,
            "request_id": request_id,
            "trace_id": trace_id,
            "message": event.template.message % event.numbers,
        }

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Write the time of a record."""
        if datefmt:
            return super().formatTime(record, datefmt)
        return _utc(record.created)


def _is_plain(fmt: str | None, datefmt: str | None, style: str) -> bool:
    if fmt is None or datefmt is not None or style != "%":
        return False
    names = ("asctime", "levelname", "name", "request_id", "trace_id", "message")
    try:
        return bool(fmt % dict.fromkeys(names, "-"))
    except (KeyError, TypeError, ValueError):  # it wants to know more of a record, or a number
        return False


class JSONFormatter(logging.Formatter):
    """Writes a record as one line of JSON, with what its `extra` held and its traceback."""

    needs_records = False

    def line(self, logger: str, event: Event) -> str:
        """Write what becomes of a record at INFO, without a record."""
        created, context, template, numbers = event
        request_id, trace_id = _ids(context)
        layout = _layout(logger, template, request_id != "-", trace_id != "-")
        ids = [id_ for id_ in (request_id, trace_id) if id_ != "-"]
        return layout % (_utc(created), *numbers, *ids, *numbers)

    def format(self, record: logging.LogRecord) -> str:
        """Write the record."""
        entry: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in _IDS:
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


@lru_cache(maxsize=1024)
def _layout(logger: str, template: Template, *has_ids: bool) -> str:
    """Return the %-format of the lines of a template: for time, numbers, ids, and numbers again."""
    parts = {
        "time": '"%s"',
        "level": '"INFO"',
        "logger": _escaped(logger),
        "message": _encode(template.message),
    }
    # What ids consist of needs no quoting.
    parts |= dict.fromkeys(compress(_IDS, has_ids), '"%s"')
    for name, value in template.fields.items():
        parts.setdefault(name, _escaped(value))
    return _object(parts | dict.fromkeys(template.numbers, "%s"))


def _escaped(value: Any) -> str:
    return _written(value).replace("%", "%%")


def _dump(entry: dict[str, Any]) -> str:
    try:
        return _encode(entry)
    except (TypeError, ValueError):
        return _object({name: _written(value) for name, value in entry.items()})


def _written(value: Any) -> str:
    try:
        return _encode(value)
    except (TypeError, ValueError):  # NaN, a key that is no string, or a list that holds itself
        return _encode(str(value))


def _object(written: dict[str, str]) -> str:
    """Join the JSON of values."""
    return (
        "{" + ",".join([f"{_encode(str(name))}:{value}" for name, value in written.items()]) + "}"
    )

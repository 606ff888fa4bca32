"""Log records that say which request they belong to, as text or as JSON."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from itertools import compress, filterfalse
from operator import itemgetter
from typing import Any

from models_api.prediction.request_context import RequestContext, current_request

_encode = json.JSONEncoder(allow_nan=False, default=str, separators=(",", ":")).encode
REQUEST_FILTER = "models_api.observability.log_records.RequestFilter"

_IDS = ("request_id", "trace_id")
_MILLISECONDS = [f".{number:03d}Z" for number in range(1000)]
_STANDARD = frozenset(vars(logging.makeLogRecord({})))
# `request` is Django's: as text it has the query string.
_LEFT_OUT = _STANDARD | {"message", "asctime", "taskName", *_IDS, "request"}
# Up to where no quotation mark follows, so that no value can pretend to end earlier.
_INPUT_VALUE = re.compile(
    r"input_value=.*?, (?=input_type=[\w.<>\[\], ]+\]\)?$)", re.DOTALL | re.MULTILINE
)

# Of a format of Python's logging, what lines that need no record may hold.
_PLACE = re.compile(
    r"%%|%\((?P<name>asctime|levelname|name|request_id|trace_id)\)(?P<width>[-.\d]*)s"
    r"|%\((?P<message>message)\)s"
)
_Layout = tuple[str, Callable[[tuple[Any, ...]], tuple[Any, ...]]]
"""A %-format, and what picks its values from the time, the ids and the numbers of a line."""


class Template:
    """What many lines of a log have in common: formatters write it once, and keep that."""

    __slots__ = ("fields", "message", "numbers")

    def __init__(self, message: str, fields: dict[str, Any], numbers: tuple[str, ...]) -> None:
        """Make it.

        Args:
            message: A %-format for the numbers, by their names.
            fields: What every record of this kind would have as `extra`.
            numbers: Names of what each of them has besides, none of which JSONFormatter writes.
        """
        self.message = message
        self.fields = fields
        self.numbers = numbers

    def record(self, numbers: tuple[float, ...]) -> tuple[str, dict[str, Any]]:
        """Return message and `extra` of a record with these numbers."""
        told = dict(zip(self.numbers, numbers, strict=True))
        return self.message % told, self.fields | told


Line = tuple[float, str, str, Template, tuple[float, ...]]
"""Seconds since the epoch, ids of request and trace, what is told, and its numbers, all finite."""


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


def _utc(created: float) -> str:
    second, millisecond = divmod(int(created * 1000), 1000)
    return _utc_second(second) + _MILLISECONDS[millisecond]


@lru_cache(maxsize=2)
def _utc_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class LineFormatter(logging.Formatter):
    """Writes lines that many have in common most of without a record for each."""

    def line(self, logger: str, line: Line) -> str:
        """Write what would become of a record at INFO, of the logger with that name."""
        created, request_id, trace_id, template, numbers = line
        layout, pick = self._layout(logger, template, request_id != "-", trace_id != "-")
        values = pick((_utc(created), request_id, trace_id, *numbers))
        return layout % values

    def _layout(self, logger: str, template: Template, *has_ids: bool) -> _Layout:
        raise NotImplementedError


def _compiled(layout: str, template: Template) -> _Layout:
    """Make a %-format of names one of places, and say which of the values come there."""
    names = ("asctime", *_IDS, *template.numbers)
    places: list[int] = []

    def place(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        places.append(names.index(match[1]))
        return "%"

    text = re.sub(r"%%|%\((\w+)\)", place, layout)
    if len(places) > 1:
        return text, itemgetter(*places)
    return text, lambda values: tuple([values[index] for index in places])


class TextFormatter(LineFormatter):
    """Writes a record as Python does, with the time of UTC, and faster."""

    def __init__(
        self, fmt: str | None = None, datefmt: str | None = None, style: Any = "%", **more: Any
    ) -> None:
        super().__init__(fmt, datefmt, style, **more)
        self._text = fmt or ""
        is_plain = fmt and not datefmt and style == "%" and "%" not in _PLACE.sub("", fmt)
        self.needs_records = bool(more) or not is_plain
        """Whether `line` cannot write what `format` would."""

    def _layout(self, logger: str, template: Template, *_has_ids: bool) -> _Layout:
        return _text_layout(self._text, logger, template)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Write the time of a record."""
        if datefmt:
            return super().formatTime(record, datefmt)
        return _utc(record.created)


@lru_cache(maxsize=1024)
def _text_layout(text: str, logger: str, template: Template) -> _Layout:
    known = {"levelname": "INFO", "name": logger}

    def place(match: re.Match[str]) -> str:
        name, width = match["name"], match["width"]
        if name in known:
            return (f"%{width}s" % known[name]).replace("%", "%%")
        return template.message if match["message"] else match[0]

    return _compiled(_PLACE.sub(place, text), template)


class JSONFormatter(LineFormatter):
    """Writes a record as one line of JSON, with what its `extra` held and its traceback."""

    needs_records = False

    def _layout(self, logger: str, template: Template, *has_ids: bool) -> _Layout:
        return _json_layout(logger, template, *has_ids)

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
def _json_layout(logger: str, template: Template, *has_ids: bool) -> _Layout:
    parts = {
        "time": '"%(asctime)s"',
        "level": '"INFO"',
        "logger": _escaped(logger),
        "message": _encode(template.message),
    }
    # What ids consist of needs no quoting.
    parts |= {name: f'"%({name})s"' for name in compress(_IDS, has_ids)}
    for name, value in template.fields.items():
        parts.setdefault(name, _escaped(value))
    parts |= {name: f"%({name})s" for name in template.numbers}
    return _compiled(_object(parts), template)


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

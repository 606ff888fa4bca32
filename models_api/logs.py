"""Logging that never raises: a log that fails costs no answer, and says so once a minute."""

from __future__ import annotations

import logging
import logging.config
import os
import stat
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

_QUIET_SECONDS = 60.0
_IDS = ("request_id", "trace_id")
_FORM = {
    "()": "models_api.log_records.TextFormatter",
    "fmt": "%(asctime)s %(levelname)-7s %(name)s [%(request_id)s]: %(message)s",
}
"""Of a log where that of the service is beyond a process of a model."""

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
    _Handler = logging.Handler
else:
    _Adapter, _Handler = logging.LoggerAdapter, object


class SafeLogger(_Adapter):
    """A logger for code that has to go on, whatever handlers others have given to the log."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name), {})

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Leave everything as it is."""
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log, if that is possible."""
        try:
            self.logger.log(level, msg, *args, **kwargs, stacklevel=2)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001, S110 (of a handler; a log is where it would be said)
            pass


class SafeHandler(_Handler):
    """Mixed into a class of handlers, keeps all that it raises from whoever logs."""

    _quiet_until = 0.0
    _socket: tuple[int, int] | None = None
    _error_socket: tuple[int, int] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless to somebody whom it is not for."""
        if not self.is_misled():
            super().emit(record)

    def note_stream(self) -> None:
        """Remember what the stream is now, and standard error."""
        self._socket = _socket_of(getattr(self, "stream", None))
        self._error_socket = _socket_of(sys.stderr)

    def is_misled(self) -> bool:
        """Whether the stream writes to a socket that it did not write to at the beginning.

        Once a model has closed standard error, its number may be that of a client's connection.
        """
        found = _socket_of(getattr(self, "stream", None))
        return found is not None and found != self._socket

    def handle(self, record: logging.LogRecord) -> Any:
        """Handle a record, if that is possible."""
        try:
            return super().handle(record)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 (filters and handlers of any library)
            self.handleError(record)
            return False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Print what went wrong where that is possible, once a minute."""
        now = time.monotonic()
        if now < self._quiet_until:
            return
        self._quiet_until = now + _QUIET_SECONDS
        if _socket_of(sys.stderr) not in (None, self._error_socket):
            return  # that of a client, likewise
        with suppress(Exception):  # standard error may be what fails
            super().handleError(record)


def make_safe(handler: logging.Handler) -> None:
    """Keep all that a handler raises from whoever logs."""
    kind = type(handler)
    if not isinstance(handler, SafeHandler):
        names = {"__module__": kind.__module__}
        handler.__class__ = type(kind.__name__, (SafeHandler, kind), names)
        cast(SafeHandler, handler).note_stream()


def make_all_safe() -> None:
    """Keep what any handler raises that anybody has added so far from whoever logs."""
    loggers = [logging.getLogger(), *list(logging.root.manager.loggerDict.values())]
    for logger in loggers:
        for handler in list(getattr(logger, "handlers", ())):  # a mere name has none
            make_safe(handler)


def guard(logger: logging.Logger) -> None:
    """Keep what handlers of anybody raise from a library that logs by this logger."""
    handle = logger.handle

    def guarded(record: logging.LogRecord) -> None:
        try:
            handle(record)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001, S110 (a log is where it would be said)
            pass

    logger.handle = guarded  # type: ignore[method-assign]


def configure(section: dict[str, Any]) -> None:
    """Configure logging as logging.config.dictConfig does, with handlers that never raise."""
    _Configurator(section).configure()


def plain_form() -> dict[str, Any]:
    """Return the form and the levels of this process's log, as plain data; see `use_plain_form`."""
    formatters = [each.formatter for each in logging.root.handlers if each.formatter is not None]
    formatter = formatters[0] if formatters else logging.Formatter()
    kind = type(formatter)
    path = f"{kind.__module__}.{kind.__qualname__}"
    form = {"()": path, "fmt": getattr(formatter, "_fmt", None)}
    try:
        kind(form["fmt"]).format(logging.makeLogRecord(dict.fromkeys(_IDS, "-")))
        is_known = bool(formatters) and path.startswith(("logging.", "models_api."))
    except Exception:  # noqa: BLE001 (of any library, or of fields that its filters add)
        is_known = False
    known = [*logging.root.manager.loggerDict.values(), logging.root]
    loggers = [each for each in known if isinstance(each, logging.Logger)]
    levels = {each.name: each.level for each in loggers if each.level}
    return {"form": form if is_known else _FORM, "levels": levels}


def use_plain_form(form: Mapping[str, Any]) -> None:
    """Log to standard error as another process does, which may have packages that this one lacks.

    Args:
        form: What `plain_form` has returned there.
    """
    levels = {name: {"level": level} for name, level in form["levels"].items()}
    handler = {
        "class": "logging.StreamHandler",
        "formatter": "own",
        "filters": ["request"],
    }
    configure(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"request": {"()": "models_api.log_records.RequestFilter"}},
            "formatters": {"own": form["form"]},
            "handlers": {"console": handler},
            "root": {"handlers": ["console"], **levels.pop("root", {})},
            "loggers": levels,
        }
    )


def one_line(error: BaseException) -> str:
    """Write kind and text of an error on one line."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 (its class is somebody else's)
        text = "(it cannot be written)"
    return " ".join(f"{type(error).__name__}: {text}".split())


def _socket_of(stream: Any) -> tuple[int, int] | None:
    """Return what tells the socket that a stream writes to from others, if it is one."""
    try:
        found = os.fstat(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISSOCK(found.st_mode) else None


class _Configurator(logging.config.DictConfigurator):
    def configure_handler(self, config: dict[str, Any]) -> Any:
        handler = super().configure_handler(config)
        if isinstance(handler, logging.Handler):
            make_safe(handler)
        return handler

    def configure_filter(self, config: Any) -> Any:
        return _safe_filter(super().configure_filter(config))


def _safe_filter(chosen: Any) -> Callable[[logging.LogRecord], Any]:
    """Return a filter that lets records pass where another one fails: a logger's is not guarded."""
    decide = getattr(chosen, "filter", chosen)

    def decide_safely(record: logging.LogRecord) -> Any:
        try:
            return decide(record)
        except Exception:  # noqa: BLE001 (filters of any library)
            return True

    return decide_safely

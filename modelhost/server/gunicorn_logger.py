"""Gunicorn's own log, in the format of the service's, and without what clients sent."""

from __future__ import annotations

import logging
import re
from typing import Any

from gunicorn.glogging import Logger

from modelhost.environment import log_format
from models_api.logs import make_safe
from models_api.observability.log_records import JSONFormatter, RequestFilter

_REFUSAL = re.compile(r"(Invalid request from ip=\S*: [\w ]+)")


class GunicornLogger(Logger):
    """Writes the lines of gunicorn's master and workers."""

    def setup(self, cfg: Any) -> None:
        """Set gunicorn's handlers up, and make them those of this service."""
        super().setup(cfg)
        for handler in [*self.error_log.handlers, *self.access_log.handlers]:
            make_safe(handler)
        for handler in self.error_log.handlers:
            handler.addFilter(RequestFilter())
            handler.addFilter(hide_input)
            if log_format() == "json":
                handler.setFormatter(JSONFormatter())


def hide_input(record: logging.LogRecord) -> bool:
    """Take out what gunicorn quotes of a request: the offending bytes, and query strings."""
    text = str(record.msg)
    if found := _REFUSAL.match(text):
        record.msg = found[1]
    elif text.startswith("Error handling request") and isinstance(record.args, tuple):
        record.args = tuple([str(argument).partition("?")[0] for argument in record.args])
    return True

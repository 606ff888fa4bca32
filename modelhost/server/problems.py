"""What is said on standard error of what keeps a server from starting."""

from __future__ import annotations

import sys

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from modelhost.environment import log_format
from models_api.exceptions import ConfigurationError
from models_api.observability.log_records import error_line, logs_json, problem_lines


def report(error: ConfigurationError | ImproperlyConfigured) -> None:
    """Say all that is wrong: as text for people, or a record each where the log is JSON."""
    print("\n".join(_lines(error)), file=sys.stderr, flush=True)  # noqa: T201


def _lines(error: ConfigurationError | ImproperlyConfigured) -> list[str]:
    if not (logs_json() if apps.ready else _wants_json()):
        return [str(error)]
    if isinstance(error, ConfigurationError):
        return problem_lines(error.problems)
    return [error_line(str(error))]


def _wants_json() -> bool:
    try:
        return log_format() == "json"
    except ImproperlyConfigured:  # which may be what is to be said
        return False

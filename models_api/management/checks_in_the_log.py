"""Commands that log: where the log is JSON, so are the problems of the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django.apps import apps
from django.core.management.base import BaseCommand, SystemCheckError

from models_api.exceptions import ConfigurationError, Problem
from models_api.hosting.registry import OwnsRegistry
from models_api.observability.log_records import logs_json, problem_lines


class ChecksInTheLog(BaseCommand):
    """A command that begins with Django's checks, and goes on to log what it does."""

    def check(self, *args: Any, **options: Any) -> Any:
        """Check, and say what is wrong in the form of the log."""
        try:
            return super().check(*args, **options)
        except SystemCheckError:
            problems = _problems() if logs_json() else ()
            if not problems:
                raise
            raise SystemCheckError("\n".join(problem_lines(problems))) from None


def _problems() -> Sequence[Problem]:
    try:
        return cast(OwnsRegistry, apps.get_app_config("models_api")).registry.defects
    except ConfigurationError as error:
        return error.problems

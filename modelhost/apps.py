"""The Django app of the service itself: its commands, and its checks."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import checks

from modelhost.environment import unknown_variables


class ModelhostConfig(AppConfig):
    """Registers the checks."""

    name = "modelhost"

    def ready(self) -> None:
        """Register them."""
        checks.register(check_variables)


def check_variables(**_options: Any) -> list[checks.CheckMessage]:
    """Warn of environment variables that look like settings of the service, and are none."""
    return [checks.Warning(each, id="modelhost.W001") for each in unknown_variables()]

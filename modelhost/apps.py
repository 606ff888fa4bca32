"""The project as an app of its own, so that Django finds its checks."""

from __future__ import annotations

from django.apps import AppConfig


class ModelhostConfig(AppConfig):
    """Registers the project's checks."""

    name = "modelhost"

    def ready(self) -> None:
        """Register the checks."""
        from modelhost import checks  # noqa: F401, PLC0415 (registers itself)

"""The command `runserver`: Django's development server, which would tell everybody its versions."""

from __future__ import annotations

from typing import Any

from django.core.management.commands.runserver import Command as DjangoCommand
from django.core.servers.basehttp import ServerHandler


class Command(DjangoCommand):
    """Serves as Django's command does, under a name without versions."""

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Serve until the process is told to stop."""
        ServerHandler.server_software = "modelhost"
        super().inner_run(*args, **options)

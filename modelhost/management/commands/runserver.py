"""The command `runserver`: Django's development server, without its versions and its pages."""

from __future__ import annotations

from typing import Any

from django.core.management.commands.runserver import Command as DjangoCommand
from django.core.servers.basehttp import ServerHandler, WSGIRequestHandler

from models_api.management.checks_in_the_log import ChecksInTheLog

_REFUSAL = (
    '{"type":"BadRequest","messages":["The server refuses this request with status %(code)d."]}'
)


class Command(ChecksInTheLog, DjangoCommand):
    """Serves as Django's command does, under a name without versions, and refuses in JSON."""

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Serve until the process is told to stop."""
        ServerHandler.server_software = "modelhost"
        WSGIRequestHandler.error_content_type = "application/json"
        WSGIRequestHandler.error_message_format = _REFUSAL
        super().inner_run(*args, **options)

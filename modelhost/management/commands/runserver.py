"""The command `runserver`: Django's development server, without its versions and its pages."""

from __future__ import annotations

from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.core.management.commands.runserver import Command as DjangoCommand
from django.core.servers.basehttp import ServerHandler, WSGIRequestHandler, WSGIServer

from modelhost.server.workers import catch_up
from models_api.management.checks_in_the_log import ChecksInTheLog

_REFUSAL = (
    '{"type":"BadRequest","messages":["The server refuses this request with status %(code)d."]}'
)


class _RequestHandler(WSGIRequestHandler):
    """Leaves unsaid what a request does not say."""

    def get_environ(self) -> dict[str, Any]:
        """Return the request, without the type that wsgiref gives a body that has none."""
        environ = super().get_environ()
        if "Content-Type" not in self.headers:
            environ["CONTENT_TYPE"] = ""
        return environ


class _Server(WSGIServer):
    """Handles requests by that."""

    def __init__(self, address: Any, _handler: object, **options: Any) -> None:
        super().__init__(address, _RequestHandler, **options)


class Command(ChecksInTheLog, DjangoCommand):
    """Serves as Django's command does, under a name without versions, and refuses in JSON."""

    server_cls = _Server

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Serve until the process is told to stop."""
        ServerHandler.server_software = "modelhost"
        WSGIRequestHandler.error_content_type = "application/json"
        WSGIRequestHandler.error_message_format = _REFUSAL
        super().inner_run(*args, **options)

    def get_handler(self, *args: Any, **options: Any) -> WSGIHandler:
        """Return the application, in a process that follows changes of the models."""
        handler = super().get_handler(*args, **options)
        catch_up()
        return handler

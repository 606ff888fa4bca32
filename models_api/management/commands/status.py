"""`manage.py status`: how the workers of a running server are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from models_api.management.running_servers import (
    RunningServer,
    add_pid_argument,
    running_servers,
)

_HEADINGS = ("worker", "generation", "model", "version", "state")


class Command(BaseCommand):
    """Prints, for each worker of a running server, which models it has, and how they are."""

    help = (
        "Print for each worker of the servers that run here, with the key reload in their YAML "
        "file, its process id, which generation of models it has, their versions and states, and "
        "how the last change went."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        add_pid_argument(parser)
        parser.add_argument("--json", action="store_true", help="print it as JSON")

    def handle(self, *args: object, **options: Any) -> None:
        """Print it."""
        servers = running_servers(options["pid"])
        if options["json"]:
            told = [
                {"configuration": each.configuration, "pid": each.pid, "workers": each.workers}
                for each in servers
            ]
            self.stdout.write(json.dumps({"servers": told}, indent=2))
            return
        self.stdout.write("\n\n".join([_described(server) for server in servers]))


def _described(server: RunningServer) -> str:
    rows = [row for worker in server.workers for row in _rows(worker)]
    changes = [_last_change(worker) for worker in server.workers]
    troubles = [line for worker in server.workers for line in _troubles(worker)]
    heading = f"{server.configuration} (pid {server.pid})"
    return "\n".join([heading, *_table([_HEADINGS, *rows]), *changes, *troubles])


def _rows(worker: Mapping[str, Any]) -> list[tuple[str, ...]]:
    own = str(worker["pid"]), str(worker["generation"])
    models = worker["models"] or [{"name": "-", "version": "-", "state": "-"}]
    return [(*own, each["name"], each["version"] or "-", each["state"]) for each in models]


def _troubles(worker: Mapping[str, Any]) -> list[str]:
    return [
        f"{worker['pid']}: {each['name']} {each['version']}: {each['reason']}"
        for each in worker["models"]
        if each["reason"]
    ]


def _last_change(worker: Mapping[str, Any]) -> str:
    if worker["time"] is None:
        return f"{worker['pid']}: as it was started"
    when = datetime.fromtimestamp(worker["time"], UTC).isoformat(timespec="seconds")
    reason = f": {worker['reason']}" if worker["reason"] else ""
    restart = worker["restart"]
    end = f"; a restart is needed for {', '.join(restart)}" if restart else ""
    return f"{worker['pid']}: last change {worker['outcome']} at {when}{reason}{end}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip()
        for row in rows
    ]

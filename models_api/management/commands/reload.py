"""`manage.py reload`: a running server hosts what its YAML file says now."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from models_api.management.running_servers import add_pid_argument, the_server

_DEFAULT_SECONDS = 300.0


class Command(BaseCommand):
    """Has a running server load what has changed, and waits until all its workers have."""

    help = (
        "Have the workers of a running server, which has the key reload in its YAML file, host "
        "what that file says now, one after the other, and wait for that. If anything is wrong "
        "with the file, or a new model does not load or predict, they stay as they are, and the "
        "exit status is 1."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        add_pid_argument(parser)
        parser.add_argument(
            "--timeout",
            type=float,
            default=_DEFAULT_SECONDS,
            metavar="SECONDS",
            help="wait for no longer (default: %(default).0f)",
        )

    def handle(self, *args: object, **options: Any) -> None:
        """Ask for it, and wait."""
        server = the_server(options["pid"])
        path = Path(server.configuration)
        try:
            request = server.folder.ask(path.read_bytes())
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}") from None
        try:
            report = partial(self._report, set())
            workers = server.folder.wait(request, options["timeout"], report)
        except TimeoutError as error:
            raise CommandError(str(error)) from None
        refused = [worker for worker in workers if worker["outcome"] == "refused"]
        if refused:
            reasons = "\n".join(f"worker {each['pid']}: {each['reason']}" for each in refused)
            raise CommandError(f"The models stay as they were:\n{reasons}")
        for section in {section for worker in workers for section in worker["restart"]}:
            self.stderr.write(
                self.style.WARNING(f"A restart is needed for the change of {section}")
            )

    def _report(self, told: set[int], worker: Mapping[str, Any], workers: int) -> None:
        pid = worker["pid"]
        if pid not in told:
            told.add(pid)
            outcome, number = worker["outcome"], worker["generation"]
            line = f"[{len(told)}/{workers}] worker {pid}: {outcome}, generation {number}"
            self.stdout.write(line)
            self.stdout.flush()

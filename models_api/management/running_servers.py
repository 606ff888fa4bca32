"""The servers of this user that run on this machine, as the commands find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from django.core.management.base import CommandError, CommandParser

from models_api.conf import configuration_path
from models_api.observability.reload_folder import ReloadFolder, folders_of_servers

NONE = (
    "No server of this user is found here that changes its models while it runs. Start it with the "
    "key reload in its YAML file, in the same container, and by the same user."
)


class RunningServer(NamedTuple):
    """One server, and what its workers have last written."""

    folder: ReloadFolder
    workers: Sequence[Mapping[str, Any]]

    @property
    def configuration(self) -> str:
        """Path of its YAML file."""
        return str(self.workers[0]["configuration"])

    @property
    def pid(self) -> int:
        """Process id of the parent of its workers."""
        return int(self.workers[0]["server"])

    @property
    def pids(self) -> set[int]:
        """Process ids that stand for it."""
        return {self.pid, *(int(worker["pid"]) for worker in self.workers)}


def add_pid_argument(parser: CommandParser) -> None:
    """Let the user say which server is meant."""
    parser.add_argument(
        "--pid", type=int, help="the server of this process, or with this worker; else any"
    )


def running_servers(pid: int | None) -> list[RunningServer]:
    """Return the servers of this YAML file, or else all, or the one of which a process is.

    Raises:
        CommandError: there is none.
    """
    found = []
    for folder in folders_of_servers():
        with suppress(OSError):  # it has just ended
            workers = folder.workers()
            if workers:
                found.append(RunningServer(folder, workers))
    if pid is not None:
        found = [server for server in found if pid in server.pids]
    own = str(Path(configuration_path()).absolute())
    found = [server for server in found if server.configuration == own] or found
    if not found:
        raise CommandError(NONE if pid is None else f"{NONE} None has the process {pid}.")
    return found


def the_server(pid: int | None) -> RunningServer:
    """Return the server that is meant: the only one, that of this YAML file, or by its process.

    Raises:
        CommandError: there is none, or there are several.
    """
    servers = running_servers(pid)
    if len(servers) > 1:
        listed = "\n".join(f"  --pid {server.pid}: {server.configuration}" for server in servers)
        raise CommandError(f"Several servers run; say which one is meant:\n{listed}")
    return servers[0]

"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import pytest

_OWNER = "postgres"


def folder_of_programs() -> Path:
    """Return where initdb and pg_ctl are; skip the test without, but fail it in CI."""
    path = os.pathsep.join(
        [os.environ["PATH"], *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))]
    )
    found = shutil.which("initdb", path=path)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("there is no initdb, and CI tests models that use a database")
        pytest.skip("there is no initdb")
    return Path(found).resolve().parent


class PostgreSQL:
    """Runs a server in a temporary folder while the `with` block lasts, at a Unix socket there."""

    def __init__(self) -> None:
        self._programs = folder_of_programs()
        self._scratch = tempfile.TemporaryDirectory(prefix="modelhost-postgresql-")
        self.folder = Path(self._scratch.name)
        self._user: str | None = None
        if os.geteuid() == 0:  # as whom it does not run
            self._user = _OWNER
            owner = pwd.getpwnam(_OWNER)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self.folder.chmod(0o755)

    def __enter__(self) -> Self:
        data = str(self.folder / "data")
        self._run("initdb", "--pgdata", data, "--username", _OWNER, "--auth", "trust", "--no-sync")
        settings = [f"unix_socket_directories='{self.folder}'", "listen_addresses=''", "fsync=off"]
        with (self.folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in settings)
        self._control("start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._control("stop")
        self._scratch.cleanup()

    def restart(self) -> None:
        """Break all connections, and serve again."""
        self._control("restart")

    def query(self, statement: str) -> list[Any]:
        """Return the rows of a statement, each a tuple."""
        with psycopg.connect(host=str(self.folder), user=_OWNER, dbname=_OWNER) as connection:
            return connection.execute(statement.encode()).fetchall()

    def _control(self, what: str) -> None:
        options = ["--pgdata", str(self.folder / "data"), "--log", str(self.folder / "log")]
        self._run("pg_ctl", *options, "--wait", "--mode", "fast", what)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self.folder,
            user=self._user,
            stdout=subprocess.DEVNULL,  # which the server inherits: a pipe would never end
            stderr=subprocess.DEVNULL,
            check=False,
        )
        log = self.folder / "log"
        said = log.read_text("utf-8") if log.exists() else ""
        assert done.returncode == 0, f"{program} ended with {done.returncode}: {said}"

"""Directories of servers that run, and of some that do no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models_api.observability.server_directory import (
    MULTIPROCESS_VARIABLE,
    SERVER_PID_VARIABLE,
    ServerDirectory,
    given_directory,
    server_directory,
    server_pid,
)
from tests.end_to_end.server import REPOSITORY

ANCIENT = (0, 0)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MULTIPROCESS_VARIABLE, raising=False)
    monkeypatch.delenv(SERVER_PID_VARIABLE, raising=False)


def test_it_is_there_once_it_has_been_joined(tmp_path: Path) -> None:
    directory = ServerDirectory(tmp_path, os.getpid())
    assert not directory.path.exists()
    assert directory.join() == directory.path
    assert directory.path.stat().st_mode & 0o777 == 0o700


def test_processes_of_one_server_find_the_same_and_those_of_others_do_not(tmp_path: Path) -> None:
    own = ServerDirectory(tmp_path, os.getpid()).path
    assert ServerDirectory(tmp_path, os.getpid()).path == own
    assert ServerDirectory(tmp_path, os.getppid()).path != own


def test_the_server_removes_it_and_its_workers_do_not(tmp_path: Path) -> None:
    for pid, stays in ((os.getppid(), True), (os.getpid(), False)):
        directory = ServerDirectory(tmp_path, pid)
        directory.join()
        directory.remove()
        assert directory.path.exists() is stays


def test_those_of_servers_that_ended_go_when_another_one_starts(tmp_path: Path) -> None:
    abandoned, used = ServerDirectory(tmp_path, os.getppid()).path, tmp_path / "modelhost-1-2"
    program = f"""\
from pathlib import Path
from models_api.observability.server_directory import ServerDirectory
directory = ServerDirectory(Path({str(tmp_path)!r}), {os.getppid()})
directory.join()
"""
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)
    used.mkdir()
    other = tmp_path / "modelhost-of-somebody-else"
    other.mkdir()
    for path in (abandoned, used, other):
        os.utime(path, ANCIENT)
    ServerDirectory(tmp_path, os.getpid()).join()
    assert not abandoned.exists()
    # Nobody knows whether these are used.
    assert used.exists()
    assert other.exists()


def test_one_that_is_in_use_or_quite_new_stays(tmp_path: Path) -> None:
    used, new = ServerDirectory(tmp_path, os.getppid()), ServerDirectory(tmp_path, 1)
    used.join()
    new.path.mkdir()
    (new.path / "members").touch()
    os.utime(used.path, ANCIENT)
    ServerDirectory(tmp_path, os.getpid()).join()
    assert used.path.exists()
    assert new.path.exists()


def test_a_server_tells_its_workers_which_process_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_pid() == os.getpid()
    monkeypatch.setenv(SERVER_PID_VARIABLE, str(os.getppid()))
    assert server_pid() == os.getppid()
    # That of a server which started this one.
    monkeypatch.setenv(SERVER_PID_VARIABLE, "1" if os.getppid() != 1 else "2")
    assert server_pid() == os.getpid()


@pytest.mark.parametrize(
    "start",
    [
        "os.fork() and os.wait() or show()",
        "multiprocessing.get_context('spawn').Process(target=show).start()",
        "multiprocessing.get_context('fork').Process(target=show).start()",
    ],
)
def test_workers_find_their_server_by_themselves(tmp_path: Path, start: str) -> None:
    program = tmp_path / "server.py"
    program.write_text(
        f"""\
import multiprocessing, os
from models_api.observability.server_directory import server_pid

def show():
    print(server_pid(), flush=True)

if __name__ == "__main__":
    print(os.getpid(), flush=True)
    {start}
""",
        encoding="utf-8",
    )
    completed = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    server, found = completed.stdout.split()
    assert found == server


def test_a_directory_of_another_server_is_not_taken_for_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert given_directory() is None
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path / "modelhost-12-34"))
    assert given_directory() is None
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path))
    assert given_directory() == tmp_path
    assert server_directory().path.parent == tmp_path

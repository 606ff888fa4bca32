"""Directories of servers, and what others put in their way."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models_api.observability import server_directory as module
from models_api.observability.private_files import is_private, keeps_others_out, open_file
from models_api.observability.server_directory import (
    MULTIPROCESS_VARIABLE,
    ServerDirectory,
    begin_directory,
    give_to_prometheus,
    given_directory,
    make_given,
    server_directory,
)
from tests.end_to_end.server import REPOSITORY

SOMEBODY_ELSE = 65534
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (MULTIPROCESS_VARIABLE, "MODELHOST_SHARED_DIRECTORY", "GUNICORN_PID"):
        monkeypatch.setenv(name, "")  # so that it is taken back, whatever the test does to it
        monkeypatch.delenv(name)
    monkeypatch.setattr(module, "_current", None)


def siblings() -> str:
    """What workers of this process have in common."""
    return f"{os.getpid()}-{module.start_time(os.getpid())}"


def in_child(function: Callable[[], object]) -> int:
    """Run a function in a forked process that ends as workers do; return its exit status."""
    process = multiprocessing.get_context("fork").Process(target=function)
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def test_it_is_there_once_it_has_been_joined_and_this_users_alone(tmp_path: Path) -> None:
    directory = ServerDirectory(tmp_path)
    assert list(tmp_path.iterdir()) == []
    path = directory.join()
    assert directory.join() == directory.path == path
    assert path.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_uid == os.geteuid()


def test_no_two_servers_share_one_nor_can_its_name_be_told_before(tmp_path: Path) -> None:
    names = {ServerDirectory(tmp_path).join().name for _ in range(50)}
    assert len(names) == 50
    assert all(re.fullmatch(r"modelhost-[a-z0-9_]{8}", name) for name in names)


def test_a_forked_worker_has_that_of_its_parent_who_alone_removes_it(tmp_path: Path) -> None:
    directory = ServerDirectory(tmp_path)
    path = directory.join()

    def work() -> None:
        assert directory.join() == path
        (path / "numbers").touch()

    assert in_child(work) == 0
    assert (path / "numbers").exists()
    directory.leave()
    assert not path.exists()
    directory.leave()


def test_the_last_worker_removes_that_of_a_parent_that_was_killed(tmp_path: Path) -> None:
    program = f"""\
import os, sys
from pathlib import Path
from models_api.observability.server_directory import ServerDirectory
directory = ServerDirectory(Path({str(tmp_path)!r}))
print(directory.join(), flush=True)
for _ in range(2):
    if os.fork() == 0:
        directory.join()
        os.write(1, b"joined\\n")
        sys.stdin.buffer.raw.read(1)
        sys.exit()
sys.stdin.buffer.raw.read(1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        path = Path(server.stdout.readline().strip())
        assert [server.stdout.readline() for _ in range(2)] == ["joined\n"] * 2
        server.send_signal(signal.SIGKILL)
        server.wait()
        assert path.exists()
        server.stdin.write("xx")
        server.stdin.close()
        assert server.stdout.read() == ""  # once both have ended
    assert not path.exists()


def test_workers_of_a_parent_that_knows_nothing_find_that_of_the_first(tmp_path: Path) -> None:
    first, second = (ServerDirectory(tmp_path, siblings()) for _ in range(2))
    path = first.join()
    assert second.join() == path
    assert ServerDirectory(tmp_path, f"{os.getpid()}-0").join() != path
    first.leave()
    assert path.exists()
    second.leave()
    assert not path.exists()


def test_workers_that_begin_together_share_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    together, found = context.Barrier(8), context.Queue()
    key = siblings()

    def work() -> None:
        together.wait(60)
        found.put(str(ServerDirectory(tmp_path, key).join()))
        together.wait(60)

    workers = [context.Process(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    paths = {found.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join(60)
    assert len(paths) == 1
    assert list(tmp_path.iterdir()) == []


def plant(kind: str, path: Path) -> None:
    """Put something else where a directory or a file is looked for."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        target = path.parent.parent / "target"
        target.mkdir(exist_ok=True, mode=0o700)
        path.symlink_to(target)
    elif kind == "file":
        path.write_bytes(b"x")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.path.relpath(path))  # absolute ones may be too long
    elif kind == "readable":
        path.mkdir(mode=0o755)
    else:
        path.mkdir(mode=0o700)
        os.chown(path, SOMEBODY_ELSE, SOMEBODY_ELSE)


KINDS = ["fifo", "link", "file", "socket", "readable", pytest.param("others", marks=is_root)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_others_put_where_workers_look_is_passed_over(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    monkeypatch.chdir(base)  # paths of sockets are short
    for number in range(3):
        plant(kind, Path(f"modelhost-{siblings()}-{number:08}").absolute())
    planted = set(base.iterdir())
    path = ServerDirectory(base, siblings()).join()
    assert path not in planted
    assert is_private(path)
    assert ServerDirectory(base, siblings()).join() == path
    assert list((tmp_path / "target").glob("*")) == []
    assert planted < set(base.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_was_exchanged_is_not_used(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    monkeypatch.chdir(base)
    directory = ServerDirectory(base)
    path = directory.join()

    def work() -> None:
        shutil.rmtree(path)
        plant(kind, Path(path.name).absolute())
        with pytest.raises(PermissionError, match="this user alone"):
            directory.join()

    assert in_child(work) == 0


def test_nothing_is_removed_for_its_name(tmp_path: Path) -> None:
    for name in ("modelhost-1-2", "modelhost-abcdefgh", f"modelhost-{os.getpid()}-1-abcdefgh"):
        (tmp_path / name).mkdir(mode=0o700)
        (tmp_path / name / "members").touch()
        os.utime(tmp_path / name, (0, 0))
    before = set(tmp_path.iterdir())
    for key in (None, siblings()):
        directory = ServerDirectory(tmp_path, key)
        directory.join()
        directory.leave()
    assert set(tmp_path.iterdir()) == before


def test_workers_agree_on_what_the_first_of_them_proposes(tmp_path: Path) -> None:
    first, second = (ServerDirectory(tmp_path, siblings()) for _ in range(2))
    assert first.agree("matter", None) is None
    assert second.agree("matter", b"this") == b"this"
    assert first.agree("matter", b"that") == b"this"
    assert first.agree("matter", None) == b"this"
    assert ServerDirectory(tmp_path).agree("matter", b"that") == b"that"
    assert sorted(path.name for path in first.join().iterdir()) == ["matter"]


@is_root
def test_workers_that_run_as_somebody_else_can_share_it(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(0o755)
    directory = ServerDirectory(tmp_path)
    path = directory.join()
    (path / "lock").touch()
    directory.give_to(SOMEBODY_ELSE, SOMEBODY_ELSE)

    def work() -> None:
        os.setgid(SOMEBODY_ELSE)
        os.setuid(SOMEBODY_ELSE)
        (directory.join() / "own").touch()

    assert in_child(work) == 0
    assert (path / "own").exists()
    directory.leave()
    assert not path.exists()


def test_a_base_where_others_can_rename_what_is_ours_is_not_used(tmp_path: Path) -> None:
    assert keeps_others_out(tmp_path)
    tmp_path.chmod(0o777)
    assert not keeps_others_out(tmp_path)
    tmp_path.chmod(0o1777)
    assert keeps_others_out(tmp_path)
    if os.geteuid() == 0:
        os.chown(tmp_path, SOMEBODY_ELSE, -1)
        assert not keeps_others_out(tmp_path)
    assert not keeps_others_out(tmp_path / "missing")


@pytest.mark.parametrize("kind", ["fifo", "link", "socket", "readable"])
def test_only_regular_files_are_opened_and_nothing_is_waited_for(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plant(kind, Path("planted").absolute())
    for flags in (os.O_RDONLY, os.O_RDONLY | os.O_CREAT, os.O_RDWR, os.O_RDWR | os.O_CREAT):
        with pytest.raises(OSError):  # noqa: PT011 (whichever the system gives)
            open_file(tmp_path / "planted", flags)


@pytest.mark.parametrize(
    "start",
    [
        "os.fork() and os.wait() or show()",
        "multiprocessing.get_context('spawn').Process(target=show).start()",
        "multiprocessing.get_context('fork').Process(target=show).start()",
    ],
)
def test_workers_know_by_themselves_whose_they_are(tmp_path: Path, start: str) -> None:
    program = tmp_path / "server.py"
    program.write_text(
        f"""\
import multiprocessing, os
from models_api.observability.server_directory import _siblings

def show():
    print(_siblings(), flush=True)

if __name__ == "__main__":
    print(os.getpid(), _siblings(), flush=True)
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
    server, none, found = completed.stdout.split()
    assert none == "None"
    assert found.partition("-")[0] == server


def test_a_gunicorn_that_takes_over_is_no_worker_of_the_one_before() -> None:
    program = """\
import os
from models_api.observability.server_directory import _siblings
if os.fork() == 0:
    os.environ["GUNICORN_PID"] = str(os.getppid())
    print(_siblings())
else:
    os.wait()
"""
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert told.stdout == "None\n"


def test_a_process_settles_once_that_it_makes_that_of_its_server() -> None:
    assert begin_directory()
    assert not begin_directory()
    directory = server_directory()
    assert server_directory() is directory
    path = directory.join()
    assert path.parent in (Path("/dev/shm"), Path(os.environ.get("TMPDIR", "/tmp")))
    directory.leave()


def test_a_directory_of_another_server_is_not_taken_for_given(tmp_path: Path) -> None:
    assert given_directory() is None
    give_to_prometheus(tmp_path)
    assert os.environ[MULTIPROCESS_VARIABLE] == str(tmp_path)
    assert given_directory() is None
    os.environ[MULTIPROCESS_VARIABLE] = str(tmp_path / "given")
    assert given_directory() == tmp_path / "given"
    directory = server_directory()
    assert directory.join().parent == tmp_path / "given"
    directory.leave()
    give_to_prometheus(None)
    assert MULTIPROCESS_VARIABLE not in os.environ


@is_root
def test_a_given_directory_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    os.chown(tmp_path, SOMEBODY_ELSE, -1)
    with pytest.raises(PermissionError, match="belongs to another user"):
        make_given(tmp_path)
    with pytest.raises(PermissionError, match="belongs to another user"):
        ServerDirectory(tmp_path).join()
    assert list(tmp_path.iterdir()) == []


def test_the_children_of_a_parent_that_has_not_joined_share_one(tmp_path: Path) -> None:
    directory = ServerDirectory(tmp_path)
    context = multiprocessing.get_context("fork")
    joined, paths = context.Barrier(2), context.Queue()

    def join() -> None:
        paths.put(str(directory.join()))
        joined.wait(30)

    children = [context.Process(target=join) for _ in range(2)]
    for child in children:
        child.start()
    found = {paths.get(timeout=30) for _ in children}
    for child in children:
        child.join(30)
    assert len(found) == 1
    assert list(tmp_path.iterdir()) == []

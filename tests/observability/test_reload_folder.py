"""What the workers of a server tell each other of changes of the models."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models_api.observability.reload_folder import Refusal, ReloadFolder


@pytest.fixture
def folder(tmp_path: Path) -> ReloadFolder:
    return ReloadFolder(lambda: tmp_path)


def test_nothing_is_asked_for_before_somebody_asks(folder: ReloadFolder) -> None:
    assert folder.request() is None
    assert folder.taken() is None
    assert folder.trying() is None
    assert folder.workers() == []


@pytest.mark.parametrize("content", [b"models: []", b"", "title: \u00e9".encode(), b"\xff\x00"])
def test_the_content_of_the_file_is_asked_for_byte_by_byte(
    folder: ReloadFolder, content: bytes
) -> None:
    request = folder.ask(content, "edition")
    assert folder.request() == request
    assert request.file == content


def test_a_later_request_has_a_greater_number(folder: ReloadFolder) -> None:
    numbers = [folder.ask(b"").id for _ in range(5)]
    assert numbers == sorted(set(numbers))


def test_what_is_refused_is_so_for_that_request_alone(folder: ReloadFolder) -> None:
    request = folder.ask(b"1")
    folder.begin(request)
    folder.end(request, Refusal(request.id, "because"))
    refusal = folder.refusal(request)
    assert refusal is not None
    assert refusal.reason == "because"
    assert folder.taken() is None
    assert folder.refusal(folder.ask(b"1")) is None


def test_workers_that_end_in_the_midst_are_counted(folder: ReloadFolder) -> None:
    request = folder.ask(b"1")
    assert [folder.begin(request) for _ in range(3)] == [0, 1, 2]
    assert folder.trying() == os.getpid()
    folder.end(request, None)
    assert folder.trying() is None
    assert folder.begin(request) == 0
    assert folder.begin(folder.ask(b"2")) == 0


def test_workers_that_are_told_to_stop_are_not_counted(folder: ReloadFolder) -> None:
    request = folder.ask(b"1")
    assert folder.begin(request) == 0
    folder.stop()
    next_worker = ReloadFolder(lambda: folder.path.parent)
    assert next_worker.begin(request) == 0
    assert folder.begin(request) == 1, "one that was killed"
    assert next_worker.begin(request) == 1, "one that has its turn while it stops"


def test_workers_that_have_ended_are_forgotten(folder: ReloadFolder, tmp_path: Path) -> None:
    folder.tell({"generation": 1})
    program = (
        "from pathlib import Path\n"
        "from models_api.observability.reload_folder import ReloadFolder\n"
        f"ReloadFolder(lambda: Path({str(tmp_path)!r})).tell({{'generation': 2}})\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert len(list(folder.path.glob("worker-*"))) == 2
    (worker,) = folder.workers()
    assert (worker["pid"], worker["generation"]) == (os.getpid(), 1)
    assert len(list(folder.path.glob("worker-*"))) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id": 1}', b"\xff"])
def test_what_is_no_request_is_none(folder: ReloadFolder, content: bytes) -> None:
    (folder.path / "request").write_bytes(content)
    assert folder.request() is None


def test_what_is_unloaded_stays_so_for_whoever_asks_for_something_else(
    folder: ReloadFolder,
) -> None:
    first = folder.ask(b"1")
    assert (first.unloaded, first.only, first.after) == ([], "", 0)
    unloading = folder.ask(b"1", unloaded=["b", "a"], only="a")
    assert (unloading.unloaded, unloading.only, unloading.after) == (["a", "b"], "a", first.id)
    assert folder.request() == unloading
    other = folder.ask(b"2", "edition")
    assert (other.unloaded, other.only, other.after) == (["a", "b"], "", unloading.id)


def test_what_could_not_be_done_is_not_in_force(folder: ReloadFolder) -> None:
    assert folder.in_force() is None
    taken = folder.ask(b"1", unloaded=["a"])
    assert folder.in_force() == taken
    folder.end(taken, None)
    refused = folder.ask(b"2", unloaded=[])
    assert folder.in_force() == refused
    folder.end(refused, Refusal(refused.id, "because"))
    assert folder.in_force() == taken
    assert folder.ask(b"3").unloaded == ["a"]


def test_whoever_waits_hears_of_each_worker_or_which_one_does_not_answer(
    folder: ReloadFolder,
) -> None:
    request = folder.ask(b"1")
    folder.tell({"request": 0})
    with pytest.raises(TimeoutError, match=f"no answer of these workers: {os.getpid()}"):
        folder.wait(request, 0)
    folder.tell({"request": request.id})
    heard: list[int] = []
    (worker,) = folder.wait(request, 0, lambda _, workers: heard.append(workers))
    assert (worker["pid"], heard) == (os.getpid(), [1])

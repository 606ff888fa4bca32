"""What the service does for metrics that models keep by themselves with prometheus_client."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from modelhost.server.metrics import (
    begin_server,
    forget_ended_workers,
    forget_worker,
    open_server,
)
from models_api.observability import server_directory
from models_api.observability.server_directory import MULTIPROCESS_VARIABLE


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for prometheus_client, with what an earlier server has left in it."""
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path))
    monkeypatch.setattr(server_directory, "_current", None)
    monkeypatch.delenv("MODELHOST_SHARED_DIRECTORY", raising=False)
    monkeypatch.delenv("GUNICORN_PID", raising=False)
    for name in ("counter_1.db", "gauge_liveall_1.db", "gauge_liveall_2.db", "notes"):
        (tmp_path / name).touch()
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_server_forgets_what_an_earlier_one_measured_but_nothing_else(given: Path) -> None:
    begin_server()
    assert names(given) == ["notes"]


def test_a_directory_that_is_not_there_is_made(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = given / "a" / "b"
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(folder))
    begin_server()
    assert names(folder) == []


def test_a_server_that_reads_its_configuration_anew_forgets_nothing(given: Path) -> None:
    begin_server()
    (given / "counter_1.db").touch()
    before = names(given)
    begin_server()
    assert names(given) == before


def test_a_server_that_takes_over_from_another_shares_what_that_measured(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUNICORN_PID", "1")
    before = names(given)
    begin_server()
    assert names(given) == before


def test_a_worker_that_has_ended_is_no_longer_live_but_what_it_counted_stays(given: Path) -> None:
    forget_worker(1)
    assert names(given) == ["counter_1.db", "gauge_liveall_2.db", "notes"]
    forget_worker(3)
    assert names(given) == ["counter_1.db", "gauge_liveall_2.db", "notes"]


def test_workers_that_have_ended_are_found_by_those_that_come_after_them(given: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    for pid in (os.getpid(), ended.pid):
        (given / f"gauge_livesum_{pid}.db").touch()
    forget_ended_workers()
    assert f"gauge_livesum_{os.getpid()}.db" in names(given)
    assert f"gauge_livesum_{ended.pid}.db" not in names(given)
    assert {"counter_1.db", "notes"} <= set(names(given))


def test_whatever_else_is_called_like_a_file_of_metrics_stops_no_start(given: Path) -> None:
    target = given / "target"
    target.write_text("of somebody", encoding="utf-8")
    os.mkfifo(given / "fifo.db")
    (given / "link.db").symlink_to(target)
    (given / "folder.db").mkdir()
    begin_server()
    assert names(given) == ["folder.db", "notes", "target"]
    assert target.read_text(encoding="utf-8") == "of somebody"


@pytest.mark.parametrize("place", ["notes/below", "fifo", "notes"])
def test_a_given_directory_that_cannot_be_used_is_said_once_and_not_heeded(
    place: str, given: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(given / "fifo")
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(given / place))
    begin_server()
    assert MULTIPROCESS_VARIABLE not in os.environ
    open_server()
    directory = server_directory.server_directory()
    assert directory.path is not None
    assert given not in directory.path.parents
    directory.leave()
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"{MULTIPROCESS_VARIABLE} is not heeded: ")
    assert str(given / place) in told

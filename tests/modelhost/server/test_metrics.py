"""What the service does for metrics that models keep by themselves with prometheus_client."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from modelhost.server.metrics import begin_server, forget_ended_workers, forget_worker
from models_api.observability.server_directory import MULTIPROCESS_VARIABLE, SERVER_PID_VARIABLE


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for prometheus_client, with what an earlier server has left in it."""
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path))
    # Set first, so that it is taken back whatever the code under test does to it.
    monkeypatch.setenv(SERVER_PID_VARIABLE, "1")
    monkeypatch.delenv("GUNICORN_PID", raising=False)
    for name in ("counter_1.db", "gauge_liveall_1.db", "gauge_liveall_2.db", "notes"):
        (tmp_path / name).touch()
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_server_forgets_what_an_earlier_one_measured_but_nothing_else(given: Path) -> None:
    begin_server()
    assert names(given) == ["notes"]
    assert os.environ[SERVER_PID_VARIABLE] == str(os.getpid())


def test_a_directory_that_is_not_there_is_made(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = given / "a" / "b"
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(folder))
    begin_server()
    assert names(folder) == []


def test_a_server_that_reads_its_configuration_anew_forgets_nothing(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVER_PID_VARIABLE, str(os.getpid()))
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

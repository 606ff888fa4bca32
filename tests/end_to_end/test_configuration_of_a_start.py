"""The YAML file is edited while a server runs: its workers go on with what it held at the start."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.kit.processes import process_tree
from tests.end_to_end.server import TLS, Server, granian, gunicorn, serve

pytestmark = pytest.mark.timeout(240)

FILE = """\
service_title: "{note}"
models:
  - class_path: tests.fakes.life_cycle.Noted
    configuration: {{note: "{note} ${{SURROUNDINGS}}"}}
"""
ENVIRONMENT = {"MODELHOST_WORKERS": "2", "WEB_CONCURRENCY": "2", "SURROUNDINGS": "here"}
HALF_EDITED = [
    "models:\n  - class_path: tests.fakes.life_cycle.No",
    "models: [",
    "",
    FILE.format(note="a") + "unknown_key: 1\n",
    "models: [{class_path: tests.fakes.raises_on_import.Any}]\n",
    "logging: {version: 1, handlers: {x: {class: y}}}\nmodels: []\n",
]


def respawning(configuration: Path, **options: Any) -> Server:
    return granian(configuration, "--respawn-failed-workers", **options)


STARTS = [
    pytest.param(gunicorn, "1", id="gunicorn", marks=pytest.mark.long),
    pytest.param(gunicorn, "0", id="gunicorn without preloading"),
    pytest.param(serve, "1", id="serve", marks=pytest.mark.long),
    pytest.param(serve, "0", id="serve without preloading", marks=pytest.mark.long),
    pytest.param(Server, "0", id="bare gunicorn", marks=pytest.mark.long),
    pytest.param(respawning, "0", id="granian", marks=pytest.mark.long),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rest_config.yaml"
    path.write_text(FILE.format(note="first"), encoding="utf-8")
    return path


def ask(server: Server) -> tuple[str, int] | None:
    """What one worker answers, and its process; None if there is none at the moment."""
    try:
        response = httpx.post(
            f"{server.url}/api/models/noted/prediction",
            json={"number": 1},
            timeout=30,
            verify=TLS,
        )
    except httpx.TransportError:
        return None
    if response.status_code == 503:
        return None
    assert response.status_code == 200, response.text
    return response.json()["note"], response.json()["process"]


def answers(server: Server, without: set[int], note: str) -> dict[int, str]:
    """What each of two workers answers, once those are gone that are not asked for."""
    found: dict[int, str] = {}
    deadline = time.monotonic() + 90
    while len(found) < 2 or without & set(found):
        assert time.monotonic() < deadline, f"only {found} answered:\n{server.log[-4000:]}"
        assert server.process.poll() is None, server.log[-4000:]
        answer = ask(server)
        if answer is None or answer[1] in without:
            found = {}
            continue
        assert answer[0] == f"{note} here"
        found[answer[1]] = answer[0]
    return found


def kill_one(server: Server, workers: dict[int, str]) -> int:
    victim = min(workers)
    os.kill(victim, signal.SIGKILL)
    return victim


def wait_for_granian(start: Callable[..., Server]) -> None:
    """Wait until it does not take the next death of a worker for a loop of crashes."""
    if start in (serve, respawning):
        time.sleep(6)


@pytest.mark.parametrize(("start", "preload"), STARTS)
def test_a_worker_that_replaces_another_serves_what_was_validated_at_the_start(
    start: Callable[..., Server], preload: str, path: Path
) -> None:
    environment = {**ENVIRONMENT, "MODELHOST_PRELOAD": preload}
    with start(path, environment=environment) as server:
        before = answers(server, set(), "first")
        path.write_text(FILE.format(note="second")[:-20], encoding="utf-8")
        after = answers(server, {kill_one(server, before)}, "first")
        path.write_text(FILE.format(note="second"), encoding="utf-8")
        wait_for_granian(start)
        last = answers(server, {kill_one(server, after)}, "first")
        path.unlink()
        wait_for_granian(start)
        answers(server, {kill_one(server, last)}, "first")
        assert server.process.poll() is None


@pytest.mark.long
@pytest.mark.parametrize("start", [gunicorn, serve])
def test_sighup_reads_the_file_anew_for_workers_that_load_by_themselves(
    start: Callable[..., Server], path: Path
) -> None:
    with start(path, environment={**ENVIRONMENT, "MODELHOST_PRELOAD": "0"}) as server:
        before = answers(server, set(), "first")
        path.write_text(FILE.format(note="second"), encoding="utf-8")
        server.process.send_signal(signal.SIGHUP)
        after = answers_of_others(server, before, "second")
        path.write_text(FILE.format(note="third"), encoding="utf-8")
        answers(server, {kill_one(server, after)}, "second")


@pytest.mark.long
def test_sighup_with_a_broken_file_says_so_and_changes_nothing(path: Path) -> None:
    with gunicorn(path, environment={**ENVIRONMENT, "MODELHOST_PRELOAD": "0"}) as server:
        after = answers(server, set(), "first")
        for count, content in enumerate(HALF_EDITED, 1):
            path.write_text(content, encoding="utf-8")
            server.process.send_signal(signal.SIGHUP)
            after = answers_of_others(server, after, "first")
            told = "The workers go on with what the YAML file held before"
            assert server.log.count(told) == count
        assert str(path) in server.log
        after = answers(server, {kill_one(server, after)}, "first")
        path.write_text(FILE.format(note="mended"), encoding="utf-8")
        server.process.send_signal(signal.SIGHUP)
        answers_of_others(server, after, "mended")


def answers_of_others(server: Server, former: dict[int, str], note: str) -> dict[int, str]:
    """What workers answer that have replaced all former ones."""

    def have_ended() -> bool | None:
        return not set(former) & set(process_tree(server.process.pid)) or None

    server.wait_until(have_ended, "without its former workers")
    return answers(server, set(former), note)


@pytest.mark.long
@pytest.mark.parametrize("preload", ["0", "1"])
def test_sigusr2_begins_a_server_that_reads_the_file_anew(preload: str, path: Path) -> None:
    script = str(Path(sys.executable).with_name("gunicorn"))
    environment = {**ENVIRONMENT, "MODELHOST_PRELOAD": preload}
    with gunicorn(path, command=[script], environment=environment) as server:
        former = answers(server, set(), "first")
        path.write_text(FILE.format(note="second"), encoding="utf-8")
        server.process.send_signal(signal.SIGUSR2)
        notes: set[str] = set()
        deadline = time.monotonic() + 60
        while notes != {"first here", "second here"}:
            assert time.monotonic() < deadline
            answer = ask(server)
            notes |= {answer[0]} if answer else set()
        successors = set(process_tree(server.process.pid)) - set(former) - {server.process.pid}
        # While both serve, each has its own.
        os.kill(min(former), signal.SIGKILL)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(60)
        answer = ask(server)
        assert answer is not None
        assert answer[0] == "second here"
        os.kill(min(successors), signal.SIGTERM)


def test_a_broken_setting_ends_gunicorn_with_its_message_alone(path: Path) -> None:
    environment = {**ENVIRONMENT, "MODELHOST_PRELOAD": "0", "MODELHOST_MAX_BATCH_ROWS": "many"}
    with gunicorn(path, environment=environment, wait_for="exit") as server:
        assert server.process.returncode == 3
        assert "MODELHOST_MAX_BATCH_ROWS is 'many'; write a whole number." in server.log
        assert not re.search("Traceback", server.log)

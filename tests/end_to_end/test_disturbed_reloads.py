"""Reloads that something comes between: signals, half-written files, models that misbehave."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.end_to_end.server import Server
from tests.end_to_end.test_reload import (
    BODY,
    PREDICTION,
    QUIET,
    Reloads,
    configuration,
    granian_server,
    gunicorn_server,
    model,
)

pytestmark = pytest.mark.long

WORKERS = 2


def content(version: str, **arguments: Any) -> str:
    return yaml.safe_dump(configuration(model(version, **arguments)))


@pytest.mark.parametrize(
    ("start", "signals"),
    [(gunicorn_server, 2), (granian_server, 1)],  # granian replaces one worker after the other
    ids=["gunicorn", "granian"],
)
def test_workers_that_are_replaced_in_a_reload_are_no_reason_to_refuse_it(
    start: Callable[[dict[str, Any]], Server], signals: int
) -> None:
    with start(configuration(model("1"))) as server:
        reloads = Reloads(server, WORKERS)
        request = reloads.ask(content("2", seconds=4.0))
        before = {each["pid"] for each in reloads.folder.workers()}
        seen: set[int] = set()
        for _ in range(signals):

            def other(seen: set[int] = seen) -> int | None:
                pid = reloads.folder.trying()
                return pid if pid not in seen else None

            seen.add(server.wait_until(other, "loading"))
            server.process.send_signal(signal.SIGHUP)
        told = reloads.wait(request)
        assert {each["outcome"] for each in told} == {"taken"}, told
        assert not before & {each["pid"] for each in told}
        answer = server.client.post(PREDICTION, content=BODY)
        assert answer.json()["made_by"] == "2"


class Watched:
    """A server of which nothing but the file is changed, which is mounted as Kubernetes does."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rest_config.yaml"
        self._folder = folder
        self._swaps = 0
        self.swap(content("0"))
        self.path.symlink_to("..data/rest_config.yaml")
        self._version = 0

    def follow(self, server: Server) -> None:
        self.server = server
        self.reloads = Reloads(server, WORKERS)
        self.pids = {each["pid"] for each in self.reloads.folder.workers()}

    def swap(self, text: str) -> None:
        """Have the link of the folder lead to another one."""
        self._swaps += 1
        name = f"..{self._swaps}"
        (self._folder / name).mkdir()
        (self._folder / name / "rest_config.yaml").write_text(text, encoding="utf-8")
        (self._folder / "..data_tmp").symlink_to(name)
        (self._folder / "..data_tmp").replace(self._folder / "..data")

    def next(self) -> str:
        """Return a version that there was not before."""
        self._version += 1
        return str(self._version)

    def wait_for(self, version: str) -> None:
        """Wait until all workers have a version, which answers."""

        def have() -> bool | None:
            models = [each for worker in self._workers() for each in worker["models"]]
            return [each["version"] for each in models] == [version] * WORKERS or None

        self.server.wait_until(have, f"version {version}")
        self._check(version)

    def wait_for_refusal(self, reason: str) -> str:
        """Wait until all workers say why they stay as they are; return their version."""

        def refuse() -> bool | None:
            told = [each["reason"] or "" for each in self._workers()]
            return (len(told) == WORKERS and all(reason in each for each in told)) or None

        self.server.wait_until(refuse, reason)
        (version,) = {each["version"] for worker in self._workers() for each in worker["models"]}
        self._check(version)
        return str(version)

    def _workers(self) -> list[dict[str, Any]]:
        return self.reloads.folder.workers()

    def _check(self, version: str) -> None:
        assert {each["pid"] for each in self._workers()} == self.pids, "no worker has ended"
        answer = self.server.client.post(PREDICTION, content=BODY)
        assert (answer.status_code, answer.json()["made_by"]) == (200, version)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    found = Watched(tmp_path_factory.mktemp("mounted"))
    environment = {**QUIET, "MODELHOST_LOG_LEVEL": "WARNING"}
    arguments = ("--config", "python:modelhost.gunicorn_conf")
    with Server(found.path, *arguments, environment=environment) as server:
        found.follow(server)
        yield found


def test_a_folder_that_is_swapped_is_followed(watched: Watched) -> None:
    for _ in range(2):
        version = watched.next()
        watched.swap(content(version))
        watched.wait_for(version)


def test_a_file_that_an_editor_replaces_is_followed(watched: Watched) -> None:
    version, written = watched.next(), watched.path.with_suffix(".new")
    written.write_text(content(version), encoding="utf-8")
    watched.path.rename(watched.path.with_suffix(".yaml~"))
    written.rename(watched.path)
    watched.wait_for(version)


def test_a_file_that_is_written_in_two_steps_with_a_pause_is_taken_once_it_is_whole(
    watched: Watched,
) -> None:
    version = watched.next()
    text = content(version)
    cut = text.index("class_path") + len("class_path: tests.fakes")
    for part, reason in ((text[:0], "models"), (text[:cut], "models[0].class_path")):
        watched.path.write_text(part, encoding="utf-8")
        assert watched.wait_for_refusal(reason) != version
    watched.path.write_text(text, encoding="utf-8")
    watched.wait_for(version)


def test_a_file_that_is_gone_is_told_of_and_followed_once_it_is_back(watched: Watched) -> None:
    watched.path.unlink()
    told = f"{watched.path} cannot be read"
    watched.server.wait_until(lambda: watched.server.log.count(told) == WORKERS or None, "told")
    version = watched.next()
    watched.path.write_text(content(version), encoding="utf-8")
    watched.wait_for(version)
    assert watched.server.log.count(told) == WORKERS


@pytest.mark.parametrize("jump", [-86_400, 86_400], ids=["back", "ahead"])
def test_times_of_another_clock_are_followed(watched: Watched, jump: int) -> None:
    version, written = watched.next(), watched.path.with_suffix(".new")
    written.write_text(content(version), encoding="utf-8")
    when = time.time() + jump
    os.utime(written, (when, when))
    written.replace(watched.path)
    watched.wait_for(version)


def test_what_the_file_says_last_wins_though_the_one_before_is_still_being_loaded(
    watched: Watched,
) -> None:
    slow, last = watched.next(), watched.next()
    watched.path.write_text(content(slow, seconds=2.0), encoding="utf-8")
    watched.server.wait_until(watched.reloads.folder.trying, "loading")
    watched.path.write_text(content(last), encoding="utf-8")
    watched.wait_for(last)


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        ("exit", "SystemExit"),
        ("interrupt", "KeyboardInterrupt"),
        ("exit while it predicts", "examples[0]"),
    ],
)
def test_a_model_that_would_end_its_process_is_refused(
    watched: Watched, fails: str, reason: str
) -> None:
    bad, good = watched.next(), watched.next()
    watched.path.write_text(content(bad, fails=fails), encoding="utf-8")
    assert watched.wait_for_refusal(reason) != bad
    watched.path.write_text(content(good), encoding="utf-8")
    watched.wait_for(good)

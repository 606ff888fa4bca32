"""Models that are changed while real servers answer: no request is lost, and nothing is left."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.kit.load import Ask, Load, Outcome
from models_api.observability.reload_folder import ReloadFolder, Request, folders_of_servers
from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.server import REPOSITORY, TLS, Server, gunicorn, serve

PREDICTION = "/api/models/versioned/prediction"
BODY = b'{"number": 2}'
CONNECTIONS = 64
RELOADS = 50
WARM = 10
"""Reloads after which neither memory nor threads may grow."""
MEBIBYTES = 16
"""Of the weights of each version."""
QUIET = {
    "MODELHOST_LOG_LEVEL": "ERROR",
    "MODELHOST_ACCESS_LOG": "0",
    "MODELHOST_WORKERS": "2",
    "MODELHOST_THREADS": str(2 * CONNECTIONS),
}


def configuration(*models: dict[str, Any]) -> dict[str, Any]:
    return {"reload": {"interval_seconds": 0.1}, "models": [*models]}


def model(version: str, class_name: str = "VersionedModel", **arguments: Any) -> dict[str, Any]:
    return {
        "class_path": f"tests.fakes.reloadable.{class_name}",
        "version": version,
        "timeout_seconds": 30,
        "concurrency": {"max_queue_size": 2 * CONNECTIONS},
        "configuration": {"mark": version, **arguments},
    }


def development_server(given: dict[str, Any]) -> Server:
    return DevelopmentServer(given, environment=QUIET)


def gunicorn_server(given: dict[str, Any]) -> Server:
    return gunicorn(given, environment=QUIET)


def granian_server(given: dict[str, Any]) -> Server:
    return serve(given, environment=QUIET)


def plain_gunicorn(given: dict[str, Any]) -> Server:
    return Server(given, "--workers", "2", "--threads", "8", environment=QUIET)


class Reloads:
    """Changes the file of a running server, and waits until its workers have heard of it."""

    def __init__(self, server: Server, workers: int) -> None:
        self.server = server
        self.count = workers
        self.folder = server.wait_until(self._find, "the folder of its workers")

    def _find(self) -> ReloadFolder | None:
        for folder in folders_of_servers():
            workers = folder.workers()
            own = [each for each in workers if each["configuration"] == str(self._path)]
            if len(own) == self.count:
                return folder
            if len(own) < self.count:
                self.server.client.get("/api/models")
        return None

    @property
    def _path(self) -> Path:
        return self.server.configuration

    def write(self, content: str) -> None:
        """Replace the file in one step."""
        written = self._path.with_suffix(".new")
        written.write_text(content, encoding="utf-8")
        written.replace(self._path)

    def ask(self, content: str) -> Request:
        """Have the workers take it."""
        self.write(content)
        return self.folder.ask(content.encode())

    def wait(self, request: Request) -> list[dict[str, Any]]:
        """Return how the workers are that have all heard of it."""

        def done() -> list[dict[str, Any]] | None:
            workers = self.folder.workers()
            heard = [each for each in workers if each["request"] >= request.id]
            return workers if len(heard) == len(workers) == self.count else None

        return self.server.wait_until(done, "reloaded")

    def apply(self, *models: dict[str, Any]) -> list[dict[str, Any]]:
        """Have the workers host these models."""
        return self.wait(self.ask(yaml.safe_dump(configuration(*models))))


class Timeline:
    """When which versions of the model that everybody asks could be right."""

    def __init__(self, version: str) -> None:
        self._from: dict[str, float] = {version: 0.0}
        self._until: dict[str, float] = {}
        self._present = version

    def begin(self, version: str) -> None:
        """Note that workers are about to be told of a version."""
        self._from.setdefault(version, time.monotonic())

    def end(self, version: str) -> None:
        """Note that all of them have it."""
        if version != self._present:
            self._until[self._present] = time.monotonic()
            self._present = version

    def fits(self, outcome: Outcome) -> bool:
        """Whether the version that answered was right at some moment of the request."""
        made_by = str(json.loads(outcome.body)["made_by"]) if outcome.status == 200 else ""
        begins, ends = self._from.get(made_by), self._until.get(made_by, float("inf"))
        return begins is not None and begins <= outcome.ended and ends >= outcome.began


def threads_of(server: Server) -> int:
    """How many threads a worker has, at most, but for those by which it answers."""
    numbers = []
    for _ in range(20):
        with httpx.Client(base_url=server.url, timeout=30, verify=TLS) as client:
            answer = client.post("/api/models/threads/prediction", json={"number": 2})
            numbers.append(int(answer.json()["number"]))
    return max(numbers)


def mebibytes_of(server: Server) -> float:
    return server._server.memory_bytes() / 2**20


@pytest.mark.long
@pytest.mark.parametrize(
    ("start", "workers"),
    [(development_server, 1), (gunicorn_server, 2), (granian_server, 2)],
    ids=["runserver", "gunicorn", "granian"],
)
def test_no_request_is_lost_and_nothing_is_left_behind(
    start: Callable[[dict[str, Any]], Server], workers: int
) -> None:
    weights: dict[str, Any] = {"mebibytes": MEBIBYTES}
    version, timeline = "0", Timeline("0")
    watcher = model("1", "ThreadsModel")
    others = [watcher]
    with start(configuration(model(version, **weights), watcher)) as server:
        reloads = Reloads(server, workers)
        processes = len(server._server.all_processes())
        with Load(server.port, [Ask("POST", PREDICTION, BODY)], connections=CONNECTIONS) as load:
            for number, kind in zip(range(1, RELOADS + 1), itertools.cycle(range(5)), strict=False):
                main = model(version, **weights)
                if kind == 0:
                    version = str(number)
                    timeline.begin(version)
                    told = reloads.apply(model(version, **weights), *others)
                    timeline.end(version)
                elif kind == 1:
                    others = [
                        watcher,
                        model(f"{number} beside", **weights),
                        {**model(str(number), "AwaitedModel")},
                    ]
                    told = reloads.apply(main, *others)
                elif kind == 2:
                    told = reloads.wait(reloads.ask("models: [{nonsense"))
                elif kind == 3:
                    bad: dict[str, Any] = {"fails": "predict" if number % 2 else "load"}
                    told = reloads.apply(model("bad", **bad, **weights), *others)
                else:
                    others = [watcher]
                    told = reloads.apply(main, *others)
                outcome = "refused" if kind in (2, 3) else "taken"
                assert {each["outcome"] for each in told} == {outcome}, told
                if number == WARM:
                    memory, threads = mebibytes_of(server), threads_of(server)
            load.wait_for(load.count + CONNECTIONS)
        assert not load.failures(), [str(each) for each in load.failures()[:3]]
        wrong = [outcome for outcome in load.outcomes if not timeline.fits(outcome)]
        assert not wrong, wrong[:3]
        server.wait_until(
            lambda: mebibytes_of(server) < memory + 2 * MEBIBYTES or None, "small again"
        )
        server.wait_until(lambda: threads_of(server) <= threads + 4 or None, "without old threads")
        assert len(server._server.all_processes()) == processes


@pytest.mark.long
@pytest.mark.measured
@pytest.mark.parametrize("start", [gunicorn_server, plain_gunicorn], ids=["preloaded", "plain"])
def test_a_worker_that_is_killed_in_a_reload_is_replaced_by_one_that_takes_it(
    start: Callable[[dict[str, Any]], Server],
) -> None:
    with start(configuration(model("1"))) as server:
        reloads = Reloads(server, 2)
        request = reloads.ask(yaml.safe_dump(configuration(model("2", seconds=1.0))))
        pid = server.wait_until(reloads.folder.trying, "loading")
        os.kill(pid, signal.SIGKILL)
        told = reloads.wait(request)
        assert {each["outcome"] for each in told} == {"taken"}
        assert pid not in {each["pid"] for each in told}
        # The file is broken by the time that the next one is replaced.
        reloads.wait(reloads.ask("models: [{nonsense"))
        os.kill(int(told[0]["pid"]), signal.SIGKILL)
        answers = [_ask_patiently(server) for _ in range(50)]
        assert {each["made_by"] for each in answers} == {"2"}


def _ask_patiently(server: Server) -> dict[str, Any]:
    """Ask, once more where the worker was killed that had the connection."""

    def ask() -> dict[str, Any] | None:
        try:
            answer = server.client.post(PREDICTION, content=BODY)
        except OSError:
            return None
        except Exception as error:
            if "disconnected" in str(error) or "reset" in str(error):
                return None
            raise
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        return found

    return server.wait_until(ask, "answered")


@pytest.mark.long
@pytest.mark.measured
def test_the_processes_of_a_model_are_replaced_and_the_commands_tell_of_it() -> None:
    def in_process(version: str, **arguments: Any) -> dict[str, Any]:
        return {**model(version, **arguments), "execution": {"kind": "process"}}

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "REST_CONFIG": str(server.configuration)},
            capture_output=True,
            text=True,
            check=False,
        )

    with granian_server(configuration(in_process("1"))) as server:
        reloads = Reloads(server, 2)
        processes = len(server._server.all_processes())
        with Load(server.port, [Ask("POST", PREDICTION, BODY)], connections=8) as load:
            load.wait_for(100)
            reloads.write(yaml.safe_dump(configuration(in_process("2"))))
            done = command("reload")
            assert done.returncode == 0, done
            assert "[2/2] worker" in done.stdout
            load.wait_for(load.count + 100)
        assert not load.failures(), [str(each) for each in load.failures()[:3]]
        assert json.loads(load.outcomes[-1].body)["made_by"] == "2"
        server.wait_until(
            lambda: len(server._server.all_processes()) == processes or None, "alone again"
        )
        reloads.write(yaml.safe_dump(configuration(in_process("3", fails="load"))))
        done = command("reload", "--timeout", "60")
        assert done.returncode == 1
        assert "cannot be loaded" in done.stderr
        status = command("status", "--pid", str(reloads.folder.workers()[0]["pid"]))
        assert status.stdout.count("versioned  2        ready") == 2
        assert "last change refused" in status.stdout
        assert json.loads(command("status", "--json").stdout)["servers"]
        reload = server.client.get("/api/models").json()["reload"]
        assert (reload["generation"], reload["outcome"]) == (2, "refused")
        server.wait_until(
            lambda: len(server._server.all_processes()) == processes or None, "alone again"
        )

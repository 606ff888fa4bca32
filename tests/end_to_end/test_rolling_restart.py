"""Instances behind nginx, restarted one after the other under load: no request is lost."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks.kit.load import Ask, Load
from tests.end_to_end.nginx import Nginx
from tests.end_to_end.server import Server, free_port

CLASS_PATH = "tests.fakes.deadly.DeadlyModel"
# Both load before they listen, so that may take its time. What loads while it answers, as granian's
# own command does, gives clients its 503 meanwhile; docs/behind-a-proxy.md has what to do then.
CONFIGURATION = {"models": [{"class_path": CLASS_PATH, "configuration": {"seconds_to_load": 1.0}}]}
PREDICTION = "/api/models/deadly/prediction"
ROUNDS = 3
BETWEEN = 200
"""Requests from one restart to the next."""

Start = Callable[[int], Server]


def gunicorn(port: int) -> Server:
    return Server(
        CONFIGURATION,
        *("--config", "python:modelhost.gunicorn_conf"),
        environment={"MODELHOST_WORKERS": "2", "MODELHOST_LOG_LEVEL": "WARNING"},
        port=port,
    )


def serve(port: int) -> Server:
    return Server(
        CONFIGURATION,
        *("--workers", "2"),
        environment={"MODELHOST_LOG_LEVEL": "WARNING"},
        application="serve",
        command=(sys.executable, "manage.py"),
        bind="--host 127.0.0.1 --port {port}",
        port=port,
    )


class Instances:
    """Two servers, each of which can be restarted at its port."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self.ports = [free_port(), free_port()]
        self._servers: dict[int, Server] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        try:
            for port in self.ports:
                self._servers[port] = self._start(port).__enter__()
            yield
        finally:
            for server in self._servers.values():
                server.__exit__(None, None, None)

    def restart(self, port: int) -> None:
        """Stop it by SIGTERM, start it again, and wait until it is ready."""
        self._servers.pop(port).__exit__(None, None, None)
        self._servers[port] = self._start(port).__enter__()

    def logged(self, text: str) -> list[int]:
        """How often the log of each instance has the text."""
        return [self._servers[port].log.count(text) for port in self.ports]


def report(load: Load, log: str) -> str:
    """Say how many requests there were, and what nginx made up for."""
    refused = log.count("Connection refused")
    cut_off = log.count("upstream prematurely closed") + log.count("reset by peer")
    return (
        f"{len(load.outcomes)} requests, {2 * ROUNDS} restarts; an instance refused {refused} and "
        f"cut off {cut_off}; p50 {load.percentile(50):.3f} s, p99 {load.percentile(99):.3f} s, "
        f"slowest {load.percentile(100):.3f} s"
    )


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("start", [gunicorn, serve])
def test_a_rolling_restart_loses_no_request(start: Start) -> None:
    instances = Instances(start)
    asks = [Ask("POST", PREDICTION, b'{"number": %d}' % number) for number in range(10)]
    with (
        instances.running(),
        Nginx(*instances.ports) as proxy,
        Load(proxy.port, asks, connections=16, rate=400) as load,
    ):
        load.wait_for(BETWEEN)
        for port in instances.ports * ROUNDS:
            instances.restart(port)
            load.wait_for(BETWEEN)
        load.stop()
        print(report(load, proxy.log))  # noqa: T201
    assert not load.failures(), [str(each) for each in load.failures()[:5]]


@pytest.mark.long
def test_a_prediction_that_kills_its_worker_is_tried_once_by_each_instance() -> None:
    instances = Instances(gunicorn)
    with instances.running(), Nginx(*instances.ports) as proxy:
        response = proxy.client.post(PREDICTION, json={"do": "exit"})
        assert (response.status_code, response.json()["type"]) == (502, "BadGateway")
        # The other workers go on.
        assert proxy.client.post(PREDICTION, json={"number": 5}).status_code == 200
        deadline = time.monotonic() + 30
        while instances.logged("exited with code 7") != [1, 1]:  # once the masters have noticed
            assert time.monotonic() < deadline
            time.sleep(0.05)

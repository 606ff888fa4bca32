"""Half a million predictions while two hundred clients dawdle: nothing is left of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.load import Ask, Load, Outcome
from tests.end_to_end.server import Server
from tests.end_to_end.slow_clients import KINDS, SlowClients, never_reading

CONFIGURATION: dict[str, Any] = {
    "models": [
        {"class_path": "tests.fakes.life_cycle.Quick"},
        {"class_path": "tests.fakes.overload.WaitingModel"},
    ],
    "metrics": {"enabled": True},
}
ROWS = 16
PREDICTION = "/api/models/quick/prediction"
ONE = Ask("POST", PREDICTION, b'{"number": 21}', b'{"doubled":42.0}')
MANY = Ask(
    "POST",
    f"{PREDICTION}/batch",
    b'{"inputs":[%s]}' % b",".join([b'{"number": 4}'] * ROWS),
    b'{"predictions":[%s]}' % b",".join([b'{"doubled":8.0}'] * ROWS),
)
ASKS = [ONE] * 9 + [MANY]
WAITING = Ask("POST", "/api/models/waiting/prediction", b"{}")
PREDICTIONS_OF_TEN = 9 + ROWS
SLOW_CLIENTS = 200
REQUESTS = 200_000
WARM_UP = 50_000
MORE = 20_000
LOOKS = 3
# Of two workers with 16 for predictions and a few for the rest, which start as they are needed.
MOST_THREADS = 2 * (16 + 8) + 1


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_half_a_million_predictions_leave_nothing_behind() -> None:
    environment = {
        "MODELHOST_WORKERS": "2",
        "MODELHOST_LOG_LEVEL": "WARNING",
        "MODELHOST_CLIENT_TIMEOUT_SECONDS": "5",
    }
    tuned = ("-c", "python:modelhost.gunicorn_conf")
    with Server(CONFIGURATION, *tuned, environment=environment) as server:
        idle = Resources(server).open_files
        let_all_threads_work(server)
        serve(server, WARM_UP)
        wait_until(lambda: Resources(server).open_files <= idle)
        before = Resources(server)
        health = serve(server, REQUESTS)
        assert REQUESTS / 10 * PREDICTIONS_OF_TEN >= 500_000
        wait_until(lambda: Resources(server).open_files <= idle)
        after = Resources(server)
        served = WARM_UP + REQUESTS
        # Memory goes up and down by some percent; what is lost for good, it never has again.
        for _ in range(LOOKS):
            if after.memory < 1.05 * before.memory:
                break
            serve(server, MORE)
            served += MORE
            wait_until(lambda: Resources(server).open_files <= idle)
            after = Resources(server)
        print(f"{before} before, {after} after; health {health.percentile(99):.3f} s")  # noqa: T201
        assert after.processes == before.processes
        assert after.threads <= MOST_THREADS
        assert after.memory < 1.05 * before.memory, f"{before} became {after}"
        assert health.percentile(99) < 1
        counted = sum(
            float(line.rsplit(" ", 1)[1])
            for line in server.client.get("/metrics").text.splitlines()
            if line.startswith("model_predictions_total{") and 'model="quick"' in line
        )
        assert counted == served  # it counts requests


def let_all_threads_work(server: Server) -> None:
    """Have more predictions that wait than there are threads, as threads start when needed."""
    with Load(server.port, [WAITING], 48, requests=1000) as load:
        load.join(timeout=100)


def serve(server: Server, requests: int) -> Load:
    """Have that many requests answered, among the slow clients; all must be right."""
    wrong: list[Outcome] = []

    def record(outcome: Outcome) -> None:
        if not outcome.is_right:
            wrong.append(outcome)

    with (
        SlowClients(server.port, PREDICTION, SLOW_CLIENTS) as slow,
        Load(server.port, [Ask("GET", "/api/health")], 2, rate=5) as health,
        Load(server.port, ASKS, 16, requests=requests, record=record) as load,
    ):
        load.join(timeout=700)
    assert not wrong, str(wrong[0])
    assert not health.failures()
    assert set(slow.thrown_out) >= {kind.__name__ for kind in KINDS} - {never_reading.__name__}
    return health


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.2)


class Resources:
    """What the server's processes hold, once the connections of the load are gone."""

    def __init__(self, server: Server) -> None:
        pid = server.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        folders = [Path("/proc", number) for number in [str(pid), *children.split()]]
        self.processes = len(folders)
        self.threads = sum(len(list((folder / "task").iterdir())) for folder in folders)
        self.open_files = sum(len(list((folder / "fd").iterdir())) for folder in folders)
        # What processes share counts once.
        self.memory = sum(_kilobytes(folder / "smaps_rollup", "Pss:") for folder in folders)

    def __str__(self) -> str:
        return f"{self.memory / 1024:.1f} MB, {self.threads} threads, {self.open_files} files"


def _kilobytes(path: Path, name: str) -> int:
    lines = path.read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith(name)]
    return int(line.split()[1])

"""Half a million predictions while two hundred clients dawdle at nginx: nothing is left of it.

In CI it is a fourth of that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kit.load import Ask, Load, Outcome
from tests.end_to_end.nginx import Nginx
from tests.end_to_end.server import STARTERS, Server
from tests.end_to_end.slow_clients import SlowClients
from tests.sweeps import number

CONFIGURATION: dict[str, Any] = {
    "models": [
        {"class_path": "tests.fakes.life_cycle.Quick"},
        {"class_path": "tests.fakes.overload.WaitingModel"},
    ],
    "metrics": {"enabled": True},
}
ROWS = 48
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
REQUESTS = number(11_000, 4)
ROUNDS = 8
LOOKS = 3
MORE_LOOKS = 10
THREADS = 64
# Of two workers, with a few for the rest, which start as they are needed.
MOST_THREADS = 2 * (THREADS + 8) + 1 + 2
# Connections to the service that nginx keeps are not what a round leaves behind.
KEEPING_LITTLE = [("keepalive_timeout 20s;", "keepalive_timeout 1s;")]


@pytest.mark.parametrize("kind", sorted(STARTERS))
@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_half_a_million_predictions_leave_nothing_behind(kind: str) -> None:
    environment = {"MODELHOST_WORKERS": "2", "MODELHOST_LOG_LEVEL": "WARNING"}
    with (
        STARTERS[kind](CONFIGURATION, environment=environment) as server,
        Nginx(server.port, replacements=KEEPING_LITTLE) as proxy,
    ):
        soak = Soak(server, proxy)
        let_all_threads_work(server)
        soak.serve(1)
        before = soak.serve(LOOKS)
        after = soak.serve(ROUNDS)[-LOOKS:]
        assert number(500_000, 4) <= ROUNDS * REQUESTS / 10 * PREDICTIONS_OF_TEN
        # What is lost for good, no look finds again.
        for _ in range(MORE_LOOKS):
            if memory(after) < 1.05 * memory(before):
                break
            after = [*after[1:], *soak.serve(1)]
        looks = f"{memory(before)} MB of {listed(before)} became {memory(after)} of {listed(after)}"
        print(f"{looks}; health {soak.slowest_health:.3f} s")  # noqa: T201
        assert {look.processes for look in before + after} == {3}
        assert max(look.threads for look in after) <= MOST_THREADS
        assert memory(after) < 1.05 * memory(before), looks
        assert soak.slowest_health < 1
        counted = sum(
            float(line.rsplit(" ", 1)[1])
            for line in server.client.get("/metrics").text.splitlines()
            if line.startswith("model_predictions_total{") and 'model="quick"' in line
        )
        assert counted == soak.requests  # it counts requests


def let_all_threads_work(server: Server) -> None:
    """Have more predictions that wait than there are threads, as threads start when needed."""
    with Load(server.port, [WAITING], 3 * THREADS, requests=4000) as load:
        load.join(timeout=100)


class Soak:
    """Serves round after round, and looks at what the server holds after each."""

    def __init__(self, server: Server, proxy: Nginx) -> None:
        self._server = server
        self._proxy = proxy
        # A worker that starts opens files yet.
        wait_until(lambda: "\nmodelhost_workers 2.0\n" in server.client.get("/metrics").text)
        self._idle_files = Resources(server).open_files
        self.requests = 0
        self.slowest_health = 0.0
        """The highest 99th percentile of a round, in seconds."""

    def serve(self, rounds: int) -> list[Resources]:
        return [self._serve_one_round() for _ in range(rounds)]

    def _serve_one_round(self) -> Resources:
        """Have requests answered while slow clients come to the proxy; all must be right."""
        wrong: list[Outcome] = []

        def record(outcome: Outcome) -> None:
            if not outcome.is_right:
                wrong.append(outcome)

        port = self._proxy.port
        with (
            SlowClients(self._proxy.port, PREDICTION, SLOW_CLIENTS),
            Load(port, [Ask("GET", "/api/health")], 2, rate=5) as health,
            Load(port, ASKS, 16, requests=REQUESTS, record=record) as load,
        ):
            load.join(timeout=100)
        assert not wrong, str(wrong[0])
        assert not health.failures()
        self.requests += REQUESTS
        self.slowest_health = max(self.slowest_health, health.percentile(99))
        wait_until(lambda: Resources(self._server).open_files <= self._idle_files)
        return Resources(self._server)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.2)


def memory(looks: list[Resources]) -> float:
    """The least of them, in MB: what malloc keeps for later makes others a tenth more."""
    return round(min(look.memory for look in looks) / 1024, 1)


def listed(looks: list[Resources]) -> str:
    return ", ".join(f"{look.memory / 1024:.1f}" for look in looks)


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


def _kilobytes(path: Path, name: str) -> int:
    lines = path.read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith(name)]
    return int(line.split()[1])

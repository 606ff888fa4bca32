"""The command `serve`, seen from outside."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.server import REPOSITORY, TLS, Server, free_port, serve

PREDICTION = "/api/models/deadly/prediction"
CONFIGURATION: dict[str, Any] = {"models": [{"class_path": "tests.fakes.deadly.DeadlyModel"}]}
HEAVY_MEBIBYTES = 200
HEAVY: dict[str, Any] = {
    "models": [
        {
            "class_path": "tests.fakes.models.HeavyModel",
            "configuration": {"mebibytes": HEAVY_MEBIBYTES},
        }
    ]
}
TWO_WORKERS = {"MODELHOST_WORKERS": "2"}


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def children(server: Server) -> list[int]:
    pid = server.process.pid
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in text.split()]


def said(*arguments: str, **variables: str) -> tuple[int, str]:
    """Run the command to its end, and return its exit status and all that it printed."""
    done = subprocess.run(
        [sys.executable, "manage.py", "serve", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve(CONFIGURATION, "--workers", "2", "--threads", "8") as started:
        yield started


def test_it_predicts_and_says_on_start_where_with_what_and_where_the_pages_are(
    server: Server,
) -> None:
    response = server.client.post(PREDICTION, json={"number": 4})
    assert (response.status_code, response.json()["number"]) == (200, 4)
    assert len(children(server)) == 2
    assert (
        f"Loading the models; then 2 workers of 8 threads serve at {server.url}. "
        f"Its documentation page is {server.url}/docs."
    ) in server.log
    assert server.client.get("/docs").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_prediction_under_way_end_and_then_the_server(
    number: signal.Signals,
) -> None:
    with serve(CONFIGURATION, environment=TWO_WORKERS) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.client.post, PREDICTION, json={"do": "take_a_second"})
        time.sleep(0.5)
        server.process.send_signal(number)
        assert server.process.wait(20) == 0
        assert answer.result(10).status_code == 200
        assert "Traceback" not in server.log


def test_a_prediction_that_does_not_end_keeps_the_server_no_longer_than_it_has_grace() -> None:
    models = {"models": [{"class_path": "tests.fakes.overload.PatientModel"}]}
    environment = {"MODELHOST_WORKERS": "1", "MODELHOST_GRACEFUL_TIMEOUT_SECONDS": "1"}
    with serve(models, environment=environment) as server:
        body = b'{"never": true}'
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(
                b"POST /api/models/patient/prediction HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            time.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(10)
            assert client.recv(1) == b""
        assert "Killing worker-1 after it refused to gracefully stop" in server.log


def test_a_worker_that_was_killed_is_replaced(server: Server) -> None:
    victim = children(server)[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in children(server), "the end of the worker")
    wait_until(lambda: len(children(server)) == 2, "another one")
    processes = set()

    def both_have_answered() -> bool:
        processes.add(
            httpx.post(f"{server.url}{PREDICTION}", json={}, verify=TLS).json()["process"]
        )
        return processes == set(children(server))

    wait_until(both_have_answered, "an answer of each")
    assert server.log.count("Loaded deadly") == 1


def private_mebibytes(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    kilobytes = re.findall(r"Private_(?:Clean|Dirty): +(\d+) kB", text)
    return sum(map(int, kilobytes)) / 1024


def test_the_workers_share_the_memory_of_the_weights() -> None:
    with serve(HEAVY, environment=TWO_WORKERS) as server:
        pids = [server.process.pid, *children(server)]
        assert len(pids) == 3
        for _ in range(20):
            response = httpx.post(
                f"{server.url}/api/models/heavy/prediction", json={"value": 1}, verify=TLS
            )
            assert response.status_code == 200
        for pid in pids:
            assert private_mebibytes(pid) < HEAVY_MEBIBYTES / 4


def test_a_port_that_is_taken_and_an_address_that_is_not_there_are_said_to_be_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        status, text = said("--port", str(port))
    assert (status, text) == (
        1,
        f"CommandError: Cannot listen at 127.0.0.1, port {port}: Address already in use. "
        "Choose others with --host and --port, or by MODELHOST_BIND.\n",
    )
    status, text = said("--host", "nowhere.invalid")
    assert status == 1
    assert text.startswith("CommandError: Cannot listen at nowhere.invalid, port 8000: ")


def test_two_servers_do_not_share_a_port_by_mistake(server: Server) -> None:
    status, text = said("--port", str(server.port))
    assert (status, "Address already in use" in text) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["--port", "65536"], {}, "argument --port: '65536' is no port"),
        (["--workers", "0"], {}, "argument --workers: '0' is no number of them; write 1 or more"),
        (["--threads", "many"], {}, "argument --threads: 'many' is no number of them"),
        ([], {"MODELHOST_THREADS": "many"}, "MODELHOST_THREADS is 'many'; write a whole number."),
        ([], {"MODELHOST_BIND": "unix:/run/socket"}, "MODELHOST_BIND is 'unix:/run/socket'; "),
        ([], {"MODELHOST_BIND": "a:1,b:2"}, "`serve` listens at one address and port"),
    ],
)
def test_what_cannot_be_meant_is_said_to_be_so(
    arguments: list[str], variables: dict[str, str], message: str
) -> None:
    status, text = said(*arguments, **variables)
    assert status
    assert message in text
    assert "Traceback" not in text


def test_help_tells_each_option_with_its_default() -> None:
    status, text = said("--help", MODELHOST_BIND="[::1]:8123", MODELHOST_THREADS="7", COLUMNS="200")
    assert status == 0
    for option, default in (("host", "::1"), ("port", "8123"), ("threads", "7")):
        assert re.search(rf"--{option} .*\(default: {default}\)", text)
    assert re.search(r"--workers .*\(default: [1-9]", text)


def test_it_takes_the_variables_that_gunicorn_takes() -> None:
    port = free_port()
    environment = {
        "MODELHOST_BIND": f"127.0.0.1:{port}",
        "MODELHOST_WORKERS": "3",
        "MODELHOST_THREADS": "5",
        "MODELHOST_LOG_FORMAT": "json",
    }
    with serve(CONFIGURATION, environment=environment, bind="", port=port) as server:
        wait_until(lambda: len(children(server)) == 3, "three workers")
        assert f"3 workers of 5 threads serve at http://127.0.0.1:{port}." in server.log
        assert all(line.startswith("{") for line in server.log.splitlines())


def test_a_free_port_is_chosen_and_the_other_family_of_addresses_works() -> None:
    with serve(
        CONFIGURATION,
        *("--host", "::1", "--port", "0", "--workers", "1"),
        bind="",
        wait_for="nothing",
    ) as server:
        wait_until(lambda: "Started worker-1" in server.log, "a worker")
        found = re.search(r"Listening at: (http://\[::1\]:[1-9]\d+)", server.log)
        assert found is not None
        wait_until(lambda: is_ready(found[1]), "an answer")


def is_ready(url: str) -> bool:
    return httpx.get(f"{url}/api/health/ready", verify=TLS).status_code == 200

"""The metrics of real servers, whose worker processes each know a part of them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.kit.processes import process_tree
from tests.end_to_end.scraped import samples, value
from tests.end_to_end.server import TLS, Server, granian
from tests.end_to_end.server import gunicorn as start_gunicorn
from tests.end_to_end.server import serve as start_serve

BATCHING = {"class_path": "tests.fakes.batching.BatchingModel", "batching": {}}
MEASURED = {"class_path": "tests.fakes.measured.MeasuredModel"}
CONFIGURATION: dict[str, Any] = {
    "models": [BATCHING, MEASURED],
    "metrics": {"enabled": True},
    "open_inference": {"enabled": True},
}
PREDICTION = "/api/models/batching/prediction"


def gunicorn(**environment: str) -> Server:
    return start_gunicorn(CONFIGURATION, environment={"MODELHOST_WORKERS": "2", **environment})


def serve(**environment: str) -> Server:
    return start_serve(CONFIGURATION, environment={"MODELHOST_WORKERS": "2", **environment})


def bare_gunicorn() -> Server:
    return Server(CONFIGURATION, "--workers", "2", "--threads", "4", "--worker-class", "gthread")


def start_granian() -> Server:
    return granian(CONFIGURATION)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def starts_seen(server: Server) -> float | None:
    """Workers started so far; None if the one that was asked was killed."""
    try:
        return value(samples(server), "modelhost_worker_starts_total")
    except httpx.TransportError:
        return None


def predict(server: Server, number: int, path: str = PREDICTION) -> tuple[int, int]:
    """The status of the answer, and the process that gave it."""
    # A connection that is kept would stay with the worker that has it.
    headers = {"Connection": "close"}
    response = server.client.post(path, json={"value": number}, headers=headers)
    return response.status_code, response.json().get("process", 0)


BOTH = [pytest.param(gunicorn, id="gunicorn"), pytest.param(serve, id="serve")]


@pytest.fixture(scope="module", params=BOTH)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as started:
        yield started


SERVERS = [
    pytest.param(bare_gunicorn, id="bare gunicorn", marks=pytest.mark.long),
    pytest.param(lambda: gunicorn(MODELHOST_PRELOAD="0"), id="gunicorn", marks=pytest.mark.long),
    pytest.param(lambda: serve(MODELHOST_PRELOAD="0"), id="serve", marks=pytest.mark.long),
    pytest.param(start_granian, id="granian", marks=pytest.mark.long),
]


def check_sums(server: Server) -> None:
    before = samples(server)
    rounds = 0
    processes: set[int] = set()
    own_processes: set[int] = set()
    # One worker may be ready long before the other.
    deadline = time.monotonic() + 60
    while len(processes) < 2 or len(own_processes) < 2:
        assert time.monotonic() < deadline
        with ThreadPoolExecutor(16) as pool:
            numbers = [1] * 150 + [5000] * 50
            answers = list(pool.map(lambda number: predict(server, number), numbers))
            own = list(pool.map(lambda number: predict(server, number, MODEL_OWN), [1] * 100))
        assert Counter(status for status, _ in answers) == {200: 150, 400: 50}
        processes.update(process for _, process in answers if process)
        own_processes.update(process for _, process in own)
        rounds += 1
    after = samples(server)

    def added(name: str, **labels: str) -> float:
        """How much it has grown by in a round."""
        return (value(after, name, **labels) - value(before, name, **labels)) / rounds

    batching = {"model": "batching", "version": "1.0.0"}
    assert added("model_predictions_total", outcome="success", **batching) == 150
    assert added("model_predictions_total", outcome="invalid_input", **batching) == 50
    assert added("model_prediction_duration_seconds_count", **batching) == 200
    assert added("model_batch_size_sum", **batching) == 150
    assert added("http_requests_total", handler=PREDICTION, status="2xx", method="POST") == 150
    assert added("http_requests_total", handler=PREDICTION, status="4xx", method="POST") == 50
    assert added("http_request_duration_seconds_count", handler=PREDICTION) == 200
    assert added("http_request_size_bytes_sum", handler=PREDICTION) == 150 * 11 + 50 * 14
    assert value(after, "model_in_flight", **batching) == 0
    assert value(after, "model_queue_depth", **batching) == 0
    assert value(after, "model_ready", **batching) == 1
    assert value(after, "model_load_seconds", **batching) > 0
    assert value(after, "model_state", state="ready", required="true", **batching) == 1
    assert value(after, "model_state", **batching) == 1
    assert value(after, "modelhost_info") == 1
    assert value(after, "modelhost_workers") == 2
    # What the model's code counts by itself.
    assert added("measured_by_the_model_total") == 100


MODEL_OWN = "/api/models/measured/prediction"


def test_what_the_workers_measured_is_added_up(server: Server) -> None:
    check_sums(server)


def infer(server: Server) -> int:
    """Infer for two rows on a connection of its own, and say which process did."""
    tensor = {"name": "value", "shape": [2], "datatype": "INT64", "data": [1, 2]}
    url = f"{server.url}/v2/models/batching/infer"
    response = httpx.post(url, json={"inputs": [tensor]}, timeout=30, verify=TLS)
    outputs = {output["name"]: output["data"] for output in response.json()["outputs"]}
    process: int = outputs["process"][0]
    return process


def inferences(server: Server) -> tuple[int, int]:
    """Requests and rows that one of the workers, whichever, says were inferred."""
    response = httpx.get(f"{server.url}/v2/models/batching/stats", timeout=30, verify=TLS)
    (statistics,) = response.json()["model_stats"]
    return statistics["execution_count"], statistics["inference_count"]


def test_statistics_of_open_inference_are_those_of_all_workers(server: Server) -> None:
    requests, rows = inferences(server)
    made = 0
    processes: set[int] = set()
    deadline = time.monotonic() + 60
    while len(processes) < 2 or made < 10:
        assert time.monotonic() < deadline
        processes.add(infer(server))
        made += 1
    told = {inferences(server) for _ in range(10)}
    assert told == {(requests + made, rows + 2 * made)}


@pytest.mark.parametrize("start", SERVERS)
def test_it_is_with_every_server(start: Callable[[], Server]) -> None:
    with start() as server:
        check_sums(server)


def test_a_killed_worker_takes_nothing_with_it_but_its_state(server: Server) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: predict(server, number), [1] * 50))
    before = samples(server)
    victim = answers[0][1]
    starts = value(before, "modelhost_worker_starts_total")
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: starts_seen(server) == starts + 1)
    after = samples(server)
    assert value(after, "modelhost_workers") == 2
    assert value(after, "modelhost_worker_deaths_total") == 1
    for name in ("model_predictions_total", "model_batch_size_sum", "measured_by_the_model_total"):
        assert value(after, name) == value(before, name)
    assert value(after, "http_requests_total", handler=PREDICTION) == value(
        before, "http_requests_total", handler=PREDICTION
    )
    assert value(after, "model_ready", model="batching") == 1
    assert value(after, "model_state", model="batching", state="ready") == 1
    assert value(after, "model_state", model="batching") == 1
    assert value(after, "modelhost_info") == 1
    # It keeps a gauge of each live process.
    assert value(after, "measured_by_the_model_alive") <= 2


def test_labels_are_bounded_whatever_clients_send(server: Server) -> None:
    for number in range(20):
        server.client.get(f"/nothing/{number}")
        server.client.request(f"METHOD{number}", "/api/models")
        server.client.get(f"/api/models/unknown{number}/metadata")
        server.client.post(f"/api/models/unknown{number}/prediction", json={})
    predict(server, 1)
    server.client.get("/metrics")
    labels = [dict(given) for name, given in samples(server) if name == "http_requests_total"]
    assert {each["method"] for each in labels} <= {"GET", "POST", "OTHER"}
    handlers = [each["handler"].removeprefix("/v2") for each in labels]
    assert not [each for each in handlers if any(digit in each for digit in "0123456789")]
    assert {
        "none",
        "/api/models",
        "/metrics",
        PREDICTION,
        "/api/models/{qualified_name}/metadata",
        "/api/models/{qualified_name}/prediction",
    } <= {each["handler"] for each in labels}


def test_the_metrics_are_given_to_any_host_and_not_documented(server: Server) -> None:
    response = server.client.get("/metrics", headers={"Host": "10.0.0.7:8000"})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; version=1.0.0; charset=utf-8"
    assert "/metrics" not in server.client.get("/openapi.json").json()["paths"]


def shared_directories(server: Server) -> set[Path]:
    """Directories that the processes of a server hold, found without knowing any name."""
    found = set()
    for pid in process_tree(server.process.pid):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(link.readlink())
    return {path for path in found if path.name.startswith("modelhost-") and path.is_dir()}


@pytest.mark.long
@pytest.mark.parametrize(
    "start",
    [
        *BOTH,
        pytest.param(bare_gunicorn, id="bare gunicorn"),
        pytest.param(start_granian, id="granian"),
    ],
)
def test_a_server_that_ends_leaves_nothing_behind_and_takes_nothing_from_others(
    start: Callable[[], Server],
) -> None:
    with start() as other, start() as server:
        samples(server)
        samples(other)
        (directory,), (others,) = shared_directories(server), shared_directories(other)
        assert directory != others
        assert directory.stat().st_mode & 0o777 == 0o700
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(60)
        wait_for(lambda: not directory.exists())
        assert others.exists()
        samples(other)


@pytest.mark.long
@pytest.mark.parametrize(
    "start", [pytest.param(gunicorn, id="gunicorn"), pytest.param(bare_gunicorn, id="bare")]
)
def test_the_workers_of_a_gunicorn_that_was_killed_leave_nothing_behind(
    start: Callable[[], Server],
) -> None:
    with start() as server:
        samples(server)
        (directory,) = shared_directories(server)
        os.kill(server.process.pid, signal.SIGKILL)
        wait_for(lambda: not directory.exists())


PLANT = """
folder="$PROMETHEUS_MULTIPROC_DIR/modelhost-$$-$(cut -d ' ' -f 22 /proc/$$/stat)"
case "$PLANTED" in
fifo) mkdir "$folder" && mkfifo "$folder/members" "$folder/lock" "$folder/exited" ;;
link) ln -s "$PROMETHEUS_MULTIPROC_DIR/target" "$folder" ;;
file) echo x > "$folder" ;;
links) mkdir "$folder" && for name in members lock exited exited.new; do
    ln -s "$PROMETHEUS_MULTIPROC_DIR/target/victim" "$folder/$name"; done ;;
esac
chown -h 65534:65534 "$folder" 2> /dev/null
chmod 777 "$folder"
touch -h -d @0 "$folder" "$PROMETHEUS_MULTIPROC_DIR/modelhost-1-2"
exec "$@"
"""


@pytest.mark.long
@pytest.mark.parametrize("planted", ["fifo", "link", "file", "links"])
@pytest.mark.parametrize(
    ("start", "command"),
    [
        pytest.param(start_gunicorn, [sys.executable, "-m", "gunicorn"], id="gunicorn"),
        pytest.param(start_serve, [sys.executable, "manage.py", "serve"], id="serve"),
        pytest.param(Server, [sys.executable, "-m", "gunicorn"], id="bare gunicorn"),
    ],
)
def test_what_somebody_else_put_there_before_stops_no_server_and_is_left_alone(
    start: Callable[..., Server], command: list[str], planted: str, tmp_path: Path
) -> None:
    victim, abandoned = tmp_path / "target" / "victim", tmp_path / "modelhost-1-2"
    victim.parent.mkdir()
    victim.write_text("precious", encoding="utf-8")
    abandoned.mkdir()
    os.mkfifo(abandoned / "members")
    with start(
        CONFIGURATION,
        command=["bash", "-c", PLANT, "bash", *command],
        environment={
            "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
            "PLANTED": planted,
            "MODELHOST_WORKERS": "2",
            "WEB_CONCURRENCY": "2",
        },
    ) as server:
        assert predict(server, 1)[0] == 200
        wait_for(lambda: value(samples(server), "modelhost_workers") == 2)
        os.kill(predict(server, 1)[1], signal.SIGKILL)
        wait_for(lambda: (starts_seen(server) or 0) >= 3)
        wait_for(lambda: value(samples(server), "modelhost_workers") == 2)
        assert value(samples(server), "model_predictions_total", outcome="success") == 2
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(60)
    assert victim.read_text(encoding="utf-8") == "precious"
    assert list(victim.parent.iterdir()) == [victim]
    assert (abandoned / "members").exists()
    (left,) = set(tmp_path.glob("modelhost-*")) - {abandoned}
    assert left.name.startswith(f"modelhost-{server.process.pid}-")


@pytest.mark.long
@pytest.mark.parametrize("start", BOTH)
def test_a_directory_that_is_given_is_used_and_emptied_first(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    stale = tmp_path / "counter_1.db"
    stale.write_bytes(b"left by an earlier server")
    with start(PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) as server:
        assert predict(server, 1, MODEL_OWN)[0] == 200
        assert not stale.exists()
        assert list(tmp_path.glob("counter_*.db"))
        assert value(samples(server), "measured_by_the_model_total") == 1


@pytest.mark.long
@pytest.mark.parametrize("start", BOTH)
def test_a_worker_that_ends_in_peace_is_no_death(start: Callable[[], Server]) -> None:
    with start() as server:
        before = value(samples(server), "modelhost_worker_starts_total")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: (starts_seen(server) or 0) >= before + 2)
        wait_for(lambda: value(samples(server), "modelhost_workers") == 2)
        found = samples(server)
        assert value(found, "modelhost_worker_deaths_total") == 0
        assert value(found, "model_ready", model="batching") == 1
        assert value(found, "model_load_seconds", model="batching") > 0

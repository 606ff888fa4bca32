"""Models that compute in another service, with two real servers."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.documented_inputs import documented_inputs
from tests.end_to_end.server import Server, client_of, free_port, serve
from tests.modelhost.corpus import CONFIGURATION, ENVIRONMENT
from tests.modelhost.test_fast_lane import METRICS, Seen, differences, run
from tests.prediction.backends.scripted_service import ScriptedService, answer
from tests.prediction.backends.test_remote import METADATA

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

EXAMPLES = {
    "iris": "examples.iris.IrisModel",
    "diabetes": "examples.diabetes.DiabetesModel",
    "digits": "examples.digits.DigitsModel",
}
IRIS = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
ONE_WORKER = {"MODELHOST_WORKERS": "1"}
OPEN_INFERENCE = {"open_inference": {"enabled": True}}
THERE: dict[str, Any] = {
    "models": [{"class_path": path} for path in EXAMPLES.values()],
    **OPEN_INFERENCE,
}


def remote(name: str, url: str, more: Mapping[str, object] | None = None, **execution: Any) -> Any:
    return {
        "qualified_name": name,
        **(more or {}),
        "execution": {"kind": "remote", "url": url, **execution},
    }


def start(configuration: Mapping[str, object], port: int | None = None, **options: Any) -> Server:
    port = free_port() if port is None else port
    environment = {**ONE_WORKER, **options.pop("environment", {})}
    bind = f"--host 127.0.0.1 --port {port}"
    return serve(configuration, port=port, bind=bind, environment=environment, **options)


@pytest.fixture(scope="module")
def there() -> Iterator[Server]:
    with start(THERE) as server:
        yield server


@pytest.fixture(scope="module", params=["modelhost", "open_inference"])
def here(request: pytest.FixtureRequest, there: Server) -> Iterator[Server]:
    models = [remote(name, there.url, protocol=request.param) for name in EXAMPLES]
    with start({"models": models, **OPEN_INFERENCE}) as server:
        yield server


def random_rows(document: Any, name: str, number: int) -> list[Any]:
    operation = document["paths"][f"/api/models/{name}/prediction"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    rows: list[Any] = []

    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(documented_inputs(schema, document["components"]["schemas"]))
    def collect(row: Any) -> None:
        rows.append(row)

    collect()
    return rows[:number]


@pytest.mark.parametrize("name", EXAMPLES)
def test_random_rows_get_the_same_predictions(there: Server, here: Server, name: str) -> None:
    rows = random_rows(there.client.get("/openapi.json").json(), name, 500)
    assert len(rows) == 500
    asked = [
        *((f"/api/models/{name}/prediction/batch", {"inputs": rows}),),
        *((f"/api/models/{name}/prediction", row) for row in rows[:25]),
    ]
    for path, body in asked:
        expected, found = (each.client.post(path, json=body) for each in (there, here))
        assert (found.status_code, found.content) == (200, expected.content)


@pytest.mark.measured
@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "binary"])
def test_tensors_get_the_same_answers(there: Server, here: Server, binary: bool) -> None:
    request = {
        "id": "7",
        "inputs": [
            {"name": name, "datatype": "FP64", "shape": [2, 1], "data": [value, value + 1]}
            for name, value in IRIS.items()
        ],
        "parameters": {"binary_data_output": binary},
    }
    expected, found = (
        each.client.post("/v2/models/iris/infer", json=request) for each in (there, here)
    )
    assert (found.status_code, found.content) == (200, expected.content)
    length = "Inference-Header-Content-Length"
    assert found.headers.get(length) == expected.headers.get(length)


@pytest.mark.measured
@pytest.mark.parametrize("body", [{}, {**IRIS, "petal_width": -1}, {**IRIS, "petal_width": "x"}])
def test_bad_rows_get_the_same_messages(there: Server, here: Server, body: object) -> None:
    for path, sent in (("", body), ("/batch", {"inputs": [IRIS, body]})):
        route = f"/api/models/iris/prediction{path}"
        expected, found = (each.client.post(route, json=sent) for each in (there, here))
        assert found.status_code == expected.status_code == 400
        assert found.json()["messages"] == expected.json()["messages"]


def test_the_documents_have_the_same_routes(there: Server, here: Server) -> None:
    documents = [each.client.get("/openapi.json").json() for each in (there, here)]
    assert list(documents[0]["paths"]) == list(documents[1]["paths"])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, Seen]:
    """What is seen of remote models, and of models on threads, asked good and hostile requests."""
    folder: Path = tmp_path_factory.mktemp("remote")
    (folder / "here").mkdir()
    gates = {"OVERLOAD_GATES": str(folder / "here" / "fast")}
    given: Any = CONFIGURATION["models"]
    options: dict[str, Any] = {
        "ready_path": "/api/health/startup",
        "environment": {**ENVIRONMENT, **gates},
    }
    with start(CONFIGURATION, **options) as server:
        names = [
            each["qualified_name"] for each in server.client.get("/api/models").json()["models"]
        ]
        models = [
            remote(name, server.url, {key: each[key] for key in _KEPT if key in each})
            for name, each in zip(names, given, strict=True)
            if names.count(name) == 1  # of several versions the service there chooses
        ]
        found = run(folder / "here", "fast", {"metrics": METRICS, "models": models}, {})
    return found, run(folder, "fast", {"metrics": METRICS}, {})


def test_good_and_hostile_requests_get_the_same_answers(corpus: tuple[Seen, Seen]) -> None:
    for seen in corpus:
        for name in [name for name in seen["answers"] if name.startswith(_OTHERWISE)]:
            del seen["answers"][name]
    assert len(corpus[0]["answers"]) > 1000
    assert differences(corpus, "status", "body") == []


_OTHERWISE = (
    "sharing",  # several versions
    # By the schema of the model, which is there, a value may count more.
    *("/api/models/obedient/prediction/batch many values", "50 shapes", "50 rows of shapes"),
    # What is no batch is refused here, before anybody knows that the model is not ready there.
    *("'/api/models/broken/prediction/batch'", "'/v2/models/broken/infer'"),
    # It tells in which process it is.
    *("batching (", "batching 1", "short ("),
    # The row that does not fit is found among rows, instead of columns.
    "columns of misfit",
    # Of several versions the other service chooses.
    "version ",
    # The server there takes no header that is not ASCII.
    *("asking with headers", "asking of many", "asking_batch with headers"),
    *("asking_batch of many", "asking for inference"),
)
"""What is known to be answered otherwise, and why."""
_KEPT = ("create_endpoint", "max_values", "timeout_seconds", "concurrency")


IRIS_PATH = "/api/models/iris/prediction"


def ask(server: Server, id_: str = "any") -> httpx.Response:
    with client_of(server.url) as client:
        return client.post(IRIS_PATH, json=IRIS, headers={"X-Request-ID": id_})


def test_it_is_killed_under_load_and_comes_back() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    local = {"class_path": EXAMPLES["diabetes"]}
    execution = {"breaker_failures": 3, "breaker_seconds": 0.5}
    configuration = {
        "models": [remote("iris", url, {"timeout_seconds": 2}, **execution), local],
        "metrics": {"enabled": True},
    }
    with start(configuration, wait_for="listening") as here:
        waiting = here.client.get("/api/models").json()["models"][0]
        assert (waiting["state"], waiting["reason"]) == ("loading", "RemoteUnreachable")
        assert here.client.get("/api/health/startup").status_code in (200, 503)
        statuses: set[int] = set()
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                statuses.add(ask(here).status_code)

        with start(THERE, port) as there:
            here.wait_until(here._ready, "ready")
            with ThreadPoolExecutor(4) as threads:
                loads = [threads.submit(load) for _ in range(4)]
                here.wait_until(lambda: 200 in statuses or None, "the first prediction")
                os.killpg(os.getpgid(there.process.pid), signal.SIGKILL)
                here.wait_until(lambda: 503 in statuses or None, "the circuit to open")
                assert "model_reachable{" in (metrics := here.client.get("/metrics").text)
                assert [line[-3:] for line in metrics.splitlines() if "reachable{" in line] == [
                    "0.0"
                ]
                stop.set()
                for each in loads:
                    each.result()
        assert statuses <= {200, 502, 503}
        began = time.monotonic()
        assert ask(here).status_code in (502, 503)
        assert time.monotonic() - began < 5
        with start(THERE, port):
            here.wait_until(lambda: ask(here).status_code == 200 or None, "predictions again")
        # Once in each process: the first one, and its worker.
        assert here.log.count("waits for another service") <= 2
        assert here.log.count("does not answer (") == here.log.count("answers again")


def test_one_that_hangs_costs_no_worker_and_no_other_model(there: Server) -> None:
    port = free_port()
    local = {"class_path": EXAMPLES["diabetes"]}
    url = f"http://127.0.0.1:{port}"
    with (
        start(THERE, port) as hanging,
        start({"models": [remote("iris", url, {"timeout_seconds": 0.5}), local]}) as here,
    ):
        row = random_rows(there.client.get("/openapi.json").json(), "diabetes", 1)[0]
        group = os.getpgid(hanging.process.pid)
        os.killpg(group, signal.SIGSTOP)
        try:
            with ThreadPoolExecutor(4) as threads:
                late = {threads.submit(ask, here).result().status_code for _ in range(4)}
                response = here.client.post("/api/models/diabetes/prediction", json=row)
        finally:
            os.killpg(group, signal.SIGCONT)
        assert late <= {504}
        assert response.status_code == 200
        here.wait_until(lambda: ask(here).status_code == 200 or None, "predictions again")


@pytest.mark.measured
def test_garbage_is_told_to_nobody() -> None:
    told = iter([b"\x00\x01\x02", answer(b"secret"), answer({"value": 2})[:-1]])
    with ScriptedService(
        lambda asked: answer(METADATA) if asked.method == "GET" else next(told), closes=True
    ) as service:
        model = remote("double", service.url)
        with start({"models": [model]}) as here:
            for _ in range(3):
                response = here.client.post("/api/models/double/prediction", json={"value": 1})
                assert response.status_code == 502
                assert response.json()["type"] == "BackendFailed"
                assert "secret" not in response.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    folder: Path = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return certificate, key


@contextmanager
def over_tls(files: tuple[Path, Path], token: str) -> Iterator[str]:
    """Serve a model to whoever has the token, over TLS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.tell(METADATA)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.tell({"value": 2})

        def tell(self, told: object) -> None:
            is_known = self.headers["Authorization"] == f"Bearer {token}"
            refused = {"type": "NotAuthenticated", "messages": ["Who are you?"]}
            body = json.dumps(told if is_known else refused).encode()
            self.send_response(200 if is_known else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.measured
def test_tls_and_a_token_of_the_environment(certificate: tuple[Path, Path]) -> None:
    with over_tls(certificate, "secret-7") as url:
        known: Any = {"token_env": "DOUBLE_TOKEN", "ca_file": str(certificate[0])}
        models = [
            remote("double", url, **known),
            remote("unknown", url, {"required": False}, token_env="DOUBLE_TOKEN"),
            remote("refused", url, {"required": False}, **{**known, "token_env": "OTHER_TOKEN"}),
        ]
        variables = {"DOUBLE_TOKEN": "secret-7", "OTHER_TOKEN": "secret-8"}
        with start({"models": models}, environment=variables) as here:
            response = here.client.post("/api/models/double/prediction", json={"value": 1})
            assert (response.status_code, response.json()) == (200, {"value": 2})
            states = [each["state"] for each in here.client.get("/api/models").json()["models"]]
            assert states == ["ready", "loading", "loading"]
            assert "CERTIFICATE_VERIFY_FAILED" in here.log
            assert "does not take the token" in here.log
            assert "secret-" not in here.log


def test_the_id_and_the_log_of_both_sides_go_together(there: Server, here: Server) -> None:
    assert ask(here, "both-sides").status_code == 200
    for server in (there, here):
        said = partial(_says, server, "both-sides")
        server.wait_until(said, "the line of the log")


def _says(server: Server, text: str) -> bool | None:
    return text in server.log or None

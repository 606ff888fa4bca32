"""Each moment in the life of a serving process, seen from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.server import REPOSITORY, TLS, Server, Starter, gunicorn, serve

FAKES = "tests.fakes.life_cycle"
SYNC = ("--worker-class", "sync")
GTHREAD = ("--worker-class", "gthread", "--threads", "4")
PRELOAD = ("--preload", "--workers", "2")

HEALTHY = (200, {"health_status": "HEALTHY"})
NOT_HEALTHY = (503, {"health_status": "NOT_HEALTHY"})
ACCEPTING = (200, {"readiness_status": "ACCEPTING_TRAFFIC"})
REFUSING = (503, {"readiness_status": "REFUSING_TRAFFIC"})
STARTED = (200, {"startup_status": "STARTED"})
NOT_STARTED = (503, {"startup_status": "NOT_STARTED"})

DECORATORS = [{"class_path": f"{FAKES}.Decorator{letter}"} for letter in "ABC"]
ALL_MODELS: dict[str, Any] = {
    "models": [
        {"class_path": f"{FAKES}.Quick"},
        {"class_path": f"{FAKES}.Last", "create_endpoint": False},
        {"class_path": f"{FAKES}.Plain", "decorators": DECORATORS},
        {"class_path": f"{FAKES}.OwnSchemas"},
        {"class_path": f"{FAKES}.Broken"},
        {"class_path": f"{FAKES}.Nameless", "configuration": {"name": "late"}},
        {"class_path": f"{FAKES}.Slow"},
        {"class_path": f"{FAKES}.Process"},
    ]
}


def models(*names: str) -> dict[str, Any]:
    return {"models": [{"class_path": f"{FAKES}.{name}"} for name in names]}


class Gates:
    """What the fake models wait for while they load."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.environment = {"LIFE_CYCLE_GATES": str(folder)}

    def open(self, *names: str) -> None:
        for name in names:
            (self._folder / name).touch()


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    folder = tmp_path / "gates"
    folder.mkdir()
    return Gates(folder)


def plain(*arguments: str) -> Starter:
    """Start gunicorn without this service's settings for it."""
    return lambda configuration, **options: Server(configuration, *arguments, **options)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


def status(server: Server) -> list[tuple[int, dict[str, Any]]]:
    paths = ("/api/health", "/api/health/ready", "/api/health/startup")
    return [answer(server.client.get(path)) for path in paths]


def answer(response: httpx.Response) -> tuple[int, Any]:
    return response.status_code, response.json()


def predict(server: Server, name: str) -> httpx.Response:
    return server.client.post(f"/api/models/{name}/prediction", json={"number": 21})


def is_predicting(server: Server, name: str) -> Callable[[], bool]:
    return lambda: predict(server, name).status_code == 200


def is_503(response: httpx.Response, message: str, retry_after: str | None = "5") -> None:
    assert answer(response) == (503, {"type": "ModelNotReady", "messages": [message]})
    assert response.headers.get("Retry-After") == retry_after


def not_loaded(server: Server, name: str) -> None:
    is_503(predict(server, name), f"The model {name} is not loaded yet.")


def listed(server: Server) -> dict[str, list[str]]:
    response = server.client.get("/api/models")
    assert response.status_code == 200
    return {
        model["qualified_name"]: [model[key] for key in ("display_name", "description", "version")]
        for model in response.json()["models"]
    }


LISTED = {
    "quick": ["Quick", "Doubles a number.", "1.2.3"],
    "last": ["Last", "Doubles a number.", "1.2.3"],
    "plain": ["Plain_a_b_c", "Doubles a number._a_b_c", "1.2.3"],
    "own_schemas": ["Own schemas", "Doubles a number.", "1.2.3"],
    "broken": ["Broken", "Doubles a number.", "1.2.3"],
    "late": ["Late", "Doubles a number.", "1.2.3"],
    "slow": ["Slow", "Doubles a number.", "1.2.3"],
    "process": ["Process", "Doubles a number.", "1.2.3"],
}
OUTPUTS = {
    "plain": {"doubled", "seen_by_a", "seen_by_b", "seen_by_c"},
    "process": {"loaded", "answering"},
}
PREDICTING = {"quick", "plain", "own_schemas", "broken", "late", "slow", "process"}


@pytest.mark.long
@pytest.mark.parametrize("worker", [SYNC, GTHREAD], ids=["sync", "gthread"])
def test_each_moment_of_a_start_is_answered_rightly(worker: tuple[str, ...], gates: Gates) -> None:
    with Server(ALL_MODELS, *worker, environment=gates.environment, wait_for="listening") as server:
        while_the_nameless_model_is_loading(server)
        gates.open("late")
        wait_until(is_predicting(server, "late"))
        while_a_model_without_schemas_is_loading(server)
        gates.open("own_schemas")
        wait_until(is_predicting(server, "plain"))
        wait_until(lambda: status(server)[0] == NOT_HEALTHY)
        while_the_slow_model_is_loading(server)
        gates.open("slow", "process")
        wait_until(lambda: status(server)[2] == STARTED)
        once_all_are_loaded_but_the_broken_one(server)
        one_line_per_model_is_logged(server)


def readiness(server: Server, name: str) -> tuple[int, dict[str, Any]]:
    code, body = answer(server.client.get(f"/api/models/{name}/ready"))
    assert body.pop("qualified_name") == name
    return code, body


LOADING = (503, {"ready": False, "state": "loading"})
READY = (200, {"ready": True, "state": "ready"})
FAILED = (503, {"ready": False, "state": "failed", "reason": "RuntimeError"})


def while_the_nameless_model_is_loading(server: Server) -> None:
    assert status(server) == [HEALTHY, REFUSING, NOT_STARTED]
    not_loaded(server, "quick")
    assert [readiness(server, name) for name in ("quick", "late", "nobody")] == [LOADING] * 3
    message = f"The model {FAKES}.Nameless is not loaded yet."
    # Nobody can say yet whether this is the name that the model will have.
    for path in ("late/prediction", "late/prediction/batch", "nobody/prediction"):
        is_503(server.client.post(f"/api/models/{path}", json={"number": 21}), message)
    is_503(server.client.get("/api/models"), message)
    is_503(server.client.get("/api/models/late/metadata"), message)
    is_503(server.client.get("/openapi.json"), "The model own_schemas is not loaded yet.")
    metadata = server.client.get("/api/models/quick/metadata")
    assert metadata.json()["input_schema"]["properties"] == {
        "number": {"title": "Number", "type": "number"}
    }
    assert server.client.get("/docs").status_code == 200


def while_a_model_without_schemas_is_loading(server: Server) -> None:
    assert status(server) == [HEALTHY, REFUSING, NOT_STARTED]
    assert answer(predict(server, "late")) == (200, {"doubled": 42.0})
    not_loaded(server, "own_schemas")
    assert predict(server, "nobody").status_code == 404
    assert listed(server) == LISTED
    message = "The model own_schemas is not loaded yet."
    is_503(server.client.get("/api/models/own_schemas/metadata"), message)
    is_503(server.client.get("/openapi.yaml"), message)


def while_the_slow_model_is_loading(server: Server) -> None:
    assert status(server) == [NOT_HEALTHY, REFUSING, NOT_STARTED]
    assert answer(predict(server, "quick")) == (200, {"doubled": 42.0})
    assert answer(predict(server, "own_schemas")) == (200, {"doubled": 42.0})
    not_loaded(server, "slow")
    not_loaded(server, "process")
    states = [model["state"] for model in server.client.get("/api/models").json()["models"]]
    assert sorted(states) == ["failed", *["loading"] * 2, *["ready"] * 5]
    failed = "The model broken failed to load; the log of the service says why."
    is_503(predict(server, "broken"), failed, retry_after=None)
    whole_contract_is_there(server)


def once_all_are_loaded_but_the_broken_one(server: Server) -> None:
    assert status(server) == [NOT_HEALTHY, REFUSING, STARTED]
    for name in PREDICTING - {"broken", "process", "plain"}:
        assert answer(predict(server, name)) == (200, {"doubled": 42.0})
    assert predict(server, "process").status_code == 200
    failed = "The model broken failed to load; the log of the service says why."
    is_503(predict(server, "broken"), failed, retry_after=None)
    assert [readiness(server, name) for name in ("broken", "late", "last")] == [
        FAILED,
        READY,
        READY,
    ]
    assert server.client.get("/api/models/nobody/ready").status_code == 404
    whole_contract_is_there(server)


def whole_contract_is_there(server: Server) -> None:
    assert listed(server) == LISTED
    assert answer(predict(server, "plain")) == (
        200,
        {"doubled": 42.0, "seen_by_a": 1, "seen_by_b": 2, "seen_by_c": 3},
    )
    assert answer(predict(server, "last")) == (
        404,
        {"type": "NotFound", "messages": ['The model "last" has no prediction endpoint.']},
    )
    for name, (display_name, description, version) in LISTED.items():
        metadata = server.client.get(f"/api/models/{name}/metadata").json()
        assert metadata.pop("input_schema")["properties"].keys() == {"number"}
        assert metadata.pop("output_schema")["properties"].keys() == OUTPUTS.get(name, {"doubled"})
        assert metadata == {
            "display_name": display_name,
            "qualified_name": name,
            "description": description,
            "version": version,
        }
    document = server.client.get("/openapi.json").json()
    validate(document)
    described = {path for path in document["paths"] if path.endswith("/prediction")}
    assert described == {f"/api/models/{name}/prediction" for name in PREDICTING}
    assert "OwnNumber" in document["components"]["schemas"]


def one_line_per_model_is_logged(server: Server) -> None:
    for name in (PREDICTING | {"last"}) - {"broken"}:
        assert len(re.findall(rf"Loaded {name} 1\.2\.3 \(\d+\.\d\d s\)", server.log)) == 1
    assert len(re.findall(r"Failed to load broken \(\d+\.\d\d s\)", server.log)) == 1
    assert "RuntimeError: the artefact is missing" in server.log


SPARED = {
    "models": [
        {"class_path": f"{FAKES}.Quick"},
        {"class_path": f"{FAKES}.Broken", "required": False},
    ],
    "metrics": {"enabled": True},
    "open_inference": {"enabled": True},
}


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(serve, id="serve"),
        pytest.param(gunicorn, id="gunicorn", marks=pytest.mark.long),
        pytest.param(plain(*SYNC), id="sync, each worker for itself", marks=pytest.mark.long),
    ],
)
def test_a_model_that_is_not_required_may_fail(start: Starter) -> None:
    with start(SPARED, environment={"MODELHOST_WORKERS": "2"}) as server:  # waits for readiness
        assert status(server) == [HEALTHY, ACCEPTING, STARTED]
        assert answer(server.client.get("/v2/health/ready")) == (200, {"live": True, "ready": True})
        assert answer(predict(server, "quick")) == (200, {"doubled": 42.0})
        failed = "The model broken failed to load; the log of the service says why."
        is_503(predict(server, "broken"), failed, retry_after=None)
        infer = server.client.post("/v2/models/broken/infer", json={})
        assert (infer.status_code, "Retry-After" in infer.headers) == (503, False)
        assert [readiness(server, name) for name in ("quick", "broken")] == [READY, FAILED]
        listed = server.client.get("/api/models").json()["models"]
        assert [(model["state"], model.get("reason")) for model in listed] == [
            ("ready", None),
            ("failed", "RuntimeError"),
        ]
        assert "the artefact is missing" not in server.client.get("/api/models").text
        assert re.search(
            r"Failed to load broken \(.*\); the service is ready without it", server.log
        )


def processes_of(server: Server, count: int) -> set[tuple[int, int]]:
    """Who loaded the model and who answers, from as many workers; each answers without a 503."""
    found: set[tuple[int, int]] = set()
    deadline = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {found} answered"
        # A connection of its own each, so that any worker may get it.
        response = httpx.post(
            f"{server.url}/api/models/process/prediction",
            json={"number": 1},
            timeout=30,
            verify=TLS,
        )
        assert response.status_code == 200, response.text
        ids = response.json()
        found.add((ids["loaded"], ids["answering"]))
    return found


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(plain(*SYNC, *PRELOAD), id="sync", marks=pytest.mark.long),
        pytest.param(plain(*GTHREAD, *PRELOAD), id="gthread"),
        pytest.param(serve, id="serve"),
    ],
)
def test_preloaded_models_are_loaded_once_before_the_fork(start: Starter, gates: Gates) -> None:
    gates.open("own_schemas", "process")
    with start(
        models("Quick", "OwnSchemas", "Broken", "Process"),
        environment={**gates.environment, "MODELHOST_WORKERS": "2"},
        ready_path="/api/health/startup",
    ) as server:
        pairs = processes_of(server, 2)
        assert {loaded for loaded, _ in pairs} == {server.process.pid}
        assert server.process.pid not in {answering for _, answering in pairs}
        assert status(server) == [NOT_HEALTHY, REFUSING, STARTED]
        assert answer(predict(server, "own_schemas")) == (200, {"doubled": 42.0})
        for name in ("quick", "own_schemas", "process"):
            assert len(re.findall(rf"Loaded {name} 1\.2\.3 \(\d+\.\d\d s\)", server.log)) == 1
        assert server.log.count("Failed to load broken") == 1
        validate(server.client.get("/openapi.json").json())

        _, victim = pairs.pop()
        os.kill(victim, signal.SIGKILL)

        def is_replaced() -> bool:
            try:
                return victim not in {answering for _, answering in processes_of(server, 2)}
            except httpx.TransportError:  # the victim had taken the connection
                return False

        wait_until(is_replaced)
        assert server.log.count("Loaded process") == 1


def test_a_worker_that_replaces_a_killed_one_loads_and_serves() -> None:
    with Server(models("Process"), "--workers", "1") as server:
        [(loaded, answering)] = processes_of(server, 1)
        assert loaded == answering
        os.kill(answering, signal.SIGKILL)

        def is_replaced() -> bool:
            response = server.client.post("/api/models/process/prediction", json={"number": 1})
            return response.status_code == 200 and response.json()["answering"] != answering

        def is_replaced_by_and_by() -> bool:
            try:
                return is_replaced()
            except httpx.TransportError:
                return False

        wait_until(is_replaced_by_and_by)
        assert status(server) == [HEALTHY, ACCEPTING, STARTED]
        assert server.log.count("Loaded process") == 2


STARTERS = {"plain": plain(), "preload": plain(*PRELOAD), "serve": serve}


@pytest.mark.parametrize("kind", sorted(STARTERS))
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="SIGTERM"),
        pytest.param(signal.SIGINT, id="SIGINT", marks=pytest.mark.long),
    ],
)
def test_a_server_can_be_stopped_while_its_models_load(
    kind: str, number: signal.Signals, gates: Gates
) -> None:
    wait_for = "nothing" if kind == "serve" else "listening"
    with STARTERS[kind](models("Slow"), environment=gates.environment, wait_for=wait_for) as server:
        if kind == "plain":
            assert status(server) == [HEALTHY, REFUSING, NOT_STARTED]
        else:
            wait_until(lambda: re.search("Starting (gunicorn|granian)", server.log) is not None)
            time.sleep(0.5)  # so that it does wait; it stops either way
        server.process.send_signal(number)
        code = server.process.wait(10)
        log = server.log
    assert "Traceback" not in log
    if kind == "plain":
        assert code == 0
    else:
        assert code == 128 + number
        assert f"Stopped by {number.name} before all models were loaded" in log


@pytest.mark.parametrize("kind", sorted(STARTERS))
@pytest.mark.long
def test_a_model_may_fork_while_it_loads(kind: str) -> None:
    # Nobody asks meanwhile: a fork beside a thread that imports, as that of the first request does,
    # may leave the child with a lock that no one will release, whatever the service does.
    with STARTERS[kind](models("Pool", "Quick"), wait_for="listening") as server:
        wait_until(lambda: "Loaded quick" in server.log)
        assert status(server) == [HEALTHY, ACCEPTING, STARTED]
        assert answer(predict(server, "pool")) == (200, {"doubled": 42.0})


def test_whatever_a_model_raises_the_others_are_loaded() -> None:
    configuration = models("BrokenNameless", "Cancelled", "Quick")
    with Server(configuration, wait_for="listening") as server:
        wait_until(lambda: status(server)[2] == STARTED)
        assert status(server) == [NOT_HEALTHY, REFUSING, STARTED]
        assert answer(predict(server, "quick")) == (200, {"doubled": 42.0})
        is_503(
            predict(server, "cancelled"),
            "The model cancelled failed to load; the log of the service says why.",
            retry_after=None,
        )
        # It never said its name, so it goes by that of its class.
        assert listed(server)["BrokenNameless"] == ["BrokenNameless", "", ""]
        failed = (
            f"The model {FAKES}.BrokenNameless failed to load; the log of the service says why."
        )
        is_503(predict(server, "BrokenNameless"), failed, retry_after=None)
        document = server.client.get("/openapi.json").json()
        validate(document)
        assert {path for path in document["paths"] if path.endswith("/prediction")} == {
            "/api/models/quick/prediction",
            "/api/models/cancelled/prediction",
        }


def test_a_class_that_cannot_be_made_without_arguments_is_described_once_it_is_loaded() -> None:
    configuration = {
        "models": [
            {"class_path": f"{FAKES}.OwnNew", "configuration": {"size": 1}},
            {"class_path": f"{FAKES}.Nameless", "configuration": {"name": "late"}},
            {"class_path": f"{FAKES}.Nameless", "configuration": {"name": "later"}},
        ]
    }
    with Server(configuration) as server:
        for name in ("own_new", "late", "later"):
            assert answer(predict(server, name)) == (200, {"doubled": 42.0})
            batch = server.client.post(
                f"/api/models/{name}/prediction/batch", json={"inputs": [{"number": 1}]}
            )
            assert answer(batch) == (200, {"predictions": [{"doubled": 2.0}]})
            assert f"/api/models/{name}/prediction" in server.client.get("/openapi.json").text


def test_a_model_that_takes_the_name_of_another_fails() -> None:
    configuration = models("Quick")
    late = {"class_path": f"{FAKES}.Nameless", "configuration": {"name": "quick"}}
    configuration["models"].append(late)
    with Server(configuration, wait_for="listening") as server:
        wait_until(lambda: status(server)[2] == STARTED)
        assert status(server)[0] == NOT_HEALTHY
        assert server.client.get("/api/models/quick/metadata").json()["display_name"] == "Quick"
        assert answer(predict(server, "quick")) == (200, {"doubled": 42.0})
        assert 'another model has the qualified name "quick" already' in server.log


def test_a_service_without_models_is_ready_at_once() -> None:
    with Server({"models": []}) as server:
        assert status(server) == [HEALTHY, ACCEPTING, STARTED]
        assert answer(server.client.get("/api/models")) == (200, {"models": []})
        assert predict(server, "quick").status_code == 404


_FORK = """
import os, sys, threading, time
from pathlib import Path

import modelhost.wsgi
from django.apps import apps

registry = apps.get_app_config("models_api").registry

def fork():
    if os.fork():
        return
    assert not registry.has_started
    Path(os.environ["LIFE_CYCLE_GATES"], "slow").touch()
    registry.start_loading()
    while not registry.has_started:
        time.sleep(0.02)
    print("ready in the child:", registry.is_ready, flush=True)
    os._exit(0)

thread = threading.Thread(target=fork)
thread.start()
thread.join()
os.wait()
"""


def test_a_process_forked_while_models_load_loads_them_itself(gates: Gates, tmp_path: Path) -> None:
    # As under servers that do not fork on Python's main thread, or not by Python's means.
    configuration = tmp_path / "rest_config.yaml"
    configuration.write_text(f"models: [{{class_path: {FAKES}.Slow}}]", encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "-c", _FORK],
        cwd=REPOSITORY,
        env={**os.environ, **gates.environment, "REST_CONFIG": str(configuration)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == "ready in the child: True\n"


def test_the_development_server_answers_while_models_load(gates: Gates) -> None:
    with DevelopmentServer(
        models("Slow", "OwnSchemas"), environment=gates.environment, wait_for="listening"
    ) as server:
        assert status(server) == [HEALTHY, REFUSING, NOT_STARTED]
        not_loaded(server, "slow")
        gates.open("own_schemas", "slow")
        wait_until(is_predicting(server, "slow"))
        assert status(server) == [HEALTHY, ACCEPTING, STARTED]
        assert answer(predict(server, "slow")) == (200, {"doubled": 42.0})
        chunked = server.client.post(
            "/api/models/slow/prediction",
            content=iter([b"{}"]),
            headers={"Content-Type": "application/json"},
        )
        assert answer(chunked) == (
            411,
            {
                "type": "LengthRequired",
                "messages": ["Send a Content-Length: this server cannot read chunked bodies."],
            },
        )
        assert chunked.headers["Connection"] == "close"
        for page in ("/docs", "/redoc", "/docs/assets/modelhost/pages.css"):
            assert server.client.get(page).status_code == 200

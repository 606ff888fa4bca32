"""Models that Triton's own client unloads and loads while real servers with two workers answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import pytest
import yaml
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from benchmarks.kit.load import Ask, Load
from models_api.observability.reload_folder import folders_of_servers
from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.server import REPOSITORY, Server, gunicorn, serve

ENVIRONMENT = {
    "MODELHOST_LOG_LEVEL": "ERROR",
    "MODELHOST_ACCESS_LOG": "0",
    "MODELHOST_WORKERS": "2",
}
ASKS = 10
"""Requests of which some reach either worker."""


def configuration(path: Path, *others: dict[str, Any]) -> dict[str, Any]:
    arguments = {"path": str(path), "predict_seconds": 2.0}
    return {
        "open_inference": {"enabled": True, "allow_load_unload": True},
        "reload": {"watch": False, "interval_seconds": 0.1},
        "metrics": {"enabled": True},
        "models": [
            {"class_path": "tests.fakes.reloadable.VersionedModel"},
            {
                "class_path": "tests.fakes.reloadable.FileModel",
                "watch": [str(path)],
                "configuration": arguments,
            },
            {
                "class_path": "tests.fakes.reloadable.FileModel",
                "version": "1",
                "configuration": arguments,
            },
            *others,
        ],
    }


def preloaded(given: dict[str, Any]) -> Server:
    return gunicorn(given, environment=ENVIRONMENT)


def granian(given: dict[str, Any]) -> Server:
    return serve(given, environment=ENVIRONMENT)


Start = Callable[[dict[str, Any]], Server]


class Client:
    """Triton's client, each time over a connection of its own, so that any worker may answer."""

    def __init__(self, server: Server, content: Path) -> None:
        self.server = server
        self.content = content
        """Of which the model is made."""

    @contextmanager
    def connection(self) -> Iterator[InferenceServerClient]:
        with InferenceServerClient(
            f"127.0.0.1:{self.server.port}", network_timeout=120
        ) as connection:
            yield connection

    def load(self, name: str = "file", **options: Any) -> None:
        with self.connection() as connection:
            connection.load_model(name, **options)

    def unload(self, name: str = "file", **options: Any) -> None:
        with self.connection() as connection:
            connection.unload_model(name, **options)

    def infer(self, number: float = 1.0, version: str = "") -> str:
        given = InferInput("number", [1], "FP64").set_data_from_numpy(numpy.array([number]))
        with self.connection() as connection:
            result = connection.infer("file", [given], model_version=version)
        made_by: bytes = result.as_numpy("made_by")[0]
        return made_by.decode()

    def answers(self) -> set[str]:
        """What all workers answer: predictions, or the messages of errors."""
        return {self._answer(version) for version in ("", "1") for _ in range(ASKS)}

    def _answer(self, version: str) -> str:
        try:
            return self.infer(version=version)
        except InferenceServerException as error:
            return f"{error.status()} {error.message()}"

    def states(self) -> set[tuple[str, str, str, str]]:
        found = set()
        for _ in range(ASKS):
            with self.connection() as connection:
                index = connection.get_model_repository_index()
            found |= {
                (each["name"], each["version"], each["state"], each["reason"]) for each in index
            }
        return found


@contextmanager
def started(start: Start, content: Path) -> Iterator[Client]:
    content.write_text("first")
    with start(configuration(content)) as server:
        yield Client(server, content)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with started(granian, tmp_path_factory.mktemp("content") / "content") as client:
        yield client


@pytest.fixture
def loaded(client: Client) -> Client:
    client.content.write_text("first")
    client.load()
    return client


@contextmanager
def refused(status: int, *messages: str) -> Iterator[None]:
    with pytest.raises(InferenceServerException) as caught:
        yield
    assert caught.value.status() == str(status)
    for message in messages:
        assert message in caught.value.message()


def command(server: Server, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "REST_CONFIG": str(server.configuration)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def kill_a_worker(server: Server) -> None:
    """Kill one of two, and wait until there are two again."""
    path = {str(server.configuration)}
    folders = folders_of_servers()
    (folder,) = [
        each for each in folders if {one["configuration"] for one in each.workers()} == path
    ]
    killed = folder.workers()[0]["pid"]
    os.kill(killed, signal.SIGKILL)

    def replaced() -> bool | None:
        pids = {each["pid"] for each in folder.workers()}
        return True if len(pids) == 2 and killed not in pids else None

    server.wait_until(replaced, "replaced")


GONE = {
    f"503 The model file {version} is unloaded until somebody has it loaded again."
    for version in ("0", "1")
}


@pytest.mark.long
def test_no_worker_answers_for_what_is_unloaded_and_the_others_lose_no_request(
    loaded: Client,
) -> None:
    ask = Ask("POST", "/api/models/versioned/prediction", b'{"number": 2}')
    with Load(loaded.server.port, [ask], connections=8) as load:
        load.wait_for(50)
        loaded.unload()
        assert loaded.answers() == GONE
        loaded.load()
        assert loaded.answers() == {"first"}
        load.wait_for(load.count + 50)
    assert not load.failures(), [str(each) for each in load.failures()[:3]]


@pytest.mark.long
def test_whoever_asks_for_the_state_is_told_that_it_is_unloaded(loaded: Client) -> None:
    http = loaded.server.client
    loaded.unload(unload_dependents=True)
    assert loaded.states() == {
        ("versioned", "0", "READY", ""),
        ("file", "0", "UNAVAILABLE", "unloaded"),
        ("file", "1", "UNAVAILABLE", "unloaded"),
    }
    with loaded.connection() as connection:
        assert not connection.is_model_ready("file")
        assert not connection.is_model_ready("file", "1")
        assert connection.is_server_ready()
        assert connection.get_model_metadata("file")["versions"] == ["0", "1"]
    models = http.get("/api/models").json()["models"]
    assert [each["state"] for each in models] == ["ready", "unloaded", "unloaded"]
    assert http.get("/api/models/file/ready").json()["state"] == "unloaded"
    answer = http.post("/api/models/file/prediction", json={"number": 1})
    assert (answer.status_code, answer.json()["type"]) == (503, "ModelNotReady")
    assert "Retry-After" not in answer.headers
    assert http.post("/api/models/file/prediction/batch", json={}).status_code == 503
    assert http.get("/api/health/ready").status_code == 200
    metrics = http.get("/metrics").text
    labels = 'model="file",required="true",state="unloaded",version="0"'
    assert f"model_state{{{labels}}} 1.0" in metrics
    assert command(loaded.server, "status").count("unloaded") == 4


@pytest.mark.long
def test_a_request_that_a_model_has_when_it_is_unloaded_is_answered(loaded: Client) -> None:
    gauge = 'model_in_flight{model="file",version="0"} 1.0'
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(loaded.infer, 0.0)
        loaded.server.wait_until(
            lambda: gauge in loaded.server.client.get("/metrics").text or None, "asked"
        )
        loaded.unload()
        assert answer.result() == "first"
    assert loaded.answers() == GONE


@pytest.mark.long
def test_load_takes_what_has_changed_and_what_fails_changes_nothing(loaded: Client) -> None:
    loaded.content.write_text("second")
    loaded.load()
    # One version of the two says that its file is to be looked at.
    assert loaded.answers() == {"first", "second"}
    loaded.content.write_text("bad")
    with refused(503, "The models stay as they were: file cannot be loaded", "The file is bad."):
        loaded.load()
    assert loaded.answers() == {"first", "second"}
    loaded.unload()
    with refused(503, "cannot be loaded", "The file is bad."):
        loaded.load()
    assert loaded.answers() == GONE


@pytest.mark.long
def test_what_is_unloaded_stays_so_in_workers_that_start_later_and_when_the_file_changes(
    loaded: Client,
) -> None:
    loaded.unload()
    kill_a_worker(loaded.server)
    assert loaded.answers() == GONE
    more = {"class_path": "tests.fakes.reloadable.VersionedModel", "qualified_name": "more"}
    loaded.server.configuration.write_text(yaml.safe_dump(configuration(loaded.content, more)))
    command(loaded.server, "reload")
    assert ("more", "0", "READY", "") in loaded.states()
    assert loaded.answers() == GONE
    loaded.load()
    assert loaded.answers() == {"first"}
    loaded.server.configuration.write_text(yaml.safe_dump(configuration(loaded.content)))
    loaded.load()  # takes the file as it is now
    assert "more" not in {name for name, *_ in loaded.states()}


@pytest.mark.long
def test_what_is_unknown_and_what_would_replace_files_is_refused(loaded: Client) -> None:
    for ask in (loaded.load, loaded.unload):
        with refused(404, 'There is no model "unknown".'):
            ask("unknown")
    with refused(400, 'The parameter "config" cannot be used'):
        loaded.load(config='{"max_batch_size": 8}')
    with refused(400, 'The parameter "file:1/model.onnx" cannot be used'):
        loaded.load(files={"file:1/model.onnx": b"x"}, config=None)
    assert loaded.answers() == {"first"}


@pytest.mark.long
def test_several_clients_at_once_have_each_what_they_asked_for(loaded: Client) -> None:
    with ThreadPoolExecutor(2) as pool:
        names = ["file", "versioned"]
        for change in (loaded.unload, loaded.load):
            for done in [pool.submit(change, name) for name in names]:
                done.result()
            expected = {"READY"} if change == loaded.load else {"UNAVAILABLE"}
            assert {state for _, _, state, _ in loaded.states()} == expected


@pytest.mark.long
def test_workers_that_gunicorn_has_forked_from_a_process_with_the_models_leave_them_unloaded(
    tmp_path: Path,
) -> None:
    with started(preloaded, tmp_path / "content") as client:
        client.unload()
        kill_a_worker(client.server)
        assert client.answers() == GONE
        client.load()
        assert client.answers() == {"first"}


@pytest.mark.long
def test_a_server_that_starts_anew_has_all_models(tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_text("first")
    given = tmp_path / "rest_config.yaml"
    given.write_text(yaml.safe_dump(configuration(content)))
    for _ in range(2):  # the second has the folder of the first no more
        with DevelopmentServer(given, environment=ENVIRONMENT) as server:
            client = Client(server, content)
            assert client.answers() == {"first"}
            client.unload()
            assert client.answers() == GONE


def elsewhere(kind: str, content: Path, there: Server) -> dict[str, Any]:
    """Return a configuration of the same model, which computes in a process or in a service."""
    arguments = {"path": str(content)}
    entry = {"class_path": "tests.fakes.reloadable.FileModel", "configuration": arguments}
    execution = {"kind": "process"}
    if kind == "remote":
        entry, execution = {"qualified_name": "file"}, {"kind": "remote", "url": there.url}
    return {**configuration(content), "models": [{**entry, "execution": execution}]}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["process", "remote"])
def test_a_model_that_computes_elsewhere_is_unloaded_and_loaded_too(
    kind: str, loaded: Client
) -> None:
    content = loaded.content.with_name(kind)
    content.write_text("first")
    with granian(elsewhere(kind, content, loaded.server)) as server:
        client = Client(server, content)
        processes = server._server.all_processes
        before = len(processes())
        for _ in range(2):
            assert {client.infer() for _ in range(ASKS)} == {"first"}
            client.unload()
            gone = "503 The model file is unloaded until somebody has it loaded again."
            assert {client._answer("") for _ in range(ASKS)} == {gone}
            if kind == "process":
                server.wait_until(lambda: len(processes()) < before or None, "rid of the model")
            client.load()
        assert {client.infer() for _ in range(ASKS)} == {"first"}
        server.wait_until(lambda: len(processes()) == before or None, "as before")
    assert loaded.answers() == {"first"}

"""The commands of a clone, as they stand, in its own folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from openapi_spec_validator import validate

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.example_predictions import assert_examples_are_served
from tests.end_to_end.server import REPOSITORY, Server, gunicorn, serve

CONFIGURATION = REPOSITORY / "rest_config.yaml"
# What a clone's own file is found by: nothing.
ALONE = {"REST_CONFIG": "", "PYTHONPATH": ""}


def manage(
    *arguments: str, folder: Path = REPOSITORY, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=folder,
        env={**os.environ, **ALONE, **variables},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_gunicorn_serves_the_example_models_as_it_stands() -> None:
    with Server(CONFIGURATION, environment=ALONE) as server:
        assert_examples_are_served(server.client)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        assert "Traceback" not in server.log


def test_runserver_serves_the_example_models_as_it_stands() -> None:
    with DevelopmentServer(CONFIGURATION, reload=True, environment=ALONE) as server:
        assert_examples_are_served(server.client)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        assert server.log.count("Loaded iris 1.0.0") == 1
        assert "Traceback" not in server.log


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("contract") / "schema.yaml"
    done = manage("spectacular", "--file", str(path), "--validate", "--fail-on-warn")
    assert done.returncode == 0, done.stderr
    assert "Loaded" not in done.stderr
    return path


def test_spectacular_writes_the_contract_as_it_stands(written: Path) -> None:
    document = yaml.safe_load(written.read_text(encoding="utf-8"))
    validate(document)
    assert document["info"]["title"] == "Example models"
    for name in ("iris", "diabetes", "digits"):
        assert f"/api/models/{name}/prediction" in document["paths"]


def test_the_served_document_is_the_written_one(written: Path) -> None:
    with Server(CONFIGURATION, environment=ALONE, wait_for="listening") as server:
        assert server.client.get("/openapi.yaml").content == written.read_bytes()


@pytest.mark.parametrize("command", ["check", "migrate", "spectacular"])
def test_commands_load_no_model(command: str, tmp_path: Path) -> None:
    path = tmp_path / "rest_config.yaml"
    path.write_text("models: [{class_path: tests.fakes.life_cycle.Broken}]", encoding="utf-8")
    done = manage(command, REST_CONFIG=str(path))
    assert done.returncode == 0, done.stderr
    assert "Failed to load" not in done.stderr


def test_two_services_with_their_own_files_live_side_by_side() -> None:
    fakes = "tests.fakes.life_cycle"
    first = {"service_title": "First", "models": [{"class_path": f"{fakes}.Quick"}]}
    second = {"service_title": "Second", "models": [{"class_path": f"{fakes}.Last"}]}
    with Server(first) as one, Server(second) as other:
        assert one.port != other.port
        for server, name, title in ((one, "quick", "First"), (other, "last", "Second")):
            document = server.client.get("/openapi.json").json()
            assert document["info"]["title"] == title
            [model] = server.client.get("/api/models").json()["models"]
            assert model["qualified_name"] == name
            answer = server.client.post(f"/api/models/{name}/prediction", json={"number": 2})
            assert answer.json() == {"doubled": 4.0}


@pytest.mark.parametrize("command", [["check"], ["runserver", "--noreload"], ["load_models"]])
def test_a_folder_without_a_configuration_gets_told_what_to_write(
    command: list[str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("modelhost"), *command],
        cwd=tmp_path,
        env={**os.environ, **ALONE},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert "rest_config.yaml" in output
    assert "Traceback" not in output


@pytest.mark.long
def test_the_development_server_starts_once_its_configuration_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "rest_config.yaml"
    path.write_text("models: [{class_pat: tests.fakes.life_cycle.Quick}]", encoding="utf-8")
    mended = "models: [{class_path: tests.fakes.life_cycle.Quick}]"
    server = DevelopmentServer(path, reload=True)

    def mend() -> None:
        while not server.has_printed("1 issue"):
            time.sleep(0.05)
        # Again and again, because what changes before the reloader's first look goes unnoticed.
        while server.log.count("Watching for file changes") < 2:
            path.write_text(mended, encoding="utf-8")
            time.sleep(3)

    mending = threading.Thread(target=mend, daemon=True)
    mending.start()
    with server:
        mending.join()
        answer = server.client.post("/api/models/quick/prediction", json={"number": 2})
        assert answer.json() == {"doubled": 4.0}
        assert (
            f'{path}:1: models[0].class_pat: (models_api.E003) unknown key "class_pat"'
            in server.log
        )
        assert "Traceback" not in server.log


def test_gunicorn_does_not_start_without_a_configuration(tmp_path: Path) -> None:
    with Server(
        CONFIGURATION,
        folder=tmp_path,
        environment=ALONE,
        wait_for="exit",
    ) as server:
        assert server.process.returncode == 3
        assert "rest_config.yaml" in server.log
        assert "Traceback" not in server.log


@pytest.mark.long
def test_a_server_warns_of_variables_that_nothing_reads() -> None:
    environment = {"MODELHOST_WORKERS": "1", "MODELHOST_WORKRES": "9"}
    for server in (gunicorn, serve):
        with server(CONFIGURATION, environment=environment) as running:
            assert running.log.count("Did you mean MODELHOST_WORKERS?") == 1

"""What works on Windows works where everything is taken away that Windows does not have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.scraped import samples, value
from tests.end_to_end.server import REPOSITORY

pytestmark = pytest.mark.long

HOST = REPOSITORY / "tests" / "embedding_project"
WITHOUT = REPOSITORY / "tests" / "without_posix"
CONFIGURATION: dict[str, Any] = {
    "models": [
        {"class_path": "tests.fakes.batching.BatchingModel", "batching": {}},
        {"class_path": "tests.fakes.measured.MeasuredModel", "timeout_seconds": 30},
    ],
    "metrics": {"enabled": True},
    "open_inference": {"enabled": True},
}
PARTS = [
    "all",
    "fcntl",
    "fork register_at_fork",
    "resource sysconf SIGHUP SIGQUIT",
    "posix_fallocate",
]


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configuration") / "rest_config.yaml"
    path.write_text(yaml.safe_dump(CONFIGURATION), encoding="utf-8")
    return path


def variables(taken_away: str, *folders: Path) -> dict[str, str]:
    return {
        "TAKEN_AWAY": taken_away,
        "PYTHONPATH": os.pathsep.join(map(str, [WITHOUT, *folders])),
    }


def run(
    *command: str, folder: Path = REPOSITORY, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("taken_away", PARTS)
@pytest.mark.parametrize("command", ["check", "spectacular"])
def test_commands_say_what_they_say_elsewhere(
    configuration: Path, command: str, taken_away: str
) -> None:
    here, there = (
        run(
            *("manage.py", command),
            environment={**variables(each), "REST_CONFIG": str(configuration)},
        )
        for each in ("", taken_away)
    )
    assert (there.returncode, there.stderr) == (0, here.stderr)
    assert there.stdout == here.stdout != ""


def test_models_can_be_loaded_to_see_what_they_take(configuration: Path) -> None:
    environment = {**variables("all"), "REST_CONFIG": str(configuration)}
    done = run("manage.py", "load_models", environment=environment)
    assert done.returncode == 0, done.stderr
    assert "[2/2] Loaded measured" in done.stdout


@pytest.fixture(scope="module", params=PARTS)
def development(request: pytest.FixtureRequest) -> Iterator[DevelopmentServer]:
    environment = variables(request.param, REPOSITORY)
    with DevelopmentServer(CONFIGURATION, environment=environment) as server:
        yield server


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/models/batching/prediction", {"value": 3}),
        ("/api/models/measured/prediction", {"value": 3}),
        ("/api/models/measured/prediction/batch", {"inputs": [{"value": 3}, {"value": 4}]}),
        (
            "/v2/models/measured/infer",
            {"inputs": [{"name": "value", "shape": [1], "datatype": "INT64", "data": [1]}]},
        ),
    ],
)
def test_the_development_server_predicts(
    development: DevelopmentServer, path: str, body: dict[str, object]
) -> None:
    assert development.client.post(path, json=body).status_code == 200


def test_it_counts_for_itself_and_says_nothing_of_it(development: DevelopmentServer) -> None:
    before = samples(development)
    assert development.client.post("/api/models/batching/prediction", json={"value": 3}).is_success
    after = samples(development)
    name = "model_predictions_total"
    assert value(after, name, model="batching") == value(before, name, model="batching") + 1
    statistics = development.client.get("/v2/models/stats").json()["model_stats"]
    assert {each["name"] for each in statistics} == {"batching", "measured"}
    assert "Traceback" not in development.log
    assert "ERROR" not in development.log


@pytest.mark.parametrize("command", ["check", "spectacular"])
@pytest.mark.parametrize("taken_away", ["all", "fcntl"])
def test_a_project_with_the_app_in_it_does_what_it_does_elsewhere(
    command: str, taken_away: str
) -> None:
    here, there = (
        run(
            *("-m", "django", command),
            folder=HOST,
            environment={
                **variables(each, HOST),
                "DJANGO_SETTINGS_MODULE": "host.settings",
                "REST_CONFIG": "",
                "HOST_APPS": "drf_spectacular",
                "HOST_OAS_VERSION": "3.1.0",
            },
        )
        for each in ("", taken_away)
    )
    assert (there.returncode, there.stdout) == (here.returncode, here.stdout)
    assert there.returncode == 0, there.stderr


def test_a_project_with_the_app_in_it_serves(tmp_path: Path) -> None:
    environment = {
        **variables("all", HOST),
        "DJANGO_SETTINGS_MODULE": "host.settings",
        "REST_CONFIG": "",
        "HOST_DATABASE": str(tmp_path / "database.sqlite3"),
    }
    server = DevelopmentServer(
        HOST / "models.yaml",
        command=(sys.executable, "-m", "django"),
        folder=HOST,
        environment=environment,
        ready_path="/ml/api/health/ready",
    )
    with server:
        assert server.client.get("/ml/api/health").json() == {"health_status": "HEALTHY"}
        # That of somebody whom the project does not know.
        response = server.client.post("/ml/api/models/doubling/prediction", json={"number": 1})
        assert response.status_code == 401


@pytest.mark.parametrize("taken_away", ["all", "fcntl", "fork register_at_fork"])
@pytest.mark.parametrize(
    ("command", "server"),
    [
        (("manage.py", "serve"), "CommandError: `serve`"),
        (("-c", "import modelhost.gunicorn_conf"), "modelhost.gunicorn_conf"),
    ],
)
def test_the_production_servers_say_in_a_line_that_they_need_posix(
    configuration: Path, command: tuple[str, ...], server: str, taken_away: str
) -> None:
    environment = {**variables(taken_away), "REST_CONFIG": str(configuration)}
    done = run(*command, environment=environment)
    assert done.returncode == 1
    assert done.stderr == (
        f"{server} forks its workers, so it needs a POSIX system: serve on Linux or macOS, in a "
        "container, or in the Windows Subsystem for Linux. Here `modelhost runserver` works, for "
        "development.\n"
    )

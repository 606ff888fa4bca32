"""What is installed elsewhere: the wheel in an environment of its own, and a fresh clone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from openapi_spec_validator import validate

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.example_predictions import assert_examples_are_served
from tests.end_to_end.server import REPOSITORY, Server, client_of

# pip may have to fetch every dependency.
pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

MODEL = """\
from ml_base import MLModel
from pydantic import BaseModel


class Person(BaseModel):
    name: str


class Greeting(BaseModel):
    text: str


class GreetingModel(MLModel):
    display_name = "Greeting"
    qualified_name = "greeting"
    description = "Greets a person."
    version = "1.0.0"
    input_schema = Person
    output_schema = Greeting

    def __init__(self, word: str = "Hello") -> None:
        self.word = word

    def predict(self, data: Person) -> Greeting:
        return Greeting(text=f"{self.word}, {data.name}!")
"""
CONFIGURATION = """\
service_title: Greetings
models:
  - class_path: greeting.GreetingModel
    configuration: {word: Good day}
"""
# Neither this clone nor the environment of the tests may help.
ALONE = {"REST_CONFIG": "", "PYTHONPATH": ""}
PATH = os.pathsep.join(
    folder
    for folder in os.environ["PATH"].split(os.pathsep)
    if Path(folder) != Path(sys.executable).parent
)
BARE = {
    **{name: os.environ[name] for name in os.environ if name not in ("VIRTUAL_ENV", "MAKEFLAGS")},
    **ALONE,
    "PATH": PATH,
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the commands of an environment that holds the wheel and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    leave_out = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(REPOSITORY, source, ignore=leave_out)
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "."], source)
    [wheel] = source.glob("modelhost-*.whl")
    run([sys.executable, "-m", "venv", str(folder / "venv")], folder)
    commands = folder / "venv" / "bin"
    run([str(commands / "python"), "-m", "pip", "install", "--quiet", str(wheel)], folder)
    return commands


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a team that has a model and a YAML file."""
    folder = tmp_path_factory.mktemp("team")
    (folder / "greeting.py").write_text(MODEL, encoding="utf-8")
    (folder / "rest_config.yaml").write_text(CONFIGURATION, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def server(environment: Path, team: Path) -> Iterator[Server]:
    command = [str(environment / "gunicorn")]
    with Server(
        team / "rest_config.yaml", folder=team, environment=ALONE, command=command
    ) as running:
        yield running


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=folder, env=BARE, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def assert_greets(client: httpx.Client) -> None:
    response = client.post("/api/models/greeting/prediction", json={"name": "Ada"})
    assert (response.status_code, response.json()) == (200, {"text": "Good day, Ada!"})


def test_gunicorn_serves_the_teams_model(server: Server) -> None:
    assert_greets(server.client)
    [model] = server.client.get("/api/models").json()["models"]
    assert model["qualified_name"] == "greeting"
    document = server.client.get("/openapi.json").json()
    validate(document)
    assert document["info"]["title"] == "Greetings"


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_pages_have_all_that_they_load(server: Server, page: str) -> None:
    response = server.client.get(page)
    assert response.status_code == 200
    references = re.findall(r'(?:src|href|data-document)="([^"]+)"', response.text)
    assert len(references) > 4
    for reference in references:
        assert server.client.get(response.url.join(reference)).status_code == 200, reference


def test_runserver_serves_the_teams_model(environment: Path, team: Path) -> None:
    with DevelopmentServer(
        team / "rest_config.yaml",
        folder=team,
        environment=ALONE,
        command=[str(environment / "modelhost")],
        reload=True,
    ) as server:
        assert_greets(server.client)
        assert server.client.get("/docs").status_code == 200


def test_spectacular_writes_the_contract(environment: Path, team: Path) -> None:
    command = [str(environment / "modelhost"), "spectacular", "--file", "schema.yaml"]
    run([*command, "--validate", "--fail-on-warn"], team)
    document = yaml.safe_load((team / "schema.yaml").read_text(encoding="utf-8"))
    validate(document)
    assert "/api/models/greeting/prediction" in document["paths"]


def test_the_checks_pass(environment: Path, team: Path) -> None:
    done = run([str(environment / "modelhost"), "check"], team)
    assert done.stdout == "System check identified no issues (0 silenced).\n"


def test_load_models_shows_the_model(environment: Path, team: Path) -> None:
    done = run([str(environment / "modelhost"), "load_models"], team)
    assert re.search(r"greeting +1\.0\.0 +greeting\.GreetingModel +ready", done.stdout)


def test_a_fresh_clone_serves_the_example_models(tmp_path: Path) -> None:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this is no clone, so there is nothing to clone")
    clone = tmp_path / "clone"
    run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], tmp_path)
    log_path = tmp_path / "log"
    port = free_port()
    with log_path.open("wb") as log:
        # A session of its own, so that all that make starts can be stopped together.
        process = subprocess.Popen(
            ["make", "serve", f"PORT={port}"],
            cwd=clone,
            env=BARE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with client_of(f"http://127.0.0.1:{port}") as client:
            while not is_ready(client):
                assert process.poll() is None, log_path.read_text(encoding="utf-8")
                time.sleep(0.5)
            assert_examples_are_served(client)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
    said = log_path.read_text(encoding="utf-8")
    for line in (
        "Creating the virtual environment in .venv ...",
        "Installing the service and what the example models need",
        f"The documentation page is http://127.0.0.1:{port}/docs.",
    ):
        assert line in said


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/api/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port

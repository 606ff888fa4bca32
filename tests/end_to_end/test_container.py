"""The image of deploy/Dockerfile, and a team's on top of it: built, started, asked and stopped.

Without docker: tests/end_to_end/container.py carries out each instruction as it stands.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.container import Builder, Image, can_run_containers
from tests.end_to_end.server import REPOSITORY, client_of, free_port

DEPLOY = REPOSITORY / "deploy"
USER = "65532"

# pip may have to fetch every dependency.
pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    if not can_run_containers():
        pytest.skip("only root can make the mounts, and only where the kernel lets it")
    with Builder() as builder:
        yield builder


@pytest.fixture(scope="module")
def image(builder: Builder) -> Image:
    """The image of the example team."""
    builder.build(DEPLOY / "Dockerfile", REPOSITORY, "modelhost:0.1.0")
    return builder.build(DEPLOY / "Dockerfile.example", DEPLOY / "example", "rent:1.0.0")


class Container:
    """The team's image as it runs."""

    def __init__(
        self, builder: Builder, image: Image, process: subprocess.Popen[bytes], port: int, log: Path
    ) -> None:
        self.process = process
        self.log = log
        self._builder = builder
        self._image = image
        self._environment = bound_to(port)
        self.client = client_of(f"http://127.0.0.1:{port}")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Do what `docker exec` does."""
        return subprocess.run(
            self._builder.command(self._image, command, self._environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def check_health(self) -> subprocess.CompletedProcess[str]:
        return self.run(*self._image.health_check)

    def wait_until_healthy(self) -> None:
        deadline = time.monotonic() + 120
        while self.check_health().returncode:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)


def bound_to(port: int) -> dict[str, str]:
    """The one thing that differs from the image: its own port may be taken on this machine."""
    return {"MODELHOST_BIND": f"0.0.0.0:{port}"}


@contextmanager
def running(builder: Builder, image: Image, log: Path) -> Iterator[Container]:
    port = free_port()
    with builder.running(image, bound_to(port), log) as (layer, process):
        container = Container(builder, layer, process, port, log)
        container.wait_until_healthy()
        yield container
        container.client.close()


@pytest.fixture(scope="module")
def container(
    builder: Builder, image: Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    with running(builder, image, tmp_path_factory.mktemp("container") / "log") as container:
        yield container


def test_the_image_starts_the_service_as_the_dockerfile_says(image: Image) -> None:
    assert image.command == ("gunicorn", "-c", "python:modelhost.gunicorn_conf", "modelhost.wsgi")
    assert image.health_check == ("python", "-I", "-m", "modelhost.health_check")
    assert image.environment["MODELHOST_BIND"] == "0.0.0.0:8000"
    assert image.user == f"{USER}:{USER}"


def test_the_container_predicts(container: Container) -> None:
    flat = {"square_metres": 60, "rooms": 2}
    response = container.client.post("/api/models/rent/prediction", json=flat)
    assert (response.status_code, response.json()) == (200, {"euros_per_month": 770.0})
    assert container.client.get("/docs").status_code == 200


def test_the_image_has_the_library_that_lightgbm_loads(container: Container) -> None:
    done = container.run("python", "-c", "import ctypes; ctypes.CDLL('libgomp.so.1')")
    assert done.returncode == 0, done.stderr


def test_the_container_shows_metrics(container: Container) -> None:
    response = container.client.get("/metrics")
    assert response.status_code == 200
    assert "http_requests_total" in response.text


@pytest.mark.parametrize(
    "name", ["kubernetes/base/deployment.yaml", "kserve/inference_service.yaml"]
)
def test_each_probe_of_the_manifests_finds_the_container_well(
    container: Container, name: str
) -> None:
    spec = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))["spec"]
    [asked] = (spec.get("predictor") or spec["template"]["spec"])["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = asked[probe]["httpGet"]["path"]
        # By the pod's address, as the kubelet asks.
        response = container.client.get(path, headers={"Host": "10.1.2.3:8000"})
        assert response.status_code == 200, path


def test_the_container_speaks_the_open_inference_protocol(container: Container) -> None:
    inputs = [
        {"name": "square_metres", "datatype": "FP64", "shape": [1], "data": [60]},
        {"name": "rooms", "datatype": "INT64", "shape": [1], "data": [2]},
    ]
    response = container.client.post("/v2/models/rent/infer", json={"inputs": inputs})
    assert response.status_code == 200
    [output] = response.json()["outputs"]
    assert (output["name"], output["data"]) == ("euros_per_month", [770.0])


def test_what_runs_is_what_the_image_holds(container: Container) -> None:
    found = container.run("python", "-c", "import modelhost; print(modelhost.__file__)")
    assert found.stdout.startswith("/opt/modelhost/lib/")


def test_nobody_in_the_container_is_root(container: Container) -> None:
    master = container.process.pid
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    assert children
    for pid in (str(master), *children):
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {USER}
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0


@pytest.mark.parametrize("folder", ["/", "/srv/models", "/opt/modelhost", "/var/tmp"])
def test_the_tree_is_read_only(container: Container, folder: str) -> None:
    touched = container.run("touch", f"{folder}/file")
    assert touched.returncode == 1
    assert "Read-only file system" in touched.stderr


def test_a_model_can_keep_files_in_tmp(container: Container) -> None:
    assert container.run("python", "-c", "import tempfile; tempfile.mkstemp()").returncode == 0


def test_the_health_check_tells_a_container_that_does_not_answer(
    container: Container, builder: Builder, image: Image
) -> None:
    assert container.check_health().returncode == 0
    command = builder.command(image, image.health_check, bound_to(free_port()))
    asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert asked.returncode == 1
    assert asked.stderr.startswith("/api/health/ready gave no answer: ConnectionRefusedError")


def test_the_container_stops_when_it_is_told_to(
    builder: Builder, image: Image, tmp_path: Path
) -> None:
    with running(builder, image, tmp_path / "log") as container:
        container.process.terminate()
        assert container.process.wait(60) == 0
        assert "Traceback" not in container.log.read_text()

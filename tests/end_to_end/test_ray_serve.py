"""Ray Serve on a real cluster of this machine, deployed by the commands of the documentation."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.kit.processes import process_tree
from tests.end_to_end.example_predictions import assert_examples_are_served, predictions
from tests.end_to_end.ray_cluster import PROGRAMS, RayCluster
from tests.end_to_end.server import REPOSITORY, Server, client_of, serve
from tests.modelhost.corpus import BATCH, ENVIRONMENT, SINGLE, Asked, of_bodies
from tests.test_docs import _commands, blocks

PAGE = REPOSITORY / "docs" / "scale-out.md"
EXAMPLES = yaml.safe_load((REPOSITORY / "examples" / "ray.yaml").read_text(encoding="utf-8"))
OBEDIENT = {"class_path": "tests.fakes.misbehaving.ObedientModel"}
FAILING = {"class_path": "tests.fakes.models.FailingModel"}
LIMITS = {name: value for name, value in ENVIRONMENT.items() if "MAX" in name}
LITTLE = {"execution": {"ray": {"cpus": 0.1}}}
WRONG: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no body": ("POST", "prediction", {"headers": {"Content-Type": "application/json"}}),
    "another type": ("POST", "prediction", {"content": b"a", "headers": {"Content-Type": "a/b"}}),
    "another method": ("PUT", "prediction", {"json": {}}),
    "no such route": ("GET", "nothing", {}),
    "a wrong row": ("POST", "prediction/batch", {"json": {"inputs": [{}]}}),
    "chunks": ("POST", "prediction", {"content": [b"{", b"}"]}),
    "metadata": ("GET", "metadata", {}),
    "readiness": ("GET", "ready", {}),
    "only the head": ("HEAD", "metadata", {}),
    "options": ("OPTIONS", "prediction", {}),
}

pytestmark = [
    pytest.mark.long,
    pytest.mark.alone,
    pytest.mark.timeout(300),  # the cluster among it
    pytest.mark.skipif(
        not PROGRAMS.exists() and "CI" not in os.environ,
        reason="there is no Ray; make .venv-ray/.ready installs it",
    ),
]


def commands() -> list[str]:
    """The commands of the page that lead to a cluster with models."""
    found = [command for block in blocks(PAGE, "console") for command, _ in _commands(block.text)]
    first = next(index for index, command in enumerate(found) if command.startswith("export RAY_"))
    return found[first : first + 4]


class Deployment:
    """A cluster with the models of a file, and how it was made."""

    def __init__(self, cluster: RayCluster, file: Path) -> None:
        self.cluster = cluster
        self.file = file
        self.client = client_of(cluster.url)

    def deploy(self) -> None:
        """Run the two commands of the page."""
        write, deploy = commands()[-2:]
        assert (write.split()[:2], deploy.split()[:2]) == (
            ["modelhost", "ray_config"],
            ["serve", "deploy"],
        )
        configuration = str(self.file.with_name("serve.yaml"))
        for command in (f"{write} --port {self.cluster.http_port}", deploy):
            found = command.replace("serve.yaml", configuration)
            self.cluster.run(found, REST_CONFIG=str(self.file))

    def wait_for(self, *names: str) -> None:
        """Wait until models answer, each by all of its replicas."""
        for name in names:
            self.cluster.wait_until(partial(self._is_ready, name), f"{name} ready", 120)

    def _is_ready(self, name: str) -> bool:
        status = self.cluster.applications()[name]["status"]
        ready = self.client.get(f"/api/models/{name}/ready").status_code
        return status == "RUNNING" and ready == 200


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = [*EXAMPLES["models"], *({**model, **LITTLE} for model in (OBEDIENT, FAILING))]
    path: Path = tmp_path_factory.mktemp("ray") / "rest_config.yaml"
    path.write_text(yaml.safe_dump({"models": models}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def deployment(file: Path) -> Iterator[Deployment]:
    export, start, *_ = commands()
    variables = dict(each.split("=") for each in export.split()[1:])
    with RayCluster(start, {**variables, **LIMITS}) as cluster:
        found = Deployment(cluster, file)
        found.deploy()
        found.wait_for("iris", "diabetes", "digits", "obedient")
        yield found
        found.client.close()


@pytest.fixture(scope="module")
def second() -> Iterator[Server]:
    """Another modelhost with the same models."""
    models = [{**each, "execution": {}} for each in (*EXAMPLES["models"], OBEDIENT)]
    with serve({"models": models}, "--workers", "1", environment=LIMITS) as server:
        yield server


@pytest.fixture(scope="module")
def front(deployment: Deployment) -> Iterator[Server]:
    """A service whose models compute on the cluster."""
    execution = {"kind": "remote", "url": deployment.cluster.url, "retry": True}
    models = [
        {"qualified_name": name, "execution": {**execution, "breaker_seconds": 0.5}}
        for name in predictions()
    ]
    with serve({"models": models}, "--workers", "2") as server:
        yield server


def seen(response: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """What of an answer is to be the same."""
    names = ("content-type", "allow", "retry-after", "accept-encoding", "content-length")
    found = {name: response.headers[name] for name in names if name in response.headers}
    return response.status_code, found, response.content


def test_the_examples_are_deployed_by_the_commands_of_the_page(deployment: Deployment) -> None:
    assert_examples_are_served(deployment.client)


@pytest.mark.parametrize("name", predictions())
def test_a_replica_predicts_as_another_modelhost_does(
    name: str, deployment: Deployment, second: Server
) -> None:
    body, _ = predictions()[name]
    for path, sent in (("prediction", body), ("prediction/batch", {"inputs": [body] * 3})):
        answers = [
            client.post(f"/api/models/{name}/{path}", json=sent)
            for client in (deployment.client, second.client)
        ]
        assert answers[0].status_code == 200
        assert seen(answers[0]) == seen(answers[1])


@pytest.mark.parametrize("name", WRONG)
def test_a_replica_answers_everything_else_as_another_modelhost_does(
    name: str, deployment: Deployment, second: Server
) -> None:
    method, path, more = WRONG[name]
    for model in ("iris", "digits"):
        answers = [
            client.request(method, f"/api/models/{model}/{path}", **more)
            for client in (deployment.client, second.client)
        ]
        assert seen(answers[0]) == seen(answers[1])


def test_errors_of_all_kinds_have_the_bodies_that_another_modelhost_gives(
    deployment: Deployment, second: Server
) -> None:
    def ask(client: httpx.Client, each: Asked) -> tuple[int, dict[str, str], bytes]:
        headers = {"Content-Type": "application/json", "X-Request-ID": "the-same"}
        return seen(client.post(each.path, content=each.body, headers=headers))

    statuses = set()
    for each in of_bodies():
        if each.path in (SINGLE, BATCH):
            answer = ask(deployment.client, each)
            assert answer == ask(second.client, each), each.name
            statuses.add(answer[0])
    assert {200, 400, 413, 500} <= statuses


def test_the_id_of_a_request_travels_and_comes_back_once(deployment: Deployment) -> None:
    for body, status in (({"do": "echo"}, 200), ({"do": "raise"}, 500), ({"x": "a"}, 400)):
        response = deployment.client.post(SINGLE, json=body, headers={"X-Request-ID": "mine-1"})
        assert response.status_code == status
        assert response.headers.get_list("x-request-id") == ["mine-1"]
    assert (
        "request id mine-1"
        in deployment.client.post(
            SINGLE, json={"do": "raise"}, headers={"X-Request-ID": "mine-1"}
        ).text
    )
    # One that nobody gave is Serve's.
    response = deployment.client.post(SINGLE, json={"do": "raise"})
    (given,) = response.headers.get_list("x-request-id")
    assert given in response.json()["messages"][0]


def test_a_service_in_front_gives_the_answers_of_the_cluster(
    deployment: Deployment, front: Server
) -> None:
    assert_examples_are_served(front.client)
    for name, (body, _) in predictions().items():
        metadata = [
            client.get(f"/api/models/{name}/metadata").json()
            for client in (deployment.client, front.client)
        ]
        assert metadata[0] == metadata[1]
        batches: list[Any] = [{"inputs": [body, body]}, {"inputs": [{}]}, {"inputs": 3}]
        for sent in batches:
            answers = [
                client.post(f"/api/models/{name}/prediction/batch", json=sent)
                for client in (deployment.client, front.client)
            ]
            assert seen(answers[0]) == seen(answers[1])


def test_serve_says_why_a_model_could_not_be_loaded(deployment: Deployment) -> None:
    def reason() -> str | None:
        application = deployment.cluster.applications()["failing"]
        failed = application["status"] == "DEPLOY_FAILED"
        return application["deployments"]["model"]["message"] if failed else None

    said = deployment.cluster.wait_until(reason, "failed", 90)
    assert "The model failing failed to load" in said
    assert "LoadingFailed" in said


class Load:
    """Clients that ask without a pause."""

    def __init__(self, url: str, clients: int = 4) -> None:
        self.statuses: list[int] = []
        self._url = url
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        """Wait until so many more requests were answered."""
        goal = len(self.statuses) + more
        deadline = time.monotonic() + 60
        while len(self.statuses) < goal:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _ask(self) -> None:
        body, _ = predictions()["iris"]
        with client_of(self._url) as client:
            while not self._over.is_set():
                self.statuses.append(self._status(client, body))

    def _status(self, client: httpx.Client, body: dict[str, Any]) -> int:
        with suppress(httpx.TransportError):
            return client.post("/api/models/iris/prediction", json=body).status_code
        return 599


def test_a_killed_replica_fails_no_request_that_is_tried_once_more(
    deployment: Deployment, front: Server
) -> None:
    first, other = deployment.cluster.wait_until(lambda: two_replicas(deployment), "two", 60)
    with Load(front.url) as load:
        load.wait_for(100)
        os.kill(first, signal.SIGKILL)
        load.wait_for(300)
        replaced = deployment.cluster.wait_until(
            lambda: [pid for pid in two_replicas(deployment) if pid not in (first, other)],
            "replaced",
            60,
        )
        load.wait_for(100)
    assert len(replaced) == 1
    assert set(load.statuses) == {200}


def two_replicas(deployment: Deployment) -> list[int]:
    found = deployment.cluster.replicas("iris")
    return found if len(found) == 2 else []


def test_a_cluster_whose_head_is_gone_comes_back_by_the_same_commands(
    deployment: Deployment, front: Server
) -> None:
    body, _ = predictions()["iris"]
    cluster = deployment.cluster
    workers = process_tree(front.process.pid)

    def refuses_at_once() -> bool:
        found = [front.client.post("/api/models/iris/prediction", json=body) for _ in range(20)]
        statuses = {each.status_code for each in found}
        assert statuses <= {200, 502, 503}
        return 200 not in statuses and median(each.elapsed.total_seconds() for each in found) < 1

    cluster.kill("gcs_server")
    # Serve's proxy and replicas go on for up to a minute, and need seconds for their last answers.
    cluster.wait_until(refuses_at_once, "gone", 120)
    cluster.kill_all()
    cluster.start()
    deployment.deploy()
    deployment.wait_for("iris", "diabetes", "digits")
    assert_examples_are_served(deployment.client)
    deployment.cluster.wait_until(lambda: is_answered(front), "answered by the front", 30)
    assert_examples_are_served(front.client)
    assert process_tree(front.process.pid) == workers


def is_answered(front: Server) -> bool:
    body, _ = predictions()["iris"]
    return front.client.post("/api/models/iris/prediction", json=body).status_code == 200

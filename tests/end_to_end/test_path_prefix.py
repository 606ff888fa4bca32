"""The service where a proxy, or the server, has taken the beginning of the path away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.nginx import Nginx, with_example
from tests.end_to_end.raw_http import exchange, head
from tests.end_to_end.server import REPOSITORY, Server, gunicorn, serve

pytestmark = pytest.mark.long

CONFIGURATION: dict[str, Any] = {
    "models": [{"class_path": "tests.fakes.deadly.DeadlyModel"}],
    "metrics": {"enabled": True},
    "open_inference": {"enabled": True},
}
PREDICTION = "/api/models/deadly/prediction"
PROBES = [
    *("/api/health", "/api/health/ready", "/api/health/startup", "/metrics"),
    *("/v2/health/live", "/v2/health/ready"),
]
HOSTILE = ["//evil.test", "https://evil.test", "/..", "/a/../..", "/\\evil.test", "/\t/evil.test"]
TAKEN = {"MODELHOST_PATH_PREFIX": "/ml"}
TRUSTING = {"MODELHOST_TRUST_PROXY_PREFIX": "1"}
KEPT = {"SCRIPT_NAME": "/ml"}
Start = Callable[..., Server]


@pytest.fixture(scope="module", params=[gunicorn, serve, DevelopmentServer])
def start(request: pytest.FixtureRequest) -> Start:
    def start(environment: Mapping[str, str]) -> Server:
        server: Server = request.param(
            CONFIGURATION, environment={"MODELHOST_WORKERS": "1", **environment}
        )
        return server

    return start


@pytest.fixture(scope="module")
def taken(start: Start) -> Iterator[Server]:
    with start(TAKEN) as server:
        yield server


@pytest.fixture(scope="module")
def trusting(start: Start) -> Iterator[Server]:
    with start(TRUSTING) as server:
        yield server


@pytest.fixture(scope="module")
def kept(start: Start) -> Iterator[Server]:
    with start(KEPT) as server:
        yield server


def where_it_says_it_is(server: Server, **headers: str) -> tuple[str, list[object]]:
    """Where the root leads to, and the servers of the document."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    location = server.client.get("/", headers=given).headers["Location"]
    document = server.client.get("/openapi.json", headers=given).json()
    return location, document.get("servers", [])


def predicts(client: httpx.Client, path: str = PREDICTION) -> bool:
    response = client.post(path, json={"number": 3})
    return (response.status_code, response.json().get("number")) == (200, 3)


def test_redirects_and_the_document_begin_with_what_was_taken_away(taken: Server) -> None:
    assert where_it_says_it_is(taken) == ("/ml/docs", [{"url": "/ml"}])
    (message,) = taken.client.get("/nothing").json()["messages"]
    assert message == "There is nothing at /ml/nothing. GET openapi.json says what there is."
    assert predicts(taken.client)
    for path in PROBES:
        assert taken.client.get(path).status_code == 200, path


def test_a_trusted_proxy_is_believed_and_one_that_says_nothing_took_nothing(
    trusting: Server,
) -> None:
    assert where_it_says_it_is(trusting) == ("/docs", [])
    assert where_it_says_it_is(trusting, X_Forwarded_Prefix="/ml") == ("/ml/docs", [{"url": "/ml"}])
    for prefix in ("/other/", "/a/b"):
        root = prefix.rstrip("/")
        told = where_it_says_it_is(trusting, X_Forwarded_Prefix=prefix)
        assert told == (f"{root}/docs", [{"url": root}])
    assert predicts(trusting.client)


@pytest.mark.parametrize("prefix", HOSTILE)
def test_a_prefix_that_leads_elsewhere_is_not_believed(trusting: Server, prefix: str) -> None:
    request = head("GET", "/", f"X-Forwarded-Prefix: {prefix}")
    [response] = exchange(trusting.port, request)
    # Some servers refuse what is no header at all.
    assert (response.status, response.headers.get("location")) in ((302, "/docs"), (400, None))


def test_two_prefixes_are_none(trusting: Server) -> None:
    twice = ["X-Forwarded-Prefix: /a", "X-Forwarded-Prefix: //evil.test"]
    for lines in (twice, twice[::-1]):
        [response] = exchange(trusting.port, head("GET", "/", *lines))
        assert response.headers["location"] in ("/docs", "/a/docs")


@pytest.mark.parametrize("prefix", ["/other", *HOSTILE[:3]])
def test_nobody_is_believed_without_being_trusted(taken: Server, prefix: str) -> None:
    said = where_it_says_it_is(taken, X_Forwarded_Prefix=prefix)
    assert said == ("/ml/docs", [{"url": "/ml"}])


def test_with_a_script_name_requests_may_have_it_and_probes_need_not(kept: Server) -> None:
    client = kept.client
    for path in PROBES:
        assert client.get(path).status_code == 200, path
        assert client.get(f"/ml{path}").status_code == 200, path
    assert client.get("/ml/").headers["Location"] == "/ml/docs"
    assert client.get("/ml").headers["Location"] == "/ml/docs"
    assert client.get("/ml/openapi.json").json()["servers"] == [{"url": "/ml"}]
    assert client.get("/ml/docs").status_code == 200
    assert predicts(client, f"/ml{PREDICTION}")
    assert predicts(client)
    assert client.get("/mlx/docs").status_code == 404


def test_a_script_name_may_be_that_of_the_routes(start: Start) -> None:
    with start({"SCRIPT_NAME": "/api/"}) as server:
        for path in PROBES:
            assert server.client.get(path).status_code == 200, path
        assert predicts(server.client, f"/api{PREDICTION}")
        assert server.client.get("/api/").headers["Location"] == "/api/docs"


def test_the_health_check_of_the_image_needs_no_prefix(kept: Server, taken: Server) -> None:
    for server in (kept, taken):
        environment = {**os.environ, "MODELHOST_BIND": f"127.0.0.1:{server.port}"}
        command = [sys.executable, "-m", "modelhost.health_check"]
        subprocess.run(command, cwd=REPOSITORY, env=environment, timeout=60, check=True)


@pytest.mark.parametrize("variable", ["MODELHOST_PATH_PREFIX", "SCRIPT_NAME"])
def test_probes_are_not_led_to_tls_under_a_prefix(variable: str) -> None:
    environment = {variable: "/ml", "MODELHOST_SSL_REDIRECT": "1", "MODELHOST_WORKERS": "1"}
    with gunicorn(CONFIGURATION, environment=environment) as server:
        for path in PROBES:
            assert server.client.get(path).status_code == 200, path
        response = server.client.get("/api/models", headers={"Host": "localhost"})
        assert response.headers["Location"] == "https://localhost/ml/api/models"


@pytest.mark.parametrize("variable", ["MODELHOST_PATH_PREFIX", "SCRIPT_NAME"])
def test_a_prefix_that_is_none_ends_the_server(variable: str) -> None:
    with gunicorn(CONFIGURATION, environment={variable: "//ml"}, wait_for="exit") as server:
        assert server.process.returncode == 3
        assert f"{variable} is '//ml'; write a path such as /ml, " in server.log


# Through nginx


@pytest.mark.parametrize(
    ("environment", "example"),
    [(TAKEN, "path_taken.conf"), (TRUSTING, "path_taken.conf"), (KEPT, "path_kept.conf")],
)
def test_behind_nginx_everything_leads_to_where_clients_find_it(
    environment: dict[str, str], example: str
) -> None:
    with (
        serve(CONFIGURATION, environment={"MODELHOST_WORKERS": "1", **environment}) as server,
        Nginx(server.port, text=with_example(example)) as proxy,
    ):
        client = proxy.client
        assert client.get("/ml", follow_redirects=True).url.path == "/ml/docs"
        response = client.get("/ml/", headers={"X-Forwarded-Prefix": "/evil"})
        assert response.headers["Location"] == "/ml/docs"
        assert client.get("/ml/", follow_redirects=True).url.path == "/ml/docs"
        assert client.get("/ml/docs/assets/modelhost/pages.css").status_code == 200
        document = client.get("/ml/openapi.json").json()
        [root] = [each["url"] for each in document["servers"]]
        assert predicts(client, f"{root}{PREDICTION}")
        for path, methods in document["paths"].items():
            if "get" in methods and "{" not in path:
                assert client.get(f"{root}{path}").status_code == 200, path
        assert client.get("/ml/metrics").status_code == 404
        assert client.get("/docs").status_code == 404


def test_behind_nginx_as_it_is_nobody_can_say_what_was_taken_away() -> None:
    with (
        serve(CONFIGURATION, environment={"MODELHOST_WORKERS": "1", **TRUSTING}) as server,
        Nginx(server.port) as proxy,
    ):
        response = proxy.client.get("/", headers={"X-Forwarded-Prefix": "/evil"})
        assert response.headers["Location"] == "/docs"

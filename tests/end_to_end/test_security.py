"""What SECURITY.md promises, asked of servers as they are started in production."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.raw_http import exchange, head
from tests.end_to_end.server import REPOSITORY, STARTERS, Server

SECRET_KEY = "canary-of-the-secret-key"
TOKEN = "canary-of-the-store"
ENVIRONMENT = {"MODELHOST_SECRET_KEY": SECRET_KEY, "STORE_TOKEN": TOKEN}
CONFIGURATION = {
    "models": [
        {
            "class_path": f"tests.fakes.secretive.{name}",
            "configuration": {"token": "${STORE_TOKEN}"},
        }
        for name in ("SecretiveModel", "LockedOutModel")
    ],
    "metrics": {"enabled": True},
    "open_inference": {"enabled": True},
}
QUESTIONS: list[dict[str, float | str]] = [{"number": 1}, {"number": -1}, {"number": "one"}]


@pytest.fixture(scope="module", params=sorted(STARTERS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def server(kind: str) -> Iterator[Server]:
    environment = {**ENVIRONMENT, "MODELHOST_WORKERS": "1", "MODELHOST_HSTS_SECONDS": "60"}
    with STARTERS[kind](
        CONFIGURATION, environment=environment, ready_path="/api/health/startup"
    ) as server:
        yield server


# Secrets


def answers(client: httpx.Client) -> Iterator[httpx.Response]:
    """An answer of each route, good and bad."""
    paths = client.get("/openapi.json").json()["paths"]
    assert len(paths) > 8
    for path in [*paths, "/", "/docs", "/redoc", "/openapi.yaml", "/metrics", "/nothing"]:
        yield client.get(path)
        for question in QUESTIONS:
            yield client.post(path, json=question)
    yield client.get("/api/models", headers={"Host": "evil.example"})
    yield client.post("/api/models/secretive/prediction", content=b"{")


def test_no_answer_tells_a_secret(server: Server) -> None:
    statuses = set()
    for answer in answers(server.client):
        statuses.add(answer.status_code)
        whole = f"{answer.headers} {answer.text}"
        assert SECRET_KEY not in whole
        assert TOKEN not in whole
    assert statuses >= {200, 302, 400, 404, 405, 500, 503}


@pytest.mark.parametrize(
    "arguments",
    [
        ["manage.py", "check"],
        pytest.param(["-c", "import modelhost.wsgi"], marks=pytest.mark.long),
    ],
)
def test_what_is_said_of_a_broken_configuration_tells_no_secret(
    tmp_path: Path, arguments: list[str]
) -> None:
    token = "${STORE_TOKEN}"
    broken = {
        "version": 1.0,
        "models": [
            {
                "class_path": f"tests.fakes.{token}",
                "create_endpoint": token,
                "qualified_name": f"{token} {token}",
                "configuration": {"other": token},
                "batching": {"max_batch_size": token},
                "decorators": [{"class_path": f"tests.fakes.models.{token}", token: token}],
            },
            {
                "class_path": "tests.fakes.secretive.SecretiveModel",
                "configuration": {"word": token},
            },
            token,
        ],
        "metrics": {"enabled": token},
        "logging": {"version": 1, "handlers": {"one": {"class": token, "key": token}}},
    }
    path = tmp_path / "rest_config.yaml"
    path.write_text(yaml.safe_dump(broken), encoding="utf-8")
    said = subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **ENVIRONMENT, "REST_CONFIG": str(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode
    assert said.stdout.count(token) > 5
    assert TOKEN not in said.stdout


# Proxies


@pytest.mark.parametrize(
    "header", ["X-Forwarded-Proto: https", "X-Forwarded-Ssl: on", "X-Forwarded-Protocol: ssl"]
)
def test_nobody_is_believed_to_have_come_by_tls(server: Server, header: str) -> None:
    name, _, value = header.partition(": ")
    response = server.client.get("/api/models", headers={name: value})
    assert response.status_code == 200
    assert "Strict-Transport-Security" not in response.headers


def test_nobody_can_say_by_which_name_they_came(server: Server) -> None:
    headers = {
        "Host": "evil.example",
        "X-Forwarded-Host": "localhost",
        "Forwarded": "host=localhost",
    }
    assert server.client.get("/api/models", headers=headers).status_code == 400
    response = server.client.get("/", headers={"X-Forwarded-Host": "evil.example"})
    assert response.headers["Location"] == "/docs"


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO", "Script-Name"])
def test_nobody_can_change_what_they_ask_for_by_a_header(server: Server, name: str) -> None:
    request = head("GET", "/api/health/startup", f"{name}: /api/models")
    [response] = exchange(server.port, request)
    assert (response.status, response.json()) == (200, {"startup_status": "STARTED"})


# What a server tells of itself


def test_the_server_tells_no_version(server: Server, kind: str) -> None:
    name = "granian" if kind == "serve" else kind
    [refused] = exchange(server.port, b"GET / HTTP/9.9\r\n\r\n")
    assert refused.status == 400
    assert refused.headers.get("server", name) == name
    assert name.encode() not in refused.body.lower()
    for answer in answers(server.client):
        assert answer.headers["Server"] == name
        assert not {"x-powered-by", "via", "x-django-version"} & set(answer.headers)


@pytest.mark.long
def test_the_development_server_tells_no_version() -> None:
    with DevelopmentServer({"models": []}) as server:
        assert server.client.get("/api/models").headers["Server"] == "modelhost"


# Limits


@pytest.mark.parametrize(
    ("request_", "gunicorn", "serve"),
    [
        pytest.param(head("GET", f"/{'a' * 4000}"), 404, 404, id="long path"),
        pytest.param(head("GET", f"/{'a' * 8100}"), 404, 404, id="longer path"),
        pytest.param(head("GET", f"/{'a' * 8200}"), 414, 404, id="path that is too long"),
        pytest.param(head("GET", "/api/health", f"A: {'a' * 8000}"), 503, 503, id="long header"),
        pytest.param(head("GET", "/api/health", f"A: {'a' * 8400}"), 431, 503, id="longer header"),
        pytest.param(
            head("GET", "/api/health", *[f"A{n}: a" for n in range(90)]),
            *(503, 503),
            id="many headers",
        ),
        pytest.param(
            head("GET", "/api/health", *[f"A{n}: a" for n in range(110)]),
            *(431, 431),
            id="too many headers",
        ),
    ],
)
def test_the_head_of_a_request_has_the_documented_limits(
    server: Server, kind: str, request_: bytes, gunicorn: int, serve: int
) -> None:
    # 503, because one of the models failed to load.
    [response] = exchange(server.port, request_)
    assert response.status == (serve if kind == "serve" else gunicorn)

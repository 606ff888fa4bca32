"""The names under which clients may ask, as containers and their composers give them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.nginx import Nginx
from tests.end_to_end.server import Server, gunicorn, serve

pytestmark = pytest.mark.long

CONFIGURATION: dict[str, Any] = {"models": [{"class_path": "tests.fakes.deadly.DeadlyModel"}]}
ENVIRONMENT = {"MODELHOST_ALLOWED_HOSTS": "localhost,127.0.0.1,my_models,.my_team"}
PREDICTION = "/api/models/deadly/prediction"
ALLOWED = ["my_models", "my_models:8000", "MY_MODELS", "my_models.", "a_b.my_team", "my_team"]
REFUSED = ["my-models", "my_models_2", "evil_my_models", "my_models.evil.test", "my_models:x"]


@pytest.fixture(scope="module", params=[gunicorn, serve, DevelopmentServer])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param(
        CONFIGURATION, environment={"MODELHOST_WORKERS": "1", **ENVIRONMENT}
    ) as server:
        yield server


def answers(server: Server, host: str) -> list[httpx.Response]:
    """Ask by Django's way and by the fast one."""
    headers = {"Host": host}
    return [
        server.client.get("/api/models", headers=headers),
        server.client.post(PREDICTION, json={"number": 1}, headers=headers),
    ]


@pytest.mark.parametrize("host", ALLOWED)
def test_a_name_with_underscores_that_is_listed_is_answered(server: Server, host: str) -> None:
    for response in answers(server, host):
        assert response.status_code == 200


@pytest.mark.parametrize("host", REFUSED)
def test_a_name_with_underscores_that_is_not_listed_is_refused(server: Server, host: str) -> None:
    for response in answers(server, host):
        assert (response.status_code, response.json()["type"]) == (400, "BadRequest")


def test_every_name_is_answered_where_every_name_is_allowed() -> None:
    environment = {"MODELHOST_WORKERS": "1", "MODELHOST_ALLOWED_HOSTS": "*"}
    with gunicorn(CONFIGURATION, environment=environment) as server:
        for host, status in (
            ("my_models", 200),
            ("evil_test", 200),
            ("a_b.c:1", 200),
            ("a_?", 400),
        ):
            response = server.client.post(PREDICTION, json={"number": 1}, headers={"Host": host})
            assert response.status_code == status, host


def test_a_redirect_to_tls_leads_to_the_name_that_was_asked_for() -> None:
    environment = {**ENVIRONMENT, "MODELHOST_WORKERS": "1", "MODELHOST_SSL_REDIRECT": "1"}
    with gunicorn(CONFIGURATION, environment=environment) as server:
        response = server.client.get("/docs", headers={"Host": "my_models:80"})
        assert (response.status_code, response.headers["Location"]) == (
            301,
            "https://my_models:80/docs",
        )
        assert server.client.get("/docs", headers={"Host": "evil_name"}).status_code == 400


def test_a_name_with_underscores_comes_through_the_proxy() -> None:
    environment = {**ENVIRONMENT, "MODELHOST_WORKERS": "1"}
    with gunicorn(CONFIGURATION, environment=environment) as server, Nginx(server.port) as proxy:
        for host, status in (("my_models", 200), ("other_models", 400)):
            response = proxy.client.post(PREDICTION, json={"number": 1}, headers={"Host": host})
            assert response.status_code == status

"""Who asked is in the access log, and receivers hear of predictions, under every server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.nginx import Nginx
from tests.end_to_end.server import REPOSITORY, Server, gunicorn, serve
from tests.end_to_end.test_embedding import (
    ADA,
    HOST,
    MALLORY,
    PREDICTION,
    Database,
    database,
    host_environment,
)

__all__ = ["database"]

pytestmark = pytest.mark.long

MODELS = {"models": [{"class_path": "heard.HeardModel"}]}
HEARD = """
import sys

from django.dispatch import receiver

from models_api.signals import prediction_made
from tests.fakes.models import DoublingModel


class HeardModel(DoublingModel):
    pass


@receiver(prediction_made)
def hear(model, input, output, row, rows, **_more):
    print(f"heard {model} {input} {output} {row}/{rows}", file=sys.stderr)
    if input == {"value": 13}:
        raise ValueError("the record is full")
"""
FORWARDED = [
    ("203.0.113.7", "203.0.113.7"),
    ("1.1.1.1, 203.0.113.7, 10.0.0.1", "203.0.113.7"),
    ("[2001:db8::7]:4711", "2001:db8::7"),
    ('1.1.1.1" user=root', "127.0.0.1"),
    ("", "127.0.0.1"),
]


@pytest.fixture(scope="module", params=[gunicorn, serve], ids=["gunicorn", "serve"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("heard")
    (folder / "heard.py").write_text(HEARD, encoding="utf-8")
    start: Callable[..., Server] = request.param
    with start(
        MODELS,
        environment={
            "PYTHONPATH": f"{folder}:{REPOSITORY}",
            "MODELHOST_LOG_FORMAT": "json",
            "MODELHOST_TRUSTED_PROXIES": "127.0.0.1,10.0.0.0/8",
            "MODELHOST_WORKERS": "1",
        },
    ) as server:
        yield server


def line_of(server: Server, id_: str) -> str:
    """The line of a request in the access log."""

    def find() -> str | None:
        lines = server.log.splitlines()
        return next((each for each in lines if id_ in each and "models_api.access" in each), None)

    return server.wait_until(find, f"the line of {id_}")


@pytest.mark.parametrize(("forwarded", "client"), FORWARDED)
@pytest.mark.parametrize("path", ["/api/models/doubling/prediction", "/api/models"])
def test_the_line_has_the_address_that_a_trusted_proxy_tells(
    server: Server, path: str, forwarded: str, client: str
) -> None:
    id_ = f"client-{FORWARDED.index((forwarded, client))}-{len(path)}"
    headers = {"X-Forwarded-For": forwarded, "X-Request-ID": id_}
    method, body = ("POST", {"value": 2}) if "prediction" in path else ("GET", None)
    assert server.client.request(method, path, json=body, headers=headers).status_code == 200
    line = json.loads(line_of(server, id_))
    assert line["client"] == client
    assert line["message"].endswith(f" client={client}")
    assert "user" not in line


def test_receivers_hear_of_each_row_and_cost_no_answer(server: Server) -> None:
    client, path = server.client, "/api/models/doubling/prediction"
    assert client.post(path, json={"value": 2}).json() == {"value": 4}
    assert client.post(path, json={"value": 13}).json() == {"value": 26}
    rows = {"inputs": [{"value": 5}, {"value": 6}]}
    assert client.post(f"{path}/batch", json=rows).status_code == 200
    assert client.post(path, json={"value": "x"}).status_code == 400
    heard = [each for each in server.log.splitlines() if each.startswith("heard doubling")]
    assert heard[-4:] == [
        "heard doubling {'value': 2} {'value': 4.0} 0/1",
        "heard doubling {'value': 13} {'value': 26.0} 0/1",
        "heard doubling {'value': 5} {'value': 10.0} 0/2",
        "heard doubling {'value': 6} {'value': 12.0} 1/2",
    ]
    assert "the record is full" in server.log


def test_a_project_is_told_its_users_also_those_who_may_not_ask(database: Database) -> None:
    with Server(
        HOST / "models.yaml",
        folder=HOST,
        application="host.wsgi",
        ready_path="/ml/api/health/ready",
        environment={
            **host_environment(database.path),
            "DJANGO_SETTINGS_MODULE": "host.logging_settings",
        },
    ) as server:
        for auth, path, id_, status, end in (
            (ADA, PREDICTION, "one", 200, " client=198.51.100.9 user=ada"),
            (MALLORY, PREDICTION, "two", 403, " client=198.51.100.9 user=mallory"),
            (("ada", "wrong"), PREDICTION, "three", 401, " client=198.51.100.9"),
            (ADA, f"{PREDICTION}/batch", "four", 200, " client=198.51.100.9 user=ada"),
            (ADA, "/own", "five", 200, " client=198.51.100.9 user=ada"),
            (ADA, "/page", "six", 200, " client=198.51.100.9"),
        ):
            body = {"inputs": [{"number": 1}]} if path.endswith("batch") else {"number": 1}
            response = server.client.request(
                "GET" if path in ("/own", "/page") else "POST",
                path,
                json=body,
                auth=auth,
                headers={"X-Request-ID": id_, "X-Forwarded-For": "1.1.1.1, 198.51.100.9"},
            )
            assert response.status_code == status, id_
            assert line_of(server, f"[{id_}]").endswith(end), id_


def test_a_network_that_is_none_is_said_at_the_start(tmp_path: Path) -> None:
    environment = {"MODELHOST_TRUSTED_PROXIES": "10.0.0.0/8,proxy"}
    with gunicorn(REPOSITORY / "rest_config.yaml", environment=environment, wait_for="exit") as old:
        assert "MODELHOST_TRUSTED_PROXIES: 'proxy' is no address and no network" in old.log


def test_behind_nginx_the_line_has_the_clients_address_whatever_it_says(server: Server) -> None:
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with (
        Nginx(server.port) as proxy,
        httpx.Client(base_url=proxy.url, transport=transport) as client,
    ):
        for number, said in enumerate(("", "203.0.113.7", "203.0.113.7, 10.0.0.1", "rubbish")):
            headers = {"X-Request-ID": f"nginx-{number}", "X-Forwarded-For": said}
            assert client.get("/api/models", headers=headers).status_code == 200
            assert json.loads(line_of(server, f"nginx-{number}"))["client"] == "127.0.0.2"

"""What nginx, as deploy/ configures it, does to requests and says by itself."""

from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.end_to_end.nginx import Nginx, with_example
from tests.end_to_end.raw_http import RawResponse, ask, head, in_chunks
from tests.end_to_end.server import Server, free_port, serve

CONFIGURATION: dict[str, Any] = {
    "models": [{"class_path": "tests.fakes.deadly.DeadlyModel"}],
    "metrics": {"enabled": True},
}
PREDICTION = "/api/models/deadly/prediction"
JSON = "Content-Type: application/json"
LIMIT = 10 * 1024 * 1024
SECURE = {"MODELHOST_TRUST_PROXY_TLS": "1", "MODELHOST_SSL_REDIRECT": "1"}


def start(**environment: str) -> Server:
    return Server(
        CONFIGURATION,
        *("--config", "python:modelhost.gunicorn_conf"),
        environment={"MODELHOST_WORKERS": "1", **environment},
    )


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: Server) -> Iterator[Nginx]:
    with Nginx(server.port) as proxy:
        yield proxy


def is_error(response: RawResponse | httpx.Response, status: int, kind: str, message: str) -> None:
    found = response.status if isinstance(response, RawResponse) else response.status_code
    assert (found, response.json()) == (status, {"type": kind, "messages": [message]})
    assert response.headers["content-type"] == "application/json"
    assert len(response.headers["x-request-id"]) == 32
    assert response.headers["x-content-type-options"] == "nosniff"


def wait_for_log(server: Server, text: str) -> None:
    """Wait for a line, which may be written a moment after the answer."""
    deadline = time.monotonic() + 10
    while text not in server.log:
        assert time.monotonic() < deadline, server.log
        time.sleep(0.05)


# Requests that reach the service


@pytest.mark.parametrize(
    "path", ["/api/models", "/api/models/deadly/metadata", "/openapi.json", "/docs", "/nowhere"]
)
def test_the_services_answers_come_through_as_they_are(
    server: Server, proxy: Nginx, path: str
) -> None:
    straight, through = server.client.get(path), proxy.client.get(path)
    assert through.status_code == straight.status_code
    assert through.content == straight.content
    changing = {"server", "date", "connection", "x-request-id"}
    assert {name: value for name, value in through.headers.items() if name not in changing} == {
        name: value for name, value in straight.headers.items() if name not in changing
    }


def test_a_client_gets_its_request_id_back(server: Server, proxy: Nginx) -> None:
    response = proxy.client.get("/api/models", headers={"X-Request-ID": "mine-1"})
    assert response.headers["X-Request-ID"] == "mine-1"
    wait_for_log(server, "[mine-1]")


@pytest.mark.parametrize("given", [{}, {"X-Request-ID": "not an id"}, {"X-Request-ID": "a" * 129}])
def test_a_request_without_a_fit_id_gets_one_of_nginx(
    server: Server, proxy: Nginx, given: dict[str, str]
) -> None:
    id_ = proxy.client.get("/api/models", headers=given).headers["X-Request-ID"]
    assert len(id_) == 32
    wait_for_log(server, f"[{id_}]")


def test_the_service_sees_the_host_that_the_client_asked_for(proxy: Nginx) -> None:
    assert proxy.client.get("/api/models", headers={"Host": "localhost"}).status_code == 200
    assert proxy.client.get("/api/models", headers={"Host": "evil.example"}).status_code == 400


def test_a_client_cannot_claim_to_have_come_by_tls() -> None:
    with start(**SECURE) as server, Nginx(server.port) as proxy:
        response = proxy.client.get("/api/models", headers={"X-Forwarded-Proto": "https"})
        assert response.status_code == 301
        assert response.headers["Location"] == f"https://127.0.0.1:{proxy.port}/api/models"
        claims = [("X-Forwarded-Proto", "http"), ("X-Forwarded-Proto", "https")]
        assert proxy.client.get("/api/models", headers=claims).status_code == 301
        trusted = {"X-Forwarded-Proto": "https"}
        assert server.client.get("/api/models", headers=trusted).status_code == 200


def test_the_largest_body_that_the_service_reads_reaches_it(proxy: Nginx) -> None:
    content = b'{"number": 5}'.ljust(LIMIT)
    headers = {"Content-Type": "application/json"}
    response = proxy.client.post(PREDICTION, content=content, headers=headers)
    assert (response.status_code, response.json()["number"]) == (200, 5)
    response = proxy.client.post(PREDICTION, content=iter([content]), headers=headers)
    assert (response.status_code, response.json()["number"]) == (200, 5)


# Who asks


@pytest.fixture(scope="module")
def telling() -> Iterator[Server]:
    """A service whose model tells what the proxy says of the client."""
    names = ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix"]
    configuration = {
        "request_headers": names,
        "models": [{"class_path": "tests.fakes.asking.HeadersModel"}],
    }
    trusted = {"MODELHOST_TRUSTED_PROXIES": "127.0.0.1"}
    with serve(configuration, environment={"MODELHOST_WORKERS": "1", **trusted}) as server:
        yield server


def told(proxy: Nginx, **claims: str) -> dict[str, str]:
    headers = {f"X-Forwarded-{name}": claim for name, claim in claims.items()}
    response = proxy.client.post("/api/models/headers/prediction", json={}, headers=headers)
    headers = response.json()["headers"]
    return {name.rpartition("-")[2].lower(): value for name, value in headers.items()}


@pytest.mark.long
@pytest.mark.parametrize(
    "claims",
    [{}, {"For": "203.0.113.7", "Host": "evil.test", "Proto": "https", "Prefix": "/evil"}],
)
def test_the_service_hears_who_asks_and_nothing_that_the_client_claims(
    telling: Server, claims: dict[str, str]
) -> None:
    with Nginx(telling.port) as proxy:
        asked = f"127.0.0.1:{proxy.port}"
        assert told(proxy, **claims) == {"for": "127.0.0.1", "host": asked, "proto": "http"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),  # the first is the client's own claim
        ("203.0.113.7, 127.0.0.5", "203.0.113.7"),  # through two balancers
        ("nonsense", "127.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_the_service_hears_whom_a_balancer_in_front_of_nginx_names(
    telling: Server, said: str, heard: str
) -> None:
    network = [("set_real_ip_from 10.0.0.0/8;", "set_real_ip_from 127.0.0.0/8;")]
    id_ = uuid4().hex
    with Nginx(telling.port, text=with_example("balancer.conf"), replacements=network) as proxy:
        proxy.client.headers["X-Request-ID"] = id_
        headers = told(proxy, For=said, Proto="https")
    wait_for_log(telling, f"[{id_}]")
    [line] = [line for line in telling.log.splitlines() if f"[{id_}]" in line]
    assert line.endswith(f" client={heard}")
    assert (headers["for"], headers["proto"]) == (heard, "https")


@pytest.mark.long
def test_nobody_but_the_balancer_is_believed(telling: Server) -> None:
    with Nginx(telling.port, text=with_example("balancer.conf")) as proxy:
        assert told(proxy, For="203.0.113.7")["for"] == "127.0.0.1"


# By TLS


@dataclass(frozen=True)
class Secure:
    """nginx with the example for TLS, and a certificate for 127.0.0.1 that `client` trusts."""

    plain: Nginx
    port: int
    client: httpx.Client


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("tls")
    certificate = make_certificate(folder)
    port = free_port()
    text = with_example("tls.conf").replace("listen 80;", "listen 8000;")
    places = [
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("/etc/nginx/tls/", f"{folder}/"),
    ]
    hsts = {"MODELHOST_HSTS_SECONDS": "60"}
    with (
        start(**SECURE, **hsts) as server,
        Nginx(server.port, text=text, replacements=places) as plain,
        httpx.Client(
            base_url=f"https://127.0.0.1:{port}",
            verify=ssl.create_default_context(cafile=certificate),
        ) as client,
    ):
        yield Secure(plain, port, client)


def make_certificate(folder: Path) -> Path:
    certificate, key = folder / "fullchain.pem", folder / "privkey.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=models", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True, timeout=60)
    return certificate


@pytest.mark.long
def test_by_tls_the_service_answers_and_has_browsers_come_that_way_again(secure: Secure) -> None:
    response = secure.client.post(PREDICTION, json={"number": 5})
    assert (response.status_code, response.json()["number"]) == (200, 5)
    assert response.headers["Strict-Transport-Security"] == "max-age=60"
    assert secure.client.get("/").headers["Location"] == "/docs"
    assert secure.client.get("/metrics").status_code == 404


@pytest.mark.long
def test_without_tls_clients_are_led_to_it_with_all_that_they_asked_for(secure: Secure) -> None:
    response = secure.plain.client.post(f"{PREDICTION}?a=b", json={"number": 5})
    assert response.status_code == 308
    assert response.headers["Location"] == f"https://127.0.0.1{PREDICTION}?a=b"


@pytest.mark.long
def test_at_the_port_of_tls_nothing_else_is_answered(secure: Secure) -> None:
    message = "The request is not well-formed HTTP, or its head is too large."
    is_error(ask(secure.port, head("GET", "/api/models")), 400, "BadRequest", message)


# What nginx answers by itself


@pytest.mark.parametrize("way", ["sized", "chunked"])
def test_a_body_that_is_too_large_is_refused_in_json(proxy: Nginx, way: str) -> None:
    content = b" " * (LIMIT + 1)
    if way == "sized":
        request = head("POST", PREDICTION, JSON, f"Content-Length: {len(content)}") + content
    else:
        request = head("POST", PREDICTION, JSON, "Transfer-Encoding: chunked") + in_chunks(content)
    response = ask(proxy.port, request)
    is_error(response, 413, "PayloadTooLarge", "The body is larger than this service accepts.")


@pytest.mark.parametrize(
    "request_", [b"NOT HTTP\r\n\r\n", head("GET", "/api/models", f"X-Large: {'a' * 9000}")]
)
def test_what_is_not_http_is_refused_in_json(proxy: Nginx, request_: bytes) -> None:
    message = "The request is not well-formed HTTP, or its head is too large."
    is_error(ask(proxy.port, request_), 400, "BadRequest", message)


def test_an_address_that_is_too_long_is_refused_in_json(proxy: Nginx) -> None:
    response = ask(proxy.port, head("GET", f"/{'a' * 9000}"))
    is_error(response, 414, "URITooLong", "The address is too long.")


@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/%6Detrics", "/api/../metrics"])
def test_metrics_are_not_for_everybody(server: Server, proxy: Nginx, path: str) -> None:
    assert server.client.get("/metrics").status_code == 200
    is_error(ask(proxy.port, head("GET", path)), 404, "NotFound", "There is nothing here.")


def test_without_any_instance_the_answer_is_502_in_json() -> None:
    with Nginx(free_port(), free_port()) as proxy:
        response = proxy.client.post(PREDICTION, json={"number": 5})
    is_error(response, 502, "BadGateway", "No instance of the service could answer.")


def test_an_instance_that_is_not_there_is_passed_over(server: Server) -> None:
    with Nginx(free_port(), server.port) as proxy:
        for number in range(10):
            response = proxy.client.post(PREDICTION, json={"number": number})
            assert (response.status_code, response.json()["number"]) == (200, number)


@pytest.mark.long
def test_a_prediction_that_takes_too_long_is_504_in_json_and_not_begun_anew() -> None:
    shorter = [
        ("proxy_read_timeout 310s;", "proxy_read_timeout 300ms;"),
        ("proxy_next_upstream_timeout 10s;", "proxy_next_upstream_timeout 100ms;"),
    ]
    with (
        start() as first,
        start() as second,
        Nginx(first.port, second.port, replacements=shorter) as proxy,
    ):
        response = proxy.client.post(PREDICTION, json={"do": "take_a_second"})
        is_error(response, 504, "GatewayTimeout", "The service did not answer in time.")
        logs = [stopped_log(server) for server in (first, second)]
        assert sum(log.count(f"POST {PREDICTION}") for log in logs) == 1


def stopped_log(server: Server) -> str:
    server.process.terminate()
    server.process.wait(30)
    return server.log

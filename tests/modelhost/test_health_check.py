import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from modelhost.health_check import main


class Answer(BaseHTTPRequestHandler):
    """Answers as a service that is ready: 200 to that question, 503 to any other."""

    def do_GET(self) -> None:
        if self.path == "/garbage":
            self.wfile.write(b"220 mail.example.com\r\n")
            return
        self.send_response(200 if self.path == "/api/health/ready" else 503)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "bind", ["127.0.0.1:{}", "0.0.0.0:{}", ":{}", "localhost:{}", "127.0.0.1:{},[::1]:1"]
)
def test_a_service_that_is_ready_is_well_wherever_it_is_bound(
    port: int, bind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELHOST_BIND", bind.format(port))
    assert main([]) is None


def test_a_route_can_be_given(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELHOST_BIND", f"127.0.0.1:{port}")
    assert main(["/api/health/startup"]) == "/api/health/startup answered 503."


def test_a_service_that_speaks_no_http_is_not_well(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELHOST_BIND", f"127.0.0.1:{port}")
    said = main(["/garbage"])
    assert said is not None
    assert said.startswith("/garbage gave no answer: BadStatusLine")


def test_a_service_that_is_not_there_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELHOST_BIND", "[::]:1")
    said = main([])
    assert said is not None
    assert said.startswith("/api/health/ready gave no answer: ")


def test_an_address_that_is_none_of_the_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELHOST_BIND", "unix:/run/modelhost.sock")
    assert main([]) == (
        "MODELHOST_BIND is 'unix:/run/modelhost.sock'; "
        "the health check wants an address and a port."
    )

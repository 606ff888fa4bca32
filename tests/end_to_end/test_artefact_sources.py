"""Models whose artefacts come from elsewhere, in a real server: in workers and in processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.artefacts.servers import NEEDS_PROGRAMS, ObjectServer, object_server
from tests.artefacts.web_server import WebServer, running
from tests.end_to_end.server import Server
from tests.runtimes.test_artefacts import negation

pytestmark = [NEEDS_PROGRAMS, pytest.mark.long, pytest.mark.measured]

READING = "tests.fakes.artefacts.ReadingModel"
DIGEST = hashlib.sha256(b"2").hexdigest()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with object_server(tmp_path_factory.mktemp("objects")) as server:
        server.put("number", b"2")
        server.put("folder/number", b"3")
        server.put("negation.onnx", negation(tmp_path_factory.mktemp("onnx")).read_bytes())
        yield server


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    with running() as server:
        server.add("/number", b"4")
        yield server


def entries(web: WebServer) -> list[dict[str, object]]:
    def reading(name: str, artefact: str, **more: object) -> dict[str, object]:
        return {"class_path": READING, "qualified_name": name, "artefact": artefact, **more}

    process = {"kind": "process"}
    signed = web.url.replace("//", "//me:passw0rd@") + "/number?signature=s3cret"
    return [
        reading("object", "s3://models/number", sha256=DIGEST),
        reading("folder", "s3://models/folder/", execution=process),
        reading("page", signed),
        reading("vanished", "s3://models/vanished", required=False),
        {"artefact": "s3://models/negation.onnx"},
        {"artefact": "s3://models/negation.onnx", "qualified_name": "apart", "execution": process},
    ]


def told(server: Server, name: str, row: object) -> Any:
    answer = server.client.post(f"/api/models/{name}/prediction", json=row)
    assert answer.status_code == 200, answer.text
    return answer.json()


def assert_all_predict(server: Server) -> None:
    for name, value in [("object", 2), ("folder", 3), ("page", 4)]:
        assert told(server, name, {})["value"] == value
    for name in ("negation", "apart"):
        assert told(server, name, {"x": [1, -2]}) == {"y": [-1, 2]}
        body = {"inputs": [{"x": [1, -2]}] * 3}
        answer = server.client.post(f"/api/models/{name}/prediction/batch", json=body).json()
        assert answer["predictions"] == [{"y": [-1, 2]}] * 3
    answer = server.client.post("/api/models/vanished/prediction", json={})
    assert answer.status_code == 503
    schemas = server.client.get("/openapi.json").text
    assert schemas.count('"y"') >= 1


def test_a_server_serves_what_comes_from_elsewhere_and_goes_on_without_it(
    store: ObjectServer, web: WebServer, tmp_path: Path
) -> None:
    environment = {**store.environment, "MODELHOST_ARTEFACT_CACHE": str(tmp_path / "cache")}
    configuration = {"models": entries(web)}
    arguments = ("-c", "python:modelhost.gunicorn_conf", "--workers", "2")
    with Server(configuration, *arguments, environment=environment) as server:
        assert_all_predict(server)
        log = server.log
        assert log.count("Downloading s3://models/number ") == 1
        assert "there is no s3://models/vanished" in log
        for secret in ("passw0rd", "s3cret", "secret-of-the-test", "key-of-the-test"):
            assert secret not in log
        listed = json.dumps(server.client.get("/api/models").json())
        assert "passw0rd" not in listed
        # What serves is left alone by what becomes of its source, and of the copy here.
        web.files.clear()
        store.delete("folder/number")
        assert_all_predict(server)
    # Started anew, it takes what is here.
    environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
    configuration["models"] = [each for each in entries(web) if "sha256" in each] + [
        entries(web)[2]
    ]
    with Server(configuration, *arguments, environment=environment) as server:
        assert told(server, "object", {})["value"] == 2
        assert told(server, "page", {})["value"] == 4
        assert "What was downloaded from there before is taken." in server.log
        assert "Downloading" not in server.log

"""Models with names of any alphabet, which have to be quoted in URLs, are reached in every way."""

from __future__ import annotations

import compileall
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy
import pytest
import tritonclient.http
import yaml
from openapi_spec_validator import validate
from tritonclient.http import InferInput

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.nginx import Nginx
from tests.end_to_end.scraped import samples, value
from tests.end_to_end.server import REPOSITORY, Server, gunicorn, serve
from tests.end_to_end.test_generated_client import generate, run
from tests.fakes.named import CLASS_PATHS, NAMES

pytestmark = pytest.mark.long

LATE = "erst später bekannt"
ALL = [*NAMES, LATE]
CONFIGURATION: dict[str, Any] = {
    "models": [
        *({"class_path": path} for path in CLASS_PATHS),
        {"class_path": "tests.fakes.named.NamedModel", "configuration": {"name": LATE}},
    ],
    "metrics": {"enabled": True},
    "open_inference": {"enabled": True},
}
STARTERS: dict[str, Callable[..., Server]] = {
    "gunicorn": gunicorn,
    "serve": serve,
    "bare gunicorn": Server,
    "runserver": DevelopmentServer,
}
TENSOR = {"name": "value", "shape": [1], "datatype": "INT64", "data": [3]}


@pytest.fixture(
    scope="module",
    params=[
        "gunicorn",
        "serve",
        pytest.param("bare gunicorn", marks=pytest.mark.long),
        pytest.param("runserver", marks=pytest.mark.long),
    ],
)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with STARTERS[request.param](CONFIGURATION) as started:
        yield started


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    with serve(CONFIGURATION, environment={"MODELHOST_LOG_FORMAT": "json"}) as started:
        yield started


def predict(client: httpx.Client, name: str) -> Any:
    path = f"/api/models/{quote(name, safe='')}/prediction"
    return client.post(path, json={"value": 3}).json()


@pytest.mark.parametrize("name", ALL)
def test_every_route_leads_to_the_model(server: Server, name: str) -> None:
    path, client = f"models/{quote(name, safe='')}", server.client
    row = {"name": name, "value": 3}
    assert predict(client, name) == row
    batch = client.post(f"/api/{path}/prediction/batch", json={"inputs": [{"value": 3}]})
    assert batch.json()["predictions"] == [row]
    assert client.get(f"/api/{path}/metadata").json()["qualified_name"] == name
    for end in ("", "/versions/1.0.0"):
        inferred = client.post(f"/v2/{path}{end}/infer", json={"inputs": [TENSOR]}).json()
        assert inferred["model_name"] == name
        assert inferred["outputs"][0]["data"] == [name]
        assert client.get(f"/v2/{path}{end}").json()["name"] == name
        assert client.get(f"/v2/{path}{end}/ready").json() == {"name": name, "ready": True}
        assert client.get(f"/v2/{path}{end}/config").json()["name"] == name
        (statistics,) = client.get(f"/v2/{path}{end}/stats").json()["model_stats"]
        assert statistics["name"] == name


def test_lists_have_the_names_as_they_are(server: Server) -> None:
    listed = server.client.get("/api/models").json()["models"]
    assert [model["qualified_name"] for model in listed] == ALL
    index = server.client.post("/v2/repository/index", json={}).json()
    assert [model["name"] for model in index] == ALL


def test_what_is_no_name_of_a_model_is_not_found(server: Server) -> None:
    for name in ("house", "house%2520prices", "house+prices", "pr%E9diction", "a%2Fb", "%FF"):
        for path in (f"/api/models/{name}/prediction", f"/v2/models/{name}/infer"):
            assert server.client.post(path, json={"value": 3}).status_code == 404


def test_paths_of_the_document_are_quoted_and_lead_to_the_models(one_server: Server) -> None:
    document = one_server.client.get("/openapi.json").json()
    validate(document)
    paths = [path for path in document["paths"] if path.endswith("/prediction")]
    assert sorted(paths) == sorted(f"/api/models/{quote(each, safe='')}/prediction" for each in ALL)
    for path in paths:
        response = one_server.client.post(path, json={"value": 3})
        operation = document["paths"][path]["post"]
        assert operation["tags"] == [response.json()["name"]]
        assert operation["operationId"] == f"predict_{response.json()['name']}"
    for name in document["components"]["schemas"]:
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)


@pytest.mark.parametrize("name", ALL)
def test_metrics_and_log_tell_of_the_model_by_its_name(one_server: Server, name: str) -> None:
    before = samples(one_server)
    predict(one_server.client, name)
    after = samples(one_server)
    for metric, labels in (
        ("model_predictions_total", {"model": name}),
        ("http_requests_total", {"handler": f"/api/models/{name}/prediction"}),
    ):
        assert value(after, metric, **labels) == value(before, metric, **labels) + 1
    lines = [json.loads(line) for line in one_server.log.splitlines() if line.startswith("{")]
    assert (name, f"/api/models/{name}/prediction") in [
        (line.get("model"), line.get("route")) for line in lines
    ]


def test_a_line_of_the_log_has_no_blanks_within_its_words(server: Server) -> None:
    predict(server.client, "house prices")
    route, model = "/api/models/house%20prices/prediction", "model=house%20prices"
    server.wait_until(lambda: f"POST {route} 200 " in server.log or None, "a line of the log")
    assert f" {model} version=1.0.0" in server.log


@pytest.mark.parametrize("name", ALL)
def test_tritons_client_infers_by_the_name(one_server: Server, name: str) -> None:
    with tritonclient.http.InferenceServerClient(one_server.url.partition("//")[2]) as client:
        assert client.is_model_ready(name)
        assert client.get_model_metadata(name)["name"] == name
        tensor = InferInput("value", [1], "INT64")
        tensor.set_data_from_numpy(numpy.array([3]))
        assert client.infer(name, [tensor]).as_numpy("name")[0] == name.encode()


def test_they_are_reached_through_nginx(one_server: Server) -> None:
    with Nginx(one_server.port) as proxy:
        for name in ALL:
            assert predict(proxy.client, name) == {"name": name, "value": 3}


PROGRAM = """
import sys
from importlib import import_module
from names_client import Client
from names_client.models import NamedOutput

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
for path in sys.argv[2:]:
    module = import_module(f"names_client.api.{path}")
    body = [each for name, each in vars(module).items() if name.endswith("NamedInput")][0]
    output = module.sync(client=client, body=body(value=3))
    print(output.name)
"""


def test_a_generated_client_asks_each_of_them(one_server: Server, tmp_path: Path) -> None:
    document = tmp_path / "openapi.yaml"
    document.write_bytes(one_server.client.get("/openapi.yaml").content)
    assert generate(document, "names_client") == "Generating names_client\n"
    assert compileall.compile_dir(tmp_path / "names_client", quiet=1)
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    api = tmp_path / "names_client" / "api"
    modules = [
        ".".join(path.relative_to(api).with_suffix("").parts)
        for path in api.glob("*/predict*.py")
        if "predict_batch" not in path.name
    ]
    said = run("program.py", one_server.url, *modules, folder=tmp_path)
    assert sorted(said.splitlines()) == sorted(ALL)


HOST = REPOSITORY / "tests" / "embedding_project"


def test_a_project_with_the_app_in_it_documents_and_finds_them(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump(CONFIGURATION), encoding="utf-8")
    program = """
import django, json, sys
django.setup()
from django.core.management import call_command
from django.urls import resolve, reverse
from urllib.parse import unquote
call_command("spectacular", "--file", sys.argv[1], "--validate")
for name in json.loads(sys.argv[2]):
    url = reverse(f"models_api:prediction-{name}")
    assert resolve(unquote(url)).url_name == f"prediction-{name}"
"""
    variables = {
        "DJANGO_SETTINGS_MODULE": "host.settings",
        "REST_CONFIG": str(path),
        "HOST_APPS": "drf_spectacular",
        "HOST_OAS_VERSION": "3.1.0",
        "PYTHONPATH": os.pathsep.join(map(str, [HOST, REPOSITORY])),
    }
    made = tmp_path / "schema.yaml"
    done = subprocess.run(
        [sys.executable, "-c", program, str(made), json.dumps(ALL)],
        cwd=HOST,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = yaml.safe_load(made.read_text(encoding="utf-8"))
    wanted = {f"/ml/api/models/{quote(name, safe='')}/prediction" for name in ALL}
    assert wanted <= set(document["paths"])


@pytest.mark.parametrize("starter", ["gunicorn", "serve"])
def test_a_server_says_which_names_cannot_be_and_ends(starter: str) -> None:
    broken = {
        "models": [
            {"class_path": "tests.fakes.broken.DotsName"},
            {"class_path": "tests.fakes.broken.StatsName"},
            {"class_path": "tests.fakes.broken.UnusableName"},
        ],
        "open_inference": {"enabled": True},
    }
    with STARTERS[starter](broken, wait_for="exit") as server:
        assert server.process.returncode == 3
        for name in ("..", "stats", "my model/2"):
            assert f'the qualified name "{name}" ' in server.log


@pytest.mark.parametrize("starter", ["gunicorn", "serve"])
def test_a_server_warns_of_names_of_which_clients_make_one(starter: str) -> None:
    names = ["house-prices", "house_prices"]
    alike = {
        "models": [
            {"class_path": "tests.fakes.named.NamedModel", "configuration": {"name": name}}
            for name in names
        ]
    }
    with STARTERS[starter](alike) as server:
        for name in names:
            assert predict(server.client, name) == {"name": name, "value": 3}
        said = 'In generated clients the models "house-prices" and "house_prices" become one'
        assert server.log.count(said) == 1

"""The app inside a Django project that was there before: tests/embedding_project."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from openapi_spec_validator import validate

from tests.end_to_end.server import REPOSITORY, Server

HOST = REPOSITORY / "tests" / "embedding_project"
ADA, MALLORY, TINA = ("ada", "pass"), ("mallory", "pass"), ("tina", "pass")
PREDICTION = "/ml/api/models/doubling/prediction"
POLICED = [
    ("POST", PREDICTION),
    ("POST", f"{PREDICTION}/batch"),
    ("POST", "/ml/api/models/nobody/prediction"),
    ("GET", "/ml/api/models"),
    ("GET", "/ml/api/models/doubling/metadata"),
    ("GET", "/ml/openapi.json"),
    ("GET", "/ml/openapi.yaml"),
]
_PEOPLE = """
import django
django.setup()
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.management import call_command
from rest_framework.authtoken.models import Token

call_command("migrate", verbosity=0)
for name in ("mallory", "tina", "ada"):
    user = User.objects.create_user(name, password="pass")
session = SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.save()
print(Token.objects.create(user=user).key, session.session_key)
"""
TOKENS = "rest_framework.authtoken"


def host_environment(database: Path, **variables: str) -> dict[str, str]:
    # An empty REST_CONFIG is none: the host's setting counts.
    return {
        "DJANGO_SETTINGS_MODULE": "host.settings",
        "HOST_DATABASE": str(database),
        "REST_CONFIG": "",
        **variables,
    }


def run(*command: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=HOST,
        env={**os.environ, "PYTHONPATH": str(HOST), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def django(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = host_environment(Path(":memory:"), **variables)
    return run("-m", "django", *arguments, environment=environment)


def serve(database: Database, ready_path: str = "/ml/api/health/ready", **variables: str) -> Server:
    return Server(
        HOST / "models.yaml",
        folder=HOST,
        application="host.wsgi",
        ready_path=ready_path,
        environment=host_environment(database.path, **variables),
    )


@dataclass(frozen=True)
class Database:
    """The host's database, and what lets Ada in besides her password."""

    path: Path
    token: str
    session: str


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    path = tmp_path_factory.mktemp("host") / "database.sqlite3"
    made = run("-c", _PEOPLE, environment=host_environment(path, HOST_APPS=TOKENS))
    assert made.returncode == 0, made.stderr
    return Database(path, *made.stdout.split())


@pytest.fixture(scope="module")
def host(database: Database) -> Iterator[Server]:
    with serve(database) as server:
        yield server


def request(server: Server, method: str, path: str, **options: Any) -> httpx.Response:
    content = b'{"number": 21}' if method == "POST" else None
    return server.client.request(method, path, content=content, **options)


def test_a_prediction_is_made_for_a_user_of_the_host(host: Server) -> None:
    response = request(host, "POST", PREDICTION, auth=ADA)
    assert (response.status_code, response.json()) == (200, {"doubled": 42.0})


@pytest.mark.parametrize(
    ("content", "encoding", "status"),
    [
        (gzip.compress(b'{"number": 21}', mtime=0), "gzip", 200),
        (gzip.compress(b'{"number": 21}', mtime=0) + b"a", "gzip", 400),
        (gzip.compress(b" " * 3_000_000, mtime=0), "gzip", 413),
        (b"{}", "br", 415),
    ],
)
def test_the_app_reads_what_gzip_has_compressed(
    host: Server, content: bytes, encoding: str, status: int
) -> None:
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    response = host.client.post(PREDICTION, content=content, headers=headers, auth=ADA)
    assert response.status_code == status


@pytest.mark.parametrize(("method", "path"), POLICED)
def test_the_hosts_authentication_is_in_force(host: Server, method: str, path: str) -> None:
    response = request(host, method, path)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Basic realm="api"'
    assert response.json() == {
        "type": "NotAuthenticated",
        "messages": ["Authentication credentials were not provided."],
    }
    response = request(host, method, path, auth=("ada", "wrong"))
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Basic realm="api"'
    assert response.json() == {
        "type": "AuthenticationFailed",
        "messages": ["Invalid username/password."],
    }


@pytest.mark.parametrize(("method", "path"), POLICED)
def test_the_hosts_permissions_are_in_force(host: Server, method: str, path: str) -> None:
    response = request(host, method, path, auth=MALLORY)
    assert response.status_code == 403
    assert response.json() == {
        "type": "PermissionDenied",
        "messages": ["Mallory may not do this."],
    }


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_the_hosts_policies_hold_for_other_methods_too(host: Server, method: str) -> None:
    assert request(host, method, PREDICTION).status_code == 401
    assert request(host, method, PREDICTION, auth=MALLORY).status_code == 403


def test_the_hosts_throttles_are_in_force(database: Database) -> None:
    # A server of its own, because the counts are kept in its memory.
    with serve(database) as server:
        assert request(server, "POST", PREDICTION, auth=TINA).status_code == 200
        assert request(server, "GET", "/ml/api/models", auth=TINA).status_code == 200
        for method, path in POLICED:
            response = request(server, method, path, auth=TINA)
            assert response.status_code == 429
            body = response.json()
            assert body["type"] == "Throttled"
            [message] = body["messages"]
            seconds = re.fullmatch(
                r"Request was throttled\. Expected available in (\d+) seconds\.", message
            )
            assert seconds is not None
            assert response.headers["Retry-After"] == seconds[1]
            assert 86000 < int(seconds[1]) <= 86400
        assert request(server, "POST", PREDICTION, auth=ADA).status_code == 200


def test_the_app_begins_its_paths_as_the_host_says_that_a_proxy_does(database: Database) -> None:
    with serve(database, HOST_SCRIPT_NAME="/outer") as server:
        assert request(server, "GET", "/ml/").headers["Location"] == "/outer/ml/docs"
        document = request(server, "GET", "/ml/openapi.json", auth=ADA).json()
        assert document["servers"] == [{"url": "/outer/ml"}]
        assert request(server, "POST", PREDICTION, auth=ADA).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/ml/api/health", {"health_status": "HEALTHY"}),
        ("/ml/api/health/ready", {"readiness_status": "ACCEPTING_TRAFFIC"}),
        ("/ml/api/health/startup", {"startup_status": "STARTED"}),
    ],
)
def test_the_status_endpoints_are_open(host: Server, path: str, body: dict[str, str]) -> None:
    for auth in (None, MALLORY, ("nobody", "wrong")):
        response = host.client.get(path, auth=auth)
        assert (response.status_code, response.json()) == (200, body)


@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_the_pages_are_open_with_all_that_they_load(host: Server, page: str) -> None:
    response = host.client.get(f"/ml/{page}")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<title>The host&#x27;s models</title>" in response.text
    references = re.findall(r'(?:src|href)="([^"]+)"', response.text)
    assert references
    for reference in references:
        url = response.url.join(reference)
        assert url.path.startswith("/ml/")
        if "openapi" not in reference:
            assert host.client.get(url).status_code == 200
    [document] = re.findall(r'data-document="([^"]+)"', response.text)
    assert host.client.get(response.url.join(document), auth=ADA).status_code == 200


def test_the_document_names_the_prefix_and_the_hosts_policies(host: Server) -> None:
    response = host.client.get("/ml/openapi.json", auth=ADA)
    document = response.json()
    validate(document)
    assert document["info"]["title"] == "The host's models"
    assert document["servers"] == [{"url": "/ml"}]
    operation = document["paths"]["/api/models/doubling/prediction"]["post"]
    assert operation["security"] == [{"basicAuth": []}]
    assert {"401", "403", "429"} <= operation["responses"].keys()
    assert document["components"]["securitySchemes"] == {
        "basicAuth": {"type": "http", "scheme": "basic"}
    }
    status = document["paths"]["/api/health"]["get"]
    assert "security" not in status
    assert not {"401", "403", "429"} & status["responses"].keys()
    assert yaml.safe_load(host.client.get("/ml/openapi.yaml", auth=ADA).text) == document


def test_the_root_leads_to_the_documentation(host: Server) -> None:
    response = host.client.get("/ml/")
    assert (response.status_code, response.headers["Location"]) == (302, "/ml/docs")


def test_an_unknown_model_is_not_found_in_our_form(host: Server) -> None:
    response = request(host, "POST", "/ml/api/models/nobody/prediction", auth=ADA)
    assert (response.status_code, response.json()) == (
        404,
        {
            "type": "NotFound",
            "messages": ['There is no model "nobody"; GET api/models lists them.'],
        },
    )
    response = host.client.get("/ml/api/models/nobody/metadata", auth=ADA)
    assert (response.status_code, response.json()) == (
        404,
        {"type": "NotFound", "messages": ['There is no model "nobody".']},
    )


def test_the_hosts_own_pages_are_as_they_were(host: Server) -> None:
    assert host.client.get("/page").text == "the host's page"
    assert host.client.get("/own", auth=ADA).json() == {"user": "ada"}
    response = host.client.get("/own")
    assert (response.status_code, response.json()) == (
        401,
        {"host_error": "Authentication credentials were not provided."},
    )
    response = host.client.get("/missing")
    assert (response.status_code, response.json()) == (404, {"host_error": "Not found."})
    response = host.client.get("/nothing/here")
    assert (response.status_code, response.headers["Content-Type"]) == (
        404,
        "text/html; charset=utf-8",
    )


def test_the_models_may_stand_at_the_root_of_the_host(database: Database) -> None:
    variables = {"HOST_URLCONF": "host.urls_at_the_root", "HOST_TEMPLATES": "1"}
    with serve(database, "/api/health/ready", **variables) as server:
        response = request(server, "POST", "/api/models/doubling/prediction", auth=ADA)
        assert (response.status_code, response.json()) == (200, {"doubled": 42.0})
        assert server.client.get("/").headers["Location"] == "/docs"
        assert server.client.get("/docs").status_code == 200
        assert "servers" not in server.client.get("/openapi.json", auth=ADA).json()
        assert server.client.get("/page").text == "the host's page"
        assert server.client.get("/missing").json() == {"host_error": "Not found."}
        response = server.client.get("/nothing/here")
        assert (response.status_code, response.headers["Content-Type"]) == (
            404,
            "text/html; charset=utf-8",
        )


@pytest.mark.parametrize(
    "versioning",
    [
        "URLPathVersioning",
        pytest.param("AcceptHeaderVersioning", marks=pytest.mark.long),
        pytest.param("NamespaceVersioning", marks=pytest.mark.long),
    ],
)
def test_the_hosts_versioning_leaves_the_models_alone(database: Database, versioning: str) -> None:
    variables = {
        "HOST_URLCONF": "host.urls_with_arguments",
        "HOST_VERSIONING": f"rest_framework.versioning.{versioning}",
    }
    with serve(database, "/v1/ml/api/health/ready", **variables) as server:
        for prefix in ("/v1/ml", "/tenants/acme/ml"):
            one = f"{prefix}/api/models/doubling/prediction"
            # A version that the host does not have.
            headers = {"Accept": "application/json; version=v9"}
            response = request(server, "POST", one, auth=ADA, headers=headers)
            assert (response.status_code, response.json()) == (200, {"doubled": 42.0})
            assert request(server, "POST", f"{one}/batch", auth=ADA).status_code == 400
            assert request(server, "GET", one, auth=ADA).status_code == 405
            assert request(server, "OPTIONS", one, auth=ADA).status_code == 204
            for path in (
                "/api/health",
                "/api/health/ready",
                "/api/health/startup",
                "/api/models",
                "/api/models/doubling/metadata",
                "/openapi.json",
                "/openapi.yaml",
                "/docs",
                "/redoc",
                "/docs/assets/modelhost/pages.css",
            ):
                assert server.client.get(f"{prefix}{path}", auth=ADA).status_code == 200, path
            assert server.client.get(f"{prefix}/").headers["Location"] == f"{prefix}/docs"
            servers = server.client.get(f"{prefix}/openapi.json", auth=ADA).json()["servers"]
            assert servers == [{"url": prefix}]
            unknown = request(server, "POST", f"{prefix}/api/models/nobody/prediction", auth=ADA)
            assert unknown.status_code == 404


def test_a_session_needs_the_csrf_token_as_everywhere_in_rest_framework(database: Database) -> None:
    authentication = "rest_framework.authentication.SessionAuthentication"
    with serve(database, HOST_AUTHENTICATION=authentication) as server:
        anonymous = request(server, "POST", PREDICTION)
        assert (anonymous.status_code, anonymous.json()["type"]) == (403, "NotAuthenticated")
        server.client.cookies.set("sessionid", database.session)
        server.client.get("/page")
        response = request(server, "POST", PREDICTION)
        assert (response.status_code, response.json()) == (
            403,
            {"type": "PermissionDenied", "messages": ["CSRF Failed: CSRF token missing."]},
        )
        headers = {"X-CSRFToken": server.client.cookies["csrftoken"]}
        response = request(server, "POST", PREDICTION, headers=headers)
        assert (response.status_code, response.json()) == (200, {"doubled": 42.0})
        response = request(server, "POST", PREDICTION, headers={"X-CSRFToken": "x" * 32})
        assert response.status_code == 403
        assert server.client.get("/ml/api/models").status_code == 200
        page = server.client.get("/ml/docs").text
        assert 'data-csrf-cookie="csrftoken"' in page
        assert 'data-csrf-header="X-CSRFTOKEN"' in page


def test_a_token_of_the_host_authenticates(database: Database) -> None:
    variables = {
        "HOST_APPS": TOKENS,
        "HOST_AUTHENTICATION": "rest_framework.authentication.TokenAuthentication",
        # Leaves REST framework's views to their own policies, and so ours.
        "HOST_MIDDLEWARE": "django.contrib.auth.middleware.LoginRequiredMiddleware",
    }
    with serve(database, **variables) as server:
        response = request(server, "POST", PREDICTION)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Token"
        headers = {"Authorization": f"Token {database.token}"}
        response = request(server, "POST", PREDICTION, headers=headers)
        assert (response.status_code, response.json()) == (200, {"doubled": 42.0})
        assert server.client.get("/ml/docs").status_code == 200
        assert server.client.get("/page").status_code == 302


ASKING = "request_headers: [X-Tenant]\nmodels:\n  - class_path: host.hosted.AskingModel\n"
REQUEST_MIDDLEWARE = "models_api.middleware.RequestMiddleware"


@pytest.mark.parametrize("middleware", ["", REQUEST_MIDDLEWARE])
def test_a_model_knows_the_hosts_user_with_and_without_our_middleware(
    database: Database, tmp_path: Path, middleware: str
) -> None:
    path = tmp_path / "asking.yaml"
    path.write_text(ASKING, encoding="utf-8")
    variables = {
        "REST_CONFIG": str(path),
        "HOST_MIDDLEWARE": middleware,
        "HOST_APPS": TOKENS,
        "HOST_AUTHENTICATION": "rest_framework.authentication.BasicAuthentication "
        "rest_framework.authentication.TokenAuthentication",
    }
    asking = "/ml/api/models/asking/prediction"
    headers = {"X-Request-ID": "mine", "X-Tenant": "a"}
    with serve(database, **variables) as server:
        found = request(server, "POST", asking, auth=ADA, headers=headers).json()
        assert found == {"id": "mine", "tenant": "a", "principal": "ada", "auth": "NoneType"}
        headers["Authorization"] = f"Token {database.token}"
        found = request(server, "POST", asking, headers=headers).json()
        assert found == {"id": "mine", "tenant": "a", "principal": "ada", "auth": "Token"}
        found = request(server, "POST", asking, auth=ADA).json()
        assert (len(found["id"]), found["tenant"]) == (32, None)


def test_the_readiness_of_a_model_is_under_the_hosts_policies(host: Server) -> None:
    path = "/ml/api/models/doubling/ready"
    assert request(host, "GET", path).status_code == 401
    assert request(host, "GET", path, auth=MALLORY).status_code == 403
    ready = {"qualified_name": "doubling", "ready": True, "state": "ready"}
    assert request(host, "GET", path, auth=ADA).json() == ready


LOGGING = """
from host.settings import *

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"models_api.access": {"handlers": ["console"], "level": "INFO"}},
}
MIDDLEWARE = ["models_api.middleware.RequestMiddleware", *MIDDLEWARE]
ALLOWED_HOSTS = ["127.0.0.1"]
"""


@pytest.mark.parametrize("logs_probes", [False, True])
@pytest.mark.long
def test_the_access_log_of_a_host_is_spared_of_probes(
    database: Database, tmp_path: Path, logs_probes: bool
) -> None:
    text = f"{LOGGING}MODELS_API_LOG_PROBES = {logs_probes}\n"
    (tmp_path / "logged.py").write_text(text, encoding="utf-8")
    variables = {
        "DJANGO_SETTINGS_MODULE": "logged",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(HOST), str(REPOSITORY)]),
    }
    routine = (
        *("/ml/api/health", "/ml/api/health/startup"),
        "/ml/docs/assets/swagger-ui/swagger-ui.css",
    )
    with serve(database, **variables) as server:
        for path in routine:
            assert server.client.get(path).status_code == 200
        request(server, "POST", "/ml/api/models/unknown/prediction", auth=ADA)
        assert server.client.get("/page", headers={"Host": "other.example"}).status_code == 400
        server.wait_until(lambda: " reason=" in server.log or None, "the last line")
        access = re.findall(r"^(\w+ \S+ \d+) [\d.]+ ms(.*)$", server.log, re.MULTILINE)
    assert access[-2:] == [
        (
            "POST /ml/api/models/{qualified_name}/prediction 404",
            " client=127.0.0.1 user=ada",
        ),
        ("GET - 400", " reason=host_not_allowed client=127.0.0.1"),
    ]
    assert any("assets" in line for line, _ in access) is logs_probes
    assert (("GET /ml/api/health/startup 200", " client=127.0.0.1") in access[1:]) is logs_probes


def test_the_environment_variable_goes_before_the_hosts_setting(
    database: Database, tmp_path: Path
) -> None:
    configuration = tmp_path / "other.yaml"
    configuration.write_text("models: [{class_path: host.hosted.OtherModel}]", encoding="utf-8")
    with serve(database, REST_CONFIG=str(configuration)) as server:
        listed = server.client.get("/ml/api/models", auth=ADA).json()["models"]
        assert [model["qualified_name"] for model in listed] == ["other"]


def test_the_first_request_to_any_of_our_routes_begins_to_load(database: Database) -> None:
    with Server(
        HOST / "models.yaml",
        folder=HOST,
        application="host.wsgi",
        wait_for="listening",
        environment=host_environment(database.path),
    ) as server:
        assert server.client.get("/page").status_code == 200
        assert "Loaded" not in server.log
        # Even one that is refused.
        assert request(server, "POST", PREDICTION).status_code == 401
        ready = "/ml/api/health/ready"
        server.wait_until(lambda: server.client.get(ready).status_code == 200 or None, "ready")
        assert request(server, "POST", PREDICTION, auth=ADA).status_code == 200


def test_the_host_passes_its_checks() -> None:
    checked = django("check", "--fail-level", "WARNING")
    assert checked.returncode == 0, checked.stderr
    assert "System check identified no issues" in checked.stdout


@pytest.mark.long
def test_the_hosts_document_of_its_whole_site_holds_ours(tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    made = django(
        "spectacular",
        *("--file", str(path), "--validate", "--fail-on-warn"),
        HOST_APPS="drf_spectacular",
        HOST_OAS_VERSION="3.1.0",
    )
    assert made.returncode == 0, made.stderr
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    validate(document)
    assert document["info"]["title"] == "The host's API"
    assert "/own" in document["paths"]
    prediction = document["paths"][PREDICTION]["post"]
    assert prediction["operationId"] == "predict_doubling"
    assert prediction["security"] == [{"basicAuth": []}]
    assert "Number" in document["components"]["schemas"]


def test_a_whole_site_document_of_an_old_version_is_warned_of() -> None:
    checked = django("check", HOST_APPS="drf_spectacular", HOST_OAS_VERSION="3.0.3")
    assert checked.returncode == 0
    message = "(models_api.W001) OpenAPI 3.0.3 cannot express the schemas of the models"
    assert message in checked.stderr
    assert 'HINT: Set "OAS_VERSION": "3.1.0" in SPECTACULAR_SETTINGS.' in checked.stderr


BROKEN = """\
service_titel: x
models:
  - class_path: host.hosted.Missing
"""
PROBLEMS = "The configuration of the models has problems; the log of the service lists them."


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.yaml"
    path.write_text(BROKEN, encoding="utf-8")
    return path


def test_a_broken_file_leaves_the_hosts_other_pages_alive(database: Database, broken: Path) -> None:
    with Server(
        broken,
        folder=HOST,
        application="host.wsgi",
        wait_for="listening",
        environment=host_environment(database.path, REST_CONFIG=str(broken)),
    ) as server:
        assert server.client.get("/page").text == "the host's page"
        assert server.client.get("/own", auth=ADA).json() == {"user": "ada"}
        statuses = {
            "/ml/api/health": {"health_status": "NOT_HEALTHY"},
            "/ml/api/health/ready": {"readiness_status": "REFUSING_TRAFFIC"},
            "/ml/api/health/startup": {"startup_status": "NOT_STARTED"},
        }
        for path, body in statuses.items():
            response = server.client.get(path)
            assert (response.status_code, response.json()) == (503, body)
        for method, path in POLICED:
            assert request(server, method, path).status_code == 401
            response = request(server, method, path, auth=ADA)
            assert (response.status_code, response.json()) == (
                503,
                {"type": "ModelNotReady", "messages": [PROBLEMS]},
            )
            assert "Retry-After" not in response.headers
        assert server.client.get("/ml/docs").status_code == 200
        assert server.log.count("No model is served. The configuration has 2 problems:") == 1
        assert f"{broken}:1: service_titel: unknown key" in server.log
        assert f"{broken}:3: models[0].class_path: the module host.hosted has no name" in server.log
        assert "Traceback" not in server.log


def test_a_broken_file_is_reported_by_the_hosts_check(broken: Path) -> None:
    checked = django("check", REST_CONFIG=str(broken))
    assert checked.returncode == 1
    assert "(models_api.E003) unknown key" in checked.stderr
    assert "(models_api.E005) the module host.hosted has no name" in checked.stderr
    assert "System check identified 2 issues" in checked.stderr
    assert "Traceback" not in checked.stderr

"""The HTTP contract, cell by cell: every route, every body, every error."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.raw_http import RawResponse, ask, head, in_chunks
from tests.end_to_end.server import STARTERS, Server, Starter, gunicorn, serve

FAKES = "tests.fakes.misbehaving"
OBEDIENT = {
    "class_path": f"{FAKES}.ObedientModel",
    "decorators": [
        {"class_path": "tests.fakes.decorators.Suffix", "configuration": {"suffix": " indeed"}}
    ],
}
HIDDEN = {"class_path": f"{FAKES}.HiddenModel", "create_endpoint": False}
CONFIGURATION = {"service_title": "The contract", "version": "4.5.6", "models": [OBEDIENT, HIDDEN]}
SERVERS: dict[str, Starter] = {
    "gunicorn sync": Server,
    "gunicorn": partial(gunicorn, environment={"MODELHOST_WORKERS": "1"}),
    "serve": partial(serve, environment={"MODELHOST_WORKERS": "1"}),
}

PREDICTION = "/api/models/obedient/prediction"
METADATA = "/api/models/obedient/metadata"
ASSET = "/docs/assets/swagger-ui/swagger-ui.css"
GET_ROUTES = [
    "/",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/openapi.yaml",
    "/api/models",
    METADATA,
    "/api/models/obedient/ready",
    "/api/health",
    "/api/health/ready",
    "/api/health/startup",
    ASSET,
]
SECRET = "hunter2"
FAILED = "The model obedient failed to make a prediction."


@pytest.fixture(scope="module", params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with SERVERS[request.param](CONFIGURATION) as server:
        yield server


@pytest.fixture(scope="module", params=sorted(STARTERS))
def debugging(request: pytest.FixtureRequest) -> Iterator[Server]:
    environment = {"MODELHOST_DEBUG": "1", "MODELHOST_MAX_BODY_BYTES": "100"}
    with STARTERS[request.param](CONFIGURATION, environment=environment) as server:
        yield server


def get(server: Server, path: str, *headers: str) -> RawResponse:
    return ask(server.port, head("GET", path, *headers))


def post(server: Server, path: str, body: Any, *headers: str) -> RawResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    start = head("POST", path, f"Content-Length: {len(content)}", *headers)
    return ask(server.port, start + content)


def assert_json(response: RawResponse, status: int, body: Any) -> None:
    assert (response.status, response.json()) == (status, body)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-length"] == str(len(response.body))
    assert response.headers["x-content-type-options"] == "nosniff"


# Routes (what they answer to GET)


def test_the_root_leads_to_the_documentation(server: Server) -> None:
    response = get(server, "/")
    assert (response.status, response.headers["location"], response.body) == (302, "/docs", b"")


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_pages_run_scripts_and_load_files_from_the_service_only(
    server: Server, path: str
) -> None:
    response = get(server, path)
    assert response.status == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self';" in response.headers["content-security-policy"]
    page = response.body.decode()
    assert "The contract" in page
    assert not re.search(r"<script>|<style|//", page.partition("<html")[2])
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(files) >= 3
    for file in files:
        assert get(server, f"/{file}").status == 200


def test_the_openapi_document_is_valid_and_the_same_in_both_forms(server: Server) -> None:
    as_json, as_yaml = get(server, "/openapi.json"), get(server, "/openapi.yaml")
    assert (as_json.status, as_json.headers["content-type"]) == (200, "application/json")
    assert (as_yaml.status, as_yaml.headers["content-type"]) == (200, "application/yaml")
    document = as_json.json()
    assert document == yaml.safe_load(as_yaml.body)
    assert document["openapi"] == "3.1.0"
    assert document["info"] == {"title": "The contract", "version": "4.5.6"}
    validate(document)


DESCRIPTION = "Does what its input says."


def test_the_list_of_models_has_every_model_with_its_decorators_applied(server: Server) -> None:
    obedient = {
        "display_name": "Obedient indeed",
        "qualified_name": "obedient",
        "description": DESCRIPTION,
        "version": "1.2.3",
        "state": "ready",
    }
    hidden = {**obedient, "display_name": "Hidden", "qualified_name": "hidden"}
    assert_json(get(server, "/api/models"), 200, {"models": [obedient, hidden]})


@pytest.mark.parametrize("name", ["obedient", "hidden"])
def test_a_model_has_a_readiness_of_its_own(server: Server, name: str) -> None:
    ready = {"qualified_name": name, "ready": True, "state": "ready"}
    assert_json(get(server, f"/api/models/{name}/ready"), 200, ready)


def test_an_unknown_model_is_not_ready_but_unknown(server: Server) -> None:
    unknown = {"type": "NotFound", "messages": ['There is no model "nope".']}
    assert_json(get(server, "/api/models/nope/ready"), 404, unknown)


@pytest.mark.parametrize(
    ("name", "display_name"), [("obedient", "Obedient indeed"), ("hidden", "Hidden")]
)
def test_metadata_describes_the_input_as_it_is_taken_and_the_output_as_it_is_given(
    server: Server, name: str, display_name: str
) -> None:
    response = get(server, f"/api/models/{name}/metadata")
    metadata = response.json()
    assert_json(response, 200, metadata)
    assert list(metadata) == [
        "display_name",
        "qualified_name",
        "description",
        "version",
        "input_schema",
        "output_schema",
    ]
    assert metadata["display_name"] == display_name
    taken, given = metadata["input_schema"], metadata["output_schema"]
    assert list(taken["properties"]) == ["do", "x", "items", "text", "anything"]
    assert "required" not in taken
    assert list(given["properties"]) == ["x", "Text", "anything", "twice"]
    assert given["required"] == ["x", "Text", "anything", "twice"]
    assert given["properties"]["twice"]["readOnly"] is True


def test_metadata_of_no_model_is_not_found(server: Server) -> None:
    assert_json(
        get(server, "/api/models/nope/metadata"),
        404,
        {"type": "NotFound", "messages": ['There is no model "nope".']},
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/health", {"health_status": "HEALTHY"}),
        ("/api/health/ready", {"readiness_status": "ACCEPTING_TRAFFIC"}),
        ("/api/health/startup", {"startup_status": "STARTED"}),
    ],
)
def test_status_endpoints_of_a_loaded_service_are_content(
    server: Server, path: str, body: dict[str, str]
) -> None:
    assert_json(get(server, path), 200, body)


@pytest.mark.parametrize(
    "path", ["/metrics", "/nope", "/api", "/api/models/obedient", "/admin", "/favicon.ico"]
)
def test_where_nothing_is_nothing_is_found(server: Server, path: str) -> None:
    message = f"There is nothing at {path}. GET openapi.json says what there is."
    body = {"type": "NotFound", "messages": [message]}
    assert_json(get(server, path), 404, body)


@pytest.mark.parametrize("path", [path for path in [*GET_ROUTES, PREDICTION] if path != "/"])
def test_no_route_has_a_trailing_slash(server: Server, path: str) -> None:
    assert get(server, f"{path}/").status == 404
    assert get(server, f"{path}/").json()["type"] == "NotFound"


# Methods


@pytest.mark.parametrize("path", GET_ROUTES)
def test_head_answers_as_get_but_without_the_body(server: Server, path: str) -> None:
    full, response = get(server, path), ask(server.port, head("HEAD", path))
    assert (response.status, response.body) == (full.status, b"")
    own = {"date": "", "x-request-id": ""}
    assert {**response.headers, **own} == {**full.headers, **own}
    assert response.headers["content-length"] == str(len(full.body))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nope", 404),
        ("/api/models/nope/metadata", 404),
        ("/api/models/nope/prediction", 404),
        (PREDICTION, 405),
    ],
)
def test_head_has_no_body_when_it_fails_either(server: Server, path: str, status: int) -> None:
    # `ask` fails when anything comes behind the headers.
    response = ask(server.port, head("HEAD", path))
    assert (response.status, response.headers["content-type"]) == (status, "application/json")
    assert int(response.headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("path", "allowed"),
    [(path, "GET, HEAD, OPTIONS") for path in GET_ROUTES] + [(PREDICTION, "POST, OPTIONS")],
)
def test_options_says_what_is_allowed_and_nothing_else(
    server: Server, path: str, allowed: str
) -> None:
    response = ask(server.port, head("OPTIONS", path))
    assert (response.status, response.headers["allow"]) == (204, allowed)
    assert "content-type" not in response.headers
    assert "content-length" not in response.headers


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "FOO"])
@pytest.mark.parametrize(
    ("path", "allowed"),
    [(path, "GET, HEAD, OPTIONS") for path in GET_ROUTES] + [(PREDICTION, "POST, OPTIONS")],
)
def test_a_method_that_a_route_does_not_know_is_told_those_that_it_does(
    server: Server, path: str, allowed: str, method: str
) -> None:
    if method in allowed:
        return
    response = ask(server.port, head(method, path))
    known = allowed.removesuffix(", OPTIONS").replace(", ", " or ")
    message = f'Method "{method}" not allowed; use {known}.'
    body = {"type": "MethodNotAllowed", "messages": [message]}
    assert_json(response, 405, body)
    assert response.headers["allow"] == allowed


# Predictions


@pytest.mark.parametrize(
    ("data", "predicted"),
    [
        ({"x": 1.5}, {"x": 1.5, "Text": "", "anything": None, "twice": 3.0}),
        ({"x": 1, "text": "é"}, {"x": 1.0, "Text": "é", "anything": None, "twice": 2.0}),
        ({"unknown": 1}, {"x": 0.0, "Text": "", "anything": None, "twice": 0.0}),
        (
            {"do": "mapping", "x": 1, "text": "a"},
            {"x": 1.0, "Text": "a", "anything": None, "twice": 2.0},
        ),
        ({"do": "numpy", "x": 0.5}, {"x": 0.5, "Text": "", "anything": [0, 1, 2], "twice": 1.0}),
        ({"do": "nan"}, {"x": None, "Text": "", "anything": [None], "twice": None}),
    ],
)
def test_a_prediction_has_the_form_of_the_output_schema(
    server: Server, data: dict[str, Any], predicted: dict[str, Any]
) -> None:
    assert_json(post(server, PREDICTION, data), 200, predicted)


@pytest.mark.parametrize(
    "header",
    [
        "Content-Type: application/json",
        "Content-Type: application/json; charset=utf-8",
        "Content-Type: application/vnd.x+json",
        "Accept: text/html",
        "Content-Encoding: identity",
        "X-Nothing: 1",
    ],
)
def test_json_is_taken_under_all_its_names_or_none_and_whatever_is_accepted(
    server: Server, header: str
) -> None:
    assert post(server, PREDICTION, {"x": 1}, header).status == 200


def test_a_chunked_body_is_read(server: Server) -> None:
    request = head("POST", PREDICTION, "Transfer-Encoding: chunked")
    response = ask(server.port, request + in_chunks(b'{"x"', b": 1", b"}"))
    assert (response.status, response.json()["x"]) == (200, 1.0)


# Errors


@pytest.mark.parametrize(
    ("body", "details"),
    [
        (
            b"{",
            [([], "json_invalid", "Invalid JSON: EOF while parsing an object at line 1 column 1")],
        ),
        (
            {"x": "a", "items": [1, "b"]},
            [
                (
                    ["x"],
                    "float_parsing",
                    "Input should be a valid number, unable to parse string as a number",
                ),
                (
                    ["items", 1],
                    "int_parsing",
                    "Input should be a valid integer, unable to parse string as an integer",
                ),
            ],
        ),
        (b'{"x": 1e999}', [(["x"], "finite_number", "Input should be a finite number")]),
    ],
)
def test_data_that_does_not_fit_is_a_validation_error(
    server: Server, body: Any, details: list[tuple[list[Any], str, str]]
) -> None:
    names = {(): "", ("x",): "x: ", ("items", 1): "items[1]: "}
    hints = {"json_invalid": "; it ends too early: close what is open"}
    assert_json(
        post(server, PREDICTION, body),
        400,
        {
            "type": "ValidationError",
            "messages": [
                names[tuple(location)] + message + hints.get(type_, "")
                for location, type_, message in details
            ],
            "details": [
                {"location": location, "type": type_, "message": message}
                for location, type_, message in details
            ],
        },
    )


@pytest.mark.parametrize(
    ("do", "message"),
    [("reject", "Irises do not grow in winter."), ("surrogate", "lone \ud800 surrogate")],
)
def test_data_that_the_model_refuses_is_a_schema_validation_error(
    server: Server, do: str, message: str
) -> None:
    response = post(server, PREDICTION, {"do": do})
    assert_json(response, 400, {"type": "SchemaValidationError", "messages": [message]})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", 'There is no model "nope"; GET api/models lists them.'),
        ("hidden", 'The model "hidden" has no prediction endpoint.'),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
def test_a_model_without_an_endpoint_is_not_found(
    server: Server, method: str, name: str, message: str
) -> None:
    response = ask(server.port, head(method, f"/api/models/{name}/prediction"))
    assert_json(response, 404, {"type": "NotFound", "messages": [message]})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("Content-Type: text/plain", 'Unsupported media type "text/plain"; send application/json.'),
        (
            "Content-Encoding: br",
            'Unsupported content encoding "br"; send the body uncompressed, or compressed by gzip.',
        ),
    ],
)
def test_a_body_of_another_kind_is_an_unsupported_media_type(
    server: Server, header: str, message: str
) -> None:
    response = post(server, PREDICTION, {"x": 1}, header)
    assert_json(response, 415, {"type": "UnsupportedMediaType", "messages": [message]})


def test_a_body_that_is_too_large_is_told_the_limit(debugging: Server) -> None:
    assert post(debugging, PREDICTION, b"{" + b" " * 98 + b"}").status == 200
    response = post(debugging, PREDICTION, b"{" + b" " * 99 + b"}")
    message = (
        "The body is larger than the limit of 100 bytes. Send less at a time, or have "
        "MODELHOST_MAX_BODY_BYTES raised."
    )
    assert_json(response, 413, {"type": "PayloadTooLarge", "messages": [message]})


def test_a_server_that_cannot_read_chunks_asks_for_the_length() -> None:
    with DevelopmentServer(CONFIGURATION) as server:
        # This server calls a body of no type text/plain.
        headers = ("Content-Type: application/json", "Transfer-Encoding: chunked")
        response = ask(server.port, head("POST", PREDICTION, *headers) + in_chunks(b"{}"))
        message = "Send a Content-Length: this server cannot read chunked bodies."
        assert (response.status, response.json()) == (
            411,
            {"type": "LengthRequired", "messages": [message]},
        )


FAILURES = {
    "raise": "RuntimeError: the password is hunter2",
    "exit": "SystemExit: the password is hunter2",
    "nonsense": "ValidationError: 1 validation error for ObedientOutput",
    "nothing": "ValidationError: 1 validation error for ObedientOutput",
    "misfit": "ValidationError: 1 validation error for ObedientOutput",
    "unwritable": "PydanticSerializationError: object has no JSON",
    "endless": "RecursionError: maximum recursion depth exceeded",
    "deep": "RecursionError: maximum recursion depth exceeded",
    "unknown": "AttributeError: 'ObedientModel' object has no attribute '_unknown'",
}


@pytest.mark.parametrize("given", [True, False], ids=["the client's id", "an id of ours"])
@pytest.mark.parametrize("do", sorted(FAILURES))
def test_a_failure_of_the_model_is_in_the_log_and_only_its_id_goes_out(
    server: Server, do: str, given: bool
) -> None:
    request_id = f"test-{do}-{time.monotonic_ns()}"
    header = f"X-Request-ID: {request_id}" if given else "X-Nothing: 1"
    response = post(server, PREDICTION, {"do": do}, header)
    if not given:
        request_id = response.headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", request_id)

    message = f"{FAILED} The log has the reason under the request id {request_id}."
    assert_json(response, 500, {"type": "ServiceError", "messages": [message]})
    assert response.headers["x-request-id"] == request_id
    log = logged(server, f"[{request_id}]: POST {PREDICTION} failed (request {request_id})")
    assert "Traceback (most recent call last):" in log
    assert FAILURES[do] in log


def logged(server: Server, line: str) -> str:
    """The log from a line on, which another process may still be writing."""
    deadline = time.monotonic() + 10
    while line not in server.log and time.monotonic() < deadline:
        time.sleep(0.02)
    before, found, after = server.log.partition(line)
    assert found, before
    return after


def test_an_error_is_logged_once_and_what_clients_do_wrong_is_not(server: Server) -> None:
    post(server, PREDICTION, b"{")
    get(server, "/nope")
    ask(server.port, head("DELETE", "/"))
    post(server, PREDICTION, {"do": "raise"}, "X-Request-ID: once")
    assert logged(server, "failed (request once)")
    assert server.log.count("failed (request once)") == 1
    assert "django.request" not in server.log
    assert "/nope" not in server.log
    assert "WARNING" not in server.log


def test_a_host_that_is_not_the_services_is_refused_in_json(server: Server) -> None:
    message = (
        "This service does not answer to the request's Host header; "
        "whoever runs it lists its names in MODELHOST_ALLOWED_HOSTS."
    )
    for path in ("/api/models", "/nope", "/docs"):
        response = get(server, path, "Host: evil.example")
        assert_json(response, 400, {"type": "BadRequest", "messages": [message]})


def test_orchestrators_may_ask_for_the_status_by_address(server: Server) -> None:
    for path in ("/api/health", "/api/health/ready", "/api/health/startup"):
        assert get(server, path, "Host: 10.1.2.3:8000").status == 200


def test_every_response_is_protected(server: Server) -> None:
    for path in [*GET_ROUTES, "/nope", PREDICTION]:
        headers = get(server, path).headers
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "set-cookie" not in headers


# While debugging


@pytest.mark.parametrize(
    ("request_", "status", "type_"),
    [
        (head("GET", "/nope"), 404, "NotFound"),
        (head("GET", "/api/models/"), 404, "NotFound"),
        (head("GET", "/docs/assets/swagger-ui/nope"), 404, "NotFound"),
        (head("GET", "/docs/assets/swagger-ui/../../x"), 404, "NotFound"),
        (head("GET", "/api/models/nope/metadata"), 404, "NotFound"),
        (head("GET", "/api/models", "Host: evil.example"), 400, "BadRequest"),
        (head("GET", "/api/models", "Host: evil.example", "Accept: text/html"), 400, "BadRequest"),
        (head("DELETE", "/docs"), 405, "MethodNotAllowed"),
        (head("POST", PREDICTION), 400, "ValidationError"),
    ],
)
def test_djangos_debug_pages_are_json_too(
    debugging: Server, request_: bytes, status: int, type_: str
) -> None:
    response = ask(debugging.port, request_)
    assert (response.status, response.json()["type"]) == (status, type_)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-length"] == str(len(response.body))


@pytest.mark.parametrize("do", sorted(FAILURES))
def test_while_debugging_a_failure_of_the_model_says_why(debugging: Server, do: str) -> None:
    response = post(debugging, PREDICTION, {"do": do}, "X-Request-ID: debugging")
    error = response.json()
    assert (response.status, error["type"]) == (500, "ServiceError")
    generic, reason = error["messages"]
    assert generic == f"{FAILED} The log has the reason under the request id debugging."
    error_name, _, text = FAILURES[do].partition(": ")
    if error_name == "ValidationError":
        assert re.match("predict of obedient returned .+; the schema says ", reason)
    else:
        assert re.match(f"predict of obedient (raised|returned) .*{error_name}", reason)
        assert text in reason


# Before and after loading


@pytest.fixture(scope="module")
def loading() -> Iterator[Server]:
    models = [OBEDIENT, {"class_path": f"{FAKES}.SlowModel"}]
    with Server({"models": models}, wait_for="listening") as server:
        deadline = time.monotonic() + 30
        while post(server, PREDICTION, {}).status == 503 and time.monotonic() < deadline:
            time.sleep(0.05)
        yield server


@pytest.fixture(scope="module")
def failed() -> Iterator[Server]:
    models = [{"class_path": f"{FAKES}.BrokenModel"}, OBEDIENT]
    with Server({"models": models}, ready_path="/api/health/startup") as server:
        yield server


NOT_READY = {
    "slow": "The model slow is not loaded yet.",
    "broken": "The model broken failed to load; the log of the service says why.",
}


@pytest.mark.parametrize(
    ("state", "path", "status", "body"),
    [
        ("loading", "/api/health", 200, {"health_status": "HEALTHY"}),
        ("loading", "/api/health/ready", 503, {"readiness_status": "REFUSING_TRAFFIC"}),
        ("loading", "/api/health/startup", 503, {"startup_status": "NOT_STARTED"}),
        ("failed", "/api/health", 503, {"health_status": "NOT_HEALTHY"}),
        ("failed", "/api/health/ready", 503, {"readiness_status": "REFUSING_TRAFFIC"}),
        ("failed", "/api/health/startup", 200, {"startup_status": "STARTED"}),
    ],
)
def test_status_endpoints_tell_loading_from_failing(
    request: pytest.FixtureRequest, state: str, path: str, status: int, body: dict[str, str]
) -> None:
    server: Server = request.getfixturevalue(state)
    assert_json(get(server, path), status, body)
    bodiless = ask(server.port, head("HEAD", path))
    assert (bodiless.status, bodiless.body) == (status, b"")


@pytest.mark.parametrize(("state", "name"), [("loading", "slow"), ("failed", "broken")])
def test_a_model_that_is_not_loaded_is_not_ready_and_the_others_predict(
    request: pytest.FixtureRequest, state: str, name: str
) -> None:
    server: Server = request.getfixturevalue(state)
    response = post(server, f"/api/models/{name}/prediction", {"x": 1})
    assert_json(response, 503, {"type": "ModelNotReady", "messages": [NOT_READY[name]]})
    assert response.headers.get("retry-after") == ("5" if state == "loading" else None)
    assert post(server, PREDICTION, {"x": 1}).status == 200


@pytest.mark.parametrize(("state", "name"), [("loading", "slow"), ("failed", "broken")])
def test_a_model_that_is_not_loaded_is_described_all_the_same(
    request: pytest.FixtureRequest, state: str, name: str
) -> None:
    server: Server = request.getfixturevalue(state)
    assert get(server, f"/api/models/{name}/metadata").json()["version"] == "1.2.3"
    listed = get(server, "/api/models").json()["models"]
    assert sorted(model["qualified_name"] for model in listed) == sorted(["obedient", name])
    assert f"/api/models/{name}/prediction" in get(server, "/openapi.json").json()["paths"]


def test_why_a_model_failed_to_load_is_in_the_log_and_nowhere_else(failed: Server) -> None:
    assert SECRET in failed.log
    models = "/api/models", "/api/models/broken/metadata", "/api/models/broken/ready"
    for path in (*models, "/api/health", "/openapi.json"):
        assert SECRET not in get(failed, path).body.decode()
    # That it is not ready yet is no error, however often it is asked.
    assert "django.request" not in failed.log

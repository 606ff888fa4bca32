"""The views under the policies of the project around them, and in each state of the models."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import include, path
from rest_framework.authentication import BaseAuthentication, BasicAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny, BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from models_api.api.views import (
    HealthView,
    ModelMetadataView,
    ModelReadinessView,
    ModelsView,
    PredictionView,
    ReadinessView,
    StartupView,
)
from models_api.configuration.file import ConfigurationFile
from models_api.exceptions import ConfigurationError, Problem
from models_api.hosting.assembly import build_registry
from models_api.hosting.registry import ModelRegistry
from models_api.urls import api_patterns
from tests.in_process import InProcessService

FAKES = "tests.fakes.misbehaving"
CONFIGURATION = {
    "models": [
        {"class_path": f"{FAKES}.ObedientModel"},
        {"class_path": f"{FAKES}.HiddenModel", "create_endpoint": False},
    ]
}
PREDICTION = "/api/models/obedient/prediction"
factory = RequestFactory()


@pytest.fixture(scope="module")
def service() -> InProcessService:
    return InProcessService(CONFIGURATION)


@pytest.fixture
def client(service: InProcessService) -> Iterator[Client]:
    urlconf = ModuleType("urlconf")
    patterns = api_patterns(service.registry)
    urlconf.urlpatterns = [path("", include((patterns, "models_api")))]  # type: ignore[attr-defined]
    with override_settings(ROOT_URLCONF=urlconf):
        yield Client()


def body(response: Any) -> Any:
    return json.loads(response.content)


@pytest.mark.parametrize(
    "accepted", ["text/html", "application/xml", "nonsense", "application/json; indent=4", ""]
)
def test_the_answer_is_json_whatever_is_accepted(client: Client, accepted: str) -> None:
    response = client.get("/api/health", headers={"accept": accepted})
    assert response["Content-Type"] == "application/json"
    assert response.content == b'{"health_status":"HEALTHY"}'
    assert "Vary" not in response


@pytest.mark.parametrize("query", ["format=html", "format=api", "version=9", "_method=DELETE"])
def test_parameters_that_drf_would_heed_mean_nothing(client: Client, query: str) -> None:
    assert client.get(f"/api/health?{query}").content == b'{"health_status":"HEALTHY"}'


def test_views_leave_the_projects_settings_alone(client: Client) -> None:
    framework = {**settings.REST_FRAMEWORK, "EXCEPTION_HANDLER": "nowhere.handler"}
    with override_settings(REST_FRAMEWORK=framework):
        response = client.get("/api/models/nope/metadata")
    assert (response.status_code, body(response)["type"]) == (404, "NotFound")


def test_a_prediction_goes_through_without_policies(client: Client) -> None:
    response = client.post(PREDICTION, {"x": 1}, content_type="application/json")
    assert response.content == b'{"x":1.0,"Text":"","anything":null,"twice":2.0}'
    assert response["Content-Type"] == "application/json"


def test_metadata_of_a_model_without_an_endpoint_is_there(client: Client) -> None:
    assert body(client.get("/api/models/hidden/metadata"))["qualified_name"] == "hidden"


# The host project's policies


class Forbidden(BasePermission):
    message = "Not on Sundays."

    def has_permission(self, request: Request, view: Any) -> bool:
        return False


class Busy(BaseThrottle):
    def allow_request(self, request: Request, view: Any) -> bool:
        return False

    def wait(self) -> float:
        return 2.5


class Failing(BaseAuthentication):
    def authenticate(self, request: Request) -> None:
        raise AuthenticationFailed("Who are you?")


class LooksForAToken(BaseAuthentication):
    """Reads form data, as authentication that checks CSRF tokens does."""

    def authenticate(self, request: Request) -> None:
        assert dict(request._request.POST) == {}
        assert dict(request.data) == {}


@pytest.mark.parametrize(
    ("policies", "status", "error", "headers"),
    [
        (
            {
                "authentication_classes": [BasicAuthentication],
                "permission_classes": [IsAuthenticated],
            },
            401,
            ("NotAuthenticated", "Authentication credentials were not provided."),
            {"WWW-Authenticate": 'Basic realm="api"'},
        ),
        (
            {"permission_classes": [IsAuthenticated]},
            403,
            ("PermissionDenied", "You do not have permission to perform this action."),
            {},
        ),
        (
            {"authentication_classes": [Failing]},
            403,
            ("AuthenticationFailed", "Who are you?"),
            {},
        ),
        (
            {"permission_classes": [AllowAny, Forbidden]},
            403,
            ("PermissionDenied", "Not on Sundays."),
            {},
        ),
        (
            {"throttle_classes": [Busy]},
            429,
            ("Throttled", "Request was throttled. Expected available in 3 seconds."),
            {"Retry-After": "3"},
        ),
    ],
    ids=["401", "403 without a way to log in", "403 of authentication", "403", "429"],
)
def test_policies_hold_for_predictions_and_refuse_in_this_apps_form(
    service: InProcessService,
    policies: dict[str, Any],
    status: int,
    error: tuple[str, str],
    headers: dict[str, str],
) -> None:
    restricted: Any = type("RestrictedView", (PredictionView,), policies)
    view = restricted.as_view(registry=service.registry, qualified_name="obedient")
    for data in (b'{"x": 1}', b"no JSON"):
        response = view(factory.post("/", data, content_type="application/json"))
        assert response.status_code == status
        assert body(response) == {"type": error[0], "messages": [error[1]]}
        for name, value in headers.items():
            assert response[name] == value


@pytest.mark.parametrize(
    "policies",
    [
        {"permission_classes": [AllowAny]},
        {"authentication_classes": [BasicAuthentication]},
        {"authentication_classes": [LooksForAToken]},
    ],
    ids=["AllowAny", "anonymous", "reads the form"],
)
def test_policies_that_let_a_request_pass_leave_its_body_to_the_model(
    service: InProcessService, policies: dict[str, Any]
) -> None:
    view_class: Any = type("OpenView", (PredictionView,), policies)
    view = view_class.as_view(registry=service.registry, qualified_name="obedient")
    response = view(factory.post("/", b'{"x": 1}', content_type="application/json"))
    assert (response.status_code, body(response)["x"]) == (200, 1.0)
    refused = view(factory.post("/", b'{"x": "a"}', content_type="application/json"))
    assert (refused.status_code, body(refused)["type"]) == (400, "ValidationError")


@pytest.mark.parametrize("view_class", [ModelsView, ModelMetadataView, ModelReadinessView])
def test_policies_hold_for_descriptions(service: InProcessService, view_class: Any) -> None:
    restricted: Any = type("RestrictedView", (view_class,), {"permission_classes": [Forbidden]})
    response = restricted.as_view(registry=service.registry)(
        factory.get("/"), qualified_name="obedient"
    )
    assert (response.status_code, body(response)["messages"]) == (403, ["Not on Sundays."])


@pytest.mark.parametrize("view_class", [HealthView, ReadinessView, StartupView])
def test_the_status_is_open_to_everyone(view_class: Any) -> None:
    assert not view_class.authentication_classes
    assert not view_class.throttle_classes
    assert list(view_class.permission_classes) == [AllowAny]


# Loading


class Registry:
    """Only what status views ask of a registry."""

    def __init__(self, **state: bool) -> None:
        self.is_healthy = True
        self.is_ready = self.has_started = False
        self.__dict__.update(state)
        self.started = 0

    def take_requests(self) -> None:
        self.started += 1

    def unhealthy_models(self) -> list[str]:
        return []


@pytest.mark.parametrize(
    ("view_class", "state", "status", "answer"),
    [
        (HealthView, {}, 200, {"health_status": "HEALTHY"}),
        (HealthView, {"is_healthy": False}, 503, {"health_status": "NOT_HEALTHY"}),
        (ReadinessView, {}, 503, {"readiness_status": "REFUSING_TRAFFIC"}),
        (ReadinessView, {"is_ready": True}, 200, {"readiness_status": "ACCEPTING_TRAFFIC"}),
        (StartupView, {}, 503, {"startup_status": "NOT_STARTED"}),
        (StartupView, {"has_started": True}, 200, {"startup_status": "STARTED"}),
    ],
)
def test_the_status_is_that_of_the_registry(
    view_class: Any, state: dict[str, bool], status: int, answer: dict[str, str]
) -> None:
    registry = Registry(**state)
    response = view_class.as_view(registry=registry)(factory.get("/"))
    assert (response.status_code, body(response)) == (status, answer)
    assert registry.started == 1


def test_the_first_request_begins_to_load_the_models_where_no_one_else_did(tmp_path: Path) -> None:
    file = tmp_path / "rest_config.yaml"
    file.write_text(json.dumps(CONFIGURATION))
    registry = build_registry(ConfigurationFile(file))
    view = PredictionView.as_view(registry=registry, qualified_name="obedient")
    response: HttpResponse = view(factory.post("/", b"{}", content_type="application/json"))
    if response.status_code != 200:  # the loading may be the quicker one
        assert (response.status_code, body(response)["type"]) == (503, "ModelNotReady")
        assert response["Retry-After"] == "5"
    for thread in threading.enumerate():
        if thread.name == "model-loading":
            thread.join(10)
    assert view(factory.post("/", b"{}", content_type="application/json")).status_code == 200


@pytest.mark.parametrize("name", ["obedient", "nobody"])
def test_no_model_of_a_broken_configuration_is_ready(name: str) -> None:
    error = ConfigurationError([Problem("id", "file", 1, "", "bad", "mend it")])
    view = ModelReadinessView.as_view(registry=ModelRegistry([], error=error))
    response = view(factory.get("/"), qualified_name=name)
    assert (response.status_code, body(response)) == (
        503,
        {"qualified_name": name, "ready": False, "state": "failed"},
    )


# Every view says what it allows


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        (PREDICTION, "POST, OPTIONS"),
        ("/api/models", "GET, HEAD, OPTIONS"),
        ("/api/models/obedient/metadata", "GET, HEAD, OPTIONS"),
        ("/api/models/obedient/ready", "GET, HEAD, OPTIONS"),
        ("/api/health", "GET, HEAD, OPTIONS"),
        ("/api/health/ready", "GET, HEAD, OPTIONS"),
        ("/api/health/startup", "GET, HEAD, OPTIONS"),
    ],
)
def test_what_a_route_allows_is_said_by_options_and_by_refusals(
    client: Client, url: str, allowed: str
) -> None:
    options, refusal = client.options(url), client.put(url)
    known = allowed.removesuffix(", OPTIONS").replace(", ", " or ")
    assert (options.status_code, options["Allow"], options.content) == (204, allowed, b"")
    assert "Content-Type" not in options
    assert (refusal.status_code, refusal["Allow"]) == (405, allowed)
    assert body(refusal) == {
        "type": "MethodNotAllowed",
        "messages": [f'Method "PUT" not allowed; use {known}.'],
    }

"""Who may ask which model: permissions on every route, in lists and in documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import yaml
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import Client, override_settings
from django.urls import include, path
from openapi_spec_validator import validate
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import NotFound
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request

from models_api.api.views import ModelsAPIView
from models_api.configuration.sections import ServiceConfiguration
from models_api.hosting.registry import ModelRegistry
from models_api.observability.server_directory import server_directory
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.permissions import ModelPermission, problem_of_rule
from models_api.urls import api_patterns, documentation_patterns, open_inference_patterns
from tests.in_process import InProcessService
from tests.model_routes import LISTS, OF_A_MODEL

FAKES = "tests.fakes"
CONFIGURATION = {
    "models": [
        {"class_path": f"{FAKES}.models.DoublingModel"},
        {"class_path": f"{FAKES}.misbehaving.ObedientModel"},
        {"class_path": f"{FAKES}.misbehaving.HiddenModel", "create_endpoint": False},
    ]
}
SERVICE = ServiceConfiguration.model_validate({"open_inference": {"enabled": True}})


class Groups(list[str]):
    def values_list(self, field: str, *, flat: bool) -> list[str]:
        assert (field, flat) == ("name", True)
        return self


def user(
    *groups: str, permissions: tuple[str, ...] = (), active: bool = True, superuser: bool = False
) -> Any:
    return SimpleNamespace(
        pk=1,
        is_authenticated=True,
        is_active=active,
        is_superuser=superuser,
        groups=Groups(groups),
        has_perms=lambda wanted: set(wanted) <= set(permissions),
    )


ANONYMOUS = SimpleNamespace(is_authenticated=False, is_active=False, is_superuser=False)
USERS = {"ada": user("risk"), "bob": user(), "root": user(superuser=True)}


class ByHeader(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        found = USERS.get(request.META.get("HTTP_X_USER", ""))
        return None if found is None else (found, None)

    def authenticate_header(self, request: Request) -> str:
        return "Header"


class Spy(BasePermission):
    """Records what it is given."""

    seen: ClassVar[list[Any]] = []

    def has_permission(self, request: Request, view: Any) -> bool:
        self.seen.append(
            (view.kwargs.get("qualified_name"), view.kwargs.get("version"), view.hosted_model)
        )
        return True


@pytest.fixture(scope="module")
def service() -> InProcessService:
    return InProcessService(CONFIGURATION)


@pytest.fixture
def client(service: InProcessService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(Spy, "seen", [])
    with client_of(service, monkeypatch, [Spy]) as client:
        yield client


@contextmanager
def client_of(
    service: InProcessService, monkeypatch: pytest.MonkeyPatch, permissions: list[Any]
) -> Iterator[Client]:
    """A client of the service's URLs, at the root and under a prefix with an argument."""
    monkeypatch.setattr(ModelsAPIView, "authentication_classes", [ByHeader])
    monkeypatch.setattr(ModelsAPIView, "permission_classes", permissions)
    shared = SharedMemoryMetrics(server_directory().join)

    def patterns(registry: ModelRegistry) -> list[Any]:
        found = open_inference_patterns(registry, SERVICE, shared)
        return [*api_patterns(registry), *found]

    pages = documentation_patterns(service.registry, "title", patterns)
    found = ([*patterns(service.registry), *pages], "models_api")
    urlconf: Any = ModuleType("urlconf")
    urlconf.urlpatterns = [
        path("", include(found)),
        path("tenants/<str:version>/", include(found, namespace="tenants")),
    ]
    with override_settings(ROOT_URLCONF=urlconf):
        yield Client()


def ask(client: Client, method: str, path_: str, who: str = "", **headers: str) -> Any:
    body = b"{}" if method == "POST" else b""
    headers = {"x-user": who, **headers}
    return client.generic(method, path_, body, "application/json", headers=headers)


@pytest.mark.parametrize("prefix", ["", "/tenants/9"])
@pytest.mark.parametrize(("method", "route"), OF_A_MODEL)
def test_each_route_of_a_model_tells_policies_its_name_version_and_model(
    client: Client, service: InProcessService, prefix: str, method: str, route: str
) -> None:
    model = service.registry["doubling"]
    ask(client, method, prefix + route.format("doubling", version=model.version))
    assert Spy.seen == [("doubling", model.version, model)]


@pytest.mark.parametrize(("method", "route"), OF_A_MODEL)
def test_of_an_unknown_model_policies_hear_the_name_alone(
    client: Client, method: str, route: str
) -> None:
    response = ask(client, method, route.format("nobody", version="1"))
    assert response.status_code == 404
    assert Spy.seen == [("nobody", "1" if "versions" in route else None, None)]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_the_model_is_told_whatever_the_method(
    client: Client, service: InProcessService, method: str
) -> None:
    ask(client, method, "/api/models/doubling/prediction")
    assert Spy.seen[0][2] is service.registry["doubling"]


def test_a_version_in_the_prefix_is_not_taken_for_that_of_the_model(client: Client) -> None:
    assert ask(client, "GET", "/tenants/9/v2/models/doubling").status_code == 200


def test_a_route_of_no_model_tells_none(client: Client) -> None:
    ask(client, "GET", "/v2")
    assert Spy.seen == [(None, None, None)]


# Rules

RISK, SCORE = {"groups": ["risk", "audit"]}, {"permissions": ["shop.score", "shop.see"]}
BOTH = {**RISK, **SCORE}


@pytest.mark.parametrize(
    ("rule", "who", "allowed"),
    [
        (RISK, user("risk"), True),
        (RISK, user("audit", "sales"), True),
        (RISK, user("sales"), False),
        (RISK, user("risk", active=False), False),
        (RISK, ANONYMOUS, False),
        (RISK, None, False),
        (SCORE, user(permissions=("shop.score", "shop.see")), True),
        (SCORE, user(permissions=("shop.score",)), False),
        (BOTH, user("risk"), False),
        (BOTH, user(permissions=("shop.score", "shop.see")), False),
        (BOTH, user("risk", permissions=("shop.score", "shop.see")), True),
        ({"authenticated": True}, user(), True),
        ({"authenticated": True}, ANONYMOUS, False),
        ({"anyone": True}, ANONYMOUS, True),
        ({"anyone": True}, None, True),
        (RISK, user(superuser=True), True),
        (RISK, user(superuser=True, active=False), False),
        # Whatever is malformed is for superusers only.
        ({}, user("risk"), False),
        ({"group": ["risk"]}, user("risk"), False),
        ({**RISK, "authentcated": True}, user("risk"), False),
        ({"groups": "risk"}, user("risk"), False),
        ({"groups": []}, user("risk"), False),
        ({"anyone": False}, ANONYMOUS, False),
        ({"anyone": True, **RISK}, ANONYMOUS, False),
        (None, user("risk"), False),
        ({"group": ["risk"]}, user(superuser=True), True),
    ],
)
def test_a_rule_lets_pass_whom_it_names(rule: Any, who: Any, allowed: bool) -> None:
    request: Any = SimpleNamespace(user=who)
    view: Any = SimpleNamespace(kwargs={"qualified_name": "credit"})
    with override_settings(MODELS_API_PERMISSIONS={"credit": rule}):
        assert ModelPermission().has_permission(request, view) is allowed


@pytest.mark.parametrize(
    ("rules", "name", "allowed"),
    [
        ({"credit_*": RISK, "*": {"authenticated": True}}, "credit_cars", False),
        ({"credit_*": RISK, "*": {"authenticated": True}}, "rent", True),
        ({"*": {"authenticated": True}, "credit_*": RISK}, "credit_cars", True),
        ({"credit_*": {"authenticated": True}}, "Credit_cars", False),
        ({"credit_*": {"authenticated": True}}, "rent", False),
        ({"a[1]": {"authenticated": True}}, "a[1]", True),
        ({}, "rent", False),
        (None, "rent", False),
        ([], "rent", False),
    ],
)
def test_the_first_pattern_for_a_name_counts_and_without_one_nobody_passes(
    rules: Any, name: str, allowed: bool
) -> None:
    request: Any = SimpleNamespace(user=user())
    view: Any = SimpleNamespace(kwargs={"qualified_name": name})
    with override_settings(MODELS_API_PERMISSIONS=rules):
        assert ModelPermission().has_permission(request, view) is allowed


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("risk", "is no rule"),
        ({"group": ["risk"]}, "has an unknown key 'group'"),
        ({"groups": "risk"}, "has 'risk' for 'groups'"),
        ({"permissions": [1]}, "has [1] for 'permissions'"),
        ({"permissions": ["score"]}, "has 'score', which is no permission"),
        ({"anyone": True, "groups": ["risk"]}, "has 'anyone' with something else"),
    ],
)
def test_a_malformed_rule_is_told_with_its_remedy(rule: Any, problem: str) -> None:
    found = problem_of_rule(rule)
    assert found is not None
    assert found[0] == problem
    assert found[1]


# Lists and documents

RULES = {"doubling": RISK, "*": {"authenticated": True}}


@pytest.fixture
def guarded(service: InProcessService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    with (
        override_settings(MODELS_API_PERMISSIONS=RULES),
        client_of(service, monkeypatch, [ModelPermission]) as client,
    ):
        yield client


@pytest.mark.parametrize(("method", "route"), OF_A_MODEL)
def test_all_routes_of_a_model_refuse_alike(guarded: Client, method: str, route: str) -> None:
    path_ = route.format("doubling", version="1")
    assert ask(guarded, method, path_, "bob").status_code == 403
    response = ask(guarded, method, path_)
    assert (response.status_code, response["WWW-Authenticate"]) == (401, "Header")
    for who in ("ada", "root"):
        assert ask(guarded, method, path_, who).status_code not in (401, 403)


@pytest.mark.parametrize(("method", "route"), LISTS)
def test_a_list_holds_for_each_user_what_that_one_may_ask(
    guarded: Client, method: str, route: str
) -> None:
    for who, sees in [("ada", True), ("bob", False), ("ada", True), ("", False), ("root", True)]:
        response = ask(guarded, method, route, who)
        assert response.status_code == 200
        assert (b"doubling" in response.content.lower()) is sees
        assert (b"obedient" in response.content.lower()) is (who != "")
        assert response["Cache-Control"] == "private"


def test_a_model_without_endpoint_is_hidden_too(
    service: InProcessService, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        override_settings(MODELS_API_PERMISSIONS={"hidden": RISK, "*": {"anyone": True}}),
        client_of(service, monkeypatch, [ModelPermission]) as client,
    ):
        assert b'"hidden"' not in ask(client, "GET", "/api/models", "bob").content
        assert b'"hidden"' in ask(client, "GET", "/api/models", "ada").content
        assert ask(client, "GET", "/api/models/hidden/metadata", "bob").status_code == 403


@pytest.mark.parametrize(
    ("permissions", "named"), [([], ["sick"]), ([ModelPermission], []), ([IsAuthenticated], [])]
)
def test_readiness_which_is_open_names_what_everybody_may_see(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, permissions: list[Any], named: list[str]
) -> None:
    monkeypatch.setenv("HEALTH_FOLDER", str(tmp_path))
    (tmp_path / "state").write_text("sick", encoding="utf-8")
    sick = InProcessService({"models": [{"class_path": f"{FAKES}.health.SickModel"}]})
    with (
        override_settings(MODELS_API_PERMISSIONS={"sick": RISK}),
        client_of(sick, monkeypatch, permissions) as client,
    ):
        for path_ in ("/api/health/ready", "/v2/health/ready"):
            response = ask(client, "GET", path_)
            assert response.status_code == 503
        assert json.loads(ask(client, "GET", "/api/health/ready").content) == {
            "readiness_status": "REFUSING_TRAFFIC",
            **({"unhealthy_models": named} if named else {}),
        }


def test_the_document_of_some_models_is_whole(guarded: Client) -> None:
    document = json.loads(ask(guarded, "GET", "/openapi.json", "bob").content)
    assert document == yaml.safe_load(ask(guarded, "GET", "/openapi.yaml", "bob").content)
    assert "/api/models/obedient/prediction" in document["paths"]
    assert "/api/models" in document["paths"]
    validate(document)


def test_djangos_cache_gives_nobody_what_is_for_others(guarded: Client) -> None:
    middleware = [
        "django.middleware.cache.UpdateCacheMiddleware",
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]
    cache.clear()
    with override_settings(MIDDLEWARE=middleware):
        for path_ in ("/openapi.json", "/api/models", "/api/models/doubling/metadata"):
            assert b"doubling" in ask(guarded, "GET", path_, "ada").content
            assert b'"doubling"' not in ask(guarded, "GET", path_, "bob").content


class Raises(BasePermission):
    """Hides a model in the ways in which permissions may do so."""

    error: Any = None

    def has_permission(self, request: Request, view: Any) -> bool:
        if view.kwargs.get("qualified_name") == "doubling":
            raise self.error
        return True


@pytest.mark.parametrize("error", [Http404(), NotFound(), PermissionDenied("no")])
def test_a_permission_of_ones_own_may_hide_a_model(
    service: InProcessService, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    monkeypatch.setattr(Raises, "error", error)
    with client_of(service, monkeypatch, [IsAuthenticated & Raises]) as client:
        assert b"doubling" not in ask(client, "GET", "/api/models", "ada").content
        prediction = ask(client, "POST", "/api/models/doubling/prediction", "ada")
        assert prediction.status_code in (403, 404)

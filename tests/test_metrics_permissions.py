"""Who may see the metrics: in a project nobody, unless it says who."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from rest_framework.permissions import AllowAny, BasePermission

from models_api.apps import ModelsAPIConfig
from models_api.checks import check_metrics

Serve = Callable[..., None]
MODELS = "models: [{class_path: tests.fakes.models.DoublingModel}]\n"


class KnowsTheWord(BasePermission):
    """Lets in whoever says so."""

    def has_permission(self, request: Any, view: Any) -> bool:
        """Look at a header."""
        return bool(request.headers.get("X-Word") == "please")


@pytest.fixture
def serve(app_config: ModelsAPIConfig, tmp_path: Path, settings: Any) -> Serve:
    def serve(permissions: Any, text: str = "metrics: {enabled: true}\n") -> None:
        path = tmp_path / "rest_config.yaml"
        path.write_text(MODELS + text, encoding="utf-8")
        settings.MODELS_API_METRICS_PERMISSIONS = permissions
        settings.REST_CONFIG = path

    return serve


@pytest.mark.parametrize("permissions", [None, [], ()])
def test_without_the_setting_there_is_no_route(serve: Serve, permissions: Any) -> None:
    serve(permissions)
    assert Client().get("/metrics").status_code == 404


@pytest.mark.parametrize("permissions", [["rest_framework.permissions.AllowAny"], [AllowAny]])
def test_they_can_be_open(serve: Serve, permissions: Any) -> None:
    serve(permissions)
    response = Client().get("/metrics", headers={"Authorization": "Basic nonsense"})
    assert (response.status_code, b"model_ready" in response.content) == (200, True)


@pytest.mark.parametrize(
    "permissions", [["tests.test_metrics_permissions.KnowsTheWord"], (KnowsTheWord,)]
)
def test_they_can_be_for_some(serve: Serve, permissions: Any) -> None:
    serve(permissions)
    assert Client().get("/metrics").status_code == 403
    assert Client().get("/metrics", headers={"X-Word": "please"}).status_code == 200


def test_all_permissions_have_to_be_met(serve: Serve) -> None:
    serve([KnowsTheWord, "rest_framework.permissions.IsAuthenticated"])
    assert Client().get("/metrics", headers={"X-Word": "please"}).status_code == 403


def test_a_file_that_asks_for_none_has_none(serve: Serve) -> None:
    serve([AllowAny], "")
    assert Client().get("/metrics").status_code == 404


@pytest.mark.parametrize(
    ("permissions", "said"),
    [
        ("rest_framework.permissions.IsAdminUser", "is the string 'rest_framework.permissions.IsA"),
        (["rest_framework.permissions.Admin"], "names 'rest_framework.permissions.Admin', which"),
        (["nowhere.Permission"], "names 'nowhere.Permission', which cannot be imported: No module"),
    ],
)
def test_a_wrong_setting_says_how_to_mend_it(serve: Serve, permissions: Any, said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"MODELS_API_METRICS_PERMISSIONS {said}") as got:
        serve(permissions)
    assert 'write a list such as ["rest_framework.permissions.IsAdminUser"]' in str(got.value)


def test_a_project_that_asks_for_metrics_and_says_nothing_is_warned(serve: Serve) -> None:
    serve(None)
    (warning,) = check_metrics(None)
    assert isinstance(warning, checks.Warning)
    assert warning.id == "models_api.W003"
    assert "MODELS_API_METRICS_PERMISSIONS is missing" in warning.msg
    assert check_metrics([]) == []


@pytest.mark.parametrize(
    ("permissions", "text"),
    [([], "metrics: {enabled: true}\n"), ([AllowAny], "metrics: {enabled: true}\n"), (None, ""),
     (None, "metrics: {enabled: false}\n"), (None, "metric: 1\n")],
)  # fmt: skip
def test_whoever_has_decided_is_not_warned(serve: Serve, permissions: Any, text: str) -> None:
    serve(permissions, text)
    assert check_metrics(None) == []


def test_the_service_of_its_own_shows_them_as_ever() -> None:
    assert configured.MODELS_API_METRICS_PERMISSIONS == ["rest_framework.permissions.AllowAny"]

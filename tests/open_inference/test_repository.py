"""Requests that unload and load models: what they answer, and who may send them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from django.test import Client, override_settings
from django.urls import include, path
from openapi_spec_validator import OpenAPIV31SpecValidator
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from models_api.api.openapi import ModelsAPISchemaGenerator
from models_api.configuration.file import ConfigurationFile
from models_api.configuration.sections import ReloadConfiguration
from models_api.hosting.assembly import build_registry
from models_api.hosting.hosted_model import Resources
from models_api.hosting.reload import Reloader
from models_api.model_changes import ModelChanges
from models_api.observability.reload_folder import ReloadFolder
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.open_inference.repository import LoadView, UnloadView
from models_api.open_inference.routes import open_inference_patterns
from models_api.reload_thread import ReloadThread

CLASS_PATH = "tests.fakes.reloadable.VersionedModel"


class NotVersionTwo(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return view.kwargs.get("version") != "2"


class Service:
    """One process that follows changes, with its routes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rest_config.yaml"
        self.write("1", "2")
        file = ConfigurationFile(self.path)
        assert file.configuration is not None
        resources = Resources()
        self.registry = build_registry(file, resources)
        self.registry.load()
        self.folder: ReloadFolder | None = ReloadFolder(lambda: folder)
        reloader = Reloader(self.registry, resources, file.configuration)
        options = ReloadConfiguration(watch=False, interval_seconds=0.05)
        self.thread = ReloadThread(reloader, self.registry, file, options, self.folder)
        shared = SharedMemoryMetrics(lambda: folder)
        changes = ModelChanges(self.thread)
        self.patterns = open_inference_patterns(self.registry, file.configuration, shared, changes)

    def write(self, *versions: str, **arguments: Any) -> None:
        models = [
            {"class_path": CLASS_PATH, "version": version, "configuration": arguments}
            for version in versions
        ]
        self.path.write_text(yaml.safe_dump({"models": models}), encoding="utf-8")

    def end(self) -> None:
        """Have the thread wait, which otherwise looks around as long as its process lives."""
        self.thread._follow = threading.Event().wait  # type: ignore[method-assign,assignment]


@pytest.fixture
def service(
    tmp_path: Path, model_manager: object, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    # The log that pytest keeps holds the second of two models of one name.
    monkeypatch.setattr("models_api.reload_thread._DRAIN_SECONDS", 0)
    service = Service(tmp_path)
    yield service
    service.end()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    urlconf: Any = ModuleType("urlconf")
    urlconf.urlpatterns = [path("", include((service.patterns, "models_api")))]
    with override_settings(ROOT_URLCONF=urlconf):
        yield Client()


def change(client: Client, end: str, body: object = None, name: str = "versioned") -> Any:
    content = b"" if body is None else json.dumps(body).encode()
    return client.post(
        f"/v2/repository/models/{name}/{end}", content, content_type="application/json"
    )


def index(client: Client) -> Any:
    return client.post("/v2/repository/index", {}, content_type="application/json").json()


def entries(state: str, reason: str) -> list[dict[str, str]]:
    return [
        {"name": "versioned", "version": version, "state": state, "reason": reason}
        for version in ("1", "2")
    ]


def test_the_answer_tells_how_all_versions_are(client: Client) -> None:
    unloaded = entries("UNAVAILABLE", "unloaded")
    assert change(client, "unload").json() == unloaded
    assert change(client, "unload", {"parameters": {"unload_dependents": True}}).json() == unloaded
    assert index(client) == unloaded
    assert client.get("/v2/models/versioned/ready").status_code == 503
    assert client.get("/v2/models/versioned/versions/2").json()["versions"] == ["1", "2"]
    assert change(client, "load", {"parameters": {}}).json() == entries("READY", "")


@pytest.mark.parametrize(
    ("end", "body", "message"),
    [
        ("load", {"parameters": {"config": "{}"}}, 'The parameter "config" cannot be used'),
        ("load", {"parameters": {"file:1/a": "eA=="}}, 'The parameter "file:1/a" cannot be used'),
        ("load", {"parameters": {"unload_dependents": True}}, '"unload_dependents" cannot'),
        ("unload", {"parameters": {"config": "{}"}}, 'The parameter "config" cannot be used'),
        ("unload", {"parameters": []}, "should be an object"),
        ("load", [], "should be an object"),
        ("load", 1, "should be an object"),
    ],
)
def test_what_a_request_cannot_say_is_refused(
    service: Service, client: Client, end: str, body: object, message: str
) -> None:
    generation = service.registry.generation
    response = change(client, end, body)
    assert response.status_code == 400
    assert message in response.json()["error"]
    assert service.registry.generation is generation


@pytest.mark.parametrize("end", ["load", "unload"])
def test_a_model_that_the_file_does_not_name_is_not_found(client: Client, end: str) -> None:
    response = change(client, end, name="unknown")
    assert response.status_code == 404
    assert response.json() == {"error": 'There is no model "unknown".'}
    assert client.get(f"/v2/repository/models/versioned/{end}").status_code == 405


def test_load_takes_the_file_as_it_is_now_and_unload_does_not(
    service: Service, client: Client
) -> None:
    service.write("1", "2", "3")
    assert len(change(client, "unload").json()) == 2
    assert len(change(client, "load").json()) == 3
    service.path.unlink()
    assert len(change(client, "load").json()) == 3


def test_a_load_that_fails_says_why_and_changes_nothing(service: Service, client: Client) -> None:
    change(client, "unload")
    service.write("1", "2", fails="load")
    response = change(client, "load")
    assert response.status_code == 503
    assert "RuntimeError: This version cannot be loaded." in response.json()["error"]
    assert index(client) == entries("UNAVAILABLE", "unloaded")
    service.path.write_text("models: [{nonsense: 1}]")
    assert "nonsense" in change(client, "load").json()["error"]
    service.write("1", "2")
    assert change(client, "load").json() == entries("READY", "")


def test_whoever_may_not_use_one_of_the_versions_may_change_none(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(
            "models_api.api.views.ModelMetadataView.permission_classes", [NotVersionTwo]
        )
        for end in ("load", "unload"):
            response = change(client, end)
            assert response.status_code == 403
            assert response.json() == {"error": "You may not use all versions of this model."}
    for view in (LoadView, UnloadView):
        monkeypatch.setattr(view, "permission_classes", [Nobody])
    assert change(client, "unload").status_code == 403
    assert client.get("/v2/models/versioned/ready").status_code == 200


class Nobody(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        assert view.kwargs["qualified_name"] == "versioned"
        return False


def test_a_process_without_a_folder_says_that_it_cannot(
    service: Service, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.thread, "_folder", None)
    response = change(client, "unload")
    assert response.status_code == 503
    assert "Models cannot be loaded and unloaded here" in response.json()["error"]


def test_the_document_describes_the_routes_where_they_are_allowed(service: Service) -> None:
    generator = ModelsAPISchemaGenerator(patterns=service.patterns)
    document = generator.get_schema(public=True)
    OpenAPIV31SpecValidator(document).validate()
    for end in ("load", "unload"):
        described = document["paths"][f"/v2/repository/models/{{qualified_name}}/{end}"]["post"]
        assert described["operationId"] == f"open_inference_{end}"
        assert {"200", "400", "404", "503"} <= described["responses"].keys()

"""A service in the test's own process: its registry, its document, and its prediction views."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from django.http import HttpResponse
from django.test import RequestFactory

from models_api.api.openapi import ModelsAPISchemaGenerator
from models_api.api.views import PredictionView
from models_api.configuration.file import ConfigurationFile
from models_api.hosting.assembly import build_registry
from models_api.hosting.hosted_model import Resources
from models_api.hosting.registry import ModelRegistry
from models_api.urls import api_patterns

_REFERENCE = "#/components/schemas/"


class InProcessService:
    """Hosts what a configuration names, beside the service that Django itself is set up with."""

    def __init__(
        self, configuration: Mapping[str, object], resources: Resources | None = None
    ) -> None:
        resources = resources or Resources()
        self.limiter = resources.limiter
        with TemporaryDirectory() as folder:
            path = Path(folder) / "rest_config.yaml"
            path.write_text(yaml.safe_dump(dict(configuration)), encoding="utf-8")
            self.registry: ModelRegistry = build_registry(ConfigurationFile(path), resources)
        self.registry.load()

    def make_document(self) -> dict[str, Any]:
        """Make the OpenAPI document."""
        patterns = api_patterns(self.registry)
        document: dict[str, Any] = ModelsAPISchemaGenerator(patterns=patterns).get_schema(
            public=True
        )
        return document

    @cached_property
    def document(self) -> dict[str, Any]:
        """The OpenAPI document, made once."""
        return self.make_document()

    @property
    def components(self) -> dict[str, Any]:
        """The schemas of the document by their names."""
        schemas: dict[str, Any] = self.document["components"]["schemas"]
        return schemas

    def operation(self, qualified_name: str, route: str = "prediction") -> dict[str, Any]:
        """What the document says of a model's prediction."""
        operation: dict[str, Any] = self.document["paths"][f"/api/models/{qualified_name}/{route}"][
            "post"
        ]
        return operation

    def request_schema(self, qualified_name: str) -> dict[str, Any]:
        """Schema of what a prediction takes; refers to the components."""
        content = self.operation(qualified_name)["requestBody"]["content"]
        schema: dict[str, Any] = content["application/json"]["schema"]
        return schema

    def response_schema(self, qualified_name: str) -> dict[str, Any]:
        """Schema of what a prediction gives; refers to the components."""
        content = self.operation(qualified_name)["responses"]["200"]["content"]
        schema: dict[str, Any] = content["application/json"]["schema"]
        return schema

    def predict(self, qualified_name: str, body: bytes) -> HttpResponse:
        """Ask a model for a prediction, through its view."""
        view = PredictionView.as_view(registry=self.registry, qualified_name=qualified_name)
        request = RequestFactory().post("/", body, content_type="application/json")
        response: HttpResponse = view(request)
        return response


def component_name(reference: Mapping[str, Any]) -> str:
    """Name of the component that a schema refers to."""
    name: str = reference["$ref"]
    assert name.startswith(_REFERENCE)
    return name.removeprefix(_REFERENCE)

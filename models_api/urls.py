"""The URLconf, made from the registry: a prediction route for each model, and the fixed routes."""

from __future__ import annotations

from typing import Any, cast

from django.apps import apps
from django.urls import URLPattern, URLResolver, path

from models_api.apps import ModelsAPIConfig
from models_api.conf import maximum_batch_rows
from models_api.documentation import (
    AssetView,
    OpenAPIJSONView,
    OpenAPIYAMLView,
    ReDocView,
    RootView,
    SwaggerUIView,
)
from models_api.exceptions import ConfigurationError
from models_api.registry import HostedModel, ModelRegistry
from models_api.routing import LiteralRoutes
from models_api.serving import BatchPredictor, Predictor
from models_api.views import (
    HealthView,
    ModelMetadataView,
    ModelsView,
    PredictionView,
    ReadinessView,
    StartupView,
    UnknownModelView,
)

app_name = "models_api"

Route = URLPattern | URLResolver


def api_patterns(registry: ModelRegistry) -> list[Route]:
    """Make the routes that the OpenAPI document describes."""
    given: dict[str, Any] = {"registry": registry}
    hosted = [model for model in registry if model.configuration.create_endpoint]
    unknown = UnknownModelView.as_view(**given)
    metadata = "api/models/<str:qualified_name>/metadata"
    return [
        LiteralRoutes(
            [_prediction_pattern(model, given) for model in hosted]
            + [_batch_pattern(model, given) for model in hosted]
        ),
        path("api/models/<str:qualified_name>/prediction", unknown),
        path("api/models/<str:qualified_name>/prediction/batch", unknown),
        path("api/models", ModelsView.as_view(**given), name="models"),
        path(metadata, ModelMetadataView.as_view(**given), name="metadata"),
        path("api/health", HealthView.as_view(**given), name="health"),
        path("api/health/ready", ReadinessView.as_view(**given), name="readiness"),
        path("api/health/startup", StartupView.as_view(**given), name="startup"),
    ]


def _prediction_pattern(model: HostedModel, given: dict[str, Any]) -> URLPattern:
    view = PredictionView.as_view(hosted_model=model, predictor=Predictor(model), **given)
    name = model.qualified_name
    pattern: URLPattern = path(f"api/models/{name}/prediction", view, name=f"prediction-{name}")
    return pattern


def _batch_pattern(model: HostedModel, given: dict[str, Any]) -> URLPattern:
    predictor = BatchPredictor(model, maximum_batch_rows())
    view = PredictionView.as_view(hosted_model=model, predictor=predictor, **given)
    name = model.qualified_name
    pattern: URLPattern = path(f"api/models/{name}/prediction/batch", view, name=f"batch-{name}")
    return pattern


def documentation_patterns(
    registry: ModelRegistry, described: list[Route], title: str
) -> list[Route]:
    """Make the routes of the documentation of the described routes."""
    given: dict[str, Any] = {"registry": registry}
    document = {"patterns": tuple(described), **given}
    return [
        path("", RootView.as_view(**given), name="root"),
        path("openapi.json", OpenAPIJSONView.as_view(**document), name="openapi-json"),
        path("openapi.yaml", OpenAPIYAMLView.as_view(**document), name="openapi-yaml"),
        path("docs", SwaggerUIView.as_view(title=title, **given), name="docs"),
        path("redoc", ReDocView.as_view(title=title, **given), name="redoc"),
        path("docs/assets/<str:folder>/<path:path>", AssetView.as_view(**given), name="asset"),
    ]


def _patterns() -> list[Route]:
    app_config = cast(ModelsAPIConfig, apps.get_app_config("models_api"))
    try:
        registry = app_config.registry
    except ConfigurationError:
        # The system checks report it, and a project with other pages still has those.
        return []
    described = api_patterns(registry)
    title = app_config.configuration.service_title
    return described + documentation_patterns(registry, described, title)


urlpatterns = _patterns()

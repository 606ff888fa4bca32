"""The URLconf, made from the registry: a prediction route for each model, and the fixed routes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from django.urls import URLPattern, URLResolver, clear_url_caches, get_resolver, path
from rest_framework.permissions import AllowAny

from models_api.api.documentation import (
    AssetView,
    OpenAPIDocument,
    OpenAPIJSONView,
    OpenAPIYAMLView,
    ReDocView,
    RootView,
    SwaggerUIView,
)
from models_api.api.literal_routes import LiteralRoutes
from models_api.api.model_routes import model_path, version_path
from models_api.api.views import (
    BatchPredictionView,
    HealthView,
    MetricsView,
    ModelMetadataView,
    ModelReadinessView,
    ModelsView,
    PredictionView,
    ReadinessView,
    StartupView,
)
from models_api.apps import current_service
from models_api.conf import metrics_permissions
from models_api.configuration.sections import OpenInferenceConfiguration, ServiceConfiguration
from models_api.hosting.registry import ModelRegistry
from models_api.model_changes import ModelChanges
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.signals import service_changed

if TYPE_CHECKING:
    from models_api.observability.exposition import Metrics

app_name = "models_api"

Route = URLPattern | URLResolver

_MODEL = "api/models/<str:qualified_name>"
_VERSION = f"{_MODEL}/versions/<path:version>"
_PREDICTIONS = (
    ("prediction", PredictionView, "prediction"),
    ("prediction/batch", BatchPredictionView, "batch"),
)
"""End of the route, its view, and what its name begins with."""


def api_patterns(registry: ModelRegistry) -> list[Route]:
    """Return the routes that the OpenAPI document describes."""
    return [
        LiteralRoutes(list(_prediction_patterns(registry))),
        *_unknown_prediction_patterns(registry),
        path("api/models", ModelsView.as_view(registry=registry), name="models"),
        path(f"{_MODEL}/metadata", ModelMetadataView.as_view(registry=registry), name="metadata"),
        path(f"{_MODEL}/ready", ModelReadinessView.as_view(registry=registry), name="model-ready"),
        *_version_patterns(registry),
        path("api/health", HealthView.as_view(registry=registry), name="health"),
        path("api/health/ready", ReadinessView.as_view(registry=registry), name="readiness"),
        path("api/health/startup", StartupView.as_view(registry=registry), name="startup"),
    ]


def _prediction_patterns(registry: ModelRegistry) -> Iterator[URLPattern]:
    named = list(registry.endpoint_names())
    for end, view, name in _PREDICTIONS:
        for model in named:
            yield model_path(f"api/models/{{model}}/{end}", view, name, model, registry=registry)
        for model in named:
            for version in registry.endpoint_versions(model):
                yield version_path(
                    f"api/models/{{model}}/versions/{{version}}/{end}",
                    view,
                    name,
                    version,
                    registry=registry,
                )


def _unknown_prediction_patterns(registry: ModelRegistry) -> Iterator[URLPattern]:
    """Yield routes for models that have yet to tell their names; they are not in the document."""
    given: dict[str, Any] = {"registry": registry, "schema": None}
    for end, view, _ in _PREDICTIONS:
        yield path(f"{_MODEL}/{end}", view.as_view(**given))
        yield path(f"{_VERSION}/{end}", view.as_view(is_versioned=True, **given))


def _version_patterns(registry: ModelRegistry) -> Iterator[URLPattern]:
    given: dict[str, Any] = {"registry": registry, "is_versioned": True}
    if not registry.has_versions:
        given["schema"] = None  # a service whose models have one each has no need of it
    for end, view, name in (
        ("metadata", ModelMetadataView, "metadata-version"),
        ("ready", ModelReadinessView, "model-ready-version"),
    ):
        yield path(f"{_VERSION}/{end}", view.as_view(**given), name=name)


def open_inference_patterns(
    registry: ModelRegistry,
    configuration: ServiceConfiguration,
    shared: SharedMemoryMetrics | None = None,
) -> list[Route]:
    """Return the routes of the Open Inference Protocol, if they are wanted."""
    if configuration.open_inference is None or not configuration.open_inference.enabled:
        return []
    # Needs numpy, which not every service has.
    from models_api.open_inference import routes  # noqa: PLC0415

    return routes.open_inference_patterns(
        registry,
        configuration,
        current_service().shared if shared is None else shared,
        _model_changes(configuration.open_inference),
    )


def _model_changes(section: OpenInferenceConfiguration) -> ModelChanges | None:
    thread = current_service().reload_thread if section.allow_load_unload else None
    return ModelChanges(thread) if thread is not None else None


def documentation_patterns(
    registry: ModelRegistry,
    title: str,
    documented: Callable[[ModelRegistry], list[Route]] = api_patterns,
) -> list[Route]:
    """Return the routes of the documentation of the API's routes.

    Those are made anew for each document: a model may tell its name only once it is loaded.
    """
    given = {"registry": registry, "document": OpenAPIDocument(registry, documented)}
    page = {"registry": registry, "title": title}
    asset = "docs/assets/<str:folder>/<path:path>"
    return [
        path("", RootView.as_view(registry=registry), name="root"),
        path("openapi.json", OpenAPIJSONView.as_view(**given), name="openapi-json"),
        path("openapi.yaml", OpenAPIYAMLView.as_view(**given), name="openapi-yaml"),
        path("docs", SwaggerUIView.as_view(**page), name="docs"),
        path("redoc", ReDocView.as_view(**page), name="redoc"),
        path(asset, AssetView.as_view(registry=registry), name="asset"),
    ]


def metrics_patterns(metrics: Metrics | None, registry: ModelRegistry) -> list[Route]:
    """Return the route of the metrics, if there are any, and somebody may see them."""
    permissions = metrics_permissions()
    if metrics is None or not permissions:
        return []
    given: dict[str, Any] = {"permission_classes": permissions}
    if permissions == [AllowAny]:
        # What Prometheus says of itself must not be refused where it need not say anything.
        given["authentication_classes"] = ()
    view = MetricsView.as_view(registry=registry, metrics=metrics, **given)
    return [path("metrics", view, name="metrics")]


def all_api_patterns(registry: ModelRegistry) -> list[Route]:
    """Return the routes that the OpenAPI document of this service describes."""
    service = current_service()
    return [
        *api_patterns(registry),
        *open_inference_patterns(registry, service.configuration, service.shared),
    ]


def _patterns() -> list[Route]:
    # Of a configuration with problems too: a project with other pages still has those.
    service = current_service()
    title = service.configuration.service_title
    return [
        *all_api_patterns(service.registry),
        *documentation_patterns(service.registry, title, all_api_patterns),
        *metrics_patterns(service.metrics, service.registry),
    ]


urlpatterns = _patterns()


def _follow_service(**_kwargs: object) -> None:
    """Route to another service, in place: other URLconfs have included this very list."""
    urlpatterns[:] = _patterns()
    clear_url_caches()
    _forget_names(get_resolver())


def _forget_names(resolver: URLResolver) -> None:
    # What `reverse` knows; Django fills it once.
    vars(resolver).update(_reverse_dict={}, _namespace_dict={}, _app_dict={}, _populated=False)
    for each in resolver.url_patterns:
        if isinstance(each, URLResolver):
            _forget_names(each)


service_changed.connect(_follow_service)

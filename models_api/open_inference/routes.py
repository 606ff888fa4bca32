"""The protocol's routes, made from the registry."""

from __future__ import annotations

from collections.abc import Mapping

from django.urls import URLPattern, URLResolver, path

from models_api.api.literal_routes import LiteralRoutes, literal_path
from models_api.configuration.sections import ServiceConfiguration
from models_api.hosting.registry import ModelRegistry
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.open_inference.statistics import InferenceStatistics
from models_api.open_inference.views import (
    AllStatisticsView,
    ConfigView,
    InferView,
    LiveView,
    ModelReadyView,
    ModelView,
    NothingView,
    OpenInferenceView,
    ReadyView,
    RepositoryIndexView,
    ServerView,
    StatisticsView,
)

_MODEL = "v2/models/<str:qualified_name>"
_VERSION = "versions/<str:version>"


def open_inference_patterns(
    registry: ModelRegistry, configuration: ServiceConfiguration, shared: SharedMemoryMetrics
) -> list[URLPattern | URLResolver]:
    """Return the routes under v2."""
    given = {"registry": registry}
    server = {"title": configuration.service_title, "version": configuration.version, **given}
    counted = {"statistics": InferenceStatistics(shared), **given}
    index = RepositoryIndexView.as_view(registry=registry)
    return [
        LiteralRoutes(
            [_infer_pattern(each.qualified_name, counted) for each in registry.endpoints()]
        ),
        # Not in the document: for models that have yet to tell their names, and for unknown ones.
        path(f"{_MODEL}/infer", InferView.as_view(schema=None, **counted)),
        path(f"{_MODEL}/{_VERSION}/infer", InferView.as_view(is_versioned=True, **counted)),
        path("v2", ServerView.as_view(**server), name="open-inference"),
        path("v2/", ServerView.as_view(schema=None, **server)),
        path("v2/health/live", LiveView.as_view(registry=registry), name="open-inference-live"),
        path("v2/health/ready", ReadyView.as_view(registry=registry), name="open-inference-ready"),
        path("v2/repository/index", index, name="open-inference-index"),
        path("v2/models/stats", AllStatisticsView.as_view(**counted)),
        *_model_patterns("", ModelView, "model", given),
        *_model_patterns("/ready", ModelReadyView, "model-ready", given),
        *_model_patterns("/config", ConfigView, "config", given),
        *_model_patterns("/stats", StatisticsView, "statistics", counted),
        path("v2/<path:rest>", NothingView.as_view(registry=registry)),
    ]


def _model_patterns(
    end: str, view: type[OpenInferenceView], name: str, given: Mapping[str, object]
) -> list[URLPattern]:
    """Return the routes of a view of a model, with and without a version."""
    versioned = view.as_view(is_versioned=True, **given)
    return [
        path(f"{_MODEL}{end}", view.as_view(**given), name=f"open-inference-{name}"),
        path(f"{_MODEL}/{_VERSION}{end}", versioned, name=f"open-inference-{name}-version"),
    ]


def _infer_pattern(model: str, given: Mapping[str, object]) -> URLPattern:
    view = InferView.as_view(qualified_name=model, **given)
    route = f"v2/models/{model}/infer"
    return literal_path(route, view, {"qualified_name": model}, name=f"infer-{model}")

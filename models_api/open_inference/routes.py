"""The protocol's routes, made from the registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from django.urls import URLPattern, URLResolver, path

from models_api.api.literal_routes import LiteralRoutes
from models_api.api.model_routes import model_path, version_path
from models_api.configuration.sections import ServiceConfiguration
from models_api.hosting.registry import ModelRegistry
from models_api.model_changes import ModelChanges
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.open_inference.repository import (
    LoadView,
    RepositoryIndexView,
    RepositoryRefusalView,
    UnloadView,
)
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
    ServerView,
    StatisticsView,
)

_MODEL = "v2/models/<str:qualified_name>"
_VERSION = "versions/<path:version>"


def open_inference_patterns(
    registry: ModelRegistry,
    configuration: ServiceConfiguration,
    shared: SharedMemoryMetrics,
    changes: ModelChanges | None = None,
) -> list[URLPattern | URLResolver]:
    """Return the routes under v2.

    Args:
        registry: The hosted models.
        configuration: That of the service.
        shared: Where inference requests are counted.
        changes: What loads and unloads models; None where requests may not ask for it.
    """
    given = {"registry": registry}
    server = {"title": configuration.service_title, "version": configuration.version, **given}
    counted = {"statistics": InferenceStatistics(shared), **given}
    index = RepositoryIndexView.as_view(registry=registry)
    return [
        LiteralRoutes(list(_infer_patterns(registry, counted))),
        # Not in the document: for models that have yet to tell their names, and for unknown ones.
        path(f"{_MODEL}/infer", InferView.as_view(schema=None, **counted)),
        path(f"{_MODEL}/{_VERSION}/infer", InferView.as_view(is_versioned=True, **counted)),
        path("v2", ServerView.as_view(**server), name="open-inference"),
        path("v2/", ServerView.as_view(schema=None, **server)),
        path("v2/health/live", LiveView.as_view(registry=registry), name="open-inference-live"),
        path("v2/health/ready", ReadyView.as_view(registry=registry), name="open-inference-ready"),
        path("v2/repository/index", index, name="open-inference-index"),
        *_change_patterns(registry, changes),
        path("v2/models/stats", AllStatisticsView.as_view(**counted)),
        *_model_patterns("/ready", ModelReadyView, "model-ready", given),
        *_model_patterns("/config", ConfigView, "config", given),
        *_model_patterns("/stats", StatisticsView, "statistics", counted),
        # Behind those: a version may hold a slash.
        *_model_patterns("", ModelView, "model", given),
        path("v2/<path:rest>", NothingView.as_view(registry=registry)),
    ]


def _change_patterns(registry: ModelRegistry, changes: ModelChanges | None) -> Iterator[URLPattern]:
    for end, view in (("load", LoadView), ("unload", UnloadView)):
        answer = (
            RepositoryRefusalView.as_view(registry=registry)
            if changes is None
            else view.as_view(registry=registry, changes=changes)
        )
        route = f"v2/repository/models/<str:qualified_name>/{end}"
        yield path(route, answer, name=f"open-inference-{end}")


def _model_patterns(
    end: str, view: type[OpenInferenceView], name: str, given: Mapping[str, object]
) -> list[URLPattern]:
    """Return the routes of a view of a model, with and without a version."""
    versioned = view.as_view(is_versioned=True, **given)
    return [
        path(f"{_MODEL}{end}", view.as_view(**given), name=f"open-inference-{name}"),
        path(f"{_MODEL}/{_VERSION}{end}", versioned, name=f"open-inference-{name}-version"),
    ]


def _infer_patterns(registry: ModelRegistry, given: Mapping[str, object]) -> Iterator[URLPattern]:
    for model in registry.endpoint_names():
        yield model_path("v2/models/{model}/infer", InferView, "infer", model, **given)
        route = "v2/models/{model}/versions/{version}/infer"
        for version in registry.endpoint_versions(model):
            yield version_path(route, InferView, "infer", version, **given)

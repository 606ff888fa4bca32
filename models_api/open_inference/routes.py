"""The protocol's routes, made from the registry."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from django.urls import URLPattern, URLResolver, path

from models_api.api.literal_routes import LiteralRoutes
from models_api.configuration.sections import ServiceConfiguration
from models_api.hosting.registry import HostedModel, ModelRegistry
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.open_inference.inference import InferencePredictor
from models_api.open_inference.statistics import Statistics
from models_api.open_inference.views import (
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
    UnknownInferView,
    VersionInferView,
)

Guard = Callable[[Any, HostedModel], Any]
"""Puts around a predictor whatever every prediction goes through, in whichever protocol."""

_MODEL = "v2/models/<str:qualified_name>"
_VERSION = "versions/<str:version>"


def open_inference_patterns(
    registry: ModelRegistry,
    *,
    configuration: ServiceConfiguration,
    maximum_rows: int,
    guard: Guard,
    shared: SharedMemoryMetrics,
) -> list[URLPattern | URLResolver]:
    """Make the routes under v2."""
    given: dict[str, Any] = {"registry": registry}
    sized = {"maximum_rows": maximum_rows, **given}
    # One for each model, however many routes lead to it.
    statistics_of = cache(lambda model: Statistics(model, shared))

    @cache
    def infer(model: HostedModel) -> Any:
        predictor = InferencePredictor(model, maximum_rows, statistics_of(model))
        return InferView.as_view(
            hosted_model=model, predictor=guard(predictor, model), registry=registry
        )

    unknown = {"view_of": infer, **given}
    server = {
        "title": configuration.service_title,
        "version": configuration.version,
        **given,
    }
    counted = {"statistics_of": statistics_of, "shared": shared, **given}
    index = RepositoryIndexView.as_view(**given)
    return [
        LiteralRoutes([_infer_pattern(each, infer(each)) for each in registry.endpoints()]),
        path(f"{_MODEL}/infer", UnknownInferView.as_view(**unknown)),
        path(f"{_MODEL}/{_VERSION}/infer", VersionInferView.as_view(**unknown)),
        path("v2", ServerView.as_view(**server), name="open-inference"),
        path("v2/", ServerView.as_view(schema=None, **server)),
        path("v2/health/live", LiveView.as_view(**given), name="open-inference-live"),
        path("v2/health/ready", ReadyView.as_view(**given), name="open-inference-ready"),
        path("v2/repository/index", index, name="open-inference-index"),
        path("v2/models/stats", StatisticsView.as_view(is_of_all=True, **counted)),
        *_model_patterns("", ModelView, "model", sized),
        *_model_patterns("/ready", ModelReadyView, "model-ready", given),
        *_model_patterns("/config", ConfigView, "config", sized),
        *_model_patterns("/stats", StatisticsView, "statistics", counted),
        path("v2/<path:rest>", NothingView.as_view(**given)),
    ]


def _model_patterns(
    end: str, view: type[OpenInferenceView], name: str, given: dict[str, Any]
) -> list[URLPattern]:
    """Make the routes of a view of a model, with and without a version."""
    versioned = view.as_view(is_versioned=True, **given)
    return [
        path(f"{_MODEL}{end}", view.as_view(**given), name=f"open-inference-{name}"),
        path(f"{_MODEL}/{_VERSION}{end}", versioned, name=f"open-inference-{name}-version"),
    ]


def _infer_pattern(model: HostedModel, view: Any) -> URLPattern:
    name = model.qualified_name
    pattern: URLPattern = path(f"v2/models/{name}/infer", view, name=f"infer-{name}")
    return pattern

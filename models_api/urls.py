"""The URLconf, made from the registry: a prediction route for each model, and the fixed routes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.urls import URLPattern, URLResolver, path

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
from models_api.api.views import (
    HealthView,
    MetricsView,
    ModelMetadataView,
    ModelsView,
    PredictionView,
    ReadinessView,
    StartupView,
    UnknownModelView,
)
from models_api.apps import ModelsAPIConfig
from models_api.conf import maximum_batch_rows
from models_api.configuration.sections import ServiceConfiguration
from models_api.exceptions import ConfigurationError
from models_api.hosting.registry import HostedModel, ModelRegistry, UnusableRegistry
from models_api.prediction.admission import Admitted
from models_api.prediction.deadline import WithDeadline
from models_api.prediction.predictor import BatchPredictor, Predictor

if TYPE_CHECKING:
    from models_api.observability.exposition import Metrics

app_name = "models_api"

Route = URLPattern | URLResolver
PredictBody = Callable[[bytes], bytes]


def api_patterns(registry: ModelRegistry) -> list[Route]:
    """Make the routes that the OpenAPI document describes."""
    given: dict[str, Any] = {"registry": registry}
    hosted = registry.endpoints()
    one = _views(Predictor, registry)
    batch = _views(_batch_predictor, registry, is_batch=True)
    metadata = "api/models/<str:qualified_name>/metadata"
    return [
        LiteralRoutes(
            [_prediction_pattern(model, one(model)) for model in hosted]
            + [_batch_pattern(model, batch(model)) for model in hosted]
        ),
        path(
            "api/models/<str:qualified_name>/prediction",
            UnknownModelView.as_view(view_of=one, **given),
        ),
        path(
            "api/models/<str:qualified_name>/prediction/batch",
            UnknownModelView.as_view(view_of=batch, **given),
        ),
        path("api/models", ModelsView.as_view(**given), name="models"),
        path(metadata, ModelMetadataView.as_view(**given), name="metadata"),
        path("api/health", HealthView.as_view(**given), name="health"),
        path("api/health/ready", ReadinessView.as_view(**given), name="readiness"),
        path("api/health/startup", StartupView.as_view(**given), name="startup"),
    ]


def _views(
    predictor: Callable[[HostedModel], Predictor | BatchPredictor],
    registry: ModelRegistry,
    *,
    is_batch: bool = False,
) -> Callable[[HostedModel], Any]:
    @cache
    def view_of(model: HostedModel) -> Any:
        return PredictionView.as_view(
            hosted_model=model,
            predictor=_guarded(predictor(model), model, registry),
            is_batch=is_batch,
            registry=registry,
        )

    return view_of


def _guarded(predict: PredictBody, model: HostedModel, registry: ModelRegistry) -> PredictBody:
    """Put around a predictor whatever every prediction goes through, in whichever protocol."""
    timeout_seconds = model.configuration.timeout_seconds
    guarded: PredictBody = Admitted(
        predict,
        registry.admission,
        model.qualified_name,
        timeout_seconds,
        # With batching there is one call at a time, and those that wait for it compute nothing.
        turns=None if model.configuration.batching else registry.turns,
    )
    if timeout_seconds is not None:
        # Around the slot, which a late prediction keeps.
        guarded = WithDeadline(guarded, timeout_seconds)
    # Outermost, so that it hears of those that are refused.
    return guarded if model.observer is None else model.observer.measured(guarded)


def _batch_predictor(model: HostedModel) -> BatchPredictor:
    return BatchPredictor(model, maximum_batch_rows())


def _prediction_pattern(model: HostedModel, view: Any) -> URLPattern:
    name = model.qualified_name
    pattern: URLPattern = path(f"api/models/{name}/prediction", view, name=f"prediction-{name}")
    return pattern


def _batch_pattern(model: HostedModel, view: Any) -> URLPattern:
    name = model.qualified_name
    pattern: URLPattern = path(f"api/models/{name}/prediction/batch", view, name=f"batch-{name}")
    return pattern


def open_inference_patterns(
    registry: ModelRegistry, configuration: ServiceConfiguration
) -> list[Route]:
    """Make the routes of the Open Inference Protocol, if they are wanted."""
    if configuration.open_inference is None or not configuration.open_inference.enabled:
        return []
    # Needs numpy, which not every service has.
    from models_api.open_inference import routes  # noqa: PLC0415

    return routes.open_inference_patterns(
        registry,
        configuration=configuration,
        maximum_rows=maximum_batch_rows(),
        guard=lambda predict, model: _guarded(predict, model, registry),
        shared=cast(ModelsAPIConfig, apps.get_app_config("models_api")).shared_values,
    )


def documentation_patterns(
    registry: ModelRegistry,
    title: str,
    documented: Callable[[ModelRegistry], list[Route]] = api_patterns,
) -> list[Route]:
    """Make the routes of the documentation of the API's routes."""
    given: dict[str, Any] = {"registry": registry}
    document = {"document": OpenAPIDocument(registry, documented), **given}
    return [
        path("", RootView.as_view(**given), name="root"),
        path("openapi.json", OpenAPIJSONView.as_view(**document), name="openapi-json"),
        path("openapi.yaml", OpenAPIYAMLView.as_view(**document), name="openapi-yaml"),
        path("docs", SwaggerUIView.as_view(title=title, **given), name="docs"),
        path("redoc", ReDocView.as_view(title=title, **given), name="redoc"),
        path("docs/assets/<str:folder>/<path:path>", AssetView.as_view(**given), name="asset"),
    ]


def metrics_patterns(metrics: Metrics | None, registry: ModelRegistry) -> list[Route]:
    """Make the route of the metrics, if there are any."""
    if metrics is None:
        return []
    view = MetricsView.as_view(registry=registry, write=metrics.text)
    return [path("metrics", view, name="metrics")]


def _patterns() -> list[Route]:
    app_config = cast(ModelsAPIConfig, apps.get_app_config("models_api"))
    try:
        registry, configuration = app_config.registry, app_config.configuration
    except ConfigurationError as error:
        # A project with other pages still has those.
        registry, configuration = UnusableRegistry(error), ServiceConfiguration()

    def documented(registry: ModelRegistry) -> list[Route]:
        return api_patterns(registry) + open_inference_patterns(registry, configuration)

    return (
        documented(registry)
        + documentation_patterns(registry, configuration.service_title, documented)
        + metrics_patterns(app_config.metrics, registry)
    )


urlpatterns = _patterns()

"""The API's views: thin, each takes a request to the registry or a predictor and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Protocol, cast

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from pydantic import BaseModel
from rest_framework.exceptions import APIException
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, set_rollback

from models_api.api.bodies import (
    HealthStatus,
    HealthStatusResponse,
    ModelDetails,
    ModelDetailsCollection,
    ModelMetadata,
    ModelReadiness,
    ReadinessStatus,
    ReadinessStatusResponse,
    ReloadStatus,
    StartupStatus,
    StartupStatusResponse,
)
from models_api.api.errors import MethodNotAllowed, exception_handler, to_response
from models_api.api.openapi import (
    ModelsAPISchema,
    Operation,
    batch_uses,
    own_body,
    prediction_uses,
)
from models_api.api.predictions import BatchEndpoint, PredictionEndpoint
from models_api.exceptions import ModelNotReady, ModelsAPIError
from models_api.hosting.hosted_model import HostedModel, ModelState
from models_api.hosting.registry import ModelRegistry
from models_api.prediction.request_context import ensured_context, note_model, note_principal
from models_api.schemas.json_schema import json_schema

# As prometheus_client has it, which is imported only where there are metrics.
METRICS_CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"


def json_response(body: BaseModel, status: int = 200) -> HttpResponse:
    """Return one of the service's own bodies."""
    content = body.model_dump_json(exclude_unset=True)
    return HttpResponse(content, status=status, content_type="application/json")


class RawBodyParser(BaseParser):
    """Leaves the body to the view.

    DRF parses it all the same: whenever the host's session authentication looks for a CSRF token.
    """

    media_type = "*/*"

    def parse(
        self,
        stream: object,
        media_type: str | None = None,
        parser_context: Mapping[str, object] | None = None,
    ) -> Mapping[str, object]:
        """Find no form data."""
        return {}


class IgnoreClientContentNegotiation(BaseContentNegotiation):
    """Answers JSON whatever the client says that it accepts."""

    def select_parser(self, request: Request, parsers: object) -> BaseParser:
        """Let the view read the body itself."""
        return RawBodyParser()

    def select_renderer(  # type: ignore[override]
        self, request: Request, renderers: list[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str | None]:
        """Return the only renderer."""
        return renderers[0], renderers[0].media_type


class ModelsAPIView(APIView):
    """Base of the views: the project's policies apply, errors have this app's form.

    A request to any of them begins to load the models, where the project's WSGI module did not.
    Arguments of the prefix under which the project includes them are its own affair.
    """

    registry: ModelRegistry = None  # type: ignore[assignment] # always given to as_view
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = IgnoreClientContentNegotiation
    versioning_class = None
    schema = ModelsAPISchema()
    is_routine = False
    """Whether it is orchestrators who ask, every few seconds: the log is spared of that."""
    respond_to_error = staticmethod(exception_handler)
    """Makes the response of an exception, in the way of DRF's EXCEPTION_HANDLER."""
    hosted_model: HostedModel | None = None
    """The model that the route names; None where it names none, or none that is known."""
    number_of_rows = 0
    """For how many rows the request asks predictions."""

    def has_policies(self) -> bool:
        """Whether the project lets not everybody send such requests."""
        restricts = any(permission is not AllowAny for permission in self.permission_classes)
        return bool(self.authentication_classes or self.throttle_classes or restricts)

    @property
    def default_response_headers(self) -> dict[str, str]:
        """Keep shared caches from giving to others what is for whoever asked."""
        return {"Cache-Control": "private"} if self.has_policies() else {}

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        """Answer a request, which has a context, also in projects without RequestMiddleware."""
        with ensured_context(request.META.get("HTTP_X_REQUEST_ID")):
            return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        """See to it that models are being loaded, and check the policies."""
        self.registry.take_requests()
        super().initial(request, *args, **kwargs)

    def perform_authentication(self, request: Request) -> None:
        """Find out who sent the request, and note it: also for those who may not do this."""
        super().perform_authentication(request)
        if request.successful_authenticator is not None:
            note_principal(request.user, request.auth)

    def get_exception_handler(self) -> Any:
        """Answer errors in this app's form, whatever the project does elsewhere."""
        return self.respond_to_error

    def http_method_not_allowed(
        self, request: HttpRequest, *args: object, **kwargs: object
    ) -> Response:
        """Answer 405 with the methods that are allowed."""
        raise MethodNotAllowed(request.method or "", self.allowed_methods)

    def options(self, request: HttpRequest, *args: object, **kwargs: object) -> Any:
        """Answer with the methods that are allowed, and no body."""
        response = HttpResponse(status=204, headers={"Allow": ", ".join(self.allowed_methods)})
        del response.headers["Content-Type"]  # of what is not there
        return response


class RequestStream:
    """The body of Django's request, which the project's own code may have read before."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._position: int | None = 0
        """In the body; None where Django finds it too big to hold."""

    def read(self, size: int) -> bytes:
        """Return at most so many bytes; none at the end."""
        if self._position is None:
            return self._request.read(size)
        try:
            body = self._request.body
        except RequestDataTooBig:
            self._position = None
            return self._request.read(size)
        start, self._position = self._position, self._position + size
        return body[start : self._position]


class HostedModelView(ModelsAPIView):
    """Base of the views of one model, which policies find before they are asked.

    `hosted_model` is the model, and `kwargs` has a `qualified_name` and a `version` on every route.
    """

    qualified_name: str | None = None
    """None if the path tells it."""
    is_versioned = False
    """Whether the path names a version of the model."""
    version: str | None = None
    """The one version that such a route is for, or its alias; None if the path tells it."""
    _unknown: ModelsAPIError | None = None
    """Why there is no model."""

    def check_permissions(self, request: Request) -> None:
        """Find the model, then check whether the request may ask it."""
        name = self.qualified_name or self.kwargs.get("qualified_name")
        if name is not None:
            self._find(name)
        super().check_permissions(request)

    def _find(self, name: str) -> None:
        # Once, so that a model of which policies did not hear is not there for anybody else.
        version = (self.version or self.kwargs["version"]) if self.is_versioned else None
        try:
            self.hosted_model = self.registry.version(name, version)
        except ModelsAPIError as error:
            self._unknown = error
        known = self.hosted_model and self.hosted_model.version
        # An argument of that name may be one of the prefix, too, and that of the path an alias.
        self.kwargs.update(qualified_name=name, version=known or version)

    def shows(
        self, model: HostedModel, request: Request, permissions: Iterable[BasePermission]
    ) -> bool:
        """Whether permissions let a request ask a model."""
        self.hosted_model = model
        self.kwargs.update(qualified_name=model.qualified_name, version=model.version)
        try:
            return all(each.has_permission(request, self) for each in permissions)
        except (APIException, Http404, PermissionDenied):
            return False

    def described_model(self) -> HostedModel:
        """Return the model that the document describes where the route is for one alone.

        Raises:
            ModelNotFound: there is none any more.
            ModelNotReady: nobody knows yet.
        """
        return self.registry.version(self.qualified_name or "", self.version)

    @property
    def end_of_id(self) -> str:
        """What an operation's id ends with where it is of a version."""
        if self.version is not None:
            # No qualified name has a colon.
            return f"_version:{_escaped_in_id(self.version)}"
        return "_version" if self.is_versioned else ""

    @property
    def end_of_summary(self) -> str:
        """What an operation's summary ends with where it is of a version."""
        if self.version is not None:
            return f", version {self.version}"
        return " in a version" if self.is_versioned else ""

    @property
    def parameters(self) -> dict[str, str]:
        """Descriptions of the parameters of a path that is for any model."""
        version = {"version": "Version of the model, or its alias."} if self.is_versioned else {}
        return {"qualified_name": "Qualified name of the model.", **version}

    def known_model(self) -> HostedModel:
        """Return the model, in the version that the path names.

        Raises:
            ModelNotFound: there is none.
            ModelNotReady: nobody knows yet.
        """
        if self._unknown is not None:
            raise self._unknown
        assert self.hosted_model is not None  # noqa: S101 (for the type checker)
        return self.hosted_model


class PredictionView(HostedModelView):
    """Predicts with one model for one row.

    Without a `qualified_name` it is for whichever model the path names: one that told its name only
    once it was loaded, or that does not exist.
    """

    @cached_property
    def number_of_rows(self) -> int:  # type: ignore[override]
        """For how many rows the request asks predictions; 1 where its body does not tell.

        Raises:
            ModelsAPIError: the body cannot be read.
        """
        if self.request.method != "POST" or self.hosted_model is None:
            return 0
        http_request = self.request._request
        return self._endpoint(self.kwargs).count_rows(
            self.hosted_model, http_request.META, RequestStream(http_request)
        )

    def operation(self) -> Operation:
        """Describe the prediction in the model's own words."""
        model = self.described_model()
        details = model.details
        name, title = details.qualified_name, details.display_name
        request, response = prediction_uses(model)
        return Operation(
            id=f"predict_{_set_off(name)}{self.end_of_id}",
            tag=name,
            summary=f"Predict with {title}{self.end_of_summary}",
            description=details.description,
            request=request,
            response=response,
            errors=prediction_errors(model),
            refusals=model.profile.refusals,
            tells_version=True,
        )

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        """Check the policies, then say, whatever the method, if there is no such model."""
        super().initial(request, *args, **kwargs)
        if self.qualified_name is None:
            self._endpoint(kwargs).resolve()
            self.known_model()

    def post(self, request: Request, **kwargs: object) -> HttpResponse:
        """Predict for what is in the body."""
        http_request = request._request
        answer = self._endpoint(kwargs).answer(http_request.META, RequestStream(http_request))
        if answer.status >= 400:
            set_rollback()
        return to_response(answer)

    def endpoint(self, qualified_name: str, version: str | None) -> PredictionEndpoint:
        """Return what answers the requests for a model."""
        return PredictionEndpoint(self.registry, qualified_name, version)

    def _endpoint(self, arguments: Mapping[str, object]) -> PredictionEndpoint:
        version = str(arguments["version"]) if self.is_versioned else None
        return self.endpoint(self.qualified_name or str(arguments["qualified_name"]), version)


class BatchPredictionView(PredictionView):
    """Predicts with one model for many rows."""

    def endpoint(self, qualified_name: str, version: str | None) -> BatchEndpoint:
        """Return what answers the requests for a model."""
        return BatchEndpoint(self.registry, qualified_name, version)

    def operation(self) -> Operation:
        """Describe the predictions in the model's own words."""
        model = self.described_model()
        details = model.details
        name, title = details.qualified_name, details.display_name
        request, response = batch_uses(model)
        return Operation(
            id=f"predict_batch_{name}{self.end_of_id}",
            tag=name,
            summary=f"Predict a batch with {title}{self.end_of_summary}",
            description=details.description,
            request=request,
            response=response,
            errors=prediction_errors(model),
            refusals=model.profile.refusals,
            tells_version=True,
        )


def prediction_errors(model: HostedModel) -> tuple[int, ...]:
    """Return the statuses of the errors that predictions of a model may end with."""
    kind = model.configuration.execution.kind
    elsewhere = (502,) if kind != "thread" else ()
    unknown = (404,) if kind == "remote" else ()
    return (400, *unknown, 411, 413, 415, 500, *elsewhere, 503, 504)


def _escaped_in_id(version: str) -> str:
    """Write a version with letters, digits, dots and dashes; what else it has by its number.

    No two versions become one.
    """
    return re.sub(r"[^A-Za-z0-9.-]", lambda found: f"_{ord(found[0]):x}_", version)


def _set_off(name: str) -> str:
    """Put an underscore before a name with which `predict_` would be the batch of another model."""
    return f"_{name}" if name.lstrip("_").startswith("batch_") else name


class ModelsView(ModelsAPIView):
    """Lists the models."""

    def operation(self) -> Operation:
        """Describe the list."""
        return Operation(
            id="list_models",
            tag="models",
            summary="List the models",
            description="All models of the service, also those without a prediction endpoint, and "
            "how each is.",
            response=own_body(ModelDetailsCollection),
            errors=(500, 503),
        )

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """List every configured model that the client may see, with decorators applied."""
        self.registry.details()
        models = visible_models(self.registry, request, self.registry)
        states = self.registry.serving_states(models)
        details = [
            ModelDetails(
                **model.details._asdict(),
                **_among_versions(self.registry, model),
                state=state,
                **_reason(model),
            )
            for state, model in zip(states, models, strict=True)
        ]
        return json_response(ModelDetailsCollection(models=details, **_reload(self.registry)))


def _among_versions(registry: ModelRegistry, model: HostedModel) -> dict[str, Any]:
    """Return what sets a version apart from the others; nothing where there is nothing."""
    release, aliases = registry.release(model.qualified_name), model.configuration.aliases
    if not (release.has_versions or aliases):
        return {}
    found: dict[str, Any] = {"aliases": aliases, "traffic": release.percent(model)}
    if (reason := release.why_taken_back(model)) is not None:
        found["taken_back"] = reason
    return found


def _reason(model: HostedModel) -> dict[str, Any]:
    return {} if model.failure_class is None else {"reason": model.failure_class}


def _reload(registry: ModelRegistry) -> dict[str, ReloadStatus]:
    last = registry.last_reload
    if last is None:
        return {}
    when = {} if last.time is None else {"time": last.time}
    number = registry.generation.number
    return {"reload": ReloadStatus(generation=number, outcome=last.outcome, **when)}


class ModelReadinessView(HostedModelView):
    """Says whether one model answers predictions; for balancers, under the project's policies."""

    is_routine = True

    def operation(self) -> Operation:
        """Describe the readiness check of a model."""
        return Operation(
            id=f"get_model_readiness{self.end_of_id}",
            tag="models",
            summary=f"Check a model's readiness{self.end_of_summary}",
            description="Ready once the model is loaded, unless it says that it is not healthy.",
            response=own_body(ModelReadiness),
            other_responses={
                503: "The model is not loaded yet, failed to load, or is not healthy."
            },
            errors=(404,),
            parameters=self.parameters,
        )

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Say how the model is."""
        try:
            model = self.known_model()
        except ModelNotReady as error:  # nobody knows yet, or ever, whether there is one
            is_lost = error.retry_after_seconds is None
            state, reason = ModelState.FAILED if is_lost else ModelState.LOADING, {}
        else:
            note_model(model.known_name, model.version)
            (state,) = self.registry.serving_states([model])
            reason = _reason(model)
        is_ready = state is ModelState.READY
        body = ModelReadiness(
            qualified_name=str(self.kwargs["qualified_name"]),
            ready=is_ready,
            state=state,
            **reason,
        )
        if self.is_versioned:
            body.version = self.kwargs["version"]
        return json_response(body, 200 if is_ready else 503)


class ModelMetadataView(HostedModelView):
    """Describes one model."""

    def operation(self) -> Operation:
        """Describe the metadata."""
        return Operation(
            id=f"get_model_metadata{self.end_of_id}",
            tag="models",
            summary=f"Describe a model{self.end_of_summary}",
            description="What the model says of itself, and the schemas of its input and output.",
            response=own_body(ModelMetadata),
            errors=(404, 500, 503),
            parameters=self.parameters,
        )

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Describe a model, with decorators applied."""
        model = self.known_model()
        input_schema, output_schema = model.schemas
        metadata = ModelMetadata(
            **model.details._asdict(),
            **_among_versions(self.registry, model),
            input_schema=json_schema(input_schema, "validation"),
            output_schema=json_schema(output_schema, "serialization"),
        )
        return json_response(metadata)


def visible_models(
    registry: ModelRegistry, request: Request, models: Iterable[HostedModel]
) -> list[HostedModel]:
    """Return those of some models whose metadata the project's permissions let a request read."""
    view = ModelMetadataView(registry=registry)
    view.setup(request._request)
    permissions = cast("list[BasePermission]", view.get_permissions())
    return [model for model in models if view.shows(model, request, permissions)]


class StatusView(ModelsAPIView):
    """Base of the views that orchestrators ask: open to everyone, never waiting for a model."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()
    is_routine = True


class HealthView(StatusView):
    """Says whether the service works."""

    def operation(self) -> Operation:
        """Describe the health check."""
        return Operation(
            id="get_health",
            tag="status",
            summary="Check health",
            description="Healthy unless a model that is required failed to load, or a prediction "
            "never ends.",
            response=own_body(HealthStatusResponse),
            other_responses={
                503: "A model that is required failed to load, or a prediction never ends."
            },
        )

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Say whether a model failed to load, or hangs."""
        if not self.registry.is_healthy:
            return json_response(HealthStatusResponse(health_status=HealthStatus.NOT_HEALTHY), 503)
        return json_response(HealthStatusResponse(health_status=HealthStatus.HEALTHY))


class ReadinessView(StatusView):
    """Says whether the service should get traffic."""

    def operation(self) -> Operation:
        """Describe the readiness check."""
        return Operation(
            id="get_readiness",
            tag="status",
            summary="Check readiness",
            description="Ready once every model is loaded, unless one says that it is not healthy. "
            "A model that is not required may be unhealthy, or have failed.",
            response=own_body(ReadinessStatusResponse),
            other_responses={
                503: "A model is not loaded yet, failed to load, is not healthy, or never ends a "
                "prediction."
            },
        )

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Say whether every model is loaded and healthy, but for those that are not required."""
        is_ready = self.registry.is_ready
        found = ReadinessStatus.ACCEPTING_TRAFFIC if is_ready else ReadinessStatus.REFUSING_TRAFFIC
        body = ReadinessStatusResponse(readiness_status=found)
        unhealthy = self.registry.unhealthy_models()
        if visible := visible_models(self.registry, request, unhealthy):
            body.unhealthy_models = [model.path_name for model in visible]
        return json_response(body, 200 if is_ready else 503)


class StartupView(StatusView):
    """Says whether the service has started."""

    def operation(self) -> Operation:
        """Describe the startup check."""
        return Operation(
            id="get_startup",
            tag="status",
            summary="Check startup",
            description="Started once loading has ended, well or not.",
            response=own_body(StartupStatusResponse),
            other_responses={503: "Models are still being loaded."},
        )

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Say whether loading has ended."""
        if self.registry.has_started:
            return json_response(StartupStatusResponse(startup_status=StartupStatus.STARTED))
        return json_response(StartupStatusResponse(startup_status=StartupStatus.NOT_STARTED), 503)


class WritesMetrics(Protocol):
    """What knows the metrics of the service."""

    def text(self) -> bytes:
        """Return them in the format of Prometheus."""


class MetricsView(ModelsAPIView):
    """Gives the metrics to Prometheus; who may see them is given to as_view."""

    throttle_classes = ()
    is_routine = True
    schema = None  # type: ignore[assignment] # keeps it out of the document
    metrics: WritesMetrics = None  # type: ignore[assignment] # always given to as_view

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Give the metrics of all worker processes."""
        return HttpResponse(self.metrics.text(), content_type=METRICS_CONTENT_TYPE)

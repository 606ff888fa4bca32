"""The API's views: thin, each takes a request to the registry or a predictor and back."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from pydantic import BaseModel
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from models_api.api.bodies import (
    HealthStatus,
    HealthStatusResponse,
    ModelDetailsCollection,
    ModelMetadata,
    ReadinessStatus,
    ReadinessStatusResponse,
    StartupStatus,
    StartupStatusResponse,
)
from models_api.api.errors import MethodNotAllowed, exception_handler
from models_api.api.openapi import ModelsAPISchema, Operation, batch_uses, own_body, prediction_uses
from models_api.api.request_body import read_json_body
from models_api.exceptions import ModelNotFound
from models_api.hosting.registry import HostedModel, ModelRegistry
from models_api.prediction.request_context import note_model
from models_api.schemas.json_schema import json_schema

# As prometheus_client has it, which is imported only where there are metrics.
METRICS_CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"


def json_response(body: BaseModel, status: int = 200) -> HttpResponse:
    """Answer with one of the service's own bodies."""
    return HttpResponse(body.model_dump_json(), status=status, content_type="application/json")


class UnreadBody(BaseParser):
    """Leaves the body to the view.

    DRF parses it all the same: whenever the host's session authentication looks for a CSRF token.
    """

    media_type = "*/*"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        """Find no form data."""
        return {}


class OneFormat(BaseContentNegotiation):
    """Answers JSON whatever the client says that it accepts."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """Let the view read the body itself."""
        return UnreadBody()

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        """Take the only renderer."""
        return renderers[0], renderers[0].media_type


class ModelsAPIView(APIView):
    """Base of the views: the project's policies apply, errors have this app's form.

    A request to any of them begins to load the models, where the project's WSGI module did not.
    Arguments of the prefix under which the project includes them are its own affair.
    """

    registry: ModelRegistry = None  # type: ignore[assignment] # always given to as_view
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = OneFormat
    versioning_class = None
    schema = ModelsAPISchema()
    is_probe = False
    """Whether it is orchestrators who ask, every few seconds: the access log is spared of that."""
    respond_to_error = staticmethod(exception_handler)
    """Makes the response of an exception, in the way of DRF's EXCEPTION_HANDLER."""

    @property
    def default_response_headers(self) -> dict[str, str]:
        """Add no headers to every response."""
        return {}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """See to it that models are being loaded, and check the policies."""
        self.registry.start_loading()
        super().initial(request, *args, **kwargs)

    def get_exception_handler(self) -> Any:
        """Answer errors in this app's form, whatever the project does elsewhere."""
        return self.respond_to_error

    def http_method_not_allowed(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer 405 with the methods that are allowed."""
        raise MethodNotAllowed(request.method or "", self.allowed_methods)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer with the methods that are allowed, and no body."""
        response = HttpResponse(status=204, headers={"Allow": ", ".join(self.allowed_methods)})
        del response.headers["Content-Type"]  # of what is not there
        return response


class PredictionView(ModelsAPIView):
    """Predicts with one model, for one row or for many."""

    hosted_model: HostedModel = None  # type: ignore[assignment] # always given to as_view
    predictor: Callable[[bytes], bytes] = None  # type: ignore[assignment] # likewise
    is_batch = False
    """Whether a request has many rows."""

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """Make the view of one hosted model; without policies, it skips what applies them."""
        view = super().as_view(**initkwargs)
        if cls.authentication_classes or cls.throttle_classes or cls._restricts():
            return view
        predictor, registry = initkwargs["predictor"], initkwargs["registry"]
        hosted_model = initkwargs["hosted_model"]

        @wraps(view)
        def predict(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method != "POST":
                response: HttpResponse = view(request, *args, **kwargs)
                return response
            note_model(hosted_model.known_name, hosted_model.version)
            try:
                return cls.answer(predictor, request)
            except Exception as error:  # noqa: BLE001 (the handler answers them all)
                registry.start_loading()
                return cls.respond_to_error(error, {"request": request})

        return predict

    def operation(self) -> Operation:
        """Describe the prediction in the model's own words."""
        details = self.hosted_model.details
        name, title = details.qualified_name, details.display_name
        is_batch = self.is_batch
        uses = batch_uses if is_batch else prediction_uses
        request, response = uses(self.hosted_model)
        return Operation(
            id=f"predict_batch_{name}" if is_batch else f"predict_{_set_off(name)}",
            tag=name,
            summary=f"Predict a batch with {title}" if is_batch else f"Predict with {title}",
            description=details.description,
            request=request,
            response=response,
            errors=(400, 411, 413, 415, 500, 503, 504),
        )

    def post(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Predict for what is in the body."""
        note_model(self.hosted_model.known_name, self.hosted_model.version)
        return self.answer(self.predictor, request._request)

    @staticmethod
    def answer(predictor: Any, request: HttpRequest) -> HttpResponse:
        """Predict for what is in the body of a request."""
        return HttpResponse(predictor(read_json_body(request)), content_type="application/json")

    @classmethod
    def _restricts(cls) -> bool:
        return any(permission is not AllowAny for permission in cls.permission_classes)


def _set_off(name: str) -> str:
    """Put an underscore before a name with which `predict_` would be the batch of another model."""
    return f"_{name}" if name.lstrip("_").startswith("batch_") else name


class UnknownModelView(ModelsAPIView):
    """Answers for models without a route of their own.

    They do not exist, take no predictions, or tell their name only once they are loaded.
    """

    schema = None  # type: ignore[assignment] # keeps it out of the document
    view_of: Callable[[HostedModel], Any] = None  # type: ignore[assignment] # given to as_view
    """Makes the view that a model would have here if it had told its name in time."""

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Leave the request to the model's own view, if there is such a model by now."""
        self.registry.start_loading()
        for model in self.registry.endpoints():
            if model.qualified_name == kwargs["qualified_name"]:
                kwargs.pop("qualified_name")
                return self.view_of(model)(request, *args, **kwargs)
        return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Check the policies, then say what is missing, whatever the method."""
        super().initial(request, *args, **kwargs)
        name = kwargs["qualified_name"]
        if name in self.registry:
            model = self.registry[name]
            if model.configuration.create_endpoint:
                raise model.not_ready()
            raise ModelNotFound(name, f'The model "{name}" has no prediction endpoint.')
        raise ModelNotFound(name, f'There is no model "{name}"; GET api/models lists them.')


class ModelsView(ModelsAPIView):
    """Lists the models."""

    def operation(self) -> Operation:
        """Describe the list."""
        return Operation(
            id="list_models",
            tag="models",
            summary="List the models",
            description="All models of the service, also those without a prediction endpoint.",
            response=own_body(ModelDetailsCollection),
            errors=(500, 503),
        )

    def get(self, request: Request, **kwargs: Any) -> HttpResponse:
        """List every configured model, with decorators applied."""
        return json_response(ModelDetailsCollection(models=self.registry.details()))


class ModelMetadataView(ModelsAPIView):
    """Describes one model."""

    def operation(self) -> Operation:
        """Describe the metadata."""
        return Operation(
            id="get_model_metadata",
            tag="models",
            summary="Describe a model",
            description="What the model says of itself, and the schemas of its input and output.",
            response=own_body(ModelMetadata),
            errors=(404, 500, 503),
            parameters={"qualified_name": "Qualified name of the model."},
        )

    def get(self, request: Request, qualified_name: str, **kwargs: Any) -> HttpResponse:
        """Describe a model, with decorators applied."""
        model = self.registry[qualified_name]
        input_schema, output_schema = model.schemas
        metadata = ModelMetadata(
            **model.details.model_dump(),
            input_schema=json_schema(input_schema, "validation"),
            output_schema=json_schema(output_schema, "serialization"),
        )
        return json_response(metadata)


class StatusView(ModelsAPIView):
    """Base of the views that orchestrators ask: open to everyone, never waiting for a model."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()
    is_probe = True


class HealthView(StatusView):
    """Says whether the service works."""

    def operation(self) -> Operation:
        """Describe the health check."""
        return Operation(
            id="get_health",
            tag="status",
            summary="Check health",
            description="Healthy unless a model failed to load, or a prediction never ends.",
            response=own_body(HealthStatusResponse),
            other_responses={503: "A model failed to load, or a prediction never ends."},
        )

    def get(self, request: Request, **kwargs: Any) -> HttpResponse:
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
            description="Ready once every model is loaded.",
            response=own_body(ReadinessStatusResponse),
            other_responses={
                503: "A model is not loaded yet, failed to load, or never ends a prediction."
            },
        )

    def get(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Say whether every model is loaded."""
        if self.registry.is_ready:
            accepting = ReadinessStatus.ACCEPTING_TRAFFIC
            return json_response(ReadinessStatusResponse(readiness_status=accepting))
        refusing = ReadinessStatus.REFUSING_TRAFFIC
        return json_response(ReadinessStatusResponse(readiness_status=refusing), 503)


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

    def get(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Say whether loading has ended."""
        if self.registry.has_started:
            return json_response(StartupStatusResponse(startup_status=StartupStatus.STARTED))
        return json_response(StartupStatusResponse(startup_status=StartupStatus.NOT_STARTED), 503)


class MetricsView(StatusView):
    """Gives the metrics to Prometheus."""

    schema = None  # type: ignore[assignment] # keeps it out of the document
    write: Callable[[], bytes] = None  # type: ignore[assignment] # always given to as_view

    def get(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Give the metrics of all worker processes."""
        return HttpResponse(self.write(), content_type=METRICS_CONTENT_TYPE)

"""The protocol's views: thin, as those of the JSON API, and under the same policies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from models_api.api.bodies import (
    OpenInferenceConfig,
    OpenInferenceDuration,
    OpenInferenceDurations,
    OpenInferenceError,
    OpenInferenceLive,
    OpenInferenceModel,
    OpenInferenceModelReady,
    OpenInferenceModelStatistics,
    OpenInferenceReady,
    OpenInferenceResponse,
    OpenInferenceServer,
    OpenInferenceStatistics,
)
from models_api.api.openapi import (
    OPEN_INFERENCE_REQUEST,
    OPEN_INFERENCE_TAG,
    Operation,
    own_body,
)
from models_api.api.views import (
    HostedModelView,
    ModelsAPIView,
    PredictionView,
    StatusView,
    json_response,
    prediction_errors,
    visible_models,
)
from models_api.conf import maximum_batch_rows
from models_api.exceptions import ModelNotFound, ModelNotReady
from models_api.hosting.hosted_model import HostedModel, ModelState
from models_api.open_inference.columns import columns
from models_api.open_inference.descriptions import describe_config, describe_model, list_tensors
from models_api.open_inference.endpoint import InferEndpoint
from models_api.open_inference.errors import respond_to_error
from models_api.open_inference.statistics import Counts, InferenceStatistics
from models_api.prediction.request_context import note_model


class OpenInferenceView(ModelsAPIView):
    """Base of the protocol's views: errors have its form."""

    respond_to_error = staticmethod(respond_to_error)


class OfOneModelView(OpenInferenceView, HostedModelView):
    """Base of the protocol's views of one model."""

    def visible_among(self, models: Sequence[HostedModel]) -> Sequence[HostedModel]:
        """Return those of some models that whoever asks may see."""
        return visible_models(self.registry, self.request, models) if len(models) > 1 else models

    def model_operation(self, id_: str, summary: str, **given: Any) -> Operation:
        """Describe an operation on one model, or on one version of it."""
        return Operation(
            id=f"open_inference_{id_}{self.end_of_id}",
            tag=OPEN_INFERENCE_TAG,
            summary=f"{summary}{self.end_of_summary}",
            error=OpenInferenceError,
            parameters=self.parameters,
            **given,
        )


class ServerView(OpenInferenceView):
    """Says what the server is."""

    title = ""
    version = ""

    def operation(self) -> Operation:
        """Describe the server's metadata."""
        return Operation(
            id="open_inference_server",
            tag=OPEN_INFERENCE_TAG,
            summary="Describe the server",
            description="Name and version of the service, and the extensions that it knows.",
            response=own_body(OpenInferenceServer),
            errors=(500,),
            error=OpenInferenceError,
        )

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Say what the server is."""
        extensions = [
            "binary_tensor_data",
            "model_configuration",
            "model_repository",
            "statistics",
        ]
        server = OpenInferenceServer(name=self.title, version=self.version, extensions=extensions)
        return json_response(server)


class LiveView(OpenInferenceView, StatusView):
    """Says that the server answers."""

    def operation(self) -> Operation:
        """Describe the liveness check."""
        return Operation(
            id="open_inference_live",
            tag=OPEN_INFERENCE_TAG,
            summary="Check liveness",
            description="Live unless a prediction never ends.",
            response=own_body(OpenInferenceLive),
            other_responses={503: "A prediction never ends."},
            error=OpenInferenceError,
        )

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Say that the server answers, whatever its models do, unless one of them hangs."""
        is_live = not self.registry.is_hung
        return json_response(OpenInferenceLive(live=is_live), 200 if is_live else 503)


class ReadyView(OpenInferenceView, StatusView):
    """Says whether the server should get requests."""

    def operation(self) -> Operation:
        """Describe the readiness check."""
        return Operation(
            id="open_inference_ready",
            tag=OPEN_INFERENCE_TAG,
            summary="Check readiness",
            description="Ready once every model is loaded, unless one says that it is not healthy. "
            "A model that is not required may be unhealthy, or have failed.",
            response=own_body(OpenInferenceReady),
            other_responses={
                503: "A model is not loaded yet, failed to load, is not healthy, or never ends a "
                "prediction."
            },
            error=OpenInferenceError,
        )

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Say whether every model is loaded, but for those that are not required."""
        is_ready = self.registry.is_ready
        return json_response(
            OpenInferenceReady(live=not self.registry.is_hung, ready=is_ready),
            200 if is_ready else 503,
        )


class ModelReadyView(OfOneModelView):
    """Says whether a model can be asked.

    Under the project's policies: whoever may not see a model is not told that it is there.
    """

    is_routine = True

    def operation(self) -> Operation:
        """Describe the readiness check of a model."""
        return self.model_operation(
            "model_ready",
            "Check a model's readiness",
            description="Ready once the model is loaded, unless it says that it is not healthy.",
            response=own_body(OpenInferenceModelReady),
            other_responses={
                503: "The model is not loaded yet, failed to load, or is not healthy."
            },
            errors=(404,),
        )

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Say whether the model is loaded."""
        try:
            models = [self.known_model()]
            note_model(models[0].known_name, models[0].version)
        except ModelNotReady:  # nobody knows yet whether there is one
            models = []
        is_ready = self.registry.serving_states(models) == [ModelState.READY]
        body = OpenInferenceModelReady(name=str(self.kwargs["qualified_name"]), ready=is_ready)
        return json_response(body, 200 if is_ready else 503)


class ModelView(OfOneModelView):
    """Says which tensors a model takes and gives."""

    def operation(self) -> Operation:
        """Describe a model's metadata."""
        return self.model_operation(
            "model",
            "Describe a model's tensors",
            description="The tensors that the model takes and gives.",
            response=own_body(OpenInferenceModel),
            errors=(404, 500, 503),
        )

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Describe the model's tensors."""
        model = self.known_model()
        release = self.registry.release(model.qualified_name)
        versions = [each.details.version for each in self.visible_among(release.models)]
        return json_response(describe_model(model, maximum_batch_rows(), versions))


class ConfigView(OfOneModelView):
    """Describes a model as Triton's configurations do."""

    def operation(self) -> Operation:
        """Describe a model's configuration."""
        return self.model_operation(
            "config",
            "Describe a model as Triton does",
            description="The tensors that the model takes and gives, in the form of Triton's "
            "configuration of a model.",
            response=own_body(OpenInferenceConfig),
            errors=(404, 500, 503),
        )

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Describe the model's tensors."""
        model = self.known_model()
        return json_response(describe_config(model, maximum_batch_rows()))


class StatisticsView(OfOneModelView):
    """Says what has become of inference requests for one model."""

    statistics: InferenceStatistics = None  # type: ignore[assignment] # always given to as_view

    def operation(self) -> Operation:
        """Describe the statistics."""
        return self.model_operation(
            "model_statistics", "Count a model's requests", **_STATISTICS_OPERATION
        )

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Count the requests of the model: of all its versions, or of the one that is named."""
        models: Sequence[HostedModel] = [self.known_model()]
        if not self.is_versioned:
            models = self.visible_among(self.registry.release(models[0].qualified_name).models)
        return _counted(self.statistics, models)


class AllStatisticsView(OpenInferenceView):
    """Says what has become of inference requests for all models."""

    statistics: InferenceStatistics = None  # type: ignore[assignment] # always given to as_view

    def operation(self) -> Operation:
        """Describe the statistics."""
        return Operation(
            id="open_inference_statistics",
            tag=OPEN_INFERENCE_TAG,
            summary="Count all inference requests",
            error=OpenInferenceError,
            **_STATISTICS_OPERATION,
        )

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Count the requests of each model that the client may see."""
        return _counted(self.statistics, visible_models(self.registry, request, self.registry))


_STATISTICS_OPERATION: dict[str, Any] = {
    "description": "What has become of inference requests, in all worker processes.",
    "response": own_body(OpenInferenceStatistics),
    "errors": (404, 500, 503),
}


def _counted(statistics: InferenceStatistics, models: Iterable[HostedModel]) -> HttpResponse:
    totals = statistics.read()
    counted = [_model_statistics(model, statistics.counts(model, totals)) for model in models]
    return json_response(OpenInferenceStatistics(model_stats=counted))


def _model_statistics(model: HostedModel, counts: Counts) -> OpenInferenceModelStatistics:
    details, success, failure = model.details, counts.success, counts.failure
    return OpenInferenceModelStatistics(
        name=details.qualified_name,
        version=details.version,
        last_inference=counts.last_inference_milliseconds,
        inference_count=counts.rows,
        execution_count=success.requests,
        inference_stats=OpenInferenceDurations(
            success=OpenInferenceDuration(count=success.requests, ns=success.nanoseconds),
            fail=OpenInferenceDuration(count=failure.requests, ns=failure.nanoseconds),
        ),
    )


class InferView(OfOneModelView, PredictionView):
    """Predicts with one model for the rows of tensors."""

    statistics: InferenceStatistics = None  # type: ignore[assignment] # always given to as_view

    def endpoint(self, qualified_name: str, version: str | None) -> InferEndpoint:
        """Return what answers the requests for a model."""
        return InferEndpoint(self.registry, qualified_name, version, statistics=self.statistics)

    def operation(self) -> Operation:
        """Describe the inference in the model's own words, or for whichever model and version."""
        if self.qualified_name is None:
            return self._operation_of_any()
        model = self.described_model()
        details, schemas = model.details, model.schemas
        taken = list_tensors(columns(schemas.input, "validation"))
        given = list_tensors(columns(schemas.output, "serialization"))
        return Operation(
            id=f"infer_{details.qualified_name}{self.end_of_id}",
            tag=details.qualified_name,
            summary=f"Infer with {details.display_name}{self.end_of_summary}",
            description=f"{details.description}\n\nInputs: {taken}.\n\nOutputs: {given}.",
            request=OPEN_INFERENCE_REQUEST,
            response=own_body(OpenInferenceResponse),
            errors=prediction_errors(model),
            refusals=model.profile.refusals,
            error=OpenInferenceError,
            is_binary=True,
            tells_version=True,
        )

    def _operation_of_any(self) -> Operation:
        return self.model_operation(
            "infer",
            "Infer with a model",
            description="The same as `/v2/models/{qualified_name}/infer`, which says for each "
            "model which tensors it takes and gives.",
            request=OPEN_INFERENCE_REQUEST,
            response=own_body(OpenInferenceResponse),
            errors=(400, 404, 411, 413, 415, 500, 503, 504),
            is_binary=True,
            tells_version=True,
        )


class NothingView(OpenInferenceView):
    """Answers where the protocol has no route."""

    schema = None  # type: ignore[assignment] # keeps it out of the document

    def initial(self, request: Request, *args: Any, **kwargs: object) -> None:
        """Check the policies, then say that there is nothing, whatever the method."""
        super().initial(request, *args, **kwargs)
        raise ModelNotFound("", f"There is nothing at {request.path}.")

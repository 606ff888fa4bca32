"""The protocol's views of the repository: which models there are, and which of them are loaded."""

from __future__ import annotations

from collections.abc import Sequence

from django.http import HttpResponse
from pydantic_core import from_json
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from models_api.api.bodies import OpenInferenceError, OpenInferenceIndex, OpenInferenceIndexEntry
from models_api.api.openapi import OPEN_INFERENCE_TAG, Operation, own_body
from models_api.api.request_body import read_json_body
from models_api.api.views import RequestStream, json_response, visible_models
from models_api.exceptions import TensorError
from models_api.hosting.hosted_model import HostedModel, ModelState
from models_api.hosting.registry import ModelRegistry
from models_api.model_changes import ModelChanges
from models_api.open_inference.views import OfOneModelView, OpenInferenceView
from models_api.prediction.request_context import note_model


class RepositoryIndexView(OpenInferenceView):
    """Lists the models and how far their loading has come."""

    def operation(self) -> Operation:
        """Describe the list."""
        return Operation(
            id="open_inference_index",
            tag=OPEN_INFERENCE_TAG,
            summary="List the models",
            description="All models with their state. A body is not needed; `ready: true` in it "
            "asks for those only that are ready.",
            response=own_body(OpenInferenceIndex),
            errors=(400, 411, 413, 415, 500, 503),
            error=OpenInferenceError,
        )

    def post(self, request: Request, **kwargs: object) -> HttpResponse:
        """List the models."""
        only_ready = _wants_only_ready(_read(request))
        models = visible_models(self.registry, request, self.registry)
        entries = _index_entries(self.registry, models)
        listed = [entry for entry in entries if entry.state == "READY" or not only_ready]
        return json_response(OpenInferenceIndex(listed))


class RepositoryRefusalView(OpenInferenceView):
    """Answers clients that would load or unload a model where the configuration allows it not."""

    schema = None  # type: ignore[assignment] # keeps it out of the document

    def post(self, request: Request, **kwargs: object) -> HttpResponse:
        """Refuse to change what is loaded."""
        raise PermissionDenied(
            "Models cannot be loaded and unloaded by requests, unless the configuration file of "
            "the service has open_inference.allow_load_unload: true."
        )


class RepositoryChangeView(OfOneModelView):
    """Base of the views that load and unload a model, with all its versions, in all workers."""

    changes: ModelChanges = None  # type: ignore[assignment] # always given to as_view
    known_parameters: frozenset[str] = frozenset()
    """What the body may have in `parameters`; it has no effect."""

    def change(self, qualified_name: str) -> None:
        """Load or unload the model.

        Raises:
            ModelNotReady: that was not done; says why.
        """
        raise NotImplementedError

    def change_operation(self, id_: str, summary: str, description: str) -> Operation:
        """Describe the operation."""
        return self.model_operation(
            id_,
            summary,
            description=f"{description} Answered once all worker processes have done it, with the "
            "states of all versions of the model.",
            response=own_body(OpenInferenceIndex),
            errors=(400, 404, 411, 413, 415, 500, 503),
        )

    def post(self, request: Request, **kwargs: object) -> HttpResponse:
        """Change the model, and say how its versions are then."""
        model = self.known_model()
        note_model(model.known_name, model.version)
        if model.known_name is None:  # it failed before it could say its name
            raise model.not_ready()
        versions = self.registry.release(model.known_name).models
        if len(self.visible_among(versions)) < len(versions):
            raise PermissionDenied("You may not use all versions of this model.")
        self._check_parameters(_read(request))
        self.change(model.known_name)
        changed = self.registry.release(model.known_name).models
        return json_response(OpenInferenceIndex(_index_entries(self.registry, changed)))

    def _check_parameters(self, body: bytes) -> None:
        options = _parsed(body)
        parameters = options.get("parameters", {}) if isinstance(options, dict) else None
        if not isinstance(parameters, dict):
            raise TensorError('The body should be an object, and so should its "parameters".')
        for name in parameters.keys() - self.known_parameters:
            raise TensorError(
                f'The parameter "{name}" cannot be used: the configuration file of the service '
                "says what a model is made from."
            )


class LoadView(RepositoryChangeView):
    """Loads a model."""

    def operation(self) -> Operation:
        """Describe the loading."""
        return self.change_operation(
            "load",
            "Load a model",
            "Loads what was unloaded, or failed to load, and anew what has changed on the disk. A "
            "body is not needed. If it cannot be loaded, what serves goes on.",
        )

    def change(self, qualified_name: str) -> None:
        """Load the model."""
        self.changes.load(qualified_name)


class UnloadView(RepositoryChangeView):
    """Unloads a model."""

    known_parameters = frozenset(["unload_dependents"])

    def operation(self) -> Operation:
        """Describe the unloading."""
        return self.change_operation(
            "unload",
            "Unload a model",
            "The model gets no more requests until it is loaded again, or the server is started "
            "anew. Those that it has end first. A body is not needed.",
        )

    def change(self, qualified_name: str) -> None:
        """Unload the model."""
        self.changes.unload(qualified_name)


def _read(request: Request) -> bytes:
    return read_json_body(request.META, RequestStream(request._request))


def _parsed(body: bytes) -> object:
    try:
        return from_json(body) if body else {}
    except ValueError as error:
        raise TensorError(f"Invalid JSON: {error}") from None


def _wants_only_ready(body: bytes) -> bool:
    options = _parsed(body)
    ready = options.get("ready", False) if isinstance(options, dict) else None
    if not isinstance(ready, bool):
        raise TensorError('The body should be an object; its key "ready" is true or false.')
    return ready


def _index_entries(
    registry: ModelRegistry, models: Sequence[HostedModel]
) -> list[OpenInferenceIndexEntry]:
    return list(map(_index_entry, models, registry.serving_states(models)))


def _index_entry(model: HostedModel, state: ModelState) -> OpenInferenceIndexEntry:
    details, reason = model.details, ""
    if state is ModelState.UNHEALTHY:
        reason = f"The model {model.label} is not healthy."
    elif state is ModelState.UNLOADED:
        reason = "unloaded"  # as Triton has it
    elif state is not ModelState.READY:
        reason = str(model.not_ready())
    return OpenInferenceIndexEntry(
        name=details.qualified_name, version=details.version, state=_STATES[state], reason=reason
    )


_STATES = {
    ModelState.READY: "READY",
    ModelState.LOADING: "LOADING",
    ModelState.UNHEALTHY: "UNAVAILABLE",
    ModelState.FAILED: "UNAVAILABLE",
    ModelState.UNLOADED: "UNAVAILABLE",
}

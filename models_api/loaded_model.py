"""The models as a site's own code uses them: `models_api.get_model`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from ml_base import MLModel
from pydantic import BaseModel

from models_api.exceptions import ModelLoadFailed, ModelNotFound
from models_api.hosting.hosted_model import HostedModel, LoadState
from models_api.hosting.registry import ModelRegistry
from models_api.prediction.description import ModelNames
from models_api.prediction.request_context import nested_context


class LoadedModel:
    """One model that is loaded, with its decorators. Safe to use from many threads.

    Its predictions are those of the API: validated on both sides, within the model's bounds and its
    `timeout_seconds`, batched with those of others, measured, and told to `prediction_made`.
    """

    def __init__(self, hosted: HostedModel) -> None:
        self._hosted = hosted

    def __repr__(self) -> str:
        return f"<LoadedModel {self.names.qualified_name} {self.names.version}>"

    @property
    def names(self) -> ModelNames:
        """Its `display_name`, `qualified_name`, `description` and `version`."""
        return self._hosted.details

    @property
    def input_schema(self) -> type[BaseModel]:
        """What it takes."""
        return self._hosted.schemas.input

    @property
    def output_schema(self) -> type[BaseModel]:
        """What it gives."""
        return self._hosted.schemas.output

    @property
    def instance(self) -> MLModel:
        """The model itself within its decorators, without any of what the service adds.

        Raises:
            TypeError: it computes in a process of its own.
        """
        return self._hosted.ready_model()

    # Whatever the output schema is: nobody but the caller knows which.
    def predict(self, data: object, *, user: object = None) -> Any:
        """Return the prediction for one row, an instance of the output schema.

        Args:
            data: A mapping, an instance of the input schema, or JSON as text or bytes.
            user: Whom it is for; what `current_request().principal` and `prediction_made` tell.

        Raises:
            InvalidInput: the data does not fit the input schema.
            SchemaRejected, Refusal: the model itself refused it.
            Overloaded, DeadlineExceeded: too much is asked of the model, or it is too slow.
            PredictionFailed: the model raised, which is the `__cause__`, or returned what does not
                fit.
        """
        (prediction,) = self._predict([data], user)
        return prediction

    def predict_batch(self, rows: Iterable[object], *, user: object = None) -> list[Any]:
        """Return the predictions for many rows, in one call of the model if it can do that.

        Raises:
            InvalidInput, SchemaRejected, Refusal, Overloaded, DeadlineExceeded, PredictionFailed:
                as for one row; the message says which it was, and then there are none at all.
        """
        return self._predict([*rows], user, "rows[{}]: ")

    def _predict(self, rows: list[object], user: object, where: str = "") -> list[BaseModel]:
        with nested_context(user) as context:
            names = self.names
            context.model, context.version = names.qualified_name, names.version
            return self._hosted.backend.predict_given(rows, where)


def load_model(
    registry: ModelRegistry, qualified_name: str, version: str | None = None
) -> LoadedModel:
    """Return a model, loaded on this thread unless it was loaded before.

    Raises:
        ModelNotFound: there is none of that name or version.
        ModelLoadFailed: it failed to load.
    """
    model = find_model(registry, qualified_name, version)
    model.load()  # of several threads the others wait for the first
    if model.state is LoadState.FAILED:
        message = (
            f"The model {model.label} failed to load: {model.failure}. The log has the traceback; "
            "mend it, and start this process anew."
        )
        raise ModelLoadFailed(model.label, message, retry_after_seconds=0)
    return LoadedModel(registry.version(qualified_name, version))


def find_model(
    registry: ModelRegistry, qualified_name: str, version: str | None = None
) -> HostedModel:
    """Return the model of that name; loads models that only then tell theirs.

    Raises:
        ModelNotFound: there is none, or none of that version or alias.
    """
    for _ in range(2):
        if any(model.known_name == qualified_name for model in registry):
            release = registry.release(qualified_name)
            if version is None or not (release.has_versions or release.model.version):
                return release.model  # which may tell its version only once it is loaded
            return release.named(version)
        for model in registry:
            if model.known_name is None:  # only its instance tells it
                model.load()
    names = sorted(filter(None, [model.known_name for model in registry]))
    near = difflib.get_close_matches(qualified_name, names, n=1)
    known = f'Did you mean "{near[0]}"?' if near else f"There are: {', '.join(names) or 'none'}."
    raise ModelNotFound(qualified_name, f'There is no model "{qualified_name}". {known}')

"""Requests for predictions, from WSGI's environ to an answer, whether or not Django is between.

The views call `PredictionEndpoint.answer`, and so does a WSGI application where no policy applies.
"""

from __future__ import annotations

from functools import cache

from pydantic_core import SchemaValidator, core_schema

from models_api.api.answers import Answer, Error, describe_error, json_answer
from models_api.api.request_body import (
    Environ,
    MutableEnviron,
    Stream,
    discard_body,
    peek_body,
    read_json_body,
)
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.registry import ModelRegistry
from models_api.prediction.request_context import note_headers, note_model, note_received


class PredictionEndpoint:
    """Answers requests for single predictions with one model. Safe to use from many threads."""

    unknown_hint = "; GET api/models lists them."

    def __init__(
        self, registry: ModelRegistry, qualified_name: str, version: str | None = None
    ) -> None:
        self.registry = registry
        self.qualified_name = qualified_name
        self.version = version

    def answer(self, environ: Environ, stream: Stream) -> Answer:
        """Return the answer to a request; errors are answers too.

        Args:
            environ: The request.
            stream: Its body, unless that is chunked and so has to be read from the environ.
        """
        try:
            model = self.resolve()
            note_model(model.known_name, model.version)
            if self.registry.request_headers:
                note_headers(headers_of(environ, self.registry.request_headers))
            return self.predict(model, environ, stream)
        except BaseException as error:  # noqa: BLE001 (whatever a model raises is an answer)
            self.registry.start_loading()
            discard_body(environ, stream)
            return self.to_answer(describe_error(error, environ))

    def resolve(self) -> HostedModel:
        """Return the model that takes the request.

        Raises:
            ModelNotFound: there is none.
            ModelNotReady: nobody knows yet.
        """
        return self.registry.resolve(self.qualified_name, self.version, hint=self.unknown_hint)

    def predict(self, model: HostedModel, environ: Environ, stream: Stream) -> Answer:
        """Return the model's prediction for what is in the body of the request."""
        body = self.read(environ, stream)
        return json_answer(model.backend.predict(body))

    def read(self, environ: Environ, stream: Stream) -> bytes:
        """Return the body of the request.

        Raises:
            ModelsAPIError: it is unusable.
        """
        body = read_json_body(environ, stream)
        note_received()
        return body

    def count_rows(self, model: HostedModel, environ: MutableEnviron, stream: Stream) -> int:
        """Return for how many rows a request asks, which has yet to be answered."""
        return 1

    def to_answer(self, error: Error) -> Answer:
        """Return the answer that clients of this endpoint get for an error."""
        return error.to_answer()


def headers_of(environ: Environ, names: tuple[str, ...]) -> dict[str, str]:
    """Return those of some headers that a request has, by their names."""
    return {name: str(environ[key]) for key, name in _environ_keys(names) if key in environ}


@cache
def _environ_keys(names: tuple[str, ...]) -> list[tuple[str, str]]:
    keys = [name.upper().replace("-", "_") for name in names]
    plain = ("CONTENT_TYPE", "CONTENT_LENGTH")
    return [
        (key if key in plain else f"HTTP_{key}", name)
        for key, name in zip(keys, names, strict=True)
    ]


class BatchEndpoint(PredictionEndpoint):
    """Answers requests for the predictions of many rows."""

    def predict(self, model: HostedModel, environ: Environ, stream: Stream) -> Answer:
        """Return the model's predictions for the rows in the body of the request."""
        body = self.read(environ, stream)
        return json_answer(model.backend.predict_batch(body))

    def count_rows(self, model: HostedModel, environ: MutableEnviron, stream: Stream) -> int:
        """Return the number of inputs; 1 where the body does not have them.

        Raises:
            ModelsAPIError: the body cannot be read, or holds more than the model takes.
        """
        body = peek_body(environ, stream)
        limit = model.backend.batch_limit
        if len(body) > limit.harmless_bytes:
            limit.check(body)
        try:
            return len(_INPUTS.validate_json(body)["inputs"]) or 1
        except ValueError:
            return 1


# Of the rows nothing is made.
_ROW = core_schema.union_schema(
    [core_schema.typed_dict_schema({}), core_schema.any_schema()], mode="left_to_right"
)
_INPUTS = SchemaValidator(
    core_schema.typed_dict_schema(
        {"inputs": core_schema.typed_dict_field(core_schema.list_schema(_ROW))}
    )
)

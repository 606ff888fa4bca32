"""Inference requests, from WSGI's environ to an answer, whether or not Django is between."""

from __future__ import annotations

import re

from models_api.api.answers import Answer, Error, json_answer
from models_api.api.predictions import PredictionEndpoint
from models_api.api.request_body import (
    Environ,
    MutableEnviron,
    Stream,
    peek_body,
    read_tensor_body,
)
from models_api.exceptions import TensorError
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.registry import ModelRegistry
from models_api.open_inference.errors import to_answer
from models_api.open_inference.inference import Payload, infer, told_rows
from models_api.open_inference.statistics import InferenceStatistics
from models_api.prediction.request_context import note_received

_HEADER_LENGTH = "Inference-Header-Content-Length"
_DIGITS = re.compile(r"[0-9]{1,18}")


class InferEndpoint(PredictionEndpoint):
    """Answers inference requests for one model. Safe to use from many threads."""

    unknown_hint = "."

    def __init__(
        self,
        registry: ModelRegistry,
        qualified_name: str,
        version: str | None = None,
        *,
        statistics: InferenceStatistics,
    ) -> None:
        super().__init__(registry, qualified_name, version)
        self._statistics = statistics

    def predict(self, model: HostedModel, environ: Environ, stream: Stream) -> Answer:
        """Return the model's predictions for the rows in the body of the request."""
        header_length = _header_length(environ)
        payload = Payload(read_tensor_body(environ, stream), header_length)
        note_received()
        with self._statistics.inference(model) as inference:
            answer, inference.rows = infer(model, payload)
        if answer.header_length is None:
            return json_answer(answer.body)
        headers = {
            "Content-Type": "application/octet-stream",
            _HEADER_LENGTH: str(answer.header_length),
        }
        return Answer(200, headers, answer.body)

    def count_rows(self, model: HostedModel, environ: MutableEnviron, stream: Stream) -> int:
        """Return the number of rows, as the first tensor's shape tells it; 1 where none does.

        Raises:
            ModelsAPIError: the body cannot be read, or holds more than the model takes.
        """
        payload = Payload(peek_body(environ, stream), _header_length(environ))
        return told_rows(payload, model.backend.maximum_values)

    def to_answer(self, error: Error) -> Answer:
        """Return an error with the protocol's body."""
        return to_answer(error)


def _header_length(environ: Environ) -> int | None:
    if "HTTP_INFERENCE_HEADER_CONTENT_LENGTH" not in environ:
        return None
    text = str(environ["HTTP_INFERENCE_HEADER_CONTENT_LENGTH"])
    if not _DIGITS.fullmatch(text):
        raise TensorError(f"{_HEADER_LENGTH} should be a whole number.")
    return int(text)

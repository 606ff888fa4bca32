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
from models_api.api.split_rows import Part, predict_parts, versions_of
from models_api.exceptions import TensorError
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.registry import ModelRegistry
from models_api.hosting.traffic import Traffic
from models_api.open_inference.errors import to_answer
from models_api.open_inference.inference import Payload, infer, told_rows
from models_api.open_inference.split_tensors import split_tensors
from models_api.open_inference.statistics import InferenceStatistics
from models_api.open_inference.tensors import read_infer_response
from models_api.prediction.request_context import note_received, noted_version

_HEADER_LENGTH = "Inference-Header-Content-Length"
_DIGITS = re.compile(r"[0-9]{1,18}")


class InferEndpoint(PredictionEndpoint):
    """Answers inference requests for one model. Safe to use from many threads."""

    unknown_hint = "."
    copied_keys = ("HTTP_INFERENCE_HEADER_CONTENT_LENGTH",)

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

    def read(self, environ: Environ, stream: Stream) -> bytes:
        """Return the body of the request, which may have binary data."""
        body = read_tensor_body(environ, stream)
        note_received()
        return body

    def predict(self, model: HostedModel, environ: Environ, body: bytes) -> Answer:
        """Return the model's predictions for the rows in the body of the request."""
        payload = Payload(body, _header_length(environ))
        with self._statistics.inference(model) as inference:
            answer, inference.rows = infer(model, payload)
        return _answer(answer)

    def predict_split(self, traffic: Traffic, environ: Environ, body: bytes) -> Answer:
        """Return the predictions of the versions that the rows fall to, in the rows' order."""
        key = traffic.key.of_header(environ)
        payload = Payload(body, _header_length(environ))
        rows = None if key is not None else split_tensors(traffic, payload)
        if rows is None or len(rows.parts) == 1:
            model = traffic.choose(key) if rows is None else rows.parts[0].model
            return self.predict_observed(traffic, model, environ, body)

        def predict(part: Part) -> Payload:
            asked = rows.payload_of(part)
            headers = {self.copied_keys[0]: str(asked.header_length)}
            return _payload(self.predict_observed(traffic, part.model, headers, asked.body))

        def validate_all(model: HostedModel) -> None:
            self.predict(model, environ, body)

        answers = [*predict_parts(traffic, rows.parts, predict, validate_all)]
        try:
            answer = _answer(rows.together(answers, noted_version() or ""))
        except ValueError:
            return self.predict_observed(traffic, rows.parts[0].model, environ, body)
        return answer.of_versions(versions_of(traffic, rows.parts))

    def comparable(self, answer: Answer) -> object:
        """Return the values of all tensors by their names."""
        response = read_infer_response(*_payload(answer))
        return {
            tensor.name: (tensor.datatype, tensor.shape, tensor.data.ravel().tolist())
            for tensor in response.outputs
        }

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


def _answer(payload: Payload) -> Answer:
    if payload.header_length is None:
        return json_answer(payload.body)
    headers = {
        "Content-Type": "application/octet-stream",
        _HEADER_LENGTH: str(payload.header_length),
    }
    return Answer(200, headers, payload.body)


def _payload(answer: Answer) -> Payload:
    length = answer.headers.get(_HEADER_LENGTH)
    return Payload(answer.body, None if length is None else int(length))


def _header_length(environ: Environ) -> int | None:
    if "HTTP_INFERENCE_HEADER_CONTENT_LENGTH" not in environ:
        return None
    text = str(environ["HTTP_INFERENCE_HEADER_CONTENT_LENGTH"])
    if not _DIGITS.fullmatch(text):
        raise TensorError(f"{_HEADER_LENGTH} should be a whole number.")
    return int(text)

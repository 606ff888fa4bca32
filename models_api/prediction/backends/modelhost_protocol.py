"""What another instance of this service says, and what is said to it: JSON in, JSON out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from models_api.error_table import ERROR_KINDS
from models_api.exceptions import (
    REFUSALS,
    BackendFailed,
    DeadlineExceeded,
    InputProblem,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    ModelsAPIError,
    Overloaded,
    PayloadTooLarge,
    PredictionFailed,
    Refusal,
    SchemaRejected,
)
from models_api.prediction.backend import Inferred
from models_api.prediction.backends.http_pool import NoAnswer, Reply
from models_api.prediction.backends.remote_service import RemoteService
from models_api.prediction.description import ModelNames, ModelSchemas, RemoteDescription
from models_api.schemas.documented import documented_schema

_JSON = {"Content-Type": "application/json"}
_ROW = re.compile(r"(?:inputs\[\d+\]|Row \d+): ")
_SECONDS = re.compile(r"more than ([0-9.e+]+) s\b")
_DEFAULT_RETRY_SECONDS = 1


class _Metadata(BaseModel):
    """What such a service tells of a model."""

    display_name: str
    qualified_name: str
    description: str
    version: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]


class ErrorBody(NamedTuple):
    """The body of its errors."""

    type: str
    messages: Sequence[str]
    details: Sequence[InputProblem]
    """Problems of a request; none where it tells none."""

    @classmethod
    def parse(cls, body: bytes) -> ErrorBody:
        """Read the body of an answer.

        Raises:
            ValueError: it is none of such an error.
        """
        # Texts of models can hold lone surrogates, which pydantic does not read.
        told = json.loads(body)
        try:
            type_, messages, details = told["type"], told["messages"], told.get("details") or []
            problems = [
                InputProblem(tuple(each["location"]), str(each["type"]), str(each["message"]))
                for each in details
            ]
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(body) from error
        if not isinstance(type_, str) or not isinstance(messages, list):
            raise ValueError(body)
        return cls(type_, [*map(str, messages)], problems)

    @property
    def message(self) -> str:
        """The first of them, which is for clients; others may be for its developers alone."""
        return self.messages[0] if self.messages else ""


class ModelhostProtocol:
    """Asks another instance of this service for one model. Safe to use from many threads."""

    def __init__(self, service: RemoteService, model: str) -> None:
        """Make it; it asks nothing yet.

        Args:
            service: The other instance.
            model: What the model is called there.
        """
        self._service = service
        self._model = model
        self._path = f"/api/models/{quote(model, safe='')}"

    infers = False
    """Not every such service has the Open Inference Protocol."""

    def describe(self, seconds: float) -> RemoteDescription:
        """Return what the model says of itself there.

        Raises:
            NoAnswer: nothing, or nothing that can be used.
        """
        reply = self._service.look(f"{self._path}/metadata", seconds)
        if reply.status != HTTPStatus.OK:
            raise NoAnswer(_refusal(reply, self._model))
        try:
            found = _Metadata.model_validate_json(reply.body)
        except ValidationError:
            raise NoAnswer("its metadata of the model are no such thing") from None
        named = _class_name(found.qualified_name)
        return RemoteDescription(
            ModelNames(found.display_name, found.qualified_name, found.description, found.version),
            ModelSchemas(
                documented_schema(found.input_schema.get("title", named), found.input_schema),
                documented_schema(found.output_schema.get("title", named), found.output_schema),
            ),
        )

    def fault(self, seconds: float) -> str | None:
        """Return why the model is not ready there; None if it is."""
        try:
            reply = self._service.look(f"{self._path}/ready", seconds)
            if reply.status == HTTPStatus.NOT_FOUND:  # of an older one, or of a Ray application
                reply = self._service.look(f"{self._path}/metadata", seconds)
        except NoAnswer as error:
            return str(error)
        return None if reply.status == HTTPStatus.OK else _refusal(reply, self._model)

    def predict(self, body: bytes) -> bytes:
        """Return the prediction for one row; see Predictor.predict."""
        return self._ask("prediction", body)[0]

    def predict_batch(self, body: bytes, rows: int) -> bytes:
        """Return the predictions for all rows; see Predictor.predict_batch."""
        written, value = self._ask("prediction/batch", body)
        predictions = value.get("predictions") if isinstance(value, dict) else None
        if not isinstance(predictions, list) or len(predictions) != rows:
            raise self._service.failure("its answer has not a prediction for each row")
        return written

    def infer(self, body: bytes, header_length: int | None) -> Inferred:
        """Return nothing: see `infers`."""
        raise NotImplementedError

    def _ask(self, route: str, body: bytes) -> tuple[bytes, object]:
        reply = self._service.ask(f"{self._path}/{route}", body, _JSON, _is_own)
        if reply.status != HTTPStatus.OK:
            raise self._error(reply)
        return reply.body, read_json(self._service, reply)

    def _error(self, reply: Reply) -> ModelsAPIError:
        """Return the error that it has answered, or that of an answer which is none of its own."""
        try:
            body = ErrorBody.parse(reply.body)
        except ValueError:
            told = f"it answers {reply.status} with no error of its own"
            return self._service.failure(told, reply.status)
        make = _MAKERS.get((reply.status, body.type))
        if make is None:
            told = f"it answers {reply.status} {body.type}: {body.message}"
            return self._service.failure(told, reply.status)
        return make(_Told(self._service, reply, body))


def _is_own(reply: Reply) -> bool:
    try:
        return (reply.status, ErrorBody.parse(reply.body).type) in _MAKERS
    except ValueError:
        return False


def read_json(service: RemoteService, reply: Reply) -> object:
    """Return what the JSON of an answer says, which has to be JSON to its end.

    Raises:
        BackendFailed: it is none.
    """
    kind = str(reply.headers.get("Content-Type", "")).partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise service.failure(f'its answer is of the type "{kind}", and not of JSON')
    try:
        return from_json(reply.body, allow_inf_nan=False)
    except ValueError as error:
        raise service.failure(f"its answer is no JSON: {error}") from None


def retry_after(reply: Reply) -> int | None:
    """Return the seconds that an answer asks to wait; None where it does not."""
    text = str(reply.headers.get("Retry-After", ""))
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else None


class _Told(NamedTuple):
    """An error, as the other service tells it."""

    service: RemoteService
    reply: Reply
    body: ErrorBody

    @property
    def label(self) -> str:
        return self.service.label


def _invalid(told: _Told) -> ModelsAPIError:
    details = told.body.details or [InputProblem((), "value_error", told.body.message)]
    messages = told.body.messages
    problems = []
    for index, problem in enumerate(details):
        # Hints stand in the texts alone.
        beginning, text = f"{problem.text}; ", messages[index] if index < len(messages) else ""
        hint = text.removeprefix(beginning) if text.startswith(beginning) else ""
        problems.append(replace(problem, hint=hint))
    return InvalidInput(problems)


def _refused(kind: type[Refusal]) -> Callable[[_Told], ModelsAPIError]:
    return lambda told: kind(told.body.message, retry_after_seconds=retry_after(told.reply))


def _failed(told: _Told) -> ModelsAPIError:
    found = _ROW.match(told.body.message)
    message = f"The model {told.label} failed to make a prediction."
    id_ = told.reply.headers.get("X-Request-ID", "")
    reason = f"{told.service.url} answered 500; its log has the reason under the request id {id_}."
    return PredictionFailed(told.label, f"{found[0] if found else ''}{message}", reason)


def _not_there(told: _Told) -> ModelsAPIError:
    reason = f"{told.service.url} does not have it: {told.body.message}"
    message = f"There is no model {told.label} where it should compute."
    return ModelNotFound(told.label, message, reason)


def _not_ready(told: _Told) -> ModelsAPIError:
    reason = f"{told.service.url}: {told.body.message}"
    message = told.body.message or f"The model {told.label} is not loaded where it computes."
    seconds = retry_after(told.reply)
    return ModelNotReady(told.label, message, reason, retry_after_seconds=seconds)


def _overloaded(told: _Told) -> ModelsAPIError:
    found = Overloaded(told.body.message)
    found.retry_after_seconds = retry_after(told.reply) or _DEFAULT_RETRY_SECONDS
    return found


def _late(told: _Told) -> ModelsAPIError:
    found = _SECONDS.search(told.body.message)
    return DeadlineExceeded(float(found[1])) if found else DeadlineExceeded(0)


_BY_EXCEPTION: Mapping[type[Exception], Callable[[_Told], ModelsAPIError]] = {
    InvalidInput: _invalid,
    SchemaRejected: lambda told: SchemaRejected(told.label, told.body.message),
    ModelNotFound: _not_there,
    PayloadTooLarge: lambda told: PayloadTooLarge(told.body.message),
    PredictionFailed: _failed,
    BackendFailed: lambda told: BackendFailed(
        told.label, f"The model {told.label} gave no answer where it computes.", told.body.message
    ),
    ModelNotReady: _not_ready,
    Overloaded: _overloaded,
    DeadlineExceeded: _late,
    **{kind: _refused(kind) for kind in REFUSALS},
}
_MAKERS = {
    (kind.status, kind.type): _BY_EXCEPTION[kind.exception]
    for kind in ERROR_KINDS
    if kind.exception is not None and kind.exception in _BY_EXCEPTION
} | {(HTTPStatus.TOO_MANY_REQUESTS, "Throttled"): _overloaded}
"""What the errors of such a service are here, by status and type."""


def _refusal(reply: Reply, model: str) -> str:
    """Say in a line what a request about the model itself was answered."""
    try:
        told: Sequence[str] = ErrorBody.parse(reply.body).messages[:1]
    except ValueError:
        told = ()
    if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return f"it answers {reply.status}: it does not take the token, or wants one (token_env)"
    if reply.status == HTTPStatus.NOT_FOUND:
        return f'it has no model "{model}"'
    return ": ".join([f"it answers {reply.status} about {model}", *told])


def _class_name(qualified_name: str) -> str:
    return re.sub(r"\W+", "_", qualified_name) or "Model"

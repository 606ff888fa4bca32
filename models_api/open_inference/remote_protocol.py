"""A model that computes in another service, which is asked by the Open Inference Protocol."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from models_api.error_table import kind_of
from models_api.exceptions import (
    REFUSALS,
    DeadlineExceeded,
    InputProblem,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    ModelsAPIError,
    PayloadTooLarge,
    PredictionFailed,
    TensorError,
)
from models_api.open_inference.remote_contract import Contract, Metadata, contract_of
from models_api.open_inference.remote_rows import (
    Group,
    groups_of,
    missing_field,
    rows_of,
    write_infer_request,
)
from models_api.open_inference.tensors import InferResponse, read_infer_response
from models_api.prediction import codec
from models_api.prediction.backend import Inferred
from models_api.prediction.backends.http_pool import NoAnswer, Reply
from models_api.prediction.backends.modelhost_protocol import read_json, retry_after
from models_api.prediction.backends.remote_service import RemoteService
from models_api.prediction.description import ModelNames, RemoteDescription

_HEADER_LENGTH = "Inference-Header-Content-Length"
_BINARY_EXTENSION = "binary_tensor_data"
_OF_ROW = re.compile(r'Input "([^"]+)", row (\d+): (.*)', re.DOTALL)
_MISSING = re.compile(r'Input "([^"]+)" is missing\.?')
_REFUSALS = {kind.status: refusal for refusal in REFUSALS if (kind := kind_of(refusal))}


class _Server(BaseModel):
    """What a service says of itself."""

    extensions: list[str] = []


class OpenInferenceProtocol:
    """Asks another service for one model. Safe to use from many threads."""

    def __init__(self, service: RemoteService, model: str, version: str | None) -> None:
        """Make it; it asks nothing yet.

        Args:
            service: Triton, an instance of KServe, MLServer or this service.
            model: What the model is called there.
            version: Of the model; None for whichever the service chooses.
        """
        self._service = service
        self._model = model
        self._version = version
        of_version = "" if version is None else f"/versions/{quote(version, safe='')}"
        self._path = f"/v2/models/{quote(model, safe='')}{of_version}"
        self._contract: Contract | None = None
        self._is_binary = False

    def describe(self, seconds: float) -> RemoteDescription:
        """Return what the metadata of the model say, as JSON has it.

        Raises:
            NoAnswer: nothing, or nothing that can be used.
        """
        metadata = self._look(Metadata, self._path, seconds)
        server = self._look(_Server, "/v2", seconds)
        try:
            self._contract = contract_of(metadata)
        except ValueError as error:
            raise NoAnswer(str(error)) from None
        self._is_binary = _BINARY_EXTENSION in server.extensions
        version = self._version or (metadata.versions or [""])[-1]
        names = ModelNames(self._service.label, self._service.label, "", version)
        return RemoteDescription(names, self._contract.schemas)

    def fault(self, seconds: float) -> str | None:
        """Return why the model is not ready there; None if it is."""
        try:
            reply = self._service.look(f"{self._path}/ready", seconds)
        except NoAnswer as error:
            return str(error)
        if reply.status != HTTPStatus.OK:
            return f"it answers {reply.status} about {self._model}"
        try:
            body = from_json(reply.body or b"{}")
        except ValueError:
            return "its readiness is no JSON"
        is_ready = not isinstance(body, dict) or body.get("ready", True)
        return None if is_ready else f"it says that {self._model} is not ready"

    def predict(self, body: bytes) -> bytes:
        """Return the prediction for one row, JSON in and JSON out."""
        try:
            row = from_json(body, allow_inf_nan=False)
        except ValueError as error:
            codec.parse(body, self._known.schemas.input)  # says it as for any other model
            problem = InputProblem((), "json_invalid", f"Invalid JSON: {error}")
            raise InvalidInput([problem]) from None
        try:
            (prediction,) = self._predict([row])
        except InvalidInput as error:
            raise InvalidInput([_of_single_row(each) for each in error.problems]) from None
        return to_json(prediction)

    def predict_batch(self, body: bytes, rows: int) -> bytes:
        """Return the predictions for all rows: `{"inputs": [...]}`, `{"predictions": [...]}`."""
        return to_json({"predictions": self._predict(from_json(body)["inputs"])})

    def infer(self, body: bytes, header_length: int | None) -> Inferred:
        """Return the answer to a request of the protocol, which goes there as it is."""
        reply, response = self._ask(body, header_length, _as_tensors)
        length = _header_length(reply)
        written, name = reply.body, self._service.label
        if response.header.get("model_name") != name:
            header = from_json(written[:length], allow_inf_nan=False)
            told = to_json({**header, "model_name": name})
            written = told + (b"" if length is None else written[length:])
            length = None if length is None else len(told)
        return Inferred(written, length, (response.outputs[0].shape or (1,))[0])

    @property
    def infers(self) -> bool:
        """Whether the tensors there are those that this service says that the model has.

        It says FP64 of an FP32, for one, and so has to convert that.
        """
        return self._contract is not None and self._contract.has_own_tensors

    @property
    def _known(self) -> Contract:
        assert self._contract is not None  # noqa: S101 (whoever predicts has asked for it)
        return self._contract

    def _predict(self, rows: Sequence[object]) -> list[object]:
        contract = self._known
        found: dict[int, object] = {}
        for group in groups_of(rows, contract):
            request = write_infer_request(group.inputs, binary=self._is_binary)
            _, response = self._ask(*request, partial(_invalid, group))
            try:
                predictions = rows_of(response.outputs, len(group.indexes), contract)
            except TensorError as error:
                raise self._service.failure(str(error)) from None
            found.update(zip(group.indexes, predictions, strict=True))
        return [found[index] for index in range(len(rows))]

    def _ask(
        self, body: bytes, header_length: int | None, invalid: Callable[[str], ModelsAPIError]
    ) -> tuple[Reply, InferResponse]:
        headers = {"Content-Type": "application/json"}
        if header_length is not None:
            headers = {
                "Content-Type": "application/octet-stream",
                _HEADER_LENGTH: str(header_length),
            }
        reply = self._service.ask(f"{self._path}/infer", body, headers)
        if reply.status != HTTPStatus.OK:
            raise self._error(reply, invalid)
        if _header_length(reply) is None:
            read_json(self._service, reply)
        try:
            return reply, read_infer_response(reply.body, _header_length(reply))
        except TensorError as error:
            raise self._service.failure(f"its answer is none of the protocol: {error}") from None

    def _error(self, reply: Reply, invalid: Callable[[str], ModelsAPIError]) -> ModelsAPIError:
        try:
            text = from_json(reply.body)["error"]
        except (ValueError, KeyError, TypeError):
            text = None
        label, seconds = self._service.label, retry_after(reply)
        if not isinstance(text, str):
            told = f"it answers {reply.status} with no error of the protocol"
            return self._service.failure(told, reply.status)
        reason = f"{self._service.url} answered {reply.status}: {text}"
        status = reply.status
        makers: Mapping[int, Callable[[], ModelsAPIError]] = {
            400: lambda: invalid(text),
            404: lambda: ModelNotFound(
                label, f"There is no model {label} where it should compute.", reason
            ),
            413: lambda: PayloadTooLarge(text),
            500: lambda: PredictionFailed(
                label, f"The model {label} failed to make a prediction.", reason
            ),
            503: lambda: ModelNotReady(
                label,
                f"The model {label} takes no requests where it computes.",
                reason,
                retry_after_seconds=1 if seconds is None else seconds,
            ),
            504: lambda: DeadlineExceeded(0),
        }
        if status in makers:
            return makers[status]()
        if status in _REFUSALS:
            return _REFUSALS[status](text, retry_after_seconds=seconds)
        return self._service.failure(f"it answers {status}: {text}", status)

    def _look(self, kind: type[Any], path: str, seconds: float) -> Any:
        reply = self._service.look(path, seconds)
        if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise NoAnswer(f"it answers {reply.status}: it does not take the token (token_env)")
        if reply.status == HTTPStatus.NOT_FOUND:
            raise NoAnswer(f'it has no model "{self._model}" at {path}')
        if reply.status != HTTPStatus.OK:
            raise NoAnswer(f"it answers {reply.status} about {path}")
        try:
            return kind.model_validate_json(reply.body)
        except ValidationError:
            raise NoAnswer(f"what it answers about {path} is none of the protocol") from None


def _header_length(reply: Reply) -> int | None:
    text = str(reply.headers.get(_HEADER_LENGTH, ""))
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _as_tensors(text: str) -> ModelsAPIError:
    return TensorError(text)


def _invalid(group: Group, text: str) -> ModelsAPIError:
    """Return the error of rows that the other service refuses, which counts those of the group."""
    problems = []
    for part in text.split("; "):
        missing = _MISSING.fullmatch(part)
        if missing:
            problems += [missing_field(index, missing[1]) for index in group.indexes]
            continue
        found = _OF_ROW.fullmatch(part)
        index = int(found[2]) if found else len(group.indexes)
        if found is None or index >= len(group.indexes):
            problems.append(InputProblem(("inputs",), "value_error", part))
            continue
        location = ("inputs", group.indexes[index], found[1])
        problems.append(InputProblem(location, "value_error", found[3]))
    return InvalidInput(problems)


def _of_single_row(problem: InputProblem) -> InputProblem:
    return InputProblem(problem.location[2:], problem.type, problem.message)

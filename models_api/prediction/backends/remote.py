"""Predictions of a model that computes in another service: bytes there, bytes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ParamSpec, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from models_api.exceptions import (
    PredictionFailed,
)
from models_api.logs import one_line
from models_api.prediction import codec
from models_api.prediction.backend import Inferred, RowPredictor
from models_api.prediction.backends.json_rows import WrittenPredictions, named_rows, predict_given
from models_api.prediction.base import BasePredictor, PredictionMeans
from models_api.prediction.description import ModelSchemas, RemoteDescription
from models_api.prediction.request_context import note_batch, note_rows
from models_api.prediction.rows import (
    JSONRows,
    Predictions,
    Rows,
    told_inputs,
)
from models_api.prediction.value_limit import ValueLimit
from models_api.schemas.costs import costs_of

P = ParamSpec("P")
T = TypeVar("T")


class RemoteProtocol(Protocol):
    """What another service speaks. Safe to use from many threads.

    Of what can go wrong with predictions all is a ModelsAPIError, as Predictor raises it.
    """

    def describe(self, seconds: float) -> RemoteDescription:
        """Return what the model says of itself there, with classes for its schemas.

        Raises:
            NoAnswer: nothing, or nothing that can be used.
        """

    def fault(self, seconds: float) -> str | None:
        """Return why the model is not ready there; None if it is."""

    def predict(self, body: bytes) -> bytes:
        """Return the prediction for one row, JSON in and JSON out."""

    def predict_batch(self, body: bytes, rows: int) -> bytes:
        """Return the predictions for all rows: `{"inputs": [...]}`, `{"predictions": [...]}`."""

    @property
    def infers(self) -> bool:
        """Whether requests of the Open Inference Protocol may go there as they are."""

    def infer(self, body: bytes, header_length: int | None) -> Inferred:
        """Return the answer to such a request."""


class RemotePredictor(BasePredictor):
    """Predicts with a model that computes in another service. Safe to call from many threads."""

    def __init__(
        self,
        protocol: RemoteProtocol,
        name: str,
        schemas: ModelSchemas,
        means: PredictionMeans,
        *,
        validates: bool,
    ) -> None:
        """Make it.

        Args:
            protocol: Asks the service.
            name: The model's qualified name, for messages.
            schemas: Those of the model.
            means: What its predictions are made with.
            validates: Whether the schemas are classes of this process, by which requests and
                answers are validated here; else the other service does that.
        """
        # No watchdog: the process is not to end because another one hangs.
        super().__init__(name, schemas, means._replace(watchdog=None))
        self.protocol = protocol
        self.validates = validates
        self._limit = ValueLimit(costs_of(schemas.input), means.maximum_values)

    def predict(self, body: bytes) -> bytes:
        """Return the prediction for one row; see Predictor.predict.

        Raises:
            BackendFailed: the other service gave no usable answer.
            ModelsAPIError: as Predictor.predict raises it.
        """
        written = self.admit(self._predict, body)
        if self.audience.receivers:
            self.tell(lambda: ([from_json(body)], [from_json(written)]))
        return written

    def predict_batch(self, body: bytes) -> bytes:
        """Return the predictions for all rows; see Predictor.predict_batch, and `predict`."""
        written = self.admit(self._predict_batch, body)
        if self.audience.receivers:
            self.tell(lambda: (from_json(body)["inputs"], from_json(written)["predictions"]))
        return written

    def predict_given(self, given: Sequence[object], where: str = "") -> list[BaseModel]:
        """Return predictions for rows of this process's own code; see Predictor.predict_given."""
        return predict_given(self, self._name, given, where)

    def predict_rows(self, rows: Rows) -> Iterator[Predictions]:
        """Yield the predictions for rows that were read from another form; see Predictor."""
        with named_rows(rows.where):
            written = self._ask_batch(to_json({"inputs": rows.values()}), len(rows))
        yield WrittenPredictions(written, self.schemas.output)

    def infer(
        self,
        body: bytes,
        header_length: int | None,
        here: Callable[[RowPredictor], Inferred],
    ) -> Inferred:
        """Return the answer to a request of the Open Inference Protocol; see `Backend`."""
        # What is to be validated or told here has to be read here.
        if self.validates or self.audience.receivers or not self.protocol.infers:
            return here(self)
        return self.admit(self._infer, body, header_length)

    def _infer(self, body: bytes, header_length: int | None) -> Inferred:
        with self.instruments.stage("predict"):
            told = self.protocol.infer(body, header_length)
        note_rows(told.rows)
        note_batch(told.rows)
        return told

    def _predict(self, body: bytes) -> bytes:
        with self.instruments.stage("parse"):
            if self.validates:
                codec.parse(body, self.schemas.input, self._limit)
            elif len(body) > self._limit.harmless_bytes:
                self._limit.check(body)
        note_rows(1)
        with self.instruments.stage("predict"):
            written = self.protocol.predict(body)
        if self.validates:
            self._validate([written])
        return written

    def _predict_batch(self, body: bytes) -> bytes:
        with self.instruments.stage("parse"):
            rows = self._count(body)
        return self._ask_batch(body, rows)

    def _count(self, body: bytes) -> int:
        """Return how many rows a request has.

        Raises:
            InvalidInput, PayloadTooLarge: there are too many, or they do not fit.
        """
        if len(body) > self.batch_limit.harmless_bytes:
            self.batch_limit.check(body)
        rows = told_inputs(body)
        if self.validates or rows is None or rows > self.maximum_rows:
            return len(JSONRows(body, self.batch_schema, self.batch_limit))
        return rows

    def _ask_batch(self, body: bytes, rows: int) -> bytes:
        note_rows(rows)
        if rows > 1:
            self.instruments.batch(rows)
        with self.instruments.stage("predict"):
            written = self.protocol.predict_batch(body, rows)
        note_batch(rows)
        if self.validates:
            self._validate([to_json(each) for each in from_json(written)["predictions"]])
        return written

    def _validate(self, predictions: Sequence[bytes]) -> None:
        """Refuse predictions that do not fit the class of the output.

        Raises:
            PredictionFailed: there are such.
        """
        try:
            with self.instruments.stage("serialise"):
                for each in predictions:
                    self.schemas.output.model_validate_json(each)
        except ValidationError as error:
            message = f"The model {self._name} failed to make a prediction."
            schema = self.schemas.output.__name__
            reason = f"what the other service answers does not fit {schema}: {one_line(error)}"
            raise PredictionFailed(self._name, message, reason) from error

"""What one prediction goes through: the limiter, then parse, predict, serialise.

Nothing here knows HTTP: every protocol is a thin layer on `Predictor`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import ParamSpec, TypeVar

from ml_base import MLModel
from ml_base.ml_model import MLModelSchemaValidationException
from pydantic import BaseModel
from pydantic_core import from_json

from models_api.exceptions import (
    REFUSALS,
    ModelsAPIError,
    NotPredicted,
    PredictionFailed,
    Refusal,
    SchemaRejected,
)
from models_api.logs import SafeLogger
from models_api.prediction import codec
from models_api.prediction.backend import Inferred, RowPredictor
from models_api.prediction.base import BasePredictor, PredictionMeans
from models_api.prediction.batcher import (
    BatchFailed,
    BatchingDecorator,
    Sharing,
    refuse_late,
    sharing,
)
from models_api.prediction.columns import listed_columns
from models_api.prediction.description import ModelSchemas
from models_api.prediction.grouped_request import GroupedRequest
from models_api.prediction.mistakes import (
    NOTHING,
    Call,
    FallbackWarning,
    decorators_of,
    explain,
    listed,
)
from models_api.prediction.model_calls import ModelCalls
from models_api.prediction.request_context import current_request, note_batch, note_rows
from models_api.prediction.rows import (
    ColumnPredictions,
    GivenRows,
    JSONRows,
    Predictions,
    Rows,
    SingleRow,
)
from models_api.prediction.value_limit import ValueLimit
from models_api.schemas.array_types import why_no_columns
from models_api.schemas.costs import costs_of

logger = SafeLogger(__name__)

P = ParamSpec("P")
D = TypeVar("D")
T = TypeVar("T")


def _method(returned: object) -> str:
    """Return which method gave the prediction of the current request for one row."""
    context = current_request.get()
    shared = returned is not NOTHING and context is not None and (context.batch_size or 0) > 1
    return "predict_batch" if shared else "predict"


class Predictor(BasePredictor):
    """Predicts with one model that is loaded. Safe to call from many threads."""

    def __init__(
        self,
        model: MLModel,
        schemas: ModelSchemas,
        name: str,
        means: PredictionMeans,
    ) -> None:
        """Make it.

        Args:
            model: With its decorators.
            schemas: Those of the decorated model.
            name: The model's qualified name, for messages.
            means: What its predictions are made with.
        """
        super().__init__(name, schemas, means)
        # Decorators forward unknown attributes, so that an instance would skip those around the
        # model: only the class of the outermost one says what it can do.
        self.takes_columns = (
            hasattr(type(model), "predict_columns") and why_no_columns(*schemas) is None
        )
        self._takes_rows = hasattr(type(model), "predict_batch")
        self._columns_failed = False
        self._model = model
        self._calls = ModelCalls()
        self._decorators = decorators_of(model)
        self._fallback = FallbackWarning(name)
        self._rows_per_call = means.rows_per_call
        self._limit = ValueLimit(costs_of(schemas.input), means.maximum_values)

    def predict(self, body: bytes) -> bytes:
        """Return the prediction for one row, JSON in and JSON out.

        Raises:
            InvalidInput: the body does not fit the input schema.
            PayloadTooLarge: it holds more values than one request may.
            SchemaRejected, Refusal: the model itself refused the data.
            Overloaded, DeadlineExceeded: too much is asked of the model, or it is too slow.
            PredictionFailed: the model raised, or returned what does not fit.
        """
        written = self.admit(self._predict, body)
        if self.audience.receivers:
            self.tell(lambda: ([from_json(body)], [from_json(written)]))
        return written

    @property
    def rows_per_group(self) -> int:
        """How many requests `predict_group` may be given; 1 where it cannot be called.

        Each decorator has to return before its thread can go on with the next row, and with
        `max_wait_seconds` a batch may wait for those that would come later.
        """
        model = self._model
        is_outermost = isinstance(model, BatchingDecorator)
        return self._rows_per_call or 1 if is_outermost and not model.batcher.waits_for_more else 1

    def predict_group(self, requests: Sequence[GroupedRequest]) -> None:
        """Predict for requests of one row each, on one thread, as many would with `predict`.

        What comes of each is in `written` or `error`.

        Raises:
            Overloaded: see the limiter.
        """
        self.admit(self._predict_group, requests)

    def predict_batch(self, body: bytes) -> bytes:
        """Return predictions for all rows: `{"inputs": [...]}` in, `{"predictions": [...]}` out.

        Raises:
            InvalidInput, PayloadTooLarge, SchemaRejected, Refusal, Overloaded, DeadlineExceeded,
                PredictionFailed: as for one row; the message says which it was, and then there
                are none of the others.
        """
        written = self.admit(self._predict_batch, body)
        if self.audience.receivers:
            self.tell(lambda: (from_json(body)["inputs"], from_json(written)["predictions"]))
        return written

    def predict_given(self, given: Sequence[object], where: str = "") -> list[BaseModel]:
        """Return predictions for rows that code of this process gives; see `codec.parse_given`.

        Args:
            given: The rows.
            where: Begins the message of an error; `{}` in it stands for the index of the row.

        Raises:
            InvalidInput, SchemaRejected, Refusal, Overloaded, DeadlineExceeded, PredictionFailed:
                as for one row; there is no limit of rows and values.
        """
        rows, predictions = self.admit(self._predict_given, given, where)
        if self.audience.receivers:
            output = self.schemas.output
            self.tell(
                lambda: (
                    rows.values(),
                    [from_json(codec.serialise(each, output)) for each in predictions],
                )
            )
        return predictions

    def predict_rows(self, rows: Rows) -> Iterator[Predictions]:
        """Yield the predictions for rows, of one call of the model after the other.

        Together if the model can do that, and by columns if it can do that and the rows have them.
        A row alone goes the way of a single prediction, and so shares a batch with other requests.

        Raises:
            SchemaRejected, Refusal, PredictionFailed: the message says which row it was.
        """
        note_rows(len(rows))
        size = self._rows_per_call or max(1, len(rows))
        for start in range(0, len(rows), size):
            chunk = slice(start, min(start + size, len(rows)))
            found = self._predict_columns(rows, chunk)
            found = found or self._predict_together(rows, chunk)
            yield found or Predictions(self._predict_each(rows, chunk), rows, start, self)

    def infer(
        self,
        body: bytes,
        header_length: int | None,
        here: Callable[[RowPredictor], Inferred],
    ) -> Inferred:
        """Return the answer to a request of the Open Inference Protocol; see `Backend`."""
        return here(self)

    def failure(
        self,
        error: BaseException,
        where: str = "",
        *,
        method: str = "predict",
        returned: object = NOTHING,
    ) -> ModelsAPIError:
        """Return the error of a request whose prediction ended with another one.

        Args:
            error: What the model raised, or why what it returned cannot be used.
            where: Begins the messages.
            method: That was called.
            returned: What it returned; nothing where it raised.
        """
        if isinstance(error, MLModelSchemaValidationException):
            return SchemaRejected(self._name, f"{where}{error}")
        if isinstance(error, REFUSALS):
            return error.of_row(where)
        message = f"{where}The model {self._name} failed to make a prediction."
        call = Call(method, self._name, self.schemas, self._decorators)
        return PredictionFailed(self._name, message, f"{where}{explain(error, call, returned)}")

    def _predict(self, body: bytes) -> bytes:
        stage, schemas = self.instruments.stage, self.schemas
        with stage("parse"):
            data = codec.parse(body, schemas.input, self._limit)
        note_rows(1)
        prediction = NOTHING
        try:
            with stage("predict"):
                prediction = (
                    self._predict_row(data, SingleRow(body, schemas.input))
                    if self._rows_per_call is not None
                    else self._calls.make(self._model.predict, data)
                )
            with stage("serialise"):
                return codec.serialise(prediction, schemas.output)
        except NotPredicted:
            raise
        except BaseException as error:
            raise self.failure(error, method=_method(prediction), returned=prediction) from error

    def _predict_group(self, requests: Sequence[GroupedRequest]) -> None:
        for each in requests:
            each.take(self._parse_grouped)
        sound = [each for each in requests if each.error is None]
        began = time.monotonic()
        outcomes = self._model.batcher.predict_each([(each.row, each.context) for each in sound])
        ended = time.monotonic()
        for each, outcome in zip(sound, outcomes, strict=True):
            each.take(self._finish_grouped, outcome, began, ended)

    def _parse_grouped(self, request: GroupedRequest) -> None:
        with self.instruments.stage("parse"):
            request.row = codec.parse(request.body, self.schemas.input, self._limit)
        note_rows(1)

    def _finish_grouped(
        self, request: GroupedRequest, outcome: Callable[[], object], began: float, ended: float
    ) -> None:
        prediction = NOTHING
        try:
            try:
                prediction = outcome()
            except BatchFailed:
                refuse_late(request.context)  # the others of the group have had their turn first
                prediction = self._predict_alone(SingleRow(request.body, self.schemas.input), 0)
                ended = time.monotonic()
            finally:
                self.instruments.took("predict", began, ended - began)
            with self.instruments.stage("serialise"):
                request.written = codec.serialise(prediction, self.schemas.output)
        except NotPredicted:
            raise
        except BaseException as error:
            raise self.failure(error, method=_method(prediction), returned=prediction) from error
        if self.audience.receivers:
            self.tell(lambda: ([from_json(request.body)], [from_json(request.written)]))

    def _predict_batch(self, body: bytes) -> bytes:
        with self.instruments.stage("parse"):
            # Where there is an object for each row already, it is better taken as it is.
            columns_of = self.schemas.input if self.takes_columns and not self._takes_rows else None
            rows = JSONRows(body, self.batch_schema, self.batch_limit, columns_of)
        written = [predictions.to_json()[1:-1] for predictions in self.predict_rows(rows)]
        return b'{"predictions":[' + b",".join(written) + b"]}"

    def _predict_given(
        self, given: Sequence[object], where: str
    ) -> tuple[GivenRows, list[BaseModel]]:
        with self.instruments.stage("parse"):
            rows = GivenRows(given, self.schemas.input, where)
        found = [predictions.to_instances() for predictions in self.predict_rows(rows)]
        return rows, [*chain.from_iterable(found)]

    def _predict_row(self, row: object, rows: Rows, index: int = 0) -> object:
        """Predict for one row, made anew where a call that it shared with others has failed."""
        token = sharing.set(Sharing.WITH_RETRY)
        try:
            return self._calls.make(self._model.predict, row)
        except BatchFailed:
            return self._predict_alone(rows, index)
        finally:
            sharing.reset(token)

    def _predict_alone(self, rows: Rows, index: int) -> object:
        """Predict for one row that is made anew, in a call that it shares with no other."""
        token = sharing.set(Sharing.ALONE)
        try:
            (again,) = rows.take(slice(index, index + 1))
            return self._calls.make(self._model.predict, again)
        finally:
            sharing.reset(token)

    def _predict_each(self, rows: Rows, chunk: slice) -> Sequence[object]:
        """Predict for rows one by one."""
        predictions = []
        for index, row in enumerate(rows.take(chunk), chunk.start):
            try:
                with self.instruments.stage("predict"):
                    predictions.append(self._predict_row(row, rows, index))
            except NotPredicted:
                raise
            except BaseException as error:
                raise self.failure(error, rows.where.format(index)) from error
        return predictions

    def _predict_together(self, rows: Rows, chunk: slice) -> Predictions | None:
        """Predict in one call; None if the model cannot, or failed to, or if it is one row."""
        count = chunk.stop - chunk.start
        if count <= 1:
            return None
        self.instruments.batch(count)
        if not self._takes_rows:
            return None
        taken = rows.take(chunk)
        with self.instruments.stage("predict"):
            predictions = self._in_one_call(self._predict_list, taken, count)
        if predictions is None:
            return None
        if len(predictions) != count:
            self._fallback.miscounted(len(predictions), count)
            return None
        return Predictions(predictions, rows, chunk.start, self, "predict_batch")

    def _predict_columns(self, rows: Rows, chunk: slice) -> Predictions | None:
        """Predict by columns; None if the rows have none, or where the model raises.

        Raises:
            PredictionFailed: the model returned what is no columns for these rows.
        """
        columns = rows.columns()
        count = chunk.stop - chunk.start
        if columns is None or len(rows) <= 1:
            return None
        part = {name: values[chunk] for name, values in columns.items()}
        self.instruments.batch(count)
        try:
            with self.instruments.stage("predict"):
                returned = self._calls.make(self._model.predict_columns, part)
        except NotPredicted:
            raise
        except BaseException as error:  # noqa: BLE001 (each row will tell which it was, and why)
            self._note_failed_columns(error)
            return None
        note_batch(count)
        try:
            with self.instruments.stage("serialise"):
                listed = listed_columns(returned, count, self.schemas.output)
        except BaseException as error:
            raise self.failure(error) from error
        return ColumnPredictions(listed, rows, chunk, self)

    def _note_failed_columns(self, error: BaseException) -> None:
        """Log, once, that a model has to predict again row by row."""
        is_refusal = isinstance(error, MLModelSchemaValidationException | Refusal)
        if self._columns_failed or is_refusal:
            return
        self._columns_failed = True
        logger.warning(
            "predict_columns of %s raised: the rows are predicted again without it, which takes "
            "the time of both. This is said once; it may happen again.",
            self._name,
            exc_info=error,
        )

    def _predict_list(self, rows: Sequence[object]) -> list[object]:
        try:
            return listed(self._calls.make(self._model.predict_batch, rows))
        except NotPredicted:
            raise
        except BaseException as error:
            self._fallback.failed(error)
            raise

    def _in_one_call(self, predict: Callable[[D], T], data: D, rows: int) -> T | None:
        """Return what the model predicts for several rows; None if it fails."""
        try:
            predictions = self._calls.make(predict, data)
        except NotPredicted:
            raise
        except BaseException:  # noqa: BLE001 (each row alone will tell which it was, and why)
            return None
        note_batch(rows)
        return predictions

"""What one prediction goes through: parse the JSON, predict, serialise the result.

Nothing here knows HTTP: every protocol is a thin layer on `Predictor` and `BatchPredictor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from ml_base.ml_model import MLModelSchemaValidationException
from pydantic import BaseModel, Field, create_model

from models_api.exceptions import (
    DeadlineExceeded,
    ModelsAPIError,
    Overloaded,
    PredictionFailed,
    SchemaRejected,
)
from models_api.hosting.registry import HostedModel
from models_api.prediction.request_context import note_rows

T = TypeVar("T")
Gather = Callable[[Sequence[Any], type[BaseModel]], T | None]
"""Makes something of many predictions of a schema; None if it cannot."""


class Predictor:
    """Predicts with one hosted model, JSON in and JSON out. Safe to call from many threads."""

    def __init__(self, hosted_model: HostedModel) -> None:
        self._hosted_model = hosted_model

    def __call__(self, body: bytes) -> bytes:
        """Predict for one row.

        Raises:
            ModelNotReady: the model is not loaded, or failed to load.
            InvalidInput: the body does not fit the input schema.
            SchemaRejected: the model itself refused the data.
            Overloaded, DeadlineExceeded: the model's queue is full, or too slow.
            PredictionFailed: the model raised, or returned what does not fit.
        """
        model = self._hosted_model.ready_model()
        input_schema, output_schema = self._hosted_model.schemas
        stages = self._hosted_model.stages
        data = stages.parse(body, input_schema)
        note_rows(1)
        try:
            return stages.serialise(stages.predict(model, data), output_schema)
        except (Exception, SystemExit) as error:
            raise _domain_error(self._hosted_model.qualified_name, error) from error


class BatchPredictor:
    """Predicts many rows of one request: `{"inputs": [...]}` in, `{"predictions": [...]}` out."""

    def __init__(self, hosted_model: HostedModel, maximum_rows: int) -> None:
        self._hosted_model = hosted_model
        self._maximum_rows = maximum_rows

    def __call__(self, body: bytes) -> bytes:
        """Predict for all rows, or for none if one of them is wrong.

        Raises:
            ModelNotReady, InvalidInput, SchemaRejected, Overloaded, DeadlineExceeded,
            PredictionFailed: as for one row, and the message says which row it was.
        """
        hosted_model = self._hosted_model
        hosted_model.ready_model()
        input_schema, output_schema = hosted_model.schemas
        batch_schema, _ = batch_schemas(input_schema, output_schema, self._maximum_rows)
        rows = hosted_model.stages.parse(body, batch_schema).inputs  # type: ignore[attr-defined]
        written = predict_rows(hosted_model, rows, "inputs[{}]: ")
        return b'{"predictions":' + written + b"}"


def predict_rows(hosted_model: HostedModel, rows: list[Any], place: str) -> bytes:
    """Predict for rows that are valid, and write the predictions as a JSON array, in their order.

    Together if the model can do that, with batching in calls of `max_batch_size`. A row alone goes
    the way of a single prediction, and so shares a batch with those of other requests.

    Args:
        hosted_model: The model.
        rows: Instances of its input schema.
        place: Begins the message of an error; `{}` in it stands for the index of the row.

    Raises:
        ModelNotReady, SchemaRejected, Overloaded, DeadlineExceeded, PredictionFailed: as Predictor.
    """
    chunks = predict_chunks(hosted_model, rows, place, lambda *_: None)
    return b"[" + b",".join(chunk[1:-1] for chunk in chunks) + b"]"


def predict_chunks(
    hosted_model: HostedModel, rows: Sequence[Any], place: str, gather: Gather[T]
) -> Iterator[T | bytes]:
    """Predict as `predict_rows` does, a call of the model at a time.

    Each time comes what `gather` makes of the predictions, or a JSON array where that is None, or
    where rows had to be predicted one by one.
    """
    for chunk in _chunks(hosted_model, len(rows)):
        yield _predict_chunk(hosted_model, rows[chunk], chunk.start, place, gather)


def predict_columns(
    hosted_model: HostedModel,
    columns: Mapping[str, Any],
    rows: Sequence[Any],
    place: str,
    gather: Gather[dict[str, list[Any]]],
) -> Iterator[dict[str, list[Any]] | bytes]:
    """Predict as `predict_chunks` does, with columns where the model can make use of them.

    Args:
        hosted_model: A model that takes columns.
        columns: By name of the field, an array of valid values, one for each row.
        rows: The same rows as instances of the input schema; asked for only where columns fail.
        place: As for `predict_chunks`.
        gather: Likewise.
    """
    for chunk in _chunks(hosted_model, len(rows)):
        found = _predict_columns(hosted_model, columns, chunk)
        if found is None:
            yield _predict_chunk(hosted_model, rows[chunk], chunk.start, place, gather)
        else:
            yield found


def _chunks(hosted_model: HostedModel, rows: int) -> Iterator[slice]:
    note_rows(rows)
    batching = hosted_model.configuration.batching
    size = batching.max_batch_size if batching else max(1, rows)
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def _predict_columns(
    hosted_model: HostedModel, columns: Mapping[str, Any], chunk: slice
) -> dict[str, list[Any]] | None:
    model = hosted_model.ready_model()
    _, schema = hosted_model.schemas
    stages, rows = hosted_model.stages, chunk.stop - chunk.start
    if hosted_model.observer is not None:
        hosted_model.observer.observe_batch(rows)
    part = {name: values[chunk] for name, values in columns.items()}
    predictions = stages.predict_columns(model, part, rows)
    return None if predictions is None else stages.written_columns(predictions, rows, schema)


def _predict_chunk(
    hosted_model: HostedModel, rows: Sequence[Any], start: int, place: str, gather: Gather[T]
) -> T | bytes:
    model = hosted_model.ready_model()
    _, schema = hosted_model.schemas
    stages = hosted_model.stages
    predictions = None
    if len(rows) > 1:
        if hosted_model.observer is not None:
            hosted_model.observer.observe_batch(len(rows))
        predictions = stages.predict_together(model, rows)
    if predictions:
        gathered = gather(predictions, schema)
        if gathered is not None:
            return gathered
        together = stages.serialise_together(predictions, schema)
        if together is not None:
            return together
    written = []
    for index, row in enumerate(rows):
        try:
            prediction = predictions[index] if predictions else stages.predict(model, row)
            written.append(stages.serialise(prediction, schema))
        except (Exception, SystemExit) as error:
            where = place.format(start + index)
            raise _domain_error(hosted_model.qualified_name, error, where) from error
    return b"[" + b",".join(written) + b"]"


def batch_schemas(
    input_schema: type[BaseModel], output_schema: type[BaseModel], maximum_rows: int
) -> tuple[type[BaseModel], type[BaseModel]]:
    """Make the schemas of a batch, what is taken and what is given, from those of a row."""
    return _inputs(input_schema, maximum_rows), _predictions(output_schema)


# One by one, so that models which share a schema share that of its batch.
@cache
def _inputs(schema: type[BaseModel], maximum_rows: int) -> type[BaseModel]:
    inputs = Field(max_length=maximum_rows, description="Rows to predict for.")
    return create_model(f"{schema.__name__}Batch", inputs=(list[schema], inputs))  # type: ignore[valid-type]


@cache
def _predictions(schema: type[BaseModel]) -> type[BaseModel]:
    predictions = Field(description="The prediction for each row, in the same order.")
    return create_model(f"{schema.__name__}Batch", predictions=(list[schema], predictions))  # type: ignore[valid-type]


def _domain_error(qualified_name: str, error: BaseException, row: str = "") -> ModelsAPIError:
    """Say in the terms of this package what went wrong in a model."""
    if isinstance(error, MLModelSchemaValidationException):
        return SchemaRejected(qualified_name, f"{row}{error}")
    if isinstance(error, Overloaded | DeadlineExceeded):
        return error
    message = f"{row}The model {qualified_name} failed to make a prediction."
    return PredictionFailed(qualified_name, message)

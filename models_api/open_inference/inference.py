"""What one inference request goes through: read tensors, predict for their rows, write tensors.

Nothing here knows HTTP, as in `serving`, which does the predicting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from models_api.exceptions import InvalidInput, TensorError
from models_api.hosting.registry import HostedModel
from models_api.open_inference.columns import Column, Columns, columns
from models_api.open_inference.datatypes import Array
from models_api.open_inference.mapping import (
    columns_from_predictions,
    model_arrays,
    rows_from_tensors,
    tensor_error,
    tensor_from_values,
    values_from_tensors,
)
from models_api.open_inference.statistics import Inference, Statistics
from models_api.open_inference.tensors import InferRequest, read_infer_request, write_infer_response
from models_api.prediction.predictor import batch_schemas, predict_chunks, predict_columns
from models_api.prediction.stages import takes_columns

_PLACE = "Row {}: "


class Payload(NamedTuple):
    """The body of a request or response: JSON, and perhaps the data of tensors behind it."""

    body: bytes
    header_length: int | None = None
    """Bytes of the JSON; None if there is nothing behind it."""


class InferencePredictor:
    """Predicts with one hosted model, tensors in and tensors out. Safe to call from many threads.

    The same model, schemas and batching as a Predictor has.
    """

    def __init__(
        self, hosted_model: HostedModel, maximum_rows: int, statistics: Statistics
    ) -> None:
        self._hosted_model = hosted_model
        self._maximum_rows = maximum_rows
        self._statistics = statistics

    def __call__(self, payload: Payload) -> Payload:
        """Predict for all rows of the tensors, or for none if one of them is wrong.

        Raises:
            TensorError: the request is malformed, or has no place in the model's schemas.
            ModelNotReady, SchemaRejected, Overloaded, DeadlineExceeded, PredictionFailed: as for a
                Predictor.
        """
        with self._statistics.inference() as inference:
            hosted_model = self._hosted_model
            hosted_model.ready_model()
            input_schema, output_schema = hosted_model.schemas
            taken, given = (
                columns(input_schema, "validation"),
                columns(output_schema, "serialization"),
            )
            request = read_infer_request(*payload)
            wanted = _wanted(request, given)
            predictions = self._predictions(request, taken, given, inference)
            outputs = [tensor_from_values(predictions[column.name], column) for column in wanted]
            details = hosted_model.details
            return Payload(
                *write_infer_response(
                    details.qualified_name, details.version, request.id, outputs, request
                )
            )

    def _predictions(
        self, request: InferRequest, taken: Columns, given: Columns, inference: Inference
    ) -> dict[str, list[Any]]:
        """List what the model gives, by column, as values that JSON has."""
        hosted_model = self._hosted_model
        gather = hosted_model.stages.gather_columns
        found: dict[str, list[Any]] = {name: [] for name in given.by_name}
        columns = self._columns(request, taken)
        if columns is None:
            rows: Sequence[Any] = self._rows(request, taken)
            chunks = predict_chunks(hosted_model, rows, _PLACE, gather)
        else:
            rows = _LaterRows(request.inputs[0].shape[0], partial(self._rows, request, taken))
            chunks = predict_columns(hosted_model, columns, rows, _PLACE, gather)
        inference.rows = len(rows)
        for chunk in chunks:
            gathered = (
                columns_from_predictions(from_json(chunk), given)
                if isinstance(chunk, bytes)
                else chunk
            )
            for name, values in gathered.items():
                found[name].extend(values)
        return found

    def _columns(self, request: InferRequest, taken: Columns) -> dict[str, Array] | None:
        """Make the arrays that the model takes; None if it takes none, or rows must tell more."""
        hosted_model = self._hosted_model
        if request.inputs[0].shape[:1] < (2,) or not takes_columns(hosted_model.ready_model()):
            return None
        input_schema, _ = hosted_model.schemas
        found = values_from_tensors(request.inputs, taken, *self._reading(request))
        stages = hosted_model.stages
        validated = stages.validate_columns(found.values, found.kinds, input_schema)
        return None if validated is None else model_arrays(validated)

    def _rows(self, request: InferRequest, taken: Columns) -> list[Any]:
        """Make what the model takes, in the fast way if that says the same as the rows' JSON."""
        stages, (input_schema, output_schema) = (
            self._hosted_model.stages,
            self._hosted_model.schemas,
        )
        rows = rows_from_tensors(request.inputs, taken, *self._reading(request))
        parsed = stages.validate_rows(rows.values, rows.kinds, input_schema)
        if parsed is not None:
            return parsed
        batch_schema, _ = batch_schemas(input_schema, output_schema, self._maximum_rows)
        written = to_json(rows.values)
        # Both at once would take twice the memory.
        rows.values.clear()
        try:
            data = stages.parse(b'{"inputs":' + written + b"}", batch_schema)
        except InvalidInput as error:
            raise tensor_error(error, taken) from None
        inputs: list[Any] = data.inputs  # type: ignore[attr-defined]
        return inputs

    def _reading(self, request: InferRequest) -> tuple[Any, int]:
        """What there is to know for reading the request's tensors."""
        return request.parameters.get("content_type"), self._maximum_rows


class _LaterRows(Sequence[Any]):
    """Rows that are made once somebody looks at them."""

    def __init__(self, count: int, make: Callable[[], list[Any]]) -> None:
        self._count = count
        self._make = cache(make)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return self._make()[index]


def _wanted(request: InferRequest, given: Columns) -> list[Column]:
    if request.outputs is None:
        return list(given)
    for output in request.outputs:
        if output.name not in given.by_name:
            names = ", ".join(given.by_name)
            raise TensorError(
                f'Output "{output.name}": the model gives none of this name; it gives {names}.'
            )
    return [given.by_name[output.name] for output in request.outputs]

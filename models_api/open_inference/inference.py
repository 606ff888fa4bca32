"""What one inference request goes through: read tensors, predict for their rows, write tensors.

Nothing here knows HTTP, as in `serving`, which does the predicting.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from models_api.exceptions import InvalidInput, TensorError
from models_api.open_inference.columns import Column, Columns, columns
from models_api.open_inference.mapping import (
    Rows,
    columns_from_predictions,
    rows_from_tensors,
    tensor_error,
    tensor_from_values,
)
from models_api.open_inference.statistics import Statistics
from models_api.open_inference.tensors import InferRequest, read_infer_request, write_infer_response
from models_api.registry import HostedModel
from models_api.serving import batch_schemas, predict_chunks


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
            rows = rows_from_tensors(
                request.inputs, taken, request.parameters.get("content_type"), self._maximum_rows
            )
            inference.rows = len(rows.values)
            predictions = self._predictions(self._parsed(rows, taken), given)
            outputs = [tensor_from_values(predictions[column.name], column) for column in wanted]
            details = hosted_model.details
            return Payload(
                *write_infer_response(
                    details.qualified_name, details.version, request.id, outputs, request
                )
            )

    def _parsed(self, rows: Rows, taken: Columns) -> list[Any]:
        """Make what the model takes, in the fast way if that says the same as the rows' JSON."""
        stages, (input_schema, output_schema) = (
            self._hosted_model.stages,
            self._hosted_model.schemas,
        )
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

    def _predictions(self, rows: list[Any], given: Columns) -> dict[str, list[Any]]:
        """List what the model gives, by column, as values that JSON has."""
        hosted_model = self._hosted_model
        found: dict[str, list[Any]] = {name: [] for name in given.by_name}
        gather = hosted_model.stages.gather_columns
        for chunk in predict_chunks(hosted_model, rows, "Row {}: ", gather):
            gathered = (
                columns_from_predictions(from_json(chunk), given)
                if isinstance(chunk, bytes)
                else chunk
            )
            for name, values in gathered.items():
                found[name].extend(values)
        return found


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

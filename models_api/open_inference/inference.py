"""What one inference request goes through: read tensors, predict for their rows, write tensors.

Nothing here knows HTTP, as in `prediction`, which does the predicting.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

from pydantic_core import SchemaValidator, core_schema, from_json, to_json

from models_api.exceptions import InvalidInput, TensorError
from models_api.hosting.hosted_model import HostedModel
from models_api.open_inference.columns import Column, Columns, columns
from models_api.open_inference.datatypes import Array
from models_api.open_inference.mapping import Rows as MappedRows
from models_api.open_inference.mapping import (
    checked_fields,
    columns_from_predictions,
    number_of_rows,
    require_few_values,
    rows_from_columns,
    rows_from_fields,
    tensor_error,
    tensor_from_values,
    values_of_fields,
)
from models_api.open_inference.tensors import (
    InferRequest,
    RequestLimits,
    read_infer_request,
    write_infer_response,
)
from models_api.prediction import codec, plain_columns, plain_rows
from models_api.prediction.backend import Inferred, RowPredictor
from models_api.prediction.columns import arrays_of_columns, arrays_of_rows
from models_api.prediction.rows import Predictions, Rows
from models_api.prediction.value_limit import ValueLimit
from models_api.schemas.costs import PLAIN


class Payload(NamedTuple):
    """The body of a request or response: JSON, and perhaps the data of tensors behind it."""

    body: bytes
    header_length: int | None = None
    """Bytes of the JSON; None if there is nothing behind it."""


def infer(model: HostedModel, payload: Payload) -> tuple[Payload, int]:
    """Return tensors for all rows of tensors, or nothing if one of them is wrong, and their number.

    Raises:
        TensorError: the request is malformed, or has no place in the model's schemas.
        PayloadTooLarge: it holds more values than one request may.
        ModelNotReady, SchemaRejected, Overloaded, DeadlineExceeded, PredictionFailed: as for any
            prediction.
    """
    told = model.backend.infer(*payload, partial(_infer_here, model, payload))
    return Payload(told.body, told.header_length), told.rows


def _infer_here(model: HostedModel, payload: Payload, predictor: RowPredictor) -> Inferred:
    answer, rows, found = predictor.admit(_infer, model, predictor, payload)
    if predictor.audience.receivers:
        given = columns(predictor.schemas.output, "serialization")
        predictor.tell(lambda: (rows.values(), rows_from_columns(found, given, len(rows))))
    return Inferred(*answer, len(rows))


def told_rows(payload: Payload, maximum_values: int | None) -> int:
    """Return the number of rows that the first tensor says that it has; 1 where none says it.

    Raises:
        PayloadTooLarge: the request holds more values than one request may.
    """
    json, limit = payload.body[: payload.header_length], _json_limit(maximum_values)
    if len(json) > limit.harmless_bytes:
        limit.check(json)
    try:
        rows: int = _SHAPES.validate_json(json)["inputs"][0]["shape"][0]
    except (ValueError, IndexError):
        return 1
    return max(1, rows)


_SHAPE = core_schema.list_schema(core_schema.int_schema())
_TENSOR = core_schema.typed_dict_schema({"shape": core_schema.typed_dict_field(_SHAPE)})
_SHAPES = SchemaValidator(
    core_schema.typed_dict_schema(
        {"inputs": core_schema.typed_dict_field(core_schema.list_schema(_TENSOR))}
    )
)
"""Of the data of tensors nothing is made."""


def _infer(
    model: HostedModel, predictor: RowPredictor, payload: Payload
) -> tuple[Payload, TensorRows, dict[str, list[object]]]:
    given = columns(predictor.schemas.output, "serialization")
    with predictor.instruments.stage("parse"):
        limits = RequestLimits(_json_limit(predictor.maximum_values), predictor.batch_limit)
        request = read_infer_request(*payload, limits)
        wanted = _wanted(request, given)
        rows = TensorRows(request, predictor)
    found: dict[str, list[object]] = {name: [] for name in given.by_name}
    try:
        for predictions in predictor.predict_rows(rows):
            for name, values in _columns_of(predictions, given).items():
                found[name].extend(values)
    except InvalidInput as error:  # where only another process or service can tell
        raise tensor_error(error, columns(predictor.schemas.input, "validation")) from None
    outputs = [tensor_from_values(found[column.name], column) for column in wanted]
    details = model.details
    name, version = details.qualified_name, details.version
    answer = Payload(*write_infer_response(name, version, request.id, outputs, request))
    return answer, rows, found


@lru_cache(maxsize=1024)
def _json_limit(maximum_values: int | None) -> ValueLimit:
    """Return the limit of JSON that no schema validates."""
    return ValueLimit(PLAIN, maximum_values)


def _columns_of(predictions: Predictions, given: Columns) -> dict[str, list[object]]:
    found = predictions.to_columns()
    if found is None:
        return columns_from_predictions(from_json(predictions.to_json()), given)
    return found


class TensorRows(Rows):
    """The rows of a request's tensors."""

    where = "Row {}: "

    def __init__(self, request: InferRequest, predictor: RowPredictor) -> None:
        """Find the rows, or the columns if the model takes those.

        Raises:
            TensorError: a tensor is none of the model's, or its values have no place in the field.
            PayloadTooLarge: JSON in tensors holds more values than one request may.
        """
        self._predictor = predictor
        self._schemas = predictor.schemas
        self._taken = columns(self._schemas.input, "validation")
        self._content_type = request.parameters.get("content_type")
        self._tensors = request.inputs
        self._fields = checked_fields(request.inputs, self._taken, predictor.maximum_rows)
        takes_columns = predictor.takes_columns and len(self) > 1
        self._columns = self._checked_columns() if takes_columns else None
        super().__init__([] if self._columns is not None else self.make())
        if takes_columns and self._columns is None:
            self._columns = arrays_of_rows(self.take(slice(None)), self._schemas.input)

    def __len__(self) -> int:
        return number_of_rows(self._fields, self._tensors)

    def columns(self) -> dict[str, Array] | None:
        """Return the arrays that the model takes; None if it takes none, or they have no room."""
        return self._columns

    def make(self) -> list[object | None]:
        """Make the rows, in the fast way if that says the same as their JSON."""
        require_few_values(self._fields, self._content_type, self._predictor.batch_limit)
        found = self._found()
        parsed = plain_rows.validate_rows(found.values, found.kinds, self._schemas.input)
        if parsed is not None:
            return [*parsed]
        written = to_json(found.values)
        # Both at once would take twice the memory.
        found.values.clear()
        try:
            body, predictor = b'{"inputs":' + written + b"}", self._predictor
            data = codec.parse(body, predictor.batch_schema, predictor.batch_limit)
        except InvalidInput as error:
            raise tensor_error(error, self._taken) from None
        inputs: list[object | None] = data.inputs  # type: ignore[attr-defined]
        return inputs

    def values(self) -> list[object]:
        """Return the rows as what their JSON is parsed to."""
        values: list[object] = from_json(to_json(self._found().values, inf_nan_mode="null"))
        return values

    def _found(self) -> MappedRows:
        return rows_from_fields(self._fields, self._tensors, self._taken, self._content_type)

    def _checked_columns(self) -> dict[str, Array] | None:
        """Return the arrays, without any object for a row; None if that is not certain."""
        found = values_of_fields(self._fields, self._content_type)
        validated = plain_columns.validate_columns(found.values, found.kinds, self._schemas.input)
        return None if validated is None else arrays_of_columns(validated, self._schemas.input)


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

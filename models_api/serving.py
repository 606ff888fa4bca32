"""What one prediction goes through: parse the JSON, predict, serialise the result.

Nothing here knows HTTP: every protocol is a thin layer on `Predictor` and `BatchPredictor`.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from ml_base import MLModel
from ml_base.ml_model import MLModelSchemaValidationException
from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic_core import (
    PydanticSerializationError,
    SchemaSerializer,
    core_schema,
    from_json,
    to_json,
)

from models_api.exceptions import (
    DeadlineExceeded,
    InputProblem,
    InvalidInput,
    ModelsAPIError,
    Overloaded,
    PredictionFailed,
    SchemaRejected,
)
from models_api.registry import HostedModel

logger = logging.getLogger(__name__)

_ZERO_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
# With fewer digits and a smaller exponent no number reaches 1.8e308, the greatest finite one.
_MANY_DIGITS = b"0" * 200
_LARGE_EXPONENT = re.compile(rb"e\+?[0-9]{3}")


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
        data = parse(body, input_schema)
        try:
            return serialise(model.predict(data), output_schema)
        except Exception as error:
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
        model = hosted_model.ready_model()
        input_schema, output_schema = hosted_model.schemas
        batch_schema, _ = batch_schemas(input_schema, output_schema, self._maximum_rows)
        rows = parse(body, batch_schema).inputs  # type: ignore[attr-defined]
        batching = hosted_model.configuration.batching
        chunk = batching.max_batch_size if batching else self._maximum_rows
        written: list[bytes] = []
        for start in range(0, len(rows), chunk):
            written += self._predict(model, rows[start : start + chunk], start, output_schema)
        return b'{"predictions":[' + b",".join(written) + b"]}"

    def _predict(
        self, model: MLModel, rows: list[Any], start: int, schema: type[BaseModel]
    ) -> Iterator[bytes]:
        predictions = _predict_together(model, rows)
        for index, row in enumerate(rows):
            try:
                prediction = predictions[index] if predictions else model.predict(row)
                yield serialise(prediction, schema)
            except Exception as error:
                name = self._hosted_model.qualified_name
                raise _domain_error(name, error, f"inputs[{start + index}]: ") from error


@cache
def batch_schemas(
    input_schema: type[BaseModel], output_schema: type[BaseModel], maximum_rows: int
) -> tuple[type[BaseModel], type[BaseModel]]:
    """Make the schemas of a batch, what is taken and what is given, from those of a row."""
    inputs = Field(max_length=maximum_rows, description="Rows to predict for.")
    predictions = Field(description="The prediction for each row, in the same order.")
    return (
        create_model(f"{input_schema.__name__}Batch", inputs=(list[input_schema], inputs)),  # type: ignore[valid-type]
        create_model(
            f"{output_schema.__name__}Batch",
            predictions=(list[output_schema], predictions),  # type: ignore[valid-type]
        ),
    )


def _predict_together(model: MLModel, rows: list[Any]) -> list[Any] | None:
    """Predict in one call; None if the model has no such call, or failed in it."""
    # Decorators forward unknown attributes, so that an instance would skip those around the model.
    if not hasattr(type(model), "predict_batch"):
        return None
    try:
        predictions = list(model.predict_batch(rows))
    except Exception:  # noqa: BLE001 (each row alone will tell which it was, and why)
        return None
    return predictions if len(predictions) == len(rows) else None


def _domain_error(qualified_name: str, error: Exception, row: str = "") -> ModelsAPIError:
    """Say in the terms of this package what went wrong in a model."""
    if isinstance(error, MLModelSchemaValidationException):
        return SchemaRejected(qualified_name, f"{row}{error}")
    if isinstance(error, Overloaded | DeadlineExceeded):
        return error
    message = f"{row}The model {qualified_name} failed to make a prediction."
    return PredictionFailed(qualified_name, message)


def parse(body: bytes, schema: type[BaseModel]) -> BaseModel:
    """Validate JSON against the schema; no number in the result is NaN or infinite.

    Raises:
        InvalidInput: the body is not JSON, does not fit, or holds a number that is not finite.
    """
    suspicious = _may_hold_non_finite(body)
    if suspicious:
        _refuse_non_finite_json(body)
    try:
        data: BaseModel = schema.__pydantic_validator__.validate_json(body)
    except ValidationError as error:
        raise _invalid_input(error) from None
    except (ValueError, RecursionError) as error:
        # Not every schema wraps what its own validators raise.
        raise InvalidInput([InputProblem((), "value_error", str(error))]) from error
    if suspicious:
        _refuse_non_finite(_PLAIN.to_python(data, fallback=str, warnings=False))
    return data


def serialise(prediction: Any, schema: type[BaseModel]) -> bytes:
    """Write a prediction as its schema documents it: by alias, NaN and infinities as null.

    What is not an instance of the schema is validated first; numpy scalars and arrays become JSON
    numbers and lists.

    Raises:
        pydantic.ValidationError: the prediction does not fit the schema.
        pydantic_core.PydanticSerializationError: some value has no JSON.
    """
    if not isinstance(prediction, schema):
        prediction = _validated(prediction, schema)
    try:
        # With warnings as errors pydantic says when a field holds what its type does not allow.
        written = schema.__pydantic_serializer__.to_json(
            prediction, by_alias=True, warnings="error", fallback=_from_numpy
        )
    except PydanticSerializationError:
        prediction = _validated(_plain(prediction), schema)
        written = schema.__pydantic_serializer__.to_json(
            prediction, by_alias=True, fallback=_from_numpy
        )
    if b"NaN" in written or b"Infinity" in written:
        # pydantic writes them where a model's configuration says ser_json_inf_nan="constants".
        return to_json(from_json(written), inf_nan_mode="null")
    return written


_PLAIN = SchemaSerializer(core_schema.any_schema())


def _validated(prediction: Any, schema: type[BaseModel]) -> BaseModel:
    validate = schema.__pydantic_validator__.validate_python
    try:
        return validate(prediction, from_attributes=True, by_alias=True, by_name=True)  # type: ignore[no-any-return]
    except ValidationError:
        plain = _plain(prediction)
    return validate(plain, by_alias=True, by_name=True)  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    """Models as dicts, numpy scalars and arrays as numbers and lists, however deep they are."""
    return _PLAIN.to_python(value, fallback=_from_numpy, warnings=False)


def _from_numpy(value: Any) -> Any:
    # Scalars and arrays of numpy, and tensors, without importing any of these libraries.
    to_list = getattr(value, "tolist", None)
    if to_list is None:
        raise PydanticSerializationError(f"{type(value).__name__} has no JSON")
    return to_list()


def _may_hold_non_finite(body: bytes) -> bool:
    """Whether it is worth looking closer; cheap, and rarely true without such a number."""
    lower = body.lower()
    return (
        b"nan" in lower
        or b"inf" in lower
        or b"\\u00" in lower
        or _LARGE_EXPONENT.search(lower) is not None
        or (len(body) > len(_MANY_DIGITS) and _MANY_DIGITS in body.translate(_ZERO_DIGITS))
    )


def _refuse_non_finite_json(body: bytes) -> None:
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        problem = InputProblem((), "json_invalid", f"Invalid JSON: {error}")
        raise InvalidInput([problem]) from None
    _refuse_non_finite(value)


def _refuse_non_finite(value: Any) -> None:
    problems = [
        InputProblem(location, "finite_number", "Input should be a finite number")
        for location in _non_finite_locations(value, ())
    ]
    if problems:
        raise InvalidInput(problems)


def _non_finite_locations(
    value: Any, location: tuple[str | int, ...]
) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, float):
        if not math.isfinite(value):
            yield location
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _non_finite_locations(item, (*location, str(key)))
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            yield from _non_finite_locations(item, (*location, index))


def _invalid_input(error: ValidationError) -> InvalidInput:
    return InvalidInput(
        [
            InputProblem(details["loc"], details["type"], details["msg"])
            for details in error.errors(
                include_url=False, include_context=False, include_input=False
            )
        ]
    )

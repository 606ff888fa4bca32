"""What a prediction consists of, one function for each stage, so that each can be watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ml_base import MLModel
from pydantic import BaseModel

from models_api.exceptions import DeadlineExceeded, Overloaded
from models_api.prediction import codec as json_codec
from models_api.prediction import plain_columns, plain_rows
from models_api.prediction.request_context import note_batch

T = TypeVar("T")


def takes_columns(model: MLModel) -> bool:
    """Whether the class of a model, or of its outermost decorator, can predict columns."""
    # Decorators forward unknown attributes, so that an instance would skip those around the model.
    return hasattr(type(model), "predict_columns")


def _predict(model: MLModel, row: Any) -> Any:
    return model.predict(row)


def _predict_together(model: MLModel, rows: Sequence[Any]) -> list[Any] | None:
    # As in takes_columns.
    if not hasattr(type(model), "predict_batch"):
        return None
    predictions = _in_one_call(lambda: list(model.predict_batch(rows)), len(rows))
    return predictions if predictions is not None and len(predictions) == len(rows) else None


def _predict_columns(model: MLModel, columns: Mapping[str, Any], rows: int) -> Any:
    return _in_one_call(lambda: model.predict_columns(columns), rows)


def _in_one_call(predict: Callable[[], T], rows: int) -> T | None:
    try:
        predictions = predict()
    except (Overloaded, DeadlineExceeded):
        raise
    except (Exception, SystemExit):  # noqa: BLE001 (each row alone will tell which it was, and why)
        return None
    note_batch(rows)
    return predictions


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of a prediction with one model. By default they only do what they are for."""

    parse: Callable[[bytes, type[BaseModel]], BaseModel] = json_codec.parse
    validate_rows: Callable[
        [list[dict[str, Any]], Mapping[str, type | None], type[BaseModel]], list[Any] | None
    ] = plain_rows.validate_rows
    validate_columns: Callable[
        [Mapping[str, Any], Mapping[str, type | None], type[BaseModel]], dict[str, Any] | None
    ] = plain_columns.validate_columns
    predict: Callable[[MLModel, Any], Any] = _predict
    predict_together: Callable[[MLModel, Sequence[Any]], list[Any] | None] = _predict_together
    """Predict in one call; None if the model has no such call, or failed in it.

    Where the model is too busy, that is raised.
    """
    predict_columns: Callable[[MLModel, Mapping[str, Any], int], Any] = _predict_columns
    """Predict so many rows in one call; None if it failed. Likewise."""
    serialise: Callable[[Any, type[BaseModel]], bytes] = json_codec.serialise
    serialise_together: Callable[[list[Any], type[BaseModel]], bytes | None] = (
        json_codec.serialise_together
    )
    gather_columns: Callable[[Sequence[Any], type[BaseModel]], dict[str, list[Any]] | None] = (
        plain_rows.gather_columns
    )
    written_columns: Callable[[Any, int, type[BaseModel]], dict[str, list[Any]] | None] = (
        plain_columns.written_columns
    )

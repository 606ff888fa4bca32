"""What a prediction consists of, one function for each stage, so that each can be watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_base import MLModel
from pydantic import BaseModel

from models_api import json_codec, plain_rows
from models_api.request_context import note_batch


def _predict(model: MLModel, row: Any) -> Any:
    return model.predict(row)


def _predict_together(model: MLModel, rows: list[Any]) -> list[Any] | None:
    # Decorators forward unknown attributes, so that an instance would skip those around the model.
    if not hasattr(type(model), "predict_batch"):
        return None
    try:
        predictions = list(model.predict_batch(rows))
    except (Exception, SystemExit):  # noqa: BLE001 (each row alone will tell which it was, and why)
        return None
    note_batch(len(rows))
    return predictions if len(predictions) == len(rows) else None


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of a prediction with one model. By default they only do what they are for."""

    parse: Callable[[bytes, type[BaseModel]], BaseModel] = json_codec.parse
    validate_rows: Callable[
        [list[dict[str, Any]], Mapping[str, type | None], type[BaseModel]], list[Any] | None
    ] = plain_rows.validate_rows
    predict: Callable[[MLModel, Any], Any] = _predict
    predict_together: Callable[[MLModel, list[Any]], list[Any] | None] = _predict_together
    """Predict in one call; None if the model has no such call, or failed in it."""
    serialise: Callable[[Any, type[BaseModel]], bytes] = json_codec.serialise
    serialise_together: Callable[[list[Any], type[BaseModel]], bytes | None] = (
        json_codec.serialise_together
    )
    gather_columns: Callable[[Sequence[Any], type[BaseModel]], dict[str, list[Any]] | None] = (
        plain_rows.gather_columns
    )

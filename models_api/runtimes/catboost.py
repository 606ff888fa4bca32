"""Artefacts of CatBoost, in its binary format: names of columns, which are categories, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import catboost
import numpy as np

from models_api.exceptions import ArtefactError
from models_api.logs import one_line
from models_api.runtimes.arrays import by_label, class_outputs, features, numbers, value_output
from models_api.runtimes.signature import Column, Label, Output, Signature


def describe(path: Path) -> Signature:
    """Return what the model says of its columns and classes."""
    model = _read(path)
    inputs, (outputs, labels) = _columns(model), _outputs(model)
    summary = f"A CatBoost {'classifier' if labels else 'model'} of {model.tree_count_} trees."
    return Signature(summary, f"catboost {catboost.__version__}", inputs, outputs, labels)


def load(path: Path, signature: Signature) -> _Predictor:
    """Read the model."""
    return _Predictor(_read(path), signature)


class _Predictor:
    def __init__(self, model: Any, signature: Signature) -> None:
        self._model = model
        self._columns = signature.inputs
        self._labels = signature.labels
        self._positions = {label: index for index, label in enumerate(_classes(model))}
        self._is_of_numbers = all(column.type == "number" for column in signature.inputs)
        self._categories = set(model.get_cat_feature_indices())

    def predict(self, columns: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        """Predict the rows that the columns hold."""
        try:
            data = self._data(list(columns.values()))
            return {name: self._predicted(data, name) for name in wanted}
        except catboost.CatBoostError as error:
            raise ValueError(_reason(error)) from error
        except TypeError as error:
            raise ValueError("A category or a text may not be missing.") from error

    def _predicted(self, data: Any, name: str) -> Any:
        if name == "probabilities":
            return by_label(self._labels, self._model.predict_proba(data, thread_count=1))
        found = self._model.predict(data, thread_count=1)
        if name == "value" or not self._labels:
            return found
        if found.ndim > 1 and found.shape[1] > 1:
            return found  # whether it has each of the labels
        return [self._labels[self._positions[label]] for label in found.ravel().tolist()]

    def _data(self, columns: list[Any]) -> Any:
        if self._is_of_numbers:
            found = [numbers(column) for column in columns]
            return found[0] if found[0].ndim > 1 else np.column_stack(found)
        data = np.empty((len(columns[0]), len(columns)), object)
        for index, column in enumerate(columns):
            data[:, index] = self._values(column, index)
        return data

    def _values(self, column: Any, index: int) -> Any:
        if index in self._categories or self._columns[index].type == "string":
            return column
        return numbers(column)


def _read(path: Path) -> Any:
    try:
        classes = catboost.CatBoost().load_model(path).classes_
        # Each of the two predicts what the loss function of the model is for.
        kind = catboost.CatBoostClassifier if len(classes) else catboost.CatBoostRegressor
        return kind().load_model(path)
    except Exception as error:
        message = f"catboost {catboost.__version__} cannot read {path.name}: {_reason(error)}"
        hint = "Save or copy the model again; if a newer version saved it, install that one."
        raise ArtefactError(message, hint) from error


def _reason(error: Exception) -> str:
    """Return what CatBoost says, without the place in its code."""
    place, _, reason = one_line(error).partition(": ")
    return reason if "/" in place and " " not in place.rpartition("/")[2] else one_line(error)


def _classes(model: Any) -> list[Label]:
    classes: list[Label] = np.asarray(model.classes_).tolist()
    return classes


def _columns(model: Any) -> tuple[Column, ...]:
    names = model.feature_names_
    if model.get_embedding_feature_indices():
        # With one of another length it computes nonsense, rather than complain.
        message = "the model takes embeddings, and does not tell how long they are"
        raise ArtefactError(message, "Write a class that loads it: class_path.")
    texts = _texts(model)
    if not texts and names == [str(index) for index in range(len(names))]:
        return features(len(names), nullable=True)
    return tuple(
        Column(name, "string") if index in texts else Column(name, "number", nullable=True)
        for index, name in enumerate(names)
    )


def _texts(model: Any) -> set[int]:
    """Return the positions of categories, of which it keeps hashes alone, and of texts."""
    return {*model.get_cat_feature_indices(), *model.get_text_feature_indices()}


def _outputs(model: Any) -> tuple[tuple[Output, ...], tuple[Label, ...]]:
    labels, size = tuple(_classes(model)), _size(model)
    if not labels:
        return value_output(() if size == 1 else (size,)), ()
    label, probabilities = class_outputs(labels)
    if size > 1:
        label = Output("label", "integer", (size,), description="Whether it has each label.")
    return (label, probabilities), labels


def _size(model: Any) -> int:
    """Return how many values it predicts for a row, by a prediction."""
    texts = _texts(model)
    row = ["" if index in texts else 0.0 for index in range(len(model.feature_names_))]
    return int(np.size(model.predict(np.array([row], object), thread_count=1)))

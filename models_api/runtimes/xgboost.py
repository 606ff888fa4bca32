"""Artefacts of XGBoost, in its formats JSON and UBJSON: columns with types, and an objective."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import xgboost

from models_api.exceptions import ArtefactError
from models_api.runtimes.arrays import (
    by_probability,
    class_outputs,
    classes,
    features,
    matrix,
    numbers,
    value_output,
)
from models_api.runtimes.overrides import type_of
from models_api.runtimes.signature import Column, Label, Output, Signature, ValueType

_TYPES: dict[str, ValueType] = {"int": "integer", "i": "boolean"}


def describe(path: Path) -> Signature:
    """Return what the booster says of its columns and objective."""
    booster = _booster(path)
    learner = _learner(booster)
    outputs, labels = _outputs(learner)
    objective = learner["objective"]["name"]
    summary = f"An XGBoost booster (objective {objective})."
    library = f"xgboost {xgboost.__version__}"
    return Signature(summary, library, _columns(booster), outputs, labels)


def load(path: Path, signature: Signature) -> _Predictor:
    """Read the booster."""
    return _Predictor(_booster(path), signature)


class _Predictor:
    def __init__(self, booster: xgboost.Booster, signature: Signature) -> None:
        self._booster = booster
        self._signature = signature
        self._is_class = _learner(booster)["objective"]["name"] in ("multi:softmax", "binary:hinge")
        found = _categories(booster)
        self._categories = [
            found.get(index) or (column.categories if self._is_categorical(index) else ())
            for index, column in enumerate(signature.inputs)
        ]
        best = booster.attr("best_iteration")
        self._rounds = (0, 0) if best is None else (0, int(best) + 1)

    def predict(self, columns: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        """Predict the rows that the columns hold."""
        values = zip(columns.values(), self._categories, strict=True)
        data = matrix([numbers(column, categories) for column, categories in values])
        predicted = self._booster.inplace_predict(
            data, iteration_range=self._rounds, validate_features=False
        )
        labels = self._signature.labels
        if self._is_class:
            return classes(labels, predicted.astype(int), predicted, wanted)
        return by_probability(labels, predicted, wanted)

    def _is_categorical(self, index: int) -> bool:
        types = self._booster.feature_types
        return types is not None and types[index] == "c"


def _booster(path: Path) -> xgboost.Booster:
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(path)
        booster.set_param({"nthread": 1})
        _learner(booster)
    except Exception as error:
        # Behind its first line it tells where in its own code that was.
        reason = str(error).partition("Stack trace")[0].strip().rpartition("\n")[2]
        message = f"xgboost {xgboost.__version__} cannot read {path.name}: {reason}"
        raise ArtefactError(message, "Save or copy the booster again.") from error
    return booster


def _learner(booster: xgboost.Booster) -> dict[str, Any]:
    learner: dict[str, Any] = json.loads(booster.save_config())["learner"]
    return learner


def _columns(booster: xgboost.Booster) -> tuple[Column, ...]:
    names, types = booster.feature_names, booster.feature_types
    size = booster.num_features()
    if names is None and "c" not in (types or ()):
        return features(size, nullable=True)
    categories = _categories(booster)
    return tuple(
        _column(name, type_, categories.get(index, []))
        for index, (name, type_) in enumerate(
            zip(
                names or [f"f{index}" for index in range(size)],
                types or ["float"] * size,
                strict=True,
            )
        )
    )


def _column(name: str, type_: str, categories: Sequence[Label]) -> Column:
    if type_ == "c" and not categories:
        return Column(name, "unknown", nullable=True)
    if categories:
        return Column(name, type_of(categories), nullable=True, categories=tuple(categories))
    return Column(name, _TYPES.get(type_, "number"), nullable=True)


def _categories(booster: xgboost.Booster) -> dict[int, list[Label]]:
    """Return the categories of each column by its position; none where an old booster has none."""
    if "c" not in (booster.feature_types or ()):
        return {}
    model = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"].get("model", {})
    encodings = model.get("cats", {}).get("enc", [])
    return {index: found for index, each in enumerate(encodings) if (found := _decoded(each))}


def _decoded(encoding: Mapping[str, Any]) -> list[Label]:
    values = encoding["values"]
    if "offsets" not in encoding:
        return list(values)
    text = bytes(value % 256 for value in values)
    return [text[start:end].decode() for start, end in pairwise(encoding["offsets"])]


def _outputs(
    learner: Mapping[str, Any],
) -> tuple[tuple[Output, ...], tuple[Label, ...]]:
    objective, about = learner["objective"]["name"], learner["learner_model_param"]
    count = int(about["num_class"])
    if objective in ("multi:softprob", "multi:softmax", "binary:logistic", "binary:hinge"):
        labels = tuple(range(count or 2))
        outputs = class_outputs(labels)
        is_class = objective in ("multi:softmax", "binary:hinge")
        return (outputs[:1] if is_class else outputs), labels
    targets = max(int(about.get("num_target", 1)), count)
    return value_output(() if targets <= 1 else (targets,)), ()

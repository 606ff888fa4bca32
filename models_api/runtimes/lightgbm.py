"""Artefacts of LightGBM, in its text format: names and categories of columns, and an objective."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from models_api.exceptions import ArtefactError
from models_api.logs import one_line
from models_api.runtimes.arrays import (
    by_probability,
    class_outputs,
    features,
    matrix,
    numbers,
    value_output,
)
from models_api.runtimes.overrides import type_of
from models_api.runtimes.signature import Column, Label, Output, Signature

_UNNAMED = re.compile(r"Column_\d+")
_OF_CLASSES = ("multiclass", "multiclassova")
_RANGE = re.compile(r"\[(?P<least>[^:]+):(?P<greatest>[^:]+)\]")


def describe(path: Path) -> Signature:
    """Return what the text says of columns and objective."""
    booster, head = _booster(path), _head(path)
    objective = head.get("objective", "")
    inputs, (outputs, labels) = _columns(booster, head), _outputs(booster, objective.split(" ")[0])
    summary = f"A LightGBM booster{f' (objective {objective})' if objective else ''}."
    return Signature(summary, f"lightgbm {lightgbm.__version__}", inputs, outputs, labels)


def load(path: Path, signature: Signature) -> _Predictor:
    """Read the booster."""
    return _Predictor(_booster(path), signature)


class _Predictor:
    def __init__(self, booster: lightgbm.Booster, signature: Signature) -> None:
        self._booster = booster
        self._labels = signature.labels
        positions = _categories(booster)
        self._categories = [positions.get(index, []) for index in range(len(signature.inputs))]

    def predict(self, columns: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        """Predict the rows that the columns hold."""
        values = zip(columns.values(), self._categories, strict=True)
        data = matrix([numbers(column, categories) for column, categories in values])
        predicted = np.asarray(self._booster.predict(data, num_threads=1))
        return by_probability(self._labels, predicted, wanted)


def _booster(path: Path) -> lightgbm.Booster:
    hint = "Save or copy the booster again."
    text = path.read_text(encoding="utf-8", errors="replace")
    # The library ends the process where it finds half a list of parameters; the oldest have none.
    is_whole = "\nend of parameters" in text or "\nversion=v2" in text
    if "\nend of trees" not in text or not is_whole:
        raise ArtefactError(f"{path.name} is cut off: its end is missing", hint)
    try:
        return lightgbm.Booster(model_str=text)
    except Exception as error:
        message = f"lightgbm {lightgbm.__version__} cannot read {path.name}: {one_line(error)}"
        raise ArtefactError(message, hint) from error


def _head(path: Path) -> dict[str, str]:
    """Return the keys before the first tree, and those after the last."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.partition("\nTree=")[0].splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _columns(booster: lightgbm.Booster, head: Mapping[str, str]) -> tuple[Column, ...]:
    names = booster.feature_name()
    if all(map(_UNNAMED.fullmatch, names)):
        return features(len(names), nullable=True)
    categories, ranges = _categories(booster), head.get("feature_infos", "").split()
    return tuple(
        _column(name, categories.get(index, []), ranges[index] if index < len(ranges) else "")
        for index, name in enumerate(names)
    )


def _column(name: str, categories: Sequence[Label], range_: str) -> Column:
    if categories:
        return Column(name, type_of(categories), nullable=True, categories=tuple(categories))
    found = _RANGE.fullmatch(range_)
    example = None
    if found is not None:
        # Of the training: others may be asked for as well.
        example = float(f"{(float(found['least']) + float(found['greatest'])) / 2:.3g}")
    return Column(name, "number", nullable=True, example=example)


def _categories(booster: lightgbm.Booster) -> dict[int, list[Label]]:
    """Return the categories of the columns that were categories of pandas, by their position."""
    known = booster.pandas_categorical or []
    found = re.search(r"\[categorical_feature: ([\d,]+)\]", booster.model_to_string())
    positions = [int(position) for position in found[1].split(",")] if found else []
    if known and len(positions) != len(known):
        message = "the booster does not tell which of its columns its categories belong to"
        raise ArtefactError(message, "Write a class that loads it: class_path.")
    return dict(zip(positions, known, strict=False))


def _outputs(
    booster: lightgbm.Booster, objective: str
) -> tuple[tuple[Output, ...], tuple[Label, ...]]:
    count = booster.num_model_per_iteration()
    if objective == "binary":
        return class_outputs((0, 1)), (0, 1)
    if objective in _OF_CLASSES:
        labels = tuple(range(count))
        return class_outputs(labels), labels
    return value_output(() if count == 1 else (count,)), ()

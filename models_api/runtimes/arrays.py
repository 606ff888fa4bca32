"""Between columns and what libraries compute with: matrices, classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_api.runtimes.overrides import type_of
from models_api.runtimes.schemas import key_of
from models_api.runtimes.signature import Column, Label, Output, Shape, ValueType

Array = NDArray[Any]
KINDS_OF_DTYPES: dict[str, ValueType] = {
    "f": "number",
    "b": "boolean",
    "O": "string",
    "i": "integer",
    "u": "integer",
}


def numbers(values: Array, categories: Sequence[Label] = ()) -> Array:
    """Return values as floats, NaN where one is missing.

    Args:
        values: Numbers, booleans, None, or lists of these; or categories.
        categories: If there are any, each value becomes its position among them.
    """
    if categories:
        # 1 and True are equal, and the same key.
        positions: dict[object, float] = {label: float(i) for i, label in enumerate(categories)}
        nan = float("nan")
        return np.array([positions.get(value, nan) for value in values.tolist()])
    if values.dtype == object:
        return np.array(values.tolist(), np.float64)
    return values.astype(np.float64, copy=False)


def matrix(columns: Iterable[Array]) -> Array:
    """Return one array of all columns, each of which is one column of it, or all of them."""
    arrays = list(columns)
    if len(arrays) == 1 and arrays[0].ndim > 1:
        return arrays[0]
    if any(array.ndim > 1 for array in arrays):
        return np.column_stack(arrays)
    return np.ascontiguousarray(np.array(arrays).T)  # the same in a fraction of the time


def classes(
    labels: Sequence[Label], positions: Array, probabilities: Array, wanted: Sequence[str]
) -> dict[str, Any]:
    """Return the outputs of a classifier.

    Args:
        labels: Its classes.
        positions: Of the class of each row among the labels.
        probabilities: Of each row and class.
        wanted: Names of outputs.
    """
    found: dict[str, Any] = {}
    if "label" in wanted:
        found["label"] = labelled(labels, positions)
    if "probabilities" in wanted:
        found["probabilities"] = by_label(labels, probabilities)
    return found


def labelled(labels: Sequence[Label], positions: Array) -> list[Label]:
    """Return the label at each of the positions.

    Raises:
        ValueError: there is none at one of them.
    """
    found = positions.tolist()
    if found and not 0 <= min(found) <= max(found) < len(labels):
        raise ValueError(f"The model predicted a class beyond the {len(labels)} that have labels.")
    return [labels[position] for position in found]


def by_label(labels: Sequence[Label], numbers: Array) -> list[dict[str, float]]:
    """Return a mapping from labels to numbers for each row."""
    keys = _keys(*labels)
    return [dict(zip(keys, row, strict=True)) for row in numbers.tolist()]


# A model has one set of labels, and may have thousands of them. By type, since 1 equals True.
@lru_cache(maxsize=1024, typed=True)
def _keys(*labels: Label) -> tuple[str, ...]:
    return tuple(map(key_of, labels))


def class_outputs(labels: tuple[Label, ...]) -> tuple[Output, ...]:
    """Return the outputs of a classifier that tells probabilities."""
    return (
        Output(
            "label",
            type_of(labels),
            labels=labels,
            of_classes=True,
            description="The most probable class.",
        ),
        Output(
            "probabilities",
            "number",
            labels=labels,
            by_label=True,
            of_classes=True,
            description="Of each class.",
        ),
    )


def value_output(shape: tuple[int | None, ...] = ()) -> tuple[Output, ...]:
    """Return the output of a model that predicts numbers."""
    return (Output("value", "number", shape, description="What is predicted."),)


def by_probability(
    labels: Sequence[Label], predicted: Array, wanted: Sequence[str]
) -> dict[str, Any]:
    """Return the outputs of a booster, which predicts probabilities, or a value."""
    if "value" in wanted or not labels:
        return {"value": predicted}
    if predicted.ndim == 1:
        predicted = np.column_stack([1.0 - predicted, predicted])
    return classes(labels, predicted.argmax(axis=1), predicted, wanted)


def features(size: int, *, nullable: bool) -> tuple[Column, ...]:
    """Return the one column of an artefact that knows no names."""
    description = f"The {size} columns that the model was fitted on, in their order."
    return (Column("features", "number", (size,), nullable, description=description),)


def limits(dtype: np.dtype[Any]) -> tuple[float | None, float | None]:
    """Return the least and the greatest value that an array holds, if JSON has others."""
    if dtype.kind in "iu" and dtype.itemsize < 8:
        return np.iinfo(dtype).min, np.iinfo(dtype).max
    if dtype.kind == "u":
        return 0, None
    if dtype.kind == "f" and dtype.itemsize < 8:
        # Beyond, a number would be infinite.
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    return None, None


def tensor(values: Array, dtype: str, rank: int) -> Array:
    """Return values as a tensor of rows.

    Args:
        values: One for each row; a value may be a list.
        dtype: Of the tensor.
        rank: How many dimensions it has.

    Raises:
        ValueError: lists differ in length.
    """
    if values.dtype == object and dtype not in ("object", "bool"):
        values = numbers(values) if dtype.startswith("float") else np.array(values.tolist())
    elif values.dtype == object and isinstance(values[0], list):
        values = np.array(values.tolist(), dtype)
    found = values.astype(dtype, copy=False)
    return found[:, np.newaxis] if found.ndim < rank else found


def output_of_tensor(name: str, dtype: str, shape: Shape) -> Output:
    """Return what an output is that is a tensor; one that may be of classes can be labelled."""
    kind = KINDS_OF_DTYPES[np.dtype(dtype).kind]
    is_one = kind == "integer" and not shape
    return Output(name, kind, shape, of_classes=is_one or (kind == "number" and len(shape) == 1))


def of_output(output: Output, values: Array) -> Any:
    """Return a tensor of rows as what the output has for each row."""
    if output.by_label:
        return by_label(output.labels, values)
    if values.ndim == 2 and not output.shape:
        values = values[:, 0]
    return labelled(output.labels, values) if output.labels else values

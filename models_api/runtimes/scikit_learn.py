"""Artefacts of scikit-learn: estimators and pipelines that joblib or pickle wrote."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import sklearn
from sklearn.base import is_classifier
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import ThreadpoolController

from models_api.exceptions import ArtefactError
from models_api.logs import SafeLogger, one_line
from models_api.runtimes.arrays import by_label, class_outputs, numbers
from models_api.runtimes.estimator_columns import columns_of, names_of, takes_texts
from models_api.runtimes.schemas import example_of
from models_api.runtimes.signature import Column, Label, Output, Signature, ValueType

logger = SafeLogger(__name__)

_ARGMAX = (RandomForestClassifier, ExtraTreesClassifier, DecisionTreeClassifier)
"""Whose `predict` is the class of the greatest probability, so that it need not compute twice."""
_KINDS: dict[str, ValueType] = {
    "f": "number",
    "i": "integer",
    "u": "integer",
    "b": "boolean",
    "U": "string",
    "O": "string",
}


def describe(path: Path) -> Signature:
    """Return what the estimator says of its columns and classes."""
    return signature_of(_read(path))


def load(path: Path, signature: Signature) -> Predictor:
    """Read the estimator."""
    return Predictor(_read(path), signature)


def signature_of(estimator: Any) -> Signature:
    """Return what a fitted estimator says of its columns and classes."""
    columns = columns_of(estimator)
    outputs, labels = _outputs(estimator, columns)
    name = _name(estimator)
    summary = f"A{'n' if name[0] in 'AEIO' else ''} {name} of scikit-learn."
    return Signature(summary, f"scikit-learn {sklearn.__version__}", columns, outputs, labels)


class Predictor:
    """Predicts with an estimator."""

    def __init__(self, estimator: Any, signature: Signature) -> None:
        self._columns = signature.inputs
        self._labels = signature.labels
        self._takes_texts = takes_texts(estimator)
        self._names = names_of(estimator)
        self._before, self._last = _parts(estimator)
        self._classes = _classes(self._last)
        self._positions = {label: index for index, label in enumerate(self._classes or ())}
        # OpenMP would start threads for each thread that predicts, in every worker.
        self._openmp = ThreadpoolController().select(user_api="openmp")

    def predict(self, columns: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        """Predict the rows that the columns hold."""
        data = self._data(columns)
        with self._openmp.limit(limits=1):
            if self._before is not None:
                data = self._before.transform(data)
            if self._classes is None:
                return {name: self._last.predict(data) for name in wanted}
            return self._of_classes(data, wanted)

    def _of_classes(self, data: Any, wanted: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        probabilities: Any = None
        if "probabilities" in wanted or isinstance(self._last, _ARGMAX):
            probabilities = self._last.predict_proba(data)
        if "label" in wanted:
            positions = self._positions_of(data, probabilities)
            found["label"] = [self._labels[position] for position in positions]
        if "probabilities" in wanted:
            found["probabilities"] = by_label(self._labels, probabilities)
        return found

    def _positions_of(self, data: Any, probabilities: Any) -> list[int]:
        if isinstance(self._last, _ARGMAX):
            positions: list[int] = probabilities.argmax(axis=1).tolist()
            return positions
        return [self._positions[label] for label in self._last.predict(data).tolist()]

    def _data(self, columns: Mapping[str, Any]) -> Any:
        if self._takes_texts:
            (texts,) = columns.values()
            return texts.tolist()
        arrays = [
            _values(array, column)
            for array, column in zip(columns.values(), self._columns, strict=True)
        ]
        if self._names is not None:
            return pd.DataFrame(dict(zip(self._names, arrays, strict=True)), copy=False)
        return arrays[0] if arrays[0].ndim > 1 else np.column_stack(arrays)


def _read(path: Path) -> Any:
    return estimator_in(path, f"scikit-learn {sklearn.__version__}", joblib.load)


def estimator_in(path: Path, library: str, read: Callable[[Path], Any]) -> Any:
    """Return the estimator that a file holds, made to compute on one thread.

    Args:
        path: The file.
        library: What reads it, and the version of that.
        read: How.

    Raises:
        ArtefactError: it cannot be read, or does not predict.
    """
    estimator = _read_with(path, library, read)
    if not hasattr(estimator, "predict"):
        message = f"{path.name} holds {_described(estimator)}, which does not predict"
        raise ArtefactError(message, "Save the estimator alone, or the whole pipeline.")
    if hasattr(estimator, "get_params"):
        alone = {name: 1 for name in estimator.get_params() if name.split("__")[-1] == "n_jobs"}
        estimator.set_params(**alone)
    try:
        check_is_fitted(_parts(estimator)[1])
    except NotFittedError as error:
        message = f"the {_name(estimator)} in {path.name} is not fitted"
        raise ArtefactError(message, "Save it after fit.") from error
    except TypeError:
        pass  # no estimator of scikit-learn, but one that predicts
    return estimator


def _read_with(path: Path, library: str, read: Callable[[Path], Any]) -> Any:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = read(path)
    except Exception as error:
        message = f"{library} cannot read {path.name}: {one_line(error)}"
        raise ArtefactError(message, hint(error)) from error
    for warning in dict.fromkeys(" ".join(str(each.message).split()) for each in caught):
        logger.warning("%s: %s", path.name, warning)
    return found


def hint(error: Exception) -> str:
    """Return what to do about an estimator that cannot be read."""
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("sklearn"):
        return f"Install the package that provides {error.name}, or start the service beside it."
    if isinstance(error, ImportError | AttributeError | TypeError | KeyError):
        return "Install the version of scikit-learn that saved it, or save it anew with this one."
    return "Save or copy the file again: it may be cut off, or hold no estimator."


def _described(found: object) -> str:
    if isinstance(found, dict):
        return f"a dict of {', '.join(map(str, list(found)[:10]))}"
    return f"a {type(found).__name__}"


def _name(estimator: Any) -> str:
    names = [type(step).__name__ for _, step in estimator.steps] if _is_pipeline(estimator) else []
    return f"Pipeline ({', '.join(names)})" if names else type(estimator).__name__


def _is_pipeline(estimator: Any) -> bool:
    return type(estimator) is Pipeline


def _parts(estimator: Any) -> tuple[Any, Any]:
    """Return what a pipeline does before its last step, None if nothing, and the last step."""
    if not _is_pipeline(estimator):
        return None, estimator
    last = estimator.steps[-1][1]
    return (estimator[:-1] if len(estimator.steps) > 1 else None), last


def _classes(estimator: Any) -> list[Label] | None:
    """Return the classes of a classifier of one output; None for any other estimator."""
    found = getattr(estimator, "classes_", None)
    if not _is_classifier(estimator) or not isinstance(found, np.ndarray) or found.ndim != 1:
        return None
    labels: list[Label] = found.tolist()
    return labels


def _is_classifier(estimator: Any) -> bool:
    try:
        return bool(is_classifier(estimator))
    except (AttributeError, TypeError):
        return False


def _values(array: Any, column: Column) -> Any:
    if array.dtype != object:
        return array
    if column.type in ("string", "any"):
        return np.array([np.nan if v is None else v for v in array.tolist()], object)
    return numbers(array)


def _outputs(
    estimator: Any, columns: tuple[Column, ...]
) -> tuple[tuple[Output, ...], tuple[Label, ...]]:
    labels = tuple(_classes(_parts(estimator)[1]) or ())
    if labels:
        outputs = class_outputs(labels)
        return (outputs if hasattr(estimator, "predict_proba") else outputs[:1]), labels
    name = "label" if _is_classifier(estimator) else "value"
    return (_probed(estimator, columns, name),), ()


def _probed(estimator: Any, columns: tuple[Column, ...], name: str) -> Output:
    """Return what an estimator predicts, by a prediction."""
    assumed = Output(name, "number", description="What is predicted.")
    if any(column.type == "unknown" for column in columns):
        return assumed
    arrays = {column.name: _array([example_of(column)] * 2, column) for column in columns}
    signature = Signature("", "", columns, (assumed,))
    try:
        found = np.asarray(Predictor(estimator, signature).predict(arrays, [name])[name])
    except Exception as error:  # noqa: BLE001 (what it makes of such values is its own affair)
        logger.info("What it predicts is assumed to be a number: %s", one_line(error))
        return assumed
    return replace(assumed, type=_KINDS.get(found.dtype.kind, "any"), shape=found.shape[1:])


def _array(values: list[object], column: Column) -> Any:
    is_object = column.type in ("string", "any") or (column.nullable and column.type != "number")
    return np.array(values, object if is_object else None)

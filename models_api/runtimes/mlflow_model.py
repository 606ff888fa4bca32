"""Models of MLflow, loaded and asked by `mlflow.pyfunc`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from math import isnan
from typing import Any

from models_api.exceptions import ArtefactError
from models_api.logs import SafeLogger, one_line
from models_api.runtimes.arrays import Array, features
from models_api.runtimes.mlflow_frames import (
    Columns,
    Maker,
    array_of,
    frame_of,
    maker_of,
    results_of,
)
from models_api.runtimes.mlflow_signature import VALUE, is_optional, outputs_of
from models_api.runtimes.mlmodel import REQUIREMENTS, MLmodel
from models_api.runtimes.schemas import example_of
from models_api.runtimes.signature import Column, Output, Signature, ValueType

# A service tells nobody that it reads a file, and no thread of theirs would survive a fork.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import mlflow.pyfunc
import numpy as np
from mlflow.exceptions import MlflowException

logger = SafeLogger(__name__)

_BOOSTERS = ("lightgbm", "xgboost")
_KINDS: dict[str, ValueType] = {
    "f": "number",
    "i": "integer",
    "u": "integer",
    "b": "boolean",
    "U": "string",
    "O": "any",
}
_BAD_REQUEST = 400


class ModelFailed(Exception):
    """The code of a model's author raised a ValueError, which says nothing of the request."""


def describe_unsigned(model: MLmodel) -> Signature:
    """Return what a model that was saved without a signature tells by itself."""
    advice = "Save it with a signature: mlflow.models.infer_signature(inputs, outputs)."
    if model.data is not None and model.data.suffix in (".onnx", ".lgb", ".ubj", ".json"):
        advice += f" Or serve the file in it, which tells more: artefact: {model.data}"
    library = f"mlflow {mlflow.__version__}"
    signature = Signature(model.summary, library, (), outputs_of(None), advice=advice)
    raw = _raw(_loaded(model))
    columns = () if raw is None or model.has_own_code else _columns_of(raw)
    if not columns:
        return signature
    signature = replace(signature, inputs=columns)
    return replace(signature, outputs=(_probed(model, signature),))


def load(model: MLmodel, signature: Signature) -> Predictor:
    """Load a model, and warn of libraries that are others than those it was saved with."""
    return Predictor(model, signature)


class Predictor:
    """Predicts as `mlflow.pyfunc` does."""

    def __init__(self, model: MLmodel, signature: Signature) -> None:
        self._has_own_code = model.has_own_code
        self._outputs = {output.name: output for output in signature.outputs}
        self._params = [str(spec["name"]) for spec in model.params]
        self._may_lack = [
            str(spec["name"])
            for spec in model.inputs or ()
            if is_optional(spec) and spec.get("type") in ("integer", "long")
        ]
        self._is_one_by_one = any(
            spec["tensor-spec"]["shape"][0] == 1
            for spec in model.inputs or ()
            if spec.get("type") == "tensor"
        )
        self._pyfunc = _loaded(model)
        self._make = self._maker(model, signature)
        self._openmp = _openmp()

    def predict(self, columns: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        """Predict the rows that the columns hold."""
        outputs = [self._outputs[name] for name in wanted]
        count = len(next(iter(columns.values())))
        groups = self._groups(columns, count)
        if len(groups) == 1:
            return dict(self._predicted(columns, outputs, count))
        found: dict[str, list[Any]] = {name: [None] * count for name in wanted}
        for rows in groups:
            chosen = {name: values[rows] for name, values in columns.items()}
            for name, values in self._predicted(chosen, outputs, len(rows)).items():
                for row, value in zip(rows, values, strict=True):
                    found[name][row] = value
        return found

    def _groups(self, columns: Columns, count: int) -> list[list[int]]:
        """Return which rows may go into one call."""
        if self._is_one_by_one:
            return [[row] for row in range(count)]
        if not self._params and not self._may_lack:
            return [list(range(count))]
        groups: dict[str, list[int]] = {}
        for row in range(count):
            params = [_plain(columns[name][row]) for name in self._params if name in columns]
            lacking = [columns[name][row] is None for name in self._may_lack]
            groups.setdefault(repr((params, lacking)), []).append(row)
        return list(groups.values())

    def _predicted(
        self, columns: Columns, outputs: Sequence[Output], count: int
    ) -> dict[str, list[Any]]:
        params = {name: _plain(columns[name][0]) for name in self._params if name in columns}
        given = {name: value for name, value in params.items() if value is not None}
        lacking = [name for name in self._may_lack if columns[name][0] is None]
        without = {*self._params, *lacking}
        data = self._make({name: v for name, v in columns.items() if name not in without})
        with self._one_thread():
            found = self._asked(data, given)
        return results_of(found, outputs, count)

    def _one_thread(self) -> AbstractContextManager[Any]:
        """Keep OpenMP from starting threads for each thread that predicts, in every worker."""
        if self._openmp is None:
            return nullcontext()
        limit: AbstractContextManager[Any] = self._openmp.limit(limits=1)
        return limit

    def _asked(self, data: Any, params: Mapping[str, Any]) -> Any:
        try:
            return self._pyfunc.predict(data, dict(params) or None)
        except MlflowException as error:
            if error.get_http_status_code() != _BAD_REQUEST:
                raise
            # Its own text holds all rows, which may be those of several clients.
            raise ValueError(str(error.__context__ or error)) from error
        except ValueError as error:
            if self._has_own_code:
                raise ModelFailed(f"{type(error).__name__}: {error}") from error
            raise

    def _maker(self, model: MLmodel, signature: Signature) -> Maker:
        if model.inputs is not None:
            return maker_of(model.inputs)
        columns = signature.inputs
        has_names = getattr(_raw(self._pyfunc), "feature_names_in_", None) is not None
        is_array = len(columns) == 1 and len(columns[0].shape) == 1
        is_counted = getattr(_raw(self._pyfunc), "n_features_in_", None) == len(columns)
        return array_of if is_array or (is_counted and not has_names) else frame_of


def _loaded(model: MLmodel) -> Any:
    others = ", ".join(model.differences())
    if others:
        logger.warning("%s was saved with %s", model.folder.name, others)
    try:
        found = mlflow.pyfunc.load_model(str(model.folder), suppress_warnings=True)
    except Exception as error:
        message = f"mlflow {mlflow.__version__} cannot load {model.folder.name}: {one_line(error)}"
        raise ArtefactError(message, _hint(model, error, others)) from error
    _compute_on_one_thread(_raw(found))
    return found


def _hint(model: MLmodel, error: Exception, others: str) -> str:
    if not others and not isinstance(error, ImportError):
        return "A file of it may be missing or cut off: copy the whole folder again."
    saved = f"It was saved with {others}. " if others else ""
    if not isinstance(error, ImportError):
        saved += "Copy the whole folder again, if something in it is missing. "
    return (
        f"{saved}Install what it needs, pip install -r {model.folder / REQUIREMENTS}, or have it "
        "compute where that is installed: execution: {kind: process, python: ENVIRONMENT}"
    )


def _raw(pyfunc: Any) -> Any:
    """Return the estimator or booster within; None where there is none."""
    try:
        return pyfunc.get_raw_model()
    except Exception:  # noqa: BLE001 (not all wrappers have one)
        return None


def _compute_on_one_thread(raw: Any) -> None:
    if hasattr(raw, "get_params") and hasattr(raw, "set_params"):
        alone = {name: 1 for name in raw.get_params() if name.split("__")[-1] == "n_jobs"}
        raw.set_params(**alone)


def _openmp() -> Any:
    """Return the thread pools of OpenMP; None where nothing could limit them."""
    if find_spec("threadpoolctl") is None:
        return None
    from threadpoolctl import ThreadpoolController  # noqa: PLC0415

    return ThreadpoolController().select(user_api="openmp")


def _columns_of(raw: Any) -> tuple[Column, ...]:
    """Return the columns of an estimator or a booster; none where it does not tell."""
    is_booster = type(raw).__module__.startswith(_BOOSTERS)
    if find_spec("sklearn") is not None and not is_booster:
        from models_api.runtimes.estimator_columns import columns_of  # noqa: PLC0415

        try:
            return columns_of(raw)
        except (ArtefactError, AttributeError, TypeError):
            return ()
    names = _names_in(raw)
    if names:
        return tuple(Column(name, "number", nullable=True) for name in names)
    size = getattr(raw, "n_features_in_", None)
    return () if size is None else features(size, nullable=True)


def _names_in(raw: Any) -> list[str]:
    for name in ("feature_names_in_", "feature_names", "feature_name"):
        found = getattr(raw, name, None)
        found = found() if callable(found) else found
        if found is not None:
            return [str(each) for each in found]
    return []


def _probed(model: MLmodel, signature: Signature) -> Output:
    """Return what a model predicts, by a prediction."""
    assumed = Output(VALUE, "any", description="What is predicted.")
    if any(column.type == "unknown" for column in signature.inputs):
        return assumed
    arrays = {column.name: _two(column) for column in signature.inputs}
    try:
        found = Predictor(model, replace(signature, outputs=(assumed,))).predict(arrays, [VALUE])
    except Exception as error:  # noqa: BLE001 (what it makes of such values is its own affair)
        logger.info("What it predicts is assumed to be anything: %s", one_line(error))
        return assumed
    array = np.asarray(found[VALUE])
    kind = _KINDS.get(array.dtype.kind, "any")
    return replace(assumed, type=kind, shape=() if kind == "any" else array.shape[1:])


def _two(column: Column) -> Array:
    is_object = column.type in ("string", "any") or (column.nullable and column.type != "number")
    return np.array([example_of(column)] * 2, object if is_object else None)


def _plain(value: Any) -> Any:
    """Return the value of a parameter; None where it is missing."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    return None if isinstance(plain, float) and isnan(plain) else plain

"""Between our columns and what models of MLflow take and return: frames, arrays, mappings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isnan
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

from models_api.runtimes.arrays import Array, matrix
from models_api.runtimes.mlflow_signature import is_tensor, names_of
from models_api.runtimes.mlmodel import Specs
from models_api.runtimes.signature import Output

Columns = Mapping[str, Array]
Given = Any
"""A DataFrame, an array, or a mapping of arrays."""
Maker = Callable[[Columns], Given]
"""Makes what a model takes of columns."""

_DTYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
}
_MEND = "Correct the outputs of its signature: mlflow.models.set_signature(folder, signature)"


class UnexpectedResult(Exception):
    """A model returned what does not fit its own signature."""


def maker_of(specs: Specs) -> Maker:
    """Return what makes of columns what a model with this signature takes."""
    if is_tensor(specs):
        return _of_tensors(specs)
    if specs[0].get("name") is None:
        return lambda columns: _unnamed_frame(columns, specs)
    types = [str(spec.get("type")) for spec in specs]
    names = names_of(specs, "")

    def make(columns: Columns) -> Given:
        found = zip(names, types, strict=True)
        series = {name: series_of(columns[name], type_) for name, type_ in found if name in columns}
        return pd.DataFrame(series, copy=False)

    return make


def array_of(columns: Columns) -> Given:
    """Return one array of all columns."""
    return matrix(columns.values())


def frame_of(columns: Columns) -> Given:
    """Return a DataFrame of columns whose types nobody has written down."""
    return pd.DataFrame({n: series_of(v, "") for n, v in columns.items()}, copy=False)


def series_of(values: Array, type_: str) -> Any:
    """Return the values of one column, in the type that MLflow calls so."""
    if values.dtype != object:
        return pd.Series(list(values)) if values.ndim > 1 else _cast(values, type_)
    listed = values.tolist()
    if type_ == "datetime":
        moments = pd.to_datetime(pd.Series(listed, dtype=object), utc=True)
        return moments.dt.tz_localize(None).astype("datetime64[ns]")
    if type_ in ("double", "float"):
        return _cast(np.array(listed, np.float64), type_)
    if type_ in ("string", ""):
        listed = [np.nan if value is None else value for value in listed]
    return pd.Series(np.fromiter(listed, object, len(listed)), dtype=object)


def results_of(found: Any, outputs: Sequence[Output], rows: int) -> dict[str, list[Any]]:
    """Return a value for each row and output.

    Raises:
        UnexpectedResult: the model returned something else.
    """
    columns = _columns_of(found, outputs)
    results = {output.name: _listed(columns[output.name], output) for output in outputs}
    for name, values in results.items():
        if len(values) != rows:
            message = f"the model returned {len(values)} values for {name}, and got {rows} rows"
            raise UnexpectedResult(f"{message}. {_MEND}")
    return results


def _cast(values: Array, type_: str) -> Array:
    """Return an array as MLflow wants it, where no value becomes another by that."""
    dtype = np.dtype(_DTYPES.get(type_, values.dtype))
    if not np.can_cast(values.dtype, dtype, "same_kind"):
        return values  # which MLflow refuses, and says why
    found = values.astype(dtype, copy=False)
    return found if dtype.kind == "f" or (found == values).all() else values


def _unnamed_frame(columns: Columns, specs: Specs) -> Given:
    types = [str(spec.get("type")) for spec in specs]
    arrays = list(columns.values())
    if len(arrays) == 1 < len(specs):
        arrays = list(arrays[0].T)
    series = [series_of(array, type_) for array, type_ in zip(arrays, types, strict=True)]
    return pd.DataFrame(dict(enumerate(series)), copy=False)


def _of_tensors(specs: Specs) -> Maker:
    dtypes = [str(spec["tensor-spec"]["dtype"]) for spec in specs]
    ranks = [len(spec["tensor-spec"]["shape"]) for spec in specs]
    if specs[0].get("name") is None:
        return lambda columns: _tensor(matrix(columns.values()), dtypes[0], ranks[0])
    names = names_of(specs, "")

    def make(columns: Columns) -> Given:
        # The configuration may have given names to the columns of the only array.
        values = [matrix(columns.values())] if len(names) == 1 else [columns[n] for n in names]
        each = zip(values, dtypes, ranks, strict=True)
        return dict(zip(names, (_tensor(*one) for one in each), strict=True))

    return make


def _tensor(values: Array, dtype: str, rank: int) -> Array:
    if values.dtype == object and dtype not in ("object", "str"):
        values = np.array([np.nan if each is None else each for each in values.tolist()])
    tensor = values if dtype == "object" else values.astype(dtype, copy=False)
    return tensor[:, 0] if rank == 1 and tensor.ndim == 2 and tensor.shape[1] == 1 else tensor


def _columns_of(found: Any, outputs: Sequence[Output]) -> Mapping[str, Any]:
    names = [output.name for output in outputs]
    if isinstance(found, Mapping | pd.DataFrame) and all(name in found for name in names):
        return {name: found[name] for name in names}
    if isinstance(found, pd.DataFrame):
        return _by_position(found, outputs)
    if len(names) == 1 and isinstance(found, Mapping) and outputs[0].type == "any":
        values = [v.tolist() if hasattr(v, "tolist") else v for v in found.values()]
        return {names[0]: [dict(zip(found, row, strict=True)) for row in zip(*values, strict=True)]}
    if len(names) == 1 and not isinstance(found, Mapping):
        return {names[0]: found.toarray() if hasattr(found, "toarray") else found}
    if isinstance(found, np.ndarray) and found.ndim == 2 and found.shape[1] == len(names):
        return dict(zip(names, found.T, strict=True))
    raise _unexpected(found, outputs)


def _by_position(found: Any, outputs: Sequence[Output]) -> Mapping[str, Any]:
    if len(outputs) == 1 and outputs[0].type == "any":
        return {outputs[0].name: found.to_dict("records")}
    if len(outputs) == found.shape[1]:
        return {output.name: found.iloc[:, i] for i, output in enumerate(outputs)}
    if len(outputs) == 1 and outputs[0].shape:
        return {outputs[0].name: found.to_numpy()}
    raise _unexpected(found, outputs)


def _unexpected(found: Any, outputs: Sequence[Output]) -> UnexpectedResult:
    wanted = ", ".join(output.name for output in outputs)
    message = f"the model returned {_described(found)}, not columns named {wanted}"
    return UnexpectedResult(f"{message}. {_MEND}")


def _listed(values: Any, output: Output) -> list[Any]:
    if output.type in ("number", "integer"):
        return _numbers(values, output)
    listed: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    if output.nullable:
        listed = [None if _is_missing(value) else value for value in listed]
    if output.type == "string" and not output.shape:
        return [value if value is None else str(value) for value in listed]
    return listed


def _numbers(values: Any, output: Output) -> list[Any]:
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1 and not output.shape:
        array = array[:, 0]
    if None in output.shape or array.dtype == object:
        return _missing_as_none(array.tolist(), output)
    if output.type == "integer" and array.dtype.kind == "f" and not output.nullable:
        whole = array.astype(np.int64)
        if not (whole == array).all():
            message = f"{output.name} is an integer by its signature, and has others"
            raise UnexpectedResult(f"{message}. {_MEND}")
        array = whole
    if array.ndim != 1 + len(output.shape):
        message = f"{output.name} has the shape {list(array.shape)}, unlike its signature"
        raise UnexpectedResult(f"{message}. {_MEND}")
    if output.type == "number":
        array = array.astype(np.float64, copy=False)
    return _missing_as_none(array.tolist(), output)


def _missing_as_none(listed: list[Any], output: Output) -> list[Any]:
    if not output.nullable:
        return listed
    is_integer = output.type == "integer"
    return [None if _is_missing(value) else int(value) if is_integer else value for value in listed]


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NaT or (isinstance(value, float) and isnan(value))


def _described(found: Any) -> str:
    if isinstance(found, Mapping | pd.DataFrame):
        return f"a {type(found).__name__} of {', '.join(map(str, found)) or 'nothing'}"
    return f"a {type(found).__name__}"

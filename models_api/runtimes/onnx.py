"""Artefacts in the form ONNX, which tell names, types and shapes of all they take and give."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime

from models_api.exceptions import ArtefactError
from models_api.logs import one_line
from models_api.runtimes.arrays import (
    KINDS_OF_DTYPES,
    limits,
    matrix,
    of_output,
    output_of_tensor,
    tensor,
)
from models_api.runtimes.schemas import key_of
from models_api.runtimes.signature import Column, Output, Shape, Signature

_TENSOR = re.compile(r"tensor\((\w+)\)")
_TENSORS = re.compile(r"seq\(tensor\(\w+\)\)")
_MAPS = re.compile(r"seq\(map\((?P<key>\w+),tensor\(\w+\)\)\)")
_DTYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bool": "bool",
    "string": "object",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
Rows = Literal["together", "one by one", "none"]
"""Whether the graph takes any number of rows, one, or does not count them."""


def describe(path: Path) -> Signature:
    """Return what the graph says of its inputs and outputs."""
    graph = _Graph(path)
    meta = graph.session.get_modelmeta()
    about = (meta.description or "").strip()
    producer = (meta.producer_name or "").strip()
    summary = about or f"An ONNX model{f' made by {producer}' if producer else ''}."
    inputs = tuple(graph.column(node) for node in graph.inputs)
    outputs = tuple(graph.output(node) for node in graph.outputs)
    return Signature(summary, f"onnxruntime {onnxruntime.__version__}", inputs, outputs)


def load(path: Path, signature: Signature) -> _Predictor:
    """Make a session of the graph."""
    return _Predictor(_Graph(path), signature)


class _Graph:
    """A session, and how its tensors hold rows."""

    def __init__(self, path: Path) -> None:
        self.session = _session(path)
        self.inputs = self.session.get_inputs()
        self.outputs = [node for node in self.session.get_outputs() if _is_known(node.type)]
        self.dtypes = {node.name: _dtype(node) for node in self.inputs}
        self._shapes = {node.name: list(node.shape) for node in (*self.inputs, *self.outputs)}
        self._find_shapes()
        self.rows = self._rows()

    def column(self, node: Any) -> Column:
        """Return what an input takes for one row."""
        dtype = np.dtype(self.dtypes[node.name])
        minimum, maximum = limits(dtype)
        shape = self._shape_of_row(node.name)
        return Column(
            node.name, KINDS_OF_DTYPES[dtype.kind], shape, minimum=minimum, maximum=maximum
        )

    def output(self, node: Any) -> Output:
        """Return what an output has for one row."""
        if _MAPS.fullmatch(node.type):
            return Output(node.name, "number", by_label=True, of_classes=True)
        found = _TENSOR.fullmatch(node.type)
        if found is None:
            return Output(node.name, "any")
        return output_of_tensor(node.name, _DTYPES[found[1]], self._shape_of_row(node.name))

    def rank(self, name: str) -> int:
        """Return how many dimensions a tensor of one or more rows has."""
        return len(self._shapes[name]) + (self.rows == "none")

    def _find_shapes(self) -> None:
        """Run the graph for two rows, where it does not say which shape its outputs have."""
        unknown = [n.name for n in self.outputs if _TENSOR.fullmatch(n.type) and not n.shape]
        if not unknown or not all(node.shape for node in self.inputs):
            return
        tensors = {
            node.name: np.zeros([2, *(s if isinstance(s, int) else 1 for s in node.shape[1:])])
            for node in self.inputs
        }
        given = {
            name: np.full(tensor.shape, "", object)
            if self.dtypes[name] == "object"
            else tensor.astype(self.dtypes[name])
            for name, tensor in tensors.items()
        }
        with suppress(Exception):  # whatever it makes of such values, it is as unknown as before
            for name, found in zip(unknown, self.session.run(unknown, given), strict=True):
                is_counted = found.ndim and found.shape[0] == 2
                self._shapes[name] = [None if is_counted else 0, *found.shape[1:]]

    def _shape_of_row(self, name: str) -> Shape:
        sizes = tuple(size if isinstance(size, int) else None for size in self._shapes[name])
        if self.rows == "none":
            return sizes
        return () if sizes[1:] == (1,) else sizes[1:]

    def _rows(self) -> Rows:
        tensors = [n for n in (*self.inputs, *self.outputs) if _TENSOR.fullmatch(n.type)]
        firsts = [(self._shapes[node.name] or [0])[0] for node in tensors]
        fixed = {size for size in firsts if isinstance(size, int)}
        if fixed - {1}:
            return "none"
        has_lists = any(_TENSORS.fullmatch(node.type) for node in self.outputs)
        return "one by one" if fixed or has_lists else "together"


class _Predictor:
    def __init__(self, graph: _Graph, signature: Signature) -> None:
        self._graph = graph
        self._inputs = [
            (node.name, graph.dtypes[node.name], graph.rank(node.name)) for node in graph.inputs
        ]
        self._outputs = {output.name: output for output in signature.outputs}
        # The configuration gave names to the columns of the only array.
        self._is_stacked = len(graph.inputs) == 1 < len(signature.inputs)

    def predict(self, columns: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        """Run the graph for the rows that the columns hold."""
        values = list(columns.values())
        values = [matrix(values)] if self._is_stacked else values
        if self._graph.rows == "together":
            tensors = self._tensors(values)
            if tensors is not None:
                return self._run(tensors, wanted)
        count = len(values[0])
        rows = [self._row(values, index, wanted) for index in range(count)]
        return {name: [row[name] for row in rows] for name in wanted}

    def _row(self, values: Sequence[Any], index: int, wanted: Sequence[str]) -> dict[str, Any]:
        """Run the graph for one row."""
        is_counted = self._graph.rows != "none"
        tensors = self._tensors([each[index : index + 1] for each in values])
        if tensors is None:
            raise ValueError("The lists of a value differ in length.")
        if not is_counted:
            tensors = {name: tensor[0] for name, tensor in tensors.items()}
        found = self._run(tensors, wanted)
        return {
            name: values[0] if is_counted and not self._is_sequence(name) else values
            for name, values in found.items()
        }

    def _is_sequence(self, name: str) -> bool:
        return self._outputs[name].type == "any"

    def _tensors(self, values: Sequence[Any]) -> dict[str, Any] | None:
        """Return what the graph takes; None where rows have lists that differ in length."""
        try:
            return {
                name: tensor(each, dtype, rank)
                for (name, dtype, rank), each in zip(self._inputs, values, strict=True)
            }
        except ValueError:
            return None

    def _run(self, tensors: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        try:
            found = self._graph.session.run(wanted, tensors)
        except Exception as error:
            raise ValueError(_reason(error)) from error
        return {
            name: self._result(self._outputs[name], values)
            for name, values in zip(wanted, found, strict=True)
        }

    def _result(self, output: Output, values: Any) -> Any:
        if output.type == "any":
            return [each.tolist() for each in values]
        if output.by_label and isinstance(values, list):
            keys = dict(enumerate(map(key_of, output.labels)))
            return [{keys.get(k, str(k)): value for k, value in row.items()} for row in values]
        return of_output(output, values)


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    # Each session would have as many threads as there are processors, in every worker.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = _reason(error)
        hint = "Export it again, or copy it again if it was cut off."
        if "external data" in reason.lower() or "NO_SUCHFILE" in str(error):
            hint = "Put the files that hold its weights beside it, under the names that it gives."
        elif "opset" in reason.lower() or "IR version" in reason:
            hint = f"Install a newer onnxruntime than {onnxruntime.__version__}."
        message = f"{path.name} cannot be read by onnxruntime {onnxruntime.__version__}: {reason}"
        raise ArtefactError(message, hint) from error


def _reason(error: Exception) -> str:
    """Return what ONNX Runtime says, without the codes before it."""
    return re.sub(r"^\w+: (\[ONNXRuntimeError\] : \d+ : \w+ : )?", "", one_line(error))


def _is_known(type_: str) -> bool:
    tensor = _TENSOR.fullmatch(type_)
    if tensor is not None:
        return tensor[1] in _DTYPES
    return bool(_MAPS.fullmatch(type_) or _TENSORS.fullmatch(type_))


def _dtype(node: Any) -> str:
    tensor = _TENSOR.fullmatch(node.type)
    if tensor is None or tensor[1] not in _DTYPES:
        message = f"its input {node.name} is a {node.type}, which has no JSON"
        raise ArtefactError(message, "Export it with tensors of numbers, booleans or strings.")
    return _DTYPES[tensor[1]]

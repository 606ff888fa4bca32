"""A program that torch.export.save wrote: its tensors, and how they hold rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch.export.graph_signature import (
    ConstantArgument,
    InputKind,
    OutputKind,
    TensorArgument,
)
from torch.utils import _pytree as pytree

from models_api.exceptions import ArtefactError
from models_api.logs import one_line
from models_api.runtimes.signature import Shape

DTYPES = {
    torch.float16: "float16",
    torch.bfloat16: "float32",  # numpy has no such type
    torch.float32: "float32",
    torch.float64: "float64",
    torch.int8: "int8",
    torch.int16: "int16",
    torch.int32: "int32",
    torch.int64: "int64",
    torch.uint8: "uint8",
    torch.bool: "bool",
}
"""Those whose values JSON has, with those of numpy."""
Rows = Literal["together", "one by one", "none"]
"""Whether the first dimension counts rows, or has to be 1, or is one of a single row's value."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor that a program takes or gives."""

    name: str
    dtype: torch.dtype
    sizes: tuple[Any, ...]
    """A number for each dimension, or where it varies a symbol."""

    @property
    def numpy_dtype(self) -> str:
        """Its type as an array."""
        return DTYPES[self.dtype]

    def shape_of_row(self, rows: Rows) -> Shape:
        """Return what of it belongs to one row; a single number in a list is no list."""
        shape = tuple(size if isinstance(size, int) else None for size in self.sizes)
        if rows == "none":
            return shape
        return () if shape[1:] == (1,) else shape[1:]


class _Bounds(NamedTuple):
    least: int
    most: int | None


class Program:
    """An exported program. May be called from several threads."""

    def __init__(self, path: Path) -> None:
        exported = _read(path)
        nodes = {node.name: node for node in exported.graph.nodes}
        self._in_spec = exported.call_spec.in_spec
        self._given = _given(exported)
        results, names = _results(exported), _names(exported.call_spec.out_spec)
        self.inputs = [_tensor(arg.name, nodes[arg.name]) for arg in self._given if _is_tensor(arg)]
        self._served = [
            _tensor(name, nodes[arg.name]) if _is_tensor(arg) else None
            for name, arg in zip(names, results, strict=True)
        ]
        self.outputs = [each for each in self._served if each is not None]
        if not self.inputs or not self.outputs:
            raise ArtefactError(f"{path.name} takes or gives no tensor", "Export another module.")
        self.rows = _rows(self.inputs, self.outputs)
        self.bounds = (
            _bounds(exported, self.inputs[0]) if self.rows == "together" else _Bounds(1, 1)
        )
        self._module = exported.module()

    def run(self, tensors: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Compute the outputs, by their names, of the inputs in their order.

        Raises:
            ValueError: it does not take such tensors.
        """
        remaining = iter(tensors)
        flat = [next(remaining) if _is_tensor(arg) else arg.value for arg in self._given]
        args, kwargs = pytree.tree_unflatten(flat, self._in_spec)
        try:
            with torch.inference_mode():
                found = pytree.tree_leaves(self._module(*args, **kwargs), lambda leaf: leaf is None)
        except Exception as error:
            raise ValueError(one_line(error)) from error
        return {
            each.name: value
            for each, value in zip(self._served, found, strict=True)
            if each is not None
        }


def _read(path: Path) -> Any:
    try:
        return torch.export.load(path)
    except Exception as error:
        message = f"torch {torch.__version__} cannot read {path.name}: {one_line(error)}"
        raise ArtefactError(message, _hint(str(error))) from error


def _hint(reason: str) -> str:
    if "CUDA" in reason:
        return "Export it on the CPU: the service computes there."
    if "version" in reason or "operator" in reason or "deserializ" in reason:
        return "Install the version of PyTorch, and the packages, that saved it; or save it again."
    return "Save it again by torch.export.save, or copy it again."


def _given(exported: Any) -> list[Any]:
    """Return the tensors and constants that the program is called with."""
    specs = exported.graph_signature.input_specs
    given = [spec.arg for spec in specs if spec.kind is InputKind.USER_INPUT]
    for arg in given:
        if not isinstance(arg, TensorArgument | ConstantArgument):
            message = f"its input {arg.name} is a {type(arg).__name__}, not a tensor"
            raise ArtefactError(message, "Export it with tensors, and all else constant.")
    return given


def _results(exported: Any) -> list[Any]:
    """Return the tensors and constants that the program returns."""
    specs = exported.graph_signature.output_specs
    if _is_stateful(exported):
        message = "the program changes its own buffers, so that predictions depend on earlier ones"
        raise ArtefactError(message, "Export the module after its eval().")
    return [spec.arg for spec in specs]


def _is_stateful(exported: Any) -> bool:
    """Return whether the program changes what the module keeps."""
    signature = exported.graph_signature
    kept = {
        spec.arg.name
        for spec in signature.input_specs
        if spec.kind in (InputKind.BUFFER, InputKind.PARAMETER)
    }
    changed = {name for node in exported.graph.nodes for name in _changed(node)}
    is_listed = any(spec.kind is not OutputKind.USER_OUTPUT for spec in signature.output_specs)
    return is_listed or not kept.isdisjoint(changed)


def _changed(node: Any) -> Iterator[str]:
    """Yield the names of what an operation writes to."""
    arguments = getattr(getattr(node.target, "_schema", None), "arguments", ())
    for argument, given in zip(arguments, node.args, strict=False):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield str(given)


def _is_tensor(arg: Any) -> bool:
    return isinstance(arg, TensorArgument)


def _tensor(name: str, node: Any) -> Tensor:
    value = node.meta["val"]
    if value.dtype not in DTYPES:
        message = f"its tensor {name} is of the type {value.dtype}, which has no JSON"
        raise ArtefactError(message, "Export it with tensors of numbers or booleans.")
    sizes = [size if isinstance(size, int) else size.node.expr for size in value.shape]
    return Tensor(name, value.dtype, tuple(sizes))


def _names(spec: Any) -> list[str]:
    """Return a name for each of the outputs: the keys by which to find it, or `output`."""
    tree = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    paths, _ = pytree.tree_flatten_with_path(tree)
    return [_name([_key(each) for each in path]) for path, _ in paths]


def _key(part: Any) -> str | int:
    for attribute in ("idx", "key", "name"):
        if hasattr(part, attribute):
            key: str | int = getattr(part, attribute)
            return key
    return str(part)


def _name(keys: list[str | int]) -> str:
    named = keys if keys and not isinstance(keys[0], int) else ["output", *keys]
    return "_".join(map(str, named))


def _rows(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Rows:
    firsts = {each.sizes[0] if each.sizes else 0 for each in (*inputs, *outputs)}
    first = firsts.pop()
    if firsts or (isinstance(first, int) and first != 1):
        return "none"
    return "one by one" if first == 1 else "together"


def _bounds(exported: Any, counted: Tensor) -> _Bounds:
    """Return how many rows a program takes at a time."""
    ranges: Mapping[Any, Any] = exported.range_constraints
    found = ranges.get(counted.sizes[0])
    if found is None:
        return _Bounds(1, None)
    most = int(found.upper) if found.upper.is_Integer else None
    return _Bounds(max(1, int(found.lower)), most)

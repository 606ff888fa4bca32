"""Artefacts that torch.export.save wrote: programs that tell shapes and types of their tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models_api.runtimes.arrays import (
    KINDS_OF_DTYPES,
    limits,
    matrix,
    of_output,
    output_of_tensor,
    tensor,
)
from models_api.runtimes.signature import Column, Output, Signature
from models_api.runtimes.torch_program import Program, Tensor


def describe(path: Path) -> Signature:
    """Return what the program says of its tensors."""
    program = Program(path)
    inputs = tuple(_column(each, program) for each in program.inputs)
    outputs = tuple(
        output_of_tensor(each.name, each.numpy_dtype, each.shape_of_row(program.rows))
        for each in program.outputs
    )
    summary = "A program of PyTorch, by torch.export."
    return Signature(summary, f"torch {torch.__version__}", inputs, outputs)


def load(path: Path, signature: Signature) -> _Predictor:
    """Read the program."""
    # It would have as many threads as there are processors, in every worker.
    torch.set_num_threads(1)
    return _Predictor(Program(path), signature)


def _column(each: Tensor, program: Program) -> Column:
    dtype = np.dtype(each.numpy_dtype)
    minimum, maximum = limits(dtype)
    shape = each.shape_of_row(program.rows)
    return Column(each.name, KINDS_OF_DTYPES[dtype.kind], shape, minimum=minimum, maximum=maximum)


class _Predictor:
    def __init__(self, program: Program, signature: Signature) -> None:
        self._program = program
        self._outputs = {output.name: output for output in signature.outputs}
        # The configuration gave names to the columns of the only tensor.
        self._is_stacked = len(program.inputs) == 1 < len(signature.inputs)

    def predict(self, columns: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        """Run the program for the rows that the columns hold."""
        values = list(columns.values())
        values = [matrix(values)] if self._is_stacked else values
        pieces = [self._run(tensors, wanted) for tensors in self._tensors(values)]
        if len(pieces) == 1:
            return pieces[0]
        return {name: [value for piece in pieces for value in piece[name]] for name in wanted}

    def _tensors(self, values: list[Any]) -> Iterator[list[Any]]:
        """Yield tensors of as many rows as the program takes at a time."""
        count = len(values[0])
        if self._program.rows == "together":
            try:
                arrays = self._arrays(values)
            except ValueError:
                pass  # lists that differ in length
            else:
                size = self._program.bounds.most or count
                for start in range(0, count, size):
                    yield [array[start : start + size] for array in arrays]
                return
        for index in range(count):
            yield self._arrays([each[index : index + 1] for each in values])

    def _arrays(self, values: list[Any]) -> list[Any]:
        is_of_one_row = self._program.rows == "none"
        return [
            tensor(array, each.numpy_dtype, len(each.sizes) + is_of_one_row)
            for array, each in zip(values, self._program.inputs, strict=True)
        ]

    def _run(self, arrays: list[Any], wanted: Sequence[str]) -> dict[str, Any]:
        count, is_of_one_row = len(arrays[0]), self._program.rows == "none"
        missing = self._program.bounds.least - count
        tensors = [
            torch.tensor(_filled(array, missing), dtype=each.dtype)
            for array, each in zip(arrays, self._program.inputs, strict=True)
        ]
        found = self._program.run([each[0] if is_of_one_row else each for each in tensors])
        return {
            name: _result(self._outputs[name], found[name][None] if is_of_one_row else found[name])[
                :count
            ]
            for name in wanted
        }


def _filled(array: Any, missing: int) -> Any:
    """Return rows with so many of the last one besides, for a program that takes no fewer."""
    return (
        array if missing <= 0 else np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
    )


def _result(output: Output, values: torch.Tensor) -> Any:
    if values.dtype is torch.bfloat16:
        values = values.float()
    return of_output(output, values.numpy())

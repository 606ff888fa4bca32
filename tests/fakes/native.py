"""Models whose native libraries take the end of a process badly, where it was forked."""

from __future__ import annotations

import atexit
import ctypes
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from ml_base import MLModel
from onnx import TensorProto, helper
from pydantic import BaseModel

_SIZE = 256


class NumberInput(BaseModel):
    """A number, and a file for which the prediction waits."""

    number: float
    wait_for: str | None = None


class DoubledOutput(BaseModel):
    """Twice the number, and who computed it."""

    doubled: float
    process: int


class OnnxModel(MLModel):
    """Doubles a number by ONNX Runtime, which starts threads as it is loaded."""

    display_name = "Onnx"
    qualified_name = "onnx"
    description = "Doubles a number by ONNX Runtime."
    version = "1.0.0"
    input_schema = NumberInput
    output_schema = DoubledOutput

    def __init__(self) -> None:
        """Begin a session of several threads, whatever the processors of this machine."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 4
        self._session = onnxruntime.InferenceSession(
            doubling_graph(), options, providers=["CPUExecutionProvider"]
        )
        atexit.register(self._say_goodbye)

    def predict(self, data: Any) -> DoubledOutput:
        """Double it."""
        if data.wait_for is not None:
            Path(f"{data.wait_for}.begun").touch()
            while not Path(data.wait_for).exists():
                time.sleep(0.01)
        row = np.full((1, _SIZE), data.number, np.float32)
        (result,) = self._session.run(None, {"x": row})
        return DoubledOutput(doubled=float(result[0, 0]), process=os.getpid())

    def _say_goodbye(self) -> None:
        print(f"goodbye from {os.getpid()}\n", end="")  # noqa: T201 (in one piece)


class AbortingModel(OnnxModel):
    """Has a native library that aborts at the end of each process that has predicted."""

    qualified_name = "aborting"

    def predict(self, data: Any) -> DoubledOutput:
        """Double it, and have the C library call `abort` at the end of the process."""
        abort_at_the_end(os.getpid())
        return super().predict(data)


@cache
def abort_at_the_end(_process: int) -> None:
    """Have the C library call `abort` after all that Python does at the end of the process."""
    libc = ctypes.CDLL(None)
    libc.__cxa_atexit(ctypes.cast(libc.abort, ctypes.c_void_p), None, None)


def doubling_graph() -> bytes:
    """Return an ONNX file that multiplies rows by a matrix."""
    weights = (2 * np.eye(_SIZE, dtype=np.float32)).flatten()
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        "doubling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, _SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, _SIZE])],
        [helper.make_tensor("weights", TensorProto.FLOAT, [_SIZE, _SIZE], weights)],
    )
    # Of a version that each runtime of the last years reads.
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    return bytes(model.SerializeToString())

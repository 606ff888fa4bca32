"""A model for the benchmark of files of rows: a small network, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from ml_base import MLModel
from pydantic import BaseModel, Field

_HIDDEN = 16
_FIELDS = ("sepal_length", "sepal_width", "petal_length", "petal_width")


class Flower(BaseModel):
    """What is measured of a flower, in centimetres."""

    sepal_length: float = Field(gt=0, lt=100)
    sepal_width: float = Field(gt=0, lt=100)
    petal_length: float = Field(gt=0, lt=100)
    petal_width: float = Field(gt=0, lt=100)


class Scores(BaseModel):
    """How much speaks for each species."""

    setosa: float
    versicolor: float
    virginica: float


class OnnxFlowers(MLModel):
    """Predicts columns by a network of one hidden layer."""

    display_name = "Flowers"
    qualified_name = "onnx_flowers"
    description = "Scores of three species, by ONNX Runtime."
    version = "1.0.0"
    input_schema = Flower
    output_schema = Scores

    def __init__(self) -> None:
        """Make the network, always the same."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(_network(), options)

    def predict(self, data: Flower) -> Scores:
        """Predict for one flower."""
        columns = {name: np.array([getattr(data, name)]) for name in _FIELDS}
        return Scores(**{name: v[0] for name, v in self.predict_columns(columns).items()})

    def predict_columns(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Predict for many."""
        rows = np.column_stack([columns[name] for name in _FIELDS]).astype(np.float32)
        (scores,) = self._session.run(None, {"rows": rows})
        return dict(zip(Scores.model_fields, scores.astype(np.float64).T, strict=True))


def _network() -> bytes:
    chance = np.random.default_rng(1)
    weights = {
        "first": chance.normal(size=(len(_FIELDS), _HIDDEN)),
        "second": chance.normal(size=(_HIDDEN, len(Scores.model_fields))),
    }
    initializers = [
        onnx.numpy_helper.from_array(values.astype(np.float32), name)
        for name, values in weights.items()
    ]
    nodes = [
        onnx.helper.make_node("MatMul", ["rows", "first"], ["a"]),
        onnx.helper.make_node("Relu", ["a"], ["b"]),
        onnx.helper.make_node("MatMul", ["b", "second"], ["c"]),
        onnx.helper.make_node("Softmax", ["c"], ["scores"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "flowers",
        [_tensor("rows", len(_FIELDS))],
        [_tensor("scores", len(Scores.model_fields))],
        initializers,
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    serialised: bytes = model.SerializeToString()
    return serialised


def _tensor(name: str, width: int) -> Any:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, width])

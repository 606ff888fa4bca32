"""ONNX files predict over the service what ONNX Runtime predicts in a process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd  # type: ignore[import-untyped]
import pytest
from onnx import ModelProto, TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.runtimes.serving import ArtefactService

random = np.random.default_rng(0)
SIZE = 300
FLATS = pd.DataFrame(
    {
        "size_m2": random.uniform(20, 120, SIZE).astype(np.float32),
        "class": random.choice(["simple", "good", "grand"], SIZE).astype(object),
    }
)
NAMES = ["cheap", "fair", "dear"]
FLOAT, INT, TEXT = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
Value = tuple[str, int, Sequence[int | str | None] | None]


def graph(nodes: list[Any], inputs: list[Value], outputs: list[Value], **more: Any) -> ModelProto:
    taken, given = (
        [helper.make_tensor_value_info(*each) for each in side] for side in (inputs, outputs)
    )
    made = helper.make_graph(nodes, "made", taken, given, **more)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def serve(model: ModelProto, folder: Path, **entry: object) -> ArtefactService:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return ArtefactService(path, **entry)


def run(model: ModelProto, **given: np.ndarray) -> list[Any]:
    found: list[Any] = onnxruntime.InferenceSession(model.SerializeToString()).run(None, given)
    return found


def fitted(labels: Any) -> Any:
    columns = make_column_transformer((StandardScaler(), ["size_m2"]), (OneHotEncoder(), ["class"]))
    return make_pipeline(columns, LogisticRegression()).fit(FLATS, labels)


def converted(labels: Any, **options: object) -> ModelProto:
    types = [("size_m2", FloatTensorType([None, 1])), ("class", StringTensorType([None, 1]))]
    model: ModelProto = to_onnx(fitted(labels), initial_types=types, options=options or None)
    return model


def columns() -> dict[str, np.ndarray]:
    return {name: FLATS[[name]].to_numpy() for name in FLATS}


@pytest.mark.parametrize("labels", [random.integers(0, 3, SIZE), random.choice(NAMES, SIZE)])
def test_a_pipeline_with_numbers_and_strings_that_skl2onnx_converted(
    labels: Any, tmp_path: Path
) -> None:
    model = converted(labels)
    found, maps = run(model, **columns())
    expected = [
        {"output_label": label, "output_probability": {str(key): p for key, p in row.items()}}
        for label, row in zip(found.tolist(), maps, strict=True)
    ]
    serve(model, tmp_path).assert_predicts(FLATS.to_dict("records"), expected)


def test_tensors_of_probabilities_get_the_labels_of_the_configuration(tmp_path: Path) -> None:
    model = converted(random.integers(0, 3, SIZE), zipmap=False)
    found, rows = run(model, **columns())
    service = serve(model, tmp_path, labels=NAMES)
    expected = [
        {"label": NAMES[label], "probabilities": dict(zip(NAMES, row, strict=True))}
        for label, row in zip(found.tolist(), rows.tolist(), strict=True)
    ]
    service.assert_predicts(FLATS.to_dict("records"), expected)
    plain = serve(model, tmp_path, output="probabilities")
    plain.assert_predicts(
        FLATS.to_dict("records"), [{"probabilities": row} for row in rows.tolist()]
    )


def test_one_array_takes_named_columns_and_values_within_its_type(tmp_path: Path) -> None:
    data = random.normal(size=(SIZE, 2)).astype(np.float32)
    model = to_onnx(LogisticRegression().fit(data, data[:, 0] > 0), data, options={"zipmap": False})
    names = ["sepal length (cm)", "class"]
    service = serve(model, tmp_path, columns=[{"name": names[0], "minimum": -9}, names[1]])
    rows: list[Any] = [dict(zip(names, row, strict=True)) for row in data.tolist()]
    found, probabilities = run(model, X=data)
    expected = [
        {"label": label, "probabilities": row}
        for label, row in zip(found.tolist(), probabilities.tolist(), strict=True)
    ]
    service.assert_predicts(rows, expected)
    service.refuse({names[0]: -10, names[1]: 0})
    service.refuse({names[0]: 0, names[1]: 1e39})
    service.refuse({names[0]: None, names[1]: 0})


def test_a_column_that_may_be_missing_is_nan(tmp_path: Path) -> None:
    node = helper.make_node("IsNaN", ["x"], ["missing"])
    model = graph([node], [("x", FLOAT, [None, 2])], [("missing", TensorProto.BOOL, [None, 2])])
    service = serve(model, tmp_path, columns=["a", {"name": "b", "nullable": True}])
    rows: list[Any] = [{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": None}]
    service.assert_predicts(rows, [{"missing": [False, False]}, {"missing": [False, True]}])


def test_outputs_of_several_types_have_the_names_of_the_graph(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Identity", ["text"], ["a text"]),
        helper.make_node("Add", ["n", "n"], ["model_n"]),
        helper.make_node("Not", ["flag"], ["not"]),
        helper.make_node("Cast", ["n"], ["x.y"], to=TensorProto.DOUBLE),
    ]
    inputs: list[Value] = [
        ("text", TEXT, ["N"]),
        ("n", TensorProto.INT8, ["N", 1]),
        ("flag", TensorProto.BOOL, ["N"]),
    ]
    outputs: list[Value] = [
        ("a text", TEXT, ["N"]),
        ("model_n", TensorProto.INT8, ["N", 1]),
        ("not", TensorProto.BOOL, ["N"]),
        ("x.y", TensorProto.DOUBLE, ["N", 1]),
    ]
    service = serve(graph(nodes, inputs, outputs), tmp_path)
    rows: list[Any] = [{"text": "ä", "n": 3, "flag": True}, {"text": "", "n": -4, "flag": False}]
    expected = [
        {"a text": "ä", "model_n": 6, "not": False, "x.y": 3.0},
        {"a text": "", "model_n": -8, "not": True, "x.y": -4.0},
    ]
    service.assert_predicts(rows, expected)
    service.refuse({**rows[0], "n": 128})


ROWS = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("x", FLOAT, ["N", 3]), ("y", FLOAT, None)),  # an output that tells nothing
        (("x", FLOAT, [1, 3]), ("y", FLOAT, [1, 3])),  # exported for one row
        (("x", FLOAT, ["N", 3]), ("y", FLOAT, [1, 3])),
        (("x", FLOAT, [3]), ("y", FLOAT, [3])),  # without a dimension for rows
        (("x", FLOAT, ["N", "M"]), ("y", FLOAT, ["N", "M"])),
    ],
)
def test_graphs_that_count_rows_or_do_not(given: Value, told: Value, tmp_path: Path) -> None:
    service = serve(graph([helper.make_node("Neg", ["x"], ["y"])], [given], [told]), tmp_path)
    rows = [{"x": row} for row in ROWS.tolist()]
    expected = [{"y": row} for row in (-ROWS).tolist()]
    service.assert_predicts(rows, expected)


def test_lists_of_other_lengths_are_predicted_each_by_itself(tmp_path: Path) -> None:
    node = helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0)
    axes = helper.make_tensor("axes", INT, [1], [1])
    model = graph([node], [("x", INT, ["N", "M"])], [("sum", INT, ["N"])], initializer=[axes])
    service = serve(model, tmp_path)
    assert service.predict_batch([{"x": [1]}, {"x": [2, 3]}, {"x": [4, 5]}]) == [
        {"sum": 1},
        {"sum": 5},
        {"sum": 9},
    ]
    assert service.predict({"x": [7, 8]}) == {"sum": 15}


def test_a_sequence_of_tensors_is_a_list(tmp_path: Path) -> None:
    node = helper.make_node("SequenceConstruct", ["x", "x"], ["both"])
    made = helper.make_graph(
        [node],
        "made",
        [helper.make_tensor_value_info("x", FLOAT, ["N", 2])],
        [helper.make_tensor_sequence_value_info("both", FLOAT, None)],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    service = serve(model, tmp_path)
    assert service.predict_batch([{"x": [1, 2]}, {"x": [3, 4]}]) == [
        {"both": [[[1.0, 2.0]], [[1.0, 2.0]]]},
        {"both": [[[3.0, 4.0]], [[3.0, 4.0]]]},
    ]


def test_what_the_graph_refuses_is_refused_with_its_reason(tmp_path: Path) -> None:
    node = helper.make_node("Gather", ["table", "index"], ["y"])
    table = helper.make_tensor("table", FLOAT, [3], [1.0, 2.0, 3.0])
    model = graph([node], [("index", INT, ["N"])], [("y", FLOAT, ["N"])], initializer=[table])
    service = serve(model, tmp_path)
    assert service.predict({"index": 2}) == {"y": 3.0}
    assert "3" in service.refuse({"index": 3})["messages"][0]

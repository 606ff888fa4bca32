"""Three artefacts of each kind predict over HTTP exactly what their library predicts in process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import onnxruntime
import pandas as pd  # type: ignore[import-untyped]
import pytest
import skops.io
import xgboost
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.end_to_end.server import Server, serve
from tests.runtimes.libraries import is_wanted
from tests.runtimes.serving import Row, assert_alike, predictions_of_tensors, tensors_of_rows

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

SIZE = 1000
random = np.random.default_rng(0)
DATA = random.normal(size=(SIZE, 3)).astype(np.float32).astype(np.float64)
GAPS = np.where(random.random((SIZE, 3)) < 0.1, np.nan, DATA)
SCORES = DATA @ [1.0, 2.0, 3.0]
THREE = np.digitize(SCORES, [-2, 2])
NAMES = ["cheap", "fair", "dear"]
FLATS = pd.DataFrame(
    {
        "size (m²)": np.where(random.random(SIZE) < 0.1, np.nan, random.uniform(20, 120, SIZE)),
        "class": random.choice(["simple", "good", "grand"], SIZE).astype(object),
    }
)
TEXTS = [
    f"{a} {b}" for a, b in zip(*random.choice(["sun", "rain", "snow"], (2, SIZE)), strict=True)
]


@dataclass(frozen=True)
class Case:
    """An artefact, rows, and what its library predicts for them."""

    file: str
    rows: list[Row]
    predict: Callable[[slice], list[Any]]
    """For these of the rows, computed together."""
    entry: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_of_single_precision(self) -> bool:
        """Whether the last digits that count depend on which rows are computed together."""
        return self.file.endswith((".onnx", ".pt2"))


def records(frame: pd.DataFrame) -> list[Row]:
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def vectors(data: Any) -> list[Row]:
    return [{"features": [None if np.isnan(v) else v for v in row]} for row in data.tolist()]


def classified(names: list[Any], probabilities: Any) -> list[Any]:
    rows = np.asarray(probabilities)
    rows = np.column_stack([1 - rows, rows]) if rows.ndim == 1 else rows
    keys = list(map(str, names))
    return [
        {
            "label": names[int(row.argmax())],
            "probabilities": dict(zip(keys, row.tolist(), strict=True)),
        }
        for row in rows
    ]


def values(found: Any) -> list[Any]:
    return [{"value": value} for value in np.asarray(found).tolist()]


def mixed() -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_column_transformer((numbers, ["size (m²)"]), (OneHotEncoder(), ["class"]))


def of_scikit_learn(folder: Path, suffix: str, dump: Callable[[Any, Path], Any]) -> Iterator[Case]:
    pipeline = make_pipeline(mixed(), LogisticRegression()).fit(FLATS, np.array(NAMES)[THREE])
    names = pipeline.classes_.tolist()
    boosting = HistGradientBoostingRegressor(max_iter=5).fit(GAPS, SCORES)
    texts = make_pipeline(TfidfVectorizer(), LogisticRegression())
    texts.fit(TEXTS, THREE)
    for name, estimator in (("mixed", pipeline), ("boosting", boosting), ("texts", texts)):
        dump(estimator, folder / f"{name}.{suffix}")
    trusted = {"trusted": True}
    yield Case(
        f"mixed.{suffix}",
        records(FLATS),
        lambda part: classified(names, pipeline.predict_proba(FLATS[part])),
        trusted,
    )
    yield Case(
        f"boosting.{suffix}",
        vectors(GAPS),
        lambda part: values(boosting.predict(GAPS[part])),
        trusted,
    )
    yield Case(
        f"texts.{suffix}",
        [{"text": text} for text in TEXTS],
        lambda part: classified([0, 1, 2], texts.predict_proba(TEXTS[part])),
        trusted,
    )


def pickled(folder: Path) -> Iterator[Case]:
    yield from of_scikit_learn(folder, "joblib", joblib.dump)


def by_skops(folder: Path) -> Iterator[Case]:
    yield from of_scikit_learn(folder, "skops", skops.io.dump)


def graph_of_two_inputs() -> bytes:
    """Make a graph of no library, that takes and gives two tensors of two types."""
    inputs: dict[str, tuple[int, list[int | None]]] = {
        "a": (TensorProto.FLOAT, [None, 3]),
        "b": (TensorProto.INT64, [None]),
    }
    names = {"a": "sum", "b": "longer"}
    graph = helper.make_graph(
        [helper.make_node("Add", [name, name], [names[name]]) for name in inputs],
        "two",
        [helper.make_tensor_value_info(name, *each) for name, each in inputs.items()],
        [helper.make_tensor_value_info(names[name], *each) for name, each in inputs.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    content: bytes = helper.make_model(
        graph, opset_imports=opsets, ir_version=9
    ).SerializeToString()
    return content


def run_graph(session: Any, tensors: dict[str, Any], part: slice) -> list[Any]:
    found = session.run(None, {name: each[part] for name, each in tensors.items()})
    found = [each.tolist() if hasattr(each, "tolist") else each for each in found]
    names = [node.name for node in session.get_outputs()]
    return [
        {
            name: {str(key): each for key, each in value.items()}
            if isinstance(value, dict)
            else value
            for name, value in zip(names, row, strict=True)
        }
        for row in zip(*found, strict=True)
    ]


def converted(folder: Path) -> Iterator[Case]:
    data, frame = DATA.astype(np.float32), FLATS.fillna(60.0).set_axis(["size", "class"], axis=1)
    fitted = LogisticRegression().fit(data, THREE)
    linear = to_onnx(fitted, data[:1], options={"zipmap": False}).SerializeToString()
    columns = make_column_transformer((StandardScaler(), ["size"]), (OneHotEncoder(), ["class"]))
    pipeline = make_pipeline(columns, LogisticRegression()).fit(frame, THREE)
    types = [("size", FloatTensorType([None, 1])), ("class", StringTensorType([None, 1]))]
    strings = to_onnx(pipeline, initial_types=types).SerializeToString()
    two = graph_of_two_inputs()
    given = {name: frame[[name]].to_numpy() for name in frame}
    given["size"] = given["size"].astype(np.float32)
    contents: tuple[tuple[bytes, dict[str, Any]], ...] = (
        (linear, {"X": data}),
        (strings, given),
        (two, {"a": data, "b": THREE.astype(np.int64)}),
    )
    for name, (content, tensors) in zip(("linear", "strings", "two"), contents, strict=True):
        (folder / f"{name}.onnx").write_bytes(content)
        session = onnxruntime.InferenceSession(content)
        columns_of_rows = [np.squeeze(each).tolist() for each in tensors.values()]
        yield Case(
            f"{name}.onnx",
            [dict(zip(tensors, row, strict=True)) for row in zip(*columns_of_rows, strict=True)],
            partial(run_graph, session, tensors),
        )


def of_lightgbm(folder: Path) -> Iterator[Case]:
    frame = FLATS.astype({"class": "category"})
    names = ["size_(m²)", "class"]
    classifier = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(frame, THREE)
    classifier.booster_.save_model(folder / "categories.txt")
    rows = records(FLATS.set_axis(classifier.booster_.feature_name(), axis=1))
    assert list(rows[0]) == names
    yield Case(
        "categories.txt",
        rows,
        lambda part: classified(NAMES, classifier.predict_proba(frame[part])),
        {"labels": NAMES},
    )
    two = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(GAPS, SCORES > 0)
    two.booster_.save_model(folder / "two.txt")
    yield Case(
        "two.txt", vectors(GAPS), lambda part: classified([0, 1], two.predict_proba(GAPS[part]))
    )
    value = lightgbm.LGBMRegressor(n_estimators=5, verbose=-1, n_jobs=1).fit(GAPS, SCORES)
    value.booster_.save_model(folder / "value.txt")
    yield Case("value.txt", vectors(GAPS), lambda part: values(value.predict(GAPS[part])))


def of_xgboost(folder: Path) -> Iterator[Case]:
    frame = FLATS.astype({"class": "category"})
    options: dict[str, Any] = {"n_estimators": 5, "n_jobs": 1}
    classifier = xgboost.XGBClassifier(enable_categorical=True, **options).fit(frame, THREE)
    classifier.save_model(folder / "categories.ubj")
    yield Case(
        "categories.ubj",
        records(FLATS),
        lambda part: classified(NAMES, classifier.predict_proba(frame[part])),
        {"labels": NAMES},
    )
    two = xgboost.XGBClassifier(**options).fit(GAPS, SCORES > 0)
    two.save_model(folder / "two.json")
    yield Case(
        "two.json", vectors(GAPS), lambda part: classified([0, 1], two.predict_proba(GAPS[part]))
    )
    value = xgboost.XGBRegressor(**options).fit(GAPS, SCORES)
    value.save_model(folder / "value.ubj")
    yield Case("value.ubj", vectors(GAPS), lambda part: values(value.predict(GAPS[part])))


def of_catboost(folder: Path) -> Iterator[Case]:
    import catboost

    options: dict[str, Any] = {
        "iterations": 5,
        "depth": 3,
        "verbose": False,
        "thread_count": 1,
        "allow_writing_files": False,
    }
    mixed = catboost.CatBoostClassifier(cat_features=["class"], **options)
    mixed.fit(FLATS, np.array(NAMES)[THREE]).save_model(folder / "mixed.cbm")
    names = mixed.classes_.tolist()
    yield Case(
        "mixed.cbm",
        records(FLATS),
        lambda part: classified(names, mixed.predict_proba(FLATS[part])),
    )
    two = catboost.CatBoostClassifier(**options).fit(GAPS, THREE > 0)
    two.save_model(folder / "two.cbm")
    yield Case(
        "two.cbm",
        vectors(GAPS),
        lambda part: classified(["no", "yes"], two.predict_proba(GAPS[part])),
        {"labels": ["no", "yes"]},
    )
    several = catboost.CatBoostRegressor(loss_function="MultiRMSE", **options)
    several.fit(GAPS, np.column_stack([SCORES, -SCORES])).save_model(folder / "several.cbm")
    yield Case("several.cbm", vectors(GAPS), lambda part: values(several.predict(GAPS[part])))


def of_torch(folder: Path) -> Iterator[Case]:
    import torch

    class TwoTensors(torch.nn.Module):
        def forward(self, ids: torch.Tensor, weights: torch.Tensor) -> Any:
            return {"sum": (ids * weights).sum(1), "most": weights.argmax(1)}

    torch.manual_seed(0)
    batch = torch.export.Dim("batch")
    data = torch.tensor(DATA, dtype=torch.float32)
    ids = torch.tensor(random.integers(0, 9, (SIZE, 3)))

    def save(name: str, module: torch.nn.Module, *given: torch.Tensor, shapes: Any = None) -> None:
        program = torch.export.export(module.eval(), given, dynamic_shapes=shapes)
        torch.export.save(program, folder / name)

    def run(module: torch.nn.Module, *given: torch.Tensor) -> Any:
        with torch.inference_mode():
            return module(*given)

    layers = torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3), torch.nn.Softmax(1)
    network = torch.nn.Sequential(*layers)
    save("network.pt2", network, data[:2], shapes=({0: batch},))
    yield Case(
        "network.pt2",
        [{"input": row} for row in data.tolist()],
        lambda part: [
            {"output": dict(zip(NAMES, row, strict=True))}
            for row in run(network, data[part]).tolist()
        ],
        {"labels": NAMES, "trusted": True},
    )
    two = TwoTensors()
    save("tensors.pt2", two, ids[:2], data[:2], shapes={"ids": {0: batch}, "weights": {0: batch}})
    yield Case(
        "tensors.pt2",
        [{"ids": a, "weights": b} for a, b in zip(ids.tolist(), data.tolist(), strict=True)],
        lambda part: [
            {"sum": a, "most": b}
            for a, b in zip(
                *(each.tolist() for each in run(two, ids[part], data[part]).values()), strict=True
            )
        ],
        {"trusted": True},
    )
    one = torch.nn.Linear(3, 1)
    save("one_row.pt2", one, data[:1])
    yield Case(
        "one_row.pt2",
        [{"input": row} for row in data.tolist()],
        lambda part: [{"output": run(one, row[None])[0, 0].item()} for row in data[part]],
        {"trusted": True},
    )


MAKERS: dict[str, Callable[[Path], Iterator[Case]]] = {
    "onnx": converted,
    "sklearn": pickled,
    "skops": by_skops,
    "lightgbm": of_lightgbm,
    "xgboost": of_xgboost,
    "catboost": of_catboost,
    "torch_export": of_torch,
}
LIBRARIES = {"catboost": "catboost", "torch_export": "torch"}
KINDS = [
    pytest.param(
        kind,
        marks=[
            pytest.mark.skipif(
                kind in LIBRARIES and not is_wanted(LIBRARIES[kind]),
                reason=f"requirements/cookbook.txt has {LIBRARIES.get(kind)}",
            )
        ],
    )
    for kind in MAKERS
]


def name_of(case: Case) -> str:
    return case.file.replace(".", "-")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Case]]:
    folder = tmp_path_factory.mktemp("artefacts")
    return {
        kind: list(make(folder))
        for kind, make in MAKERS.items()
        if is_wanted(LIBRARIES.get(kind, "numpy"))
    }


@pytest.fixture(scope="module")
def server(
    cases: dict[str, list[Case]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.getbasetemp() / "artefacts0"
    entries = [
        {"artefact": str(folder / case.file), "qualified_name": name_of(case), **case.entry}
        for each in cases.values()
        for case in each
    ]
    configuration = {"models": entries, "open_inference": {"enabled": True}}
    with serve(configuration, environment={"MODELHOST_WORKERS": "1"}) as server:
        yield server


def ask_one_by_one(server: Server, path: str, rows: list[Row]) -> list[Any]:
    """Return the answer to each row; httpx would take most of the time."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    answers = []
    for row in rows:
        connection.request("POST", path, json.dumps(row), {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        assert response.status == 200, (path, content)
        answers.append(json.loads(content))
    connection.close()
    return answers


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_rows_are_predicted_by_object_batch_and_open_inference(
    kind: str, cases: dict[str, list[Case]], server: Server
) -> None:
    for case in cases[kind]:
        path = f"/api/models/{name_of(case)}/prediction"
        rows, together = case.rows, case.predict(slice(None))
        assert len(rows) == SIZE
        single = together
        if case.is_of_single_precision:
            single = [case.predict(slice(index, index + 1))[0] for index in range(SIZE)]
        assert_alike(ask_one_by_one(server, path, rows), single)
        answer = server.client.post(f"{path}/batch", json={"inputs": rows}).json()
        assert_alike(answer["predictions"], together)
        body = {"inputs": tensors_of_rows(rows)}
        answer = server.client.post(f"/v2/models/{name_of(case)}/infer", json=body).json()
        assert_alike(predictions_of_tensors(answer["outputs"], SIZE), together)

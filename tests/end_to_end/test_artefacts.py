"""Models made from files, served by a real server, in its workers and in processes of their own."""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from tests.end_to_end.server import REPOSITORY, Server, serve
from tests.runtimes.serving import assert_alike
from tests.runtimes.test_scikit_learn import of_classes

DATA = np.random.default_rng(0).normal(size=(1000, 3))


@pytest.mark.long
def test_a_server_predicts_what_the_library_predicts_in_workers_and_processes(
    tmp_path: Path,
) -> None:
    labels = np.digitize(DATA[:, 0], [-1, 1])
    fitted = HistGradientBoostingClassifier(max_iter=5).fit(DATA, labels)
    linear = LogisticRegression().fit(DATA.astype(np.float32), labels)
    joblib.dump(fitted, tmp_path / "boosting.joblib")
    converted = to_onnx(linear, DATA[:1].astype(np.float32), options={"zipmap": False})
    (tmp_path / "linear.onnx").write_bytes(converted.SerializeToString())
    entries = [
        {"artefact": str(tmp_path / "boosting.joblib"), "trusted": True, "qualified_name": "here"},
        {
            "artefact": str(tmp_path / "boosting.joblib"),
            "trusted": True,
            "qualified_name": "elsewhere",
            "execution": {"kind": "process"},
            "batching": {},
        },
        {"artefact": str(tmp_path / "linear.onnx"), "output": "label", "batching": {}},
    ]
    rows = [{"features": row} for row in DATA.tolist()]
    expected = of_classes(fitted, DATA)
    with Server({"models": entries}) as server:
        for name in ("here", "elsewhere"):
            path = f"/api/models/{name}/prediction"
            found = [server.client.post(path, json=row).json() for row in rows[:20]]
            assert_alike(found, expected[:20])
            answer = server.client.post(f"{path}/batch", json={"inputs": rows}).json()
            assert_alike(answer["predictions"], expected)
        path = "/api/models/linear/prediction/batch"
        inputs = [{"X": row["features"]} for row in rows]
        answer = server.client.post(path, json={"inputs": inputs}).json()
        predicted = linear.predict(DATA.astype(np.float32)).tolist()
        assert answer["predictions"] == [{"label": label} for label in predicted]


@pytest.mark.long
def test_boosters_that_were_read_before_the_fork_predict_after_it() -> None:
    with serve(REPOSITORY / "examples" / "artefacts" / "rest_config.yaml") as server:
        rows = [{"alcohol": 13.0, "flavanoids": 2.0, "proline": None}] * 50
        path = "/api/models/wine/prediction"
        for row in rows[:10]:
            assert server.client.post(path, json=row).json()["label"] == "Grignolino"
        answer = server.client.post(f"{path}/batch", json={"inputs": rows}).json()
        assert {each["label"] for each in answer["predictions"]} == {"Grignolino"}
        row = {"bmi": 30.0, "bp": None}
        answer = server.client.post("/api/models/progression/prediction", json=row).json()
        assert 100 < answer["value"] < 300

"""Artefacts that skops wrote predict as scikit-learn does, and make no type that nobody trusts."""

from __future__ import annotations

import json
import zipfile
from io import StringIO
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
import skops.io
from django.core.management import CommandError, call_command
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models_api.exceptions import ConfigurationError, Problem
from models_api.hosting.hosted_model import LoadState
from tests.runtimes.serving import ArtefactService
from tests.runtimes.test_artefacts import hosted
from tests.runtimes.test_scikit_learn import FLATS, IS_DEAR, mixed, of_classes, records, vectors

random = np.random.default_rng(0)
SIZE = len(FLATS)
NUMBERS = [{"name": name, "type": "number"} for name in "ab"]
GROWN = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"


def save(estimator: object, folder: Path) -> Path:
    path = folder / "model.skops"
    skops.io.dump(estimator, path)
    return path


def problem(path: Path, **entry: object) -> Problem:
    with pytest.raises(ConfigurationError) as caught:
        ArtefactService(path, **entry)
    (found,) = caught.value.problems
    return found


@pytest.mark.long
@pytest.mark.parametrize("last", [LogisticRegression(), RandomForestClassifier(5, random_state=0)])
def test_a_pipeline_of_mixed_columns_with_missing_values(last: Any, tmp_path: Path) -> None:
    pipeline = make_pipeline(mixed(), last).fit(FLATS, IS_DEAR)
    path = save(pipeline, tmp_path)
    service = ArtefactService(path, trusted=skops.io.get_untrusted_types(file=path))
    service.assert_predicts(records(FLATS), of_classes(pipeline, FLATS))


@pytest.mark.long
def test_arrays_and_texts_need_no_trust(tmp_path: Path) -> None:
    data = random.normal(size=(SIZE, 2))
    regression = LinearRegression().fit(data, data @ [1.0, 2.0])
    expected = [{"value": value} for value in regression.predict(data).tolist()]
    ArtefactService(save(regression, tmp_path)).assert_predicts(vectors(data), expected)
    texts = ["free money", "cheap offer", "see you at noon", "lunch tomorrow"] * 5
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression())
    pipeline.fit(texts, ["spam", "spam", "ham", "ham"] * 5)
    service = ArtefactService(save(pipeline, tmp_path))
    service.assert_predicts([{"text": text} for text in texts], of_classes(pipeline, texts))


@pytest.mark.long
def test_types_that_are_not_known_are_listed_and_then_trusted_by_name(tmp_path: Path) -> None:
    data = random.normal(size=(SIZE, 2))
    boosting = HistGradientBoostingClassifier(max_iter=3).fit(data, IS_DEAR)
    path = save(boosting, tmp_path)
    found = problem(path)
    assert found.key_path == "models[0].artefact"
    assert f"does not know to be harmless: {GROWN}" in found.message
    assert found.hint == f"If you know them to be, say so: trusted: [{GROWN}]"
    assert GROWN in problem(path, trusted=["some.other.Type"]).message
    for trusted in ([GROWN], ["some.other.Type", GROWN], True):
        service = ArtefactService(path, trusted=trusted)
        service.assert_predicts(vectors(data), of_classes(boosting, data))


@pytest.mark.long
def test_an_estimator_of_another_library_is_of_several_such_types(tmp_path: Path) -> None:
    data = pd.DataFrame(random.normal(size=(SIZE, 2)), columns=["a", "b"])
    classifier = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1).fit(data, IS_DEAR)
    path = save(classifier, tmp_path)
    types = skops.io.get_untrusted_types(file=path)
    assert len(types) > 1
    assert all(name in problem(path, trusted=types[:1]).message for name in types[1:])
    service = ArtefactService(path, trusted=types, columns=NUMBERS)
    service.assert_predicts(records(data), of_classes(classifier, data))


def poisoned(folder: Path, trace: Path) -> Path:
    """Make a file that leaves a trace where it is read without a look at its types."""
    path = save(LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0]), folder)
    (folder / "poison.py").write_text(f"import os\nos.mkdir({str(trace)!r})\nclass Poison: pass\n")
    with zipfile.ZipFile(path) as archive:
        schema = json.loads(archive.read("schema.json"))
        others = {name: archive.read(name) for name in archive.namelist()}
    schema.update({"__class__": "Poison", "__module__": "poison"})
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**others, "schema.json": json.dumps(schema).encode()}.items():
            archive.writestr(name, content)
    return path


def test_nothing_of_a_poisoned_file_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    trace = tmp_path / "trace"
    path = poisoned(tmp_path, trace)
    assert "poison.Poison" in problem(path).message
    assert not trace.exists()
    problem(path, trusted=True)
    assert trace.exists()  # where somebody does trust it


def test_types_that_come_into_the_file_later_are_not_trusted_either(tmp_path: Path) -> None:
    data = random.normal(size=(SIZE, 2))
    path = save(LogisticRegression().fit(data, IS_DEAR), tmp_path)
    (model,) = hosted(tmp_path, artefact=path.name, trusted=False)
    save(HistGradientBoostingClassifier(max_iter=3).fit(data, IS_DEAR), tmp_path)
    model.load()
    assert model.state is LoadState.FAILED
    assert GROWN in (model.failure or "")


@pytest.mark.long
def test_a_kept_signature_does_not_make_types_trusted(tmp_path: Path) -> None:
    data = random.normal(size=(SIZE, 2))
    path = save(HistGradientBoostingClassifier(max_iter=3).fit(data, IS_DEAR), tmp_path)
    call_command("inspect", str(path), "--trusted", "--write", stdout=StringIO())
    for _ in range(2):
        assert GROWN in problem(path).message
        assert len(list(hosted(tmp_path, artefact=path.name, trusted=[GROWN]))) == 1
        path.unlink(missing_ok=True)


@pytest.mark.long
def test_it_is_inspected_where_its_types_are_trusted(tmp_path: Path) -> None:
    data = random.normal(size=(SIZE, 2))
    path = save(HistGradientBoostingClassifier(max_iter=3).fit(data, IS_DEAR), tmp_path)
    with pytest.raises(CommandError, match=r"runtime: skops(.|\n)*TreePredictor(.|\n)*--trusted"):
        call_command("inspect", str(path))
    out = StringIO()
    call_command("inspect", str(path), "--trusted", stdout=out)
    assert f"    trusted: [{GROWN}]\n" in out.getvalue()


def test_what_does_not_predict_or_is_of_another_version_is_said_to(tmp_path: Path) -> None:
    assert "which does not predict" in problem(save(StandardScaler(), tmp_path)).message
    assert "is not fitted" in problem(save(LogisticRegression(), tmp_path)).message
    path = tmp_path / "model.skops"
    content = {"__class__": "A", "__module__": "b", "__loader__": "NewNode", "protocol": 99}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", json.dumps({**content, "_skops_version": "9.0"}))
    found = problem(path)
    assert "cannot read model.skops" in found.message
    assert "if a newer skops saved it, install that one" in found.hint

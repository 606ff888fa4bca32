"""Files that cannot be served are refused at the start, and the reason says what to do."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any, get_args

import joblib
import lightgbm
import numpy as np
import onnx
import pytest
import skops.io
import xgboost
import yaml
from django.core.management import call_command
from onnx import TensorProto, helper
from sklearn.linear_model import LinearRegression

from models_api.configuration.file import ConfigurationFile
from models_api.configuration.sections import RuntimeName
from models_api.exceptions import ConfigurationError, Problem
from models_api.hosting.assembly import build_registry
from models_api.hosting.hosted_model import LoadState
from models_api.hosting.registry import ModelRegistry
from models_api.runtimes.kinds import KINDS, kind_of
from tests.runtimes.libraries import is_wanted

DATA = np.random.default_rng(0).normal(size=(60, 2))
TARGETS = DATA @ [1.0, 2.0]


def negation(folder: Path) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in "xy"]
    weights = helper.make_tensor(
        "w", TensorProto.FLOAT, [2], np.array([-1, -1], "<f4").tobytes(), raw=True
    )
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "negation", values[:1], values[1:], [weights])
    opsets = [helper.make_opsetid("", 17)]
    path = folder / "negation.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    )
    return path


def regression(folder: Path) -> Path:
    path = folder / "regression.joblib"
    joblib.dump(LinearRegression().fit(DATA, TARGETS), path)
    return path


def light(folder: Path) -> Path:
    path = folder / "light.txt"
    lightgbm.train({"verbose": -1}, lightgbm.Dataset(DATA, TARGETS), 3).save_model(path)
    return path


def extreme(folder: Path) -> Path:
    path = folder / "extreme.ubj"
    xgboost.train({"nthread": 1}, xgboost.DMatrix(DATA, TARGETS), 3).save_model(path)
    return path


def catboosted(folder: Path) -> Path:
    import catboost

    path = folder / "boosted.cbm"
    options = {"iterations": 3, "thread_count": 1, "verbose": False, "allow_writing_files": False}
    catboost.CatBoostRegressor(**options).fit(DATA, TARGETS).save_model(path)
    return path


def skopsed(folder: Path) -> Path:
    path = folder / "regression.skops"
    skops.io.dump(LinearRegression().fit(DATA, TARGETS), path)
    return path


def exported(folder: Path) -> Path:
    import torch

    path = folder / "linear.pt2"
    shapes = ({0: torch.export.Dim("batch")},)
    module = torch.nn.Linear(2, 1).eval()
    program = torch.export.export(module, (torch.ones(2, 2),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


MAKERS: dict[RuntimeName, Callable[[Path], Path]] = {
    "onnx": negation,
    "sklearn": regression,
    "skops": skopsed,
    "lightgbm": light,
    "xgboost": extreme,
    "catboost": catboosted,
    "torch_export": exported,
}


def configured(folder: Path, *entries: dict[str, object]) -> ConfigurationFile:
    path = folder / "rest_config.yaml"
    path.write_text(yaml.safe_dump({"models": list(entries)}), encoding="utf-8")
    return ConfigurationFile(path)


def problem(folder: Path, **entry: object) -> Problem:
    with pytest.raises(ConfigurationError) as caught:
        build_registry(configured(folder, {"trusted": True, **entry}))
    (found,) = caught.value.problems
    assert found.id == "models_api.E012"
    assert found.line is not None
    return found


def hosted(folder: Path, **entry: object) -> ModelRegistry:
    return build_registry(configured(folder, {"trusted": True, **entry}))


def with_marks(name: RuntimeName) -> Any:
    marks = []
    if name in ("catboost", "torch_export"):
        library = KINDS[name].needs[0]
        reason = f"requirements/cookbook.txt has {library}"
        marks = [pytest.mark.skipif(not is_wanted(library), reason=reason), pytest.mark.long]
    return pytest.param(name, marks=marks)


@pytest.fixture(params=[with_marks(name) for name in MAKERS])
def kind(request: pytest.FixtureRequest) -> RuntimeName:
    name: RuntimeName = request.param
    return name


def test_there_is_a_reader_of_each_kind_that_the_configuration_names() -> None:
    assert list(KINDS) == list(get_args(RuntimeName))
    assert [*MAKERS, "mlflow"] == list(KINDS)


def test_a_file_is_known_by_its_content(kind: RuntimeName, tmp_path: Path) -> None:
    path = MAKERS[kind](tmp_path)
    assert kind_of(path.rename(tmp_path / "model.bin")) == kind


def test_a_file_that_was_cut_off_is_refused(kind: RuntimeName, tmp_path: Path) -> None:
    path = MAKERS[kind](tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    found = problem(tmp_path, artefact=path.name)
    assert found.key_path == "models[0].artefact"
    assert path.name in found.message
    assert "again" in found.hint


def test_a_file_of_another_kind_than_it_is_called_is_refused(
    kind: RuntimeName, tmp_path: Path
) -> None:
    path = MAKERS[kind](tmp_path)
    other = next(name for name in KINDS if name != kind)
    found = problem(tmp_path, artefact=path.name, runtime=other)
    assert found.key_path == "models[0].runtime"
    assert found.hint == f"Write runtime: {kind}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04rest", "is a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        (b"<!DOCTYPE html><p>Sign in", "is a web page"),
        (b"no model at all", "is of no kind that is known here"),
        (None, "there is no file"),
    ],
)
def test_what_is_no_model_is_called_by_its_name(
    content: bytes | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.bin"
    if content is not None:
        path.write_bytes(content)
    assert said in problem(tmp_path, artefact="model.bin").message


@pytest.mark.parametrize(
    ("names", "said", "hint"),
    [
        (["model/constants.pkl", "model/code/__torch__.py"], "a model of TorchScript", "ONNX"),
        (["archive/data.pkl", "archive/data/0"], "what torch.save wrote", "torch.export.save"),
        (["data/aotinductor/model/a.so", "archive_format"], "AOTInductor", "torch.export.save"),
        (["config.json", "metadata.json", "model.weights.h5"], "a model of Keras", "model.export"),
        (["coef.npy"], "an archive of numpy's arrays", "class_path"),
        (["model/MLmodel", "model/model.pkl"], "a packed model of MLflow", "Unpack"),
        (["word/document.xml"], "a zip archive of no kind that is known", "class_path"),
    ],
)
def test_a_zip_archive_is_called_by_what_it_holds(
    names: list[str], said: str, hint: str, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    found = problem(tmp_path, artefact="model.zip")
    assert said in found.message
    assert hint in found.hint


def test_a_folder_and_a_file_in_no_readable_place_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "is a folder" in problem(tmp_path, artefact="folder").message
    (tmp_path / "file").write_bytes(b"tree\n")
    assert "cannot be read" in problem(tmp_path, artefact="file/model.txt").message


class Poison:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_that_nobody_trusts_is_not_read(protocol: int, tmp_path: Path) -> None:
    poisoned, trace = tmp_path / "model.pkl", tmp_path / "trace"
    poisoned.write_bytes(pickle.dumps(Poison(trace), protocol))
    for name in ("model.pkl", "model.onnx", "model.txt"):
        poisoned = poisoned.rename(tmp_path / name)
        found = problem(tmp_path, artefact=name, trusted=False)
        assert "can have any code executed" in found.message
        assert found.hint.endswith("trusted: true")
    assert not trace.exists()


@pytest.mark.parametrize("compress", [("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_a_compressed_pickle_is_one_too(compress: tuple[str, int], tmp_path: Path) -> None:
    path, trace = tmp_path / "model.joblib", tmp_path / "trace"
    joblib.dump(Poison(trace), path, compress=compress)
    assert (
        "can have any code executed" in problem(tmp_path, artefact=path.name, trusted=False).message
    )
    assert not trace.exists()
    joblib.dump(LinearRegression().fit(DATA, TARGETS), path, compress=compress)
    assert len(list(hosted(tmp_path, artefact=path.name))) == 1


def test_a_pickle_of_a_class_that_is_not_here_says_which(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04cno_such_package\nModel\n.")
    found = problem(tmp_path, artefact=path.name)
    assert "no_such_package" in found.message
    assert found.hint.startswith("Install the package that provides no_such_package")


def test_a_file_of_another_version_is_served_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("sklearn.base.__version__", "0.1.2")
        path = regression(tmp_path)
    assert len(list(hosted(tmp_path, artefact=path.name))) == 1
    assert "from version 0.1.2" in caplog.text


def test_an_onnx_file_without_its_external_data_says_so(tmp_path: Path) -> None:
    path = negation(tmp_path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w", size_threshold=0)
    (tmp_path / "w").unlink()
    assert (
        "Put the files that hold its weights beside it"
        in problem(tmp_path, artefact=path.name).hint
    )


def test_a_library_that_is_not_installed_is_named_with_its_command(
    kind: RuntimeName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, package = MAKERS[kind](tmp_path), KINDS[kind].needs[0]
    monkeypatch.setattr("models_api.runtimes.kinds.find_spec", {}.get)
    found = problem(tmp_path, artefact=path.name)
    assert f"needs {package}, which is not installed" in found.message
    extra = {"torch_export": "torch"}.get(kind, kind)
    assert found.hint == f'Install it: pip install "modelhost[{extra}]"'


# What the configuration says of them


@pytest.mark.parametrize(
    ("entry", "key", "said"),
    [
        ({"columns": ["a"]}, "columns", "takes 2 columns, and 1 are named"),
        ({"columns": ["a", "a"]}, "columns", 'the column "a" is here twice'),
        ({"labels": ["a", "b"]}, "labels", "has no classes to name"),
        ({"output": "label"}, "output", 'has no output "label"'),
        ({"qualified_name": None}, "artefact", "cannot stand in a URL"),
    ],
)
def test_what_does_not_fit_the_artefact_is_refused(
    entry: dict[str, object], key: str, said: str, tmp_path: Path
) -> None:
    path = regression(tmp_path)
    name = {"qualified_name": "model"}
    if "qualified_name" in entry:
        path, name, entry = path.rename(tmp_path / "a%b.joblib"), {}, {}
    found = problem(tmp_path, artefact=path.name, **name, **entry)
    assert found.key_path == f"models[0].{key}"
    assert said in found.message


def test_columns_of_several_have_names_that_are_known(tmp_path: Path) -> None:
    booster = lightgbm.train(
        {"verbose": -1}, lightgbm.Dataset(DATA, TARGETS, feature_name=["length", "width"]), 3
    )
    booster.save_model(tmp_path / "model.txt")
    found = problem(tmp_path, artefact="model.txt", columns=["lenght"])
    assert (found.message, found.hint) == (
        'the artefact has no column "lenght"',
        'Did you mean "length"?',
    )


def test_names_and_descriptions_are_those_of_the_configuration_or_of_the_file(
    tmp_path: Path,
) -> None:
    path = regression(tmp_path)
    (model,) = hosted(tmp_path, artefact=path.name)
    assert model.details._asdict() == {
        "display_name": "regression",
        "qualified_name": "regression",
        "description": "A LinearRegression of scikit-learn.",
        "version": model.version,
    }
    assert model.version is not None
    assert len(model.version) == 12
    said = {
        "display_name": "A",
        "qualified_name": "b",
        "description": "c",
        "version": "1.0",
    }
    (model,) = hosted(tmp_path, artefact=str(path), **said)
    assert model.details._asdict() == said


def test_two_files_of_one_name_need_a_qualified_name(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    entries: list[dict[str, object]] = [
        {"artefact": str(negation(folder))} for folder in (tmp_path, tmp_path / "other")
    ]
    with pytest.raises(ConfigurationError) as caught:
        build_registry(configured(tmp_path, *entries))
    (found,) = caught.value.problems
    assert found.key_path == "models[1].artefact"
    assert found.hint == (
        "Remove one of the two, or write another qualified_name for one, or another version for "
        "one."
    )
    entries[1]["qualified_name"] = "another"
    assert len(list(build_registry(configured(tmp_path, *entries)))) == 2


# What is kept beside them


@pytest.fixture
def described(kind: RuntimeName, tmp_path: Path) -> Path:
    path = MAKERS[kind](tmp_path)
    call_command("inspect", str(path), "--trusted", "--write", stdout=StringIO())
    return path


def test_a_kept_signature_needs_neither_library_nor_file(
    described: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemas = [hosted(described.parent, artefact=described.name)]
    with monkeypatch.context() as patched:
        patched.setattr("models_api.runtimes.kinds.find_spec", {}.get)
        schemas.append(hosted(described.parent, artefact=described.name))
    described.unlink()
    schemas.append(hosted(described.parent, artefact=described.name))
    first, *others = [
        [schema.model_json_schema() for schema in model.schemas]
        for registry in schemas
        for model in registry
    ]
    assert others == [first, first]
    (model,) = schemas[-1]
    model.load()
    assert model.state is LoadState.FAILED
    assert "there is no file" in (model.failure or "")


def test_a_kept_signature_of_another_file_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = light(tmp_path)
    call_command("inspect", str(path), "--write", stdout=StringIO())
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(DATA[:, :1], TARGETS), 3)
    booster.save_model(path)
    (model,) = hosted(tmp_path, artefact=path.name)
    assert model.schemas.input.model_json_schema()["properties"]["features"]["maxItems"] == 1
    assert "light.txt.schema.json is of another file" in caplog.text
    kept = tmp_path / "light.txt.schema.json"
    kept.write_text("{", encoding="utf-8")
    assert len(list(hosted(tmp_path, artefact=path.name))) == 1
    assert "light.txt.schema.json is not used" in caplog.text


def test_a_kept_signature_does_not_make_a_pickle_trusted(tmp_path: Path) -> None:
    path = regression(tmp_path)
    call_command("inspect", str(path), "--trusted", "--write", stdout=StringIO())
    for _ in range(2):
        found = problem(tmp_path, artefact=path.name, trusted=False)
        assert "can have any code executed" in found.message
        path.unlink(missing_ok=True)


def test_a_signature_may_be_kept_elsewhere(tmp_path: Path) -> None:
    path = regression(tmp_path)
    kept = tmp_path / "kept.json"
    call_command("inspect", str(path), "--trusted", "--schema", str(kept), stdout=StringIO())
    assert [each.name for each in tmp_path.glob("*.json")] == ["kept.json"]
    path.unlink()
    assert len(list(hosted(tmp_path, artefact=path.name, schema="kept.json"))) == 1
    kept.unlink()
    found = problem(tmp_path, artefact=path.name, schema="kept.json")
    assert found.key_path == "models[0].schema"
    assert f"inspect --schema {kept} {path}" in found.hint


def test_a_signature_kept_elsewhere_goes_with_an_artefact_only(tmp_path: Path) -> None:
    entry: dict[str, object] = {"class_path": "examples.iris.IrisModel", "schema": "kept.json"}
    with pytest.raises(ConfigurationError) as caught:
        build_registry(configured(tmp_path, entry))
    (found,) = caught.value.problems
    assert (found.key_path, found.message) == (
        "models[0].schema",
        "schema does not go with class_path",
    )

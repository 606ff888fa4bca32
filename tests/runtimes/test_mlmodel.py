"""What a folder of MLflow takes and gives is read from its MLmodel, without MLflow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.core.management.base import CommandError

from models_api.runtimes.kinds import kind_of
from models_api.runtimes.mlmodel import read_mlmodel
from models_api.runtimes.saved_signature import read_signature
from tests.runtimes.test_artefacts import hosted, problem

DOUBLES = [{"type": "double", "name": "a", "required": True}]


def saved(
    folder: Path,
    inputs: Sequence[object] | None = DOUBLES,
    outputs: Sequence[object] | None = None,
    params: Sequence[object] | None = None,
    *,
    name: str = "model",
    **pyfunc: object,
) -> Path:
    """Write a folder as MLflow does, but for the model itself."""
    made = folder / name
    made.mkdir()
    (made / "model.pkl").write_bytes(b"\x80\x04.")
    content: dict[str, Any] = {
        "flavors": {
            "python_function": {
                "loader_module": "mlflow.sklearn",
                "model_path": "model.pkl",
                "python_version": "3.11.7",
                **pyfunc,
            },
            "sklearn": {"pickled_model": "model.pkl"},
        },
        "mlflow_version": "3.17.2",
    }
    if inputs is not None:
        specs = {"inputs": inputs, "outputs": outputs, "params": params}
        content["signature"] = {k: v if v is None else json.dumps(v) for k, v in specs.items()}
    (made / "MLmodel").write_text(yaml.safe_dump(content), encoding="utf-8")
    return made


def schemas(folder: Path, **entry: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the JSON Schemas of what the model takes and gives."""
    (model,) = hosted(folder, artefact="model", **entry)
    given, made = model.schemas
    return given.model_json_schema(), made.model_json_schema(mode="serialization")


def column(folder: Path, **spec: object) -> dict[str, Any]:
    """Return the JSON Schema of one column."""
    saved(folder, [{"name": "a", "required": True, **spec}])
    taken, _ = schemas(folder)
    found: dict[str, Any] = taken["properties"]["a"]
    return {k: v for k, v in found.items() if k not in ("title", "examples")}


@pytest.mark.parametrize(
    ("spec", "schema"),
    [
        ({"type": "boolean"}, {"type": "boolean"}),
        ({"type": "integer"}, {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}),
        ({"type": "long"}, {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}),
        ({"type": "double"}, {"type": "number"}),
        ({"type": "string"}, {"type": "string"}),
        ({"type": "datetime"}, {"type": "string", "format": "date-time"}),
        ({"type": "binary"}, {"type": "string", "format": "base64"}),
        ({"type": "map", "values": {"type": "long"}}, {"description": "mapping to integer"}),
        (
            {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
            {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        ),
        (
            {
                "type": "object",
                "properties": {
                    "age": {"type": "long", "required": True},
                    "mail": {"type": "string", "required": False},
                },
            },
            {"description": "{age: integer, mail: string (may be missing)}"},
        ),
    ],
)
def test_each_type_of_column_has_its_schema(
    spec: dict[str, Any], schema: dict[str, Any], tmp_path: Path
) -> None:
    assert column(tmp_path, **spec) == schema


def test_a_float_takes_what_fits_it(tmp_path: Path) -> None:
    found = column(tmp_path, type="float")
    assert found["type"] == "number"
    assert found["maximum"] == pytest.approx(3.4028235e38)


@pytest.mark.parametrize("spec", [{"required": False}, {"optional": True}])
def test_a_column_that_is_not_required_may_be_missing_or_null(
    spec: dict[str, Any], tmp_path: Path
) -> None:
    saved(tmp_path, [*DOUBLES, {"type": "long", "name": "b", **spec}])
    taken, _ = schemas(tmp_path)
    assert taken["required"] == ["a"]
    assert {"type": "null"} in taken["properties"]["b"]["anyOf"]


def test_columns_without_names_are_one_list(tmp_path: Path) -> None:
    saved(tmp_path, [{"type": "double"}] * 3)
    taken, _ = schemas(tmp_path)
    features = taken["properties"]["features"]
    assert (features["minItems"], features["maxItems"]) == (3, 3)
    taken, _ = schemas(tmp_path, columns=["x", "y", "z"])
    assert list(taken["properties"]) == ["x", "y", "z"]


def test_columns_of_several_types_without_names_are_counted(tmp_path: Path) -> None:
    saved(tmp_path, [{"type": "double"}, {"type": "string"}])
    taken, _ = schemas(tmp_path)
    types = {name: each["type"] for name, each in taken["properties"].items()}
    assert types == {"x0": "number", "x1": "string"}


def tensor(dtype: str, *shape: int, **more: object) -> dict[str, object]:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}, **more}


def test_a_tensor_has_a_list_for_each_row(tmp_path: Path) -> None:
    saved(tmp_path, [tensor("uint8", -1, 2, 3)], [tensor("float64", -1, 5)])
    taken, given = schemas(tmp_path)
    rows = taken["properties"]["features"]
    assert (rows["maxItems"], rows["items"]["maxItems"]) == (2, 3)
    assert (rows["items"]["items"]["minimum"], rows["items"]["items"]["maximum"]) == (0, 255)
    assert given["properties"]["value"]["maxItems"] == 5


def test_tensors_have_their_names(tmp_path: Path) -> None:
    inputs = [tensor("str", -1, name="text"), tensor("float32", -1, -1, name="words")]
    saved(tmp_path, inputs, [tensor("int64", -1, name="topic")])
    taken, given = schemas(tmp_path)
    assert taken["properties"]["text"]["type"] == "string"
    assert "maxItems" not in taken["properties"]["words"]
    assert given["properties"]["topic"]["type"] == "integer"


def test_a_tensor_in_which_nothing_counts_rows_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, [tensor("float64", 28, 28)])
    found = problem(tmp_path, artefact="model")
    assert "in which nothing counts rows" in found.message
    assert "first dimension is -1" in found.hint


def test_a_tensor_of_objects_asks_for_its_type(tmp_path: Path) -> None:
    saved(tmp_path, [tensor("object", -1, name="text")])
    found = problem(tmp_path, artefact="model")
    assert "- {name: text, type: string}" in found.hint
    (taken, _) = schemas(tmp_path, columns=[{"name": "text", "type": "string"}])
    assert taken["properties"]["text"]["type"] == "string"


def test_outputs_are_those_of_the_signature_and_any_without(tmp_path: Path) -> None:
    outputs = [{"type": "string", "name": "x"}, {"type": "double", "name": "y", "required": False}]
    saved(tmp_path, DOUBLES, outputs)
    _, given = schemas(tmp_path)
    assert given["properties"]["x"]["type"] == "string"
    assert {"type": "null"} in given["properties"]["y"]["anyOf"]
    saved(tmp_path, DOUBLES, name="other")
    (model,) = hosted(tmp_path, artefact="other")
    assert "type" not in model.schemas.output.model_json_schema()["properties"]["value"]


def test_parameters_may_be_left_out(tmp_path: Path) -> None:
    params = [
        {"name": "factor", "type": "double", "default": 2.0, "shape": None},
        {"name": "stops", "type": "string", "default": ["."], "shape": [-1]},
        {"name": "a", "type": "string", "default": "", "shape": None},
    ]
    saved(tmp_path, DOUBLES, params=params)
    taken, _ = schemas(tmp_path)
    assert taken["required"] == ["a"]
    assert list(taken["properties"]) == ["a", "factor", "stops"]
    assert taken["properties"]["factor"]["description"].endswith("without it, 2.0.")


# Folders that cannot be served


def test_a_folder_is_known_by_its_mlmodel(tmp_path: Path) -> None:
    assert kind_of(saved(tmp_path)) == "mlflow"
    assert kind_of(tmp_path / "model", "mlflow") == "mlflow"


def test_other_folders_and_files_say_what_to_name(tmp_path: Path) -> None:
    made = saved(tmp_path)
    assert problem(tmp_path, artefact="model", runtime="onnx").hint == "Write runtime: mlflow"
    assert problem(tmp_path, artefact="model/MLmodel").hint.startswith("Name its folder")
    assert problem(tmp_path, artefact=".").hint == f"Name the folder of the model in it: {made}"
    (tmp_path / "empty").mkdir()
    assert "whole folder" in problem(tmp_path, artefact="empty", runtime="mlflow").hint
    assert "no file of the kind" not in problem(tmp_path, artefact="empty").message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"flavors: {python_function: {loader_m", "is no YAML"),
        (b"\xff\xfe\xff", "is no YAML"),
        (b"flavors: {spark: {}}", "has no flavour python_function"),
        (b"flavors: {python_function: {}}\nsignature: {inputs: '[{'}", "signature in the MLmodel"),
        (b"flavors: {python_function: {}}\nsignature: {inputs: '3'}", "signature in the MLmodel"),
        (b"flavors: {python_function: {}}\nsignature: 3", "signature in the MLmodel"),
        (b"a: !!python/object/apply:os.mkdir [trace]", "is no YAML"),
    ],
)
def test_a_broken_mlmodel_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    (saved(tmp_path) / "MLmodel").write_bytes(content)
    found = problem(tmp_path, artefact="model")
    assert found.key_path == "models[0].artefact"
    assert said in found.message
    assert "again" in found.hint
    assert not Path("trace").exists()


@pytest.mark.parametrize("kind", ["array", "object", "tensor"])
def test_a_signature_that_lacks_something_is_refused(kind: str, tmp_path: Path) -> None:
    saved(tmp_path, [{"name": "a", "type": kind}])
    assert "model cannot be described" in problem(tmp_path, artefact="model").message


@pytest.mark.parametrize(
    "pyfunc",
    [
        {"data": "gone.lgb"},
        {"code": "code"},
        {"artifacts": {"weights": {"path": "artifacts/weights.bin", "uri": "s3://a/b"}}},
    ],
)
def test_a_file_that_is_missing_is_named(pyfunc: dict[str, Any], tmp_path: Path) -> None:
    saved(tmp_path, **pyfunc)
    found = problem(tmp_path, artefact="model")
    assert "which its MLmodel names" in found.message
    assert found.hint == "Copy the whole folder again."


def test_nothing_is_read_that_nobody_trusts(tmp_path: Path) -> None:
    saved(tmp_path)
    found = problem(tmp_path, artefact="model", trusted=False)
    assert "whoever made it can have any code executed where it is read" in found.message
    assert found.hint.endswith("trusted: true")


def test_a_model_without_signature_needs_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, None)
    monkeypatch.setattr("models_api.runtimes.kinds.find_spec", {}.get)
    found = problem(tmp_path, artefact="model")
    assert "needs mlflow, which is not installed" in found.message
    assert found.hint == 'Install it: pip install "modelhost[mlflow]"'


def test_other_versions_than_those_it_was_saved_with_are_told(tmp_path: Path) -> None:
    made = saved(tmp_path, python_version="2.7.18")
    lines = ["mlflow==3.1", "pydantic==1.0", "no_such_thing[a]==2.0 ; python_version > '3'", "yaml"]
    (made / "requirements.txt").write_text("\n".join(lines), encoding="utf-8")
    python, mlflow, pydantic, other = read_mlmodel(made).differences()
    assert python.startswith("Python 2.7.18 (here 3.")
    assert mlflow.startswith("mlflow 3.1 (")
    assert pydantic.startswith("pydantic 1.0 (here 2.")
    assert other == "no_such_thing 2.0 (missing)"


# What is kept beside it, and shown


def test_the_version_is_of_the_content_of_the_folder(tmp_path: Path) -> None:
    made = saved(tmp_path)
    first = read_signature(made, trusted=True).sha256
    (made / "__pycache__").mkdir()
    (made / "__pycache__" / "own.pyc").write_bytes(b"compiled")
    assert read_signature(made, trusted=True).sha256 == first
    (made / "model.pkl").write_bytes(b"\x80\x04N.")
    assert read_signature(made, trusted=True).sha256 != first


def test_a_signature_is_shown_without_trust_and_kept_beside_the_folder(tmp_path: Path) -> None:
    made, out = saved(tmp_path), StringIO()
    call_command("inspect", str(made), "--write", stdout=out)
    assert "runtime: mlflow" in out.getvalue()
    assert "trusted: true" in out.getvalue()
    for path in made.iterdir():
        path.unlink()
    made.rmdir()
    taken, _ = schemas(tmp_path)
    assert taken["required"] == ["a"]


def test_a_model_without_signature_is_not_loaded_without_trust(tmp_path: Path) -> None:
    made = saved(tmp_path, None)
    with pytest.raises(CommandError, match="inspect --trusted"):
        call_command("inspect", str(made))

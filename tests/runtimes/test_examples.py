"""The files in examples/artefacts, and the script that makes them."""

from __future__ import annotations

from pathlib import Path
from shutil import copy

import pytest

from examples.artefacts.make import make
from models_api.configuration.file import ConfigurationFile
from models_api.hosting.assembly import build_registry
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.loader import ModelLoader
from tests.runtimes.libraries import is_wanted

FOLDER = Path(__file__).parents[2] / "examples" / "artefacts"

CONFIGURATIONS = ["rest_config.yaml", "large_libraries.yaml"]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_files_are_small_and_those_that_the_configuration_names(name: str) -> None:
    file = ConfigurationFile(FOLDER / name)
    named = [model.artefact for _, model in file.models()]
    assert all(isinstance(path, Path) and path.is_file() for path in named)
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 200_000
    # What scikit-learn saved is read by its own version for certain; its signature, by any. And
    # large libraries are not everywhere.
    assert len(list(build_registry(file))) == len(named)


def test_the_model_of_mlflow_is_described_without_mlflow() -> None:
    folder = FOLDER.parent / "mlflow"
    (model,) = build_registry(ConfigurationFile(folder / "rest_config.yaml"))
    properties = model.schemas.input.model_json_schema()["properties"]
    assert properties["bp"]["default"] is None
    assert properties["bmi"]["minimum"] == 10
    assert sum(each.stat().st_size for each in (folder / "progression").iterdir()) < 50_000


@pytest.mark.long
def test_what_the_script_makes_predicts_the_documented_examples(tmp_path: Path) -> None:
    assert {path.name for path in make(tmp_path)} <= {path.name for path in FOLDER.iterdir()}
    are_all_here = is_wanted("catboost") and is_wanted("torch")
    models: list[HostedModel] = []
    for name in CONFIGURATIONS if are_all_here else CONFIGURATIONS[:1]:
        copy(FOLDER / name, tmp_path)
        models += build_registry(ConfigurationFile(tmp_path / name))
    ModelLoader(lambda: models).load()
    for model in models:
        properties = model.schemas.input.model_json_schema()["properties"]
        row = {name: each["examples"][0] for name, each in properties.items()}
        given = model.schemas.input.model_validate(row)
        assert isinstance(model.ready_model().predict(given), model.schemas.output)

"""`manage.py inspect`, on the files in examples/artefacts."""

from __future__ import annotations

import shlex
import shutil
from io import StringIO
from pathlib import Path

import joblib
import pytest
import yaml
from django.core.management import CommandError, call_command
from sklearn.ensemble import IsolationForest

from models_api.configuration.file import ConfigurationFile
from models_api.hosting.assembly import build_registry

FOLDER = Path(__file__).parents[2] / "examples" / "artefacts"


def inspect(name: str, *options: str) -> str:
    out = StringIO()
    call_command("inspect", str(FOLDER / name), *options, stdout=out)
    return out.getvalue()


def test_it_says_what_a_file_takes_and_gives() -> None:
    said = inspect("wine.txt")
    assert said.startswith("wine.txt: LightGBM (runtime: lightgbm)\n")
    assert "  flavanoids  number, may be missing\n" in said
    assert "  label          integer: 0, 1, 2\n" in said
    assert "    # labels: [name of 0, name of 1, name of 2]\n" in said


@pytest.mark.parametrize(
    "name",
    [
        "iris.onnx",
        "progression.ubj",
        "diabetes.joblib",
        "tumours.skops",
        "severity.cbm",
        "iris_network.pt2",
    ],
)
def test_the_yaml_that_it_prints_serves_the_file(name: str, tmp_path: Path) -> None:
    _, _, entry = inspect(name, "--trusted").partition("For the YAML file\n")
    assert yaml.safe_load(entry)["models"][0]["artefact"] == str(FOLDER / name)
    path = tmp_path / "rest_config.yaml"
    path.write_text(entry, encoding="utf-8")
    assert len(list(build_registry(ConfigurationFile(path)))) == 1
    # What it offers besides fits as well.
    path.write_text(
        "\n".join(
            line.replace("    # ", "    ") for line in entry.splitlines() if "Known" not in line
        ),
        encoding="utf-8",
    )
    assert len(list(build_registry(ConfigurationFile(path)))) == 1


def test_a_pickle_is_named_and_left_unread() -> None:
    with pytest.raises(CommandError, match=r"runtime: sklearn(.|\n)*inspect --trusted"):
        inspect("diabetes.joblib")


def test_the_command_for_a_file_that_is_trusted_can_be_pasted(tmp_path: Path) -> None:
    path = tmp_path / "the churn of '26.joblib"
    shutil.copy(FOLDER / "diabetes.joblib", path)
    with pytest.raises(CommandError) as refused:
        inspect(str(path))
    command = str(refused.value).partition("trust whoever made it: ")[2]
    assert shlex.split(command) == ["modelhost", "inspect", "--trusted", str(path)]


def test_an_estimator_is_called_by_the_article_that_it_has(tmp_path: Path) -> None:
    path = tmp_path / "outliers.joblib"
    joblib.dump(IsolationForest(n_estimators=1, random_state=0).fit([[1.0], [2.0]]), path)
    assert "\nAn IsolationForest of scikit-learn. " in inspect(str(path), "--trusted")


def test_what_is_no_model_is_an_error_that_says_what_there_is() -> None:
    with pytest.raises(CommandError, match=r"make.py is of no kind that is known here\nThere are"):
        inspect("make.py")

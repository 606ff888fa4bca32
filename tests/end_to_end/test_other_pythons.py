"""Models in processes of another Python, which has nothing of what the service needs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

from models_api.configuration.file import ConfigurationFile
from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import ConfigurationError, Conflict, InvalidInput, PredictionFailed
from models_api.hosting.assembly import build_registry
from models_api.hosting.elsewhere import survey_elsewhere
from models_api.hosting.hosted_model import HostedModel, LoadState, Resources
from models_api.loaded_model import LoadedModel
from tests.end_to_end.server import REPOSITORY, Server, serve
from tests.fakes import elsewhere
from tests.other_pythons import make_environment

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

BARE = ("ml_base", "pydantic")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A virtual environment that has ml_base and pydantic, and nothing else."""
    return str(make_environment(tmp_path_factory.mktemp("pythons") / "bare", *BARE))


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A team's folder, with its models and without this package."""
    folder = tmp_path_factory.mktemp("team")
    shutil.copy(REPOSITORY / "tests" / "fakes" / "elsewhere.py", folder)
    return folder


def of(name: str, python: str | None, **more: Any) -> dict[str, Any]:
    """Return the entry of a model."""
    execution = {"kind": "process"} | ({"python": python} if python else {})
    return {"class_path": f"elsewhere.{name}", "execution": execution} | more


@pytest.fixture(scope="module")
def server(python: str, team: Path) -> Iterator[Server]:
    """A server with models of another Python, and with one of its own."""
    reporting = of("ReportingModel", python)
    reporting["execution"]["environment"] = {"ELSEWHERE": "yes"}
    adding = {"class_path": "elsewhere.Adding", "configuration": {"added": 0.5}}
    configuration = {
        "models": [
            of("DoublingModel", python, timeout_seconds=1),
            {"class_path": "elsewhere.TwinModel"},
            of("GatheringModel", python, batching={"max_batch_size": 8}, decorators=[adding]),
            of("LateModel", python),
            reporting,
        ],
        "metrics": {"enabled": True},
        "open_inference": {"enabled": True},
        "service_title": "Pythons",
    }
    with serve(configuration, folder=team, environment={"MODELHOST_WORKERS": "2"}) as running:
        yield running


SAME = {"X-Request-ID": "same"}


def predict(server: Server, name: str, row: object, **headers: str) -> Any:
    """Return the answer to a request for one row."""
    return server.client.post(
        f"/api/models/{name}/prediction", json=row, headers={**SAME, **headers}
    )


def test_its_python_has_nothing_of_the_service_but_this_package(
    server: Server, python: str, team: Path
) -> None:
    told = predict(server, "reporting", {}, **{"X-Request-ID": "mine"}).json()
    assert told["prefix"] == python
    assert set(told["lacking"]) >= {"django", "rest_framework", "yaml", "numpy"}
    assert sysconfig.get_path("purelib") not in told["path"]
    assert str(REPOSITORY) not in told["path"]
    assert str(team) in told["path"]
    assert (told["variable"], told["request"]) == ("yes", "mine")


ROWS: list[Any] = [
    {"number": 1.5},
    {"number": 2, "boxes": [{"left": 1, "label": "a"}]},
    {"number": -1},
    {"number": "many"},
    {},
    {"number": 7},
    {"number": 8},
    [],
]


@pytest.mark.parametrize("row", ROWS)
def test_its_answers_are_those_of_a_model_of_the_service(server: Server, row: Any) -> None:
    here, there = (predict(server, name, row) for name in ("twin", "elsewhere"))
    assert there.status_code == here.status_code
    assert there.text.replace("elsewhere", "twin") == here.text


@pytest.mark.parametrize("rows", [ROWS[:2], ROWS, [ROWS[0], ROWS[5]], [ROWS[0], ROWS[6]], []])
def test_so_are_those_to_many_rows(server: Server, rows: list[Any]) -> None:
    here, there = (
        server.client.post(
            f"/api/models/{name}/prediction/batch", json={"inputs": rows}, headers=SAME
        )
        for name in ("twin", "elsewhere")
    )
    assert (there.status_code, there.text.replace("elsewhere", "twin")) == (
        here.status_code,
        here.text,
    )


@pytest.mark.parametrize("numbers", [[1.0], [1.0, 2.5, 3.0], [1.0, -2.0], [1.0, 7.0], [8.0, 1.0]])
@pytest.mark.parametrize("is_binary", [False, True])
def test_so_are_those_of_the_open_inference_protocol(
    server: Server, numbers: list[float], is_binary: bool
) -> None:
    def ask(name: str) -> Any:
        tensor: dict[str, Any] = {"name": "number", "datatype": "FP64", "shape": [len(numbers)]}
        url, data = f"/v2/models/{name}/infer", numpy.array(numbers, "<f8").tobytes()
        if not is_binary:
            return server.client.post(
                url, json={"inputs": [{**tensor, "data": numbers}]}, headers=SAME
            )
        request = {
            "inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}],
            "parameters": {"binary_data_output": True},
        }
        head = json.dumps(request).encode()
        length = {"Inference-Header-Content-Length": str(len(head)), **SAME}
        return server.client.post(url, content=head + data, headers=length)

    here, there = ask("twin"), ask("elsewhere")
    assert there.status_code == here.status_code, there.text
    written = there.content.replace(b'"elsewhere"', b'"twin"')
    assert written.replace(b"model elsewhere", b"model twin") == here.content


def test_it_is_described_as_a_model_of_the_service(server: Server) -> None:
    here, there, late = (
        server.client.get(f"/api/models/{name}/metadata").text
        for name in ("twin", "elsewhere", "late")
    )
    assert there.replace("elsewhere", "twin") == here == late.replace('"late"', '"twin"')
    paths = server.client.get("/openapi.json").json()["paths"]
    answers = [
        paths[f"/api/models/{name}/prediction"]["post"]["responses"]
        for name in ("twin", "elsewhere")
    ]
    assert answers[0].keys() <= answers[1].keys()  # 504 has only the one with timeout_seconds
    assert "409" in answers[1]


def test_decorators_and_batches_are_there_too(server: Server) -> None:
    assert predict(server, "gathering", {"number": 2}).json()["doubled"] == 4.5
    rows = {"inputs": [{"number": 1}, {"number": 2}]}
    told = server.client.post("/api/models/gathering/prediction/batch", json=rows).json()
    assert [each["doubled"] for each in told["predictions"]] == [2.5, 4.5]


def test_one_that_tells_its_name_only_once_it_is_loaded_predicts(server: Server) -> None:
    assert predict(server, "late", {"number": 2}).json()["doubled"] == 4


def test_log_and_metrics_have_its_predictions(server: Server) -> None:
    predict(server, "elsewhere", {"number": 123}, **{"X-Request-ID": "logged"})
    assert "elsewhere [logged]: doubling 123.0" in server.log
    metrics = server.client.get("/metrics").text
    assert 'model_predictions_total{model="elsewhere",outcome="success",version="1.2.3"}' in metrics


def test_a_prediction_that_takes_too_long_ends_with_its_process(server: Server) -> None:
    assert predict(server, "elsewhere", {"number": 9}).status_code == 504
    server.wait_until(
        lambda: predict(server, "elsewhere", {"number": 1}).status_code == 200 or None, "well"
    )


def test_code_of_the_service_gets_instances(python: str, team: Path, tmp_path: Path) -> None:
    configuration = ModelConfiguration.model_validate(
        {**of("DoublingModel", python), "class_path": "tests.fakes.elsewhere.DoublingModel"}
    )
    (survey,) = survey_elsewhere([configuration])
    assert survey is not None
    assert survey.profile is not None
    hosted = HostedModel(configuration, survey.profile, Resources(directory=lambda: tmp_path))
    hosted.load()
    assert hosted.state is LoadState.READY, hosted.failure
    model = LoadedModel(hosted)
    made = model.predict({"number": 2, "boxes": [elsewhere.Box(left=3)]})
    assert (made.doubled, made.box.left) == (4, 3)
    assert [each.doubled for each in model.predict_batch(['{"number": 1}', {"number": 2}])] == [
        2,
        4,
    ]
    with pytest.raises(InvalidInput, match=r"rows\[1\].number"):
        model.predict_batch([{"number": 1}, {"number": -1}])
    with pytest.raises(Conflict, match=r"rows\[1\]: seven is taken"):
        model.predict_batch([{"number": 1}, {"number": 7}])
    with pytest.raises(PredictionFailed) as caught:
        model.predict({"number": 8})
    assert "ValueError: eight" in str(caught.value.__cause__)
    hosted.leave()


BROKEN = """\
models:
  - class_path: tests.fakes.elsewhere.Missing{python}
  - class_path: tests.fakes.nowhere.DoublingModel{python}
  - class_path: tests.fakes.elsewhere.RequiringModel{python}
  - class_path: tests.fakes.elsewhere.NumberedModel{python}
  - class_path: tests.fakes.elsewhere.YieldingModel{python}
    decorators:
      - class_path: tests.fakes.elsewhere.DoublingModel
  - class_path: tests.fakes.elsewhere.TwinModel{python}
    qualified_name: other
  - class_path: tests.fakes.elsewhere.GatheringModel{python}
    configuration: {{size: 3}}
"""


def problems(path: Path, text: str) -> list[tuple[str, str, str, str]]:
    """Return what is wrong with a file."""
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        build_registry(ConfigurationFile(path))
    return [(each.id, each.key_path, each.message, each.hint) for each in caught.value.problems]


def test_mistakes_are_told_in_the_same_words(python: str, tmp_path: Path) -> None:
    path, execution = (
        tmp_path / "service.yaml",
        f"\n    execution: {{kind: process, python: {python}}}",
    )
    here = problems(path, BROKEN.format(python=""))
    assert problems(path, BROKEN.format(python=execution)) == here
    assert len(here) >= 6


def test_check_says_what_a_python_lacks_and_how_to_mend_it(tmp_path: Path, team: Path) -> None:
    empty = make_environment(tmp_path / "empty")
    path = tmp_path / "service.yaml"
    path.write_text(
        "models:\n"
        "  - class_path: elsewhere.DoublingModel\n"
        "    execution:\n"
        "      kind: process\n"
        f"      python: {empty}\n",
        encoding="utf-8",
    )
    ended = subprocess.run(
        [sys.executable, str(REPOSITORY / "manage.py"), "check"],
        cwd=team,
        env={"REST_CONFIG": str(path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    executable = empty / "bin" / "python"
    assert ended.returncode != 0
    assert "service.yaml:5: models[0].execution.python" in ended.stderr
    assert f'the Python at "{executable}" lacks ml_base and pydantic' in ended.stderr
    assert f'{executable} -m pip install "ml_base>=0.2.2,<0.3" "pydantic>=2.11,<3"' in ended.stderr


def test_a_module_that_ends_its_python_is_the_mistake_of_its_model_alone(
    python: str, tmp_path: Path
) -> None:
    models = [
        ModelConfiguration(class_path=path, execution=of("X", python)["execution"])
        for path in ("tests.fakes.elsewhere.DoublingModel", "tests.fakes.ends_its_process.Model")
    ]
    well, ended = survey_elsewhere(models)
    assert well is not None
    assert not well.mistakes
    assert ended is not None
    (mistake,) = ended.mistakes
    assert mistake.message.endswith("ended with SIGABRT while it imported the classes")

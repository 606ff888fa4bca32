"""A hosted model whose model computes in a process, in a process that is no server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models_api.configuration.execution import ExecutionConfiguration
from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import InvalidInput
from models_api.hosting.hosted_model import HostedModel, LoadState, Resources
from models_api.hosting.model_stack import ModelStack
from models_api.loaded_model import LoadedModel
from models_api.prediction.backends.process_group import is_abandoned, open_members
from models_api.prediction.listener import PredictionListener
from models_api.schemas.json_schema import json_schema

pytestmark = pytest.mark.timeout(60)

HEARD: list[Any] = []


class Listener(PredictionListener):
    """Keeps what it is told."""

    class audience:  # noqa: N801
        """Somebody."""

        receivers = ("somebody",)

    def hear(self, inputs: Any, outputs: Any, seconds: float) -> None:
        """Keep it."""
        HEARD.append((inputs, outputs, seconds >= 0))


def hosted(folder: Path, class_path: str, **more: Any) -> HostedModel:
    """Return a model that was loaded in a process."""
    configuration = ModelConfiguration(
        class_path=class_path, execution=ExecutionConfiguration(kind="process"), **more
    )
    resources = Resources(directory=lambda: folder, listener=Listener)
    model = HostedModel(configuration, ModelStack.from_configuration(configuration), resources)
    model.load()
    return model


@pytest.fixture(scope="module")
def doubling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostedModel]:
    """A model that doubles numbers."""
    model = hosted(tmp_path_factory.mktemp("server"), "tests.fakes.models.DoublingModel")
    yield model
    model.leave()


def test_it_has_no_instance_here(doubling: HostedModel) -> None:
    assert doubling.state is LoadState.READY
    assert doubling.model is None
    with pytest.raises(TypeError, match="computes in a process of its own"):
        _ = LoadedModel(doubling).instance


def test_code_of_this_process_can_ask_it(doubling: HostedModel) -> None:
    model = LoadedModel(doubling)
    assert model.predict({"value": 2}).model_dump() == {"value": 4}
    assert [each.value for each in model.predict_batch([{"value": 1}, '{"value": 2}'])] == [2, 4]
    with pytest.raises(InvalidInput, match="value"):
        model.predict({"value": "many"})


def test_listeners_hear_what_it_predicts(doubling: HostedModel) -> None:
    HEARD.clear()
    doubling.backend.predict(b'{"value": 3}')
    doubling.backend.predict_batch(b'{"inputs": [{"value": 1}, {"value": 2}]}')
    assert HEARD == [
        ([{"value": 3}], [{"value": 6}], True),
        ([{"value": 1}, {"value": 2}], [{"value": 2}, {"value": 4}], True),
    ]


def test_which_of_its_methods_predict_is_known(doubling: HostedModel) -> None:
    assert doubling.used_methods == ["predict"]
    assert doubling.unused_methods == {}


def test_one_whose_class_does_not_tell_what_it_is_says_it_once_it_is_loaded(tmp_path: Path) -> None:
    model = hosted(tmp_path, "tests.fakes.models.LateModel")
    assert model.state is LoadState.READY, model.failure
    here = HostedModel(
        ModelConfiguration(class_path="tests.fakes.models.LateModel"),
        model._stack,  # type: ignore[arg-type]
    )
    here.load()
    assert (model.details, model.version) == (here.details, here.version)
    assert json_schema(model.schemas.input, "validation") == json_schema(
        here.schemas.input, "validation"
    )
    given = b'{"value": 2}'
    assert model.backend.predict(given) == here.backend.predict(given)
    assert (
        LoadedModel(model).predict({"value": 2}).value
        == json.loads(here.backend.predict(given))["value"]
    )
    model.leave()


def test_names_of_the_file_win_over_what_it_says_there(tmp_path: Path) -> None:
    model = hosted(tmp_path, "tests.fakes.models.LateModel", qualified_name="other", version="7")
    assert (model.state, model.failure) == (LoadState.READY, None)
    assert (model.qualified_name, model.version) == ("other", "7")


def test_why_one_fails_is_what_its_process_says(tmp_path: Path) -> None:
    model = hosted(tmp_path, "tests.fakes.dying.FailingModel")
    assert model.state is LoadState.FAILED
    assert model.failure_class == "FileNotFoundError"
    assert str(model.failure).startswith("FileNotFoundError: there are no weights")


def test_where_the_system_has_no_such_processes_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_api.hosting.execution.HAS_FILE_LOCKS", False)
    model = hosted(tmp_path, "tests.fakes.models.DoublingModel")
    assert "this system does not have what processes of models need" in str(model.failure)


def test_its_health_is_asked_there(tmp_path: Path) -> None:
    model = hosted(tmp_path, "tests.fakes.health.SickModel")
    assert model.health is not None
    asked = model.health.ask()
    assert asked is not None
    asked.wait(10)
    assert model.health.is_healthy is False


def test_its_processes_end_once_nobody_uses_them(tmp_path: Path) -> None:
    model = hosted(tmp_path, "tests.fakes.models.DoublingModel")
    (folder,) = tmp_path.iterdir()
    members = open_members(folder)
    assert not is_abandoned(members)
    os.close(members)
    model.leave()
    deadline = time.monotonic() + 10
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()

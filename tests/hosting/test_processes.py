"""A hosted model whose model computes in a process, in a process that is no server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models_api.configuration.sections import ExecutionConfiguration, ModelConfiguration
from models_api.exceptions import InvalidInput
from models_api.hosting.hosted_model import HostedModel, LoadState, Resources
from models_api.hosting.model_stack import ModelStack
from models_api.loaded_model import LoadedModel
from models_api.prediction.backends.process_group import is_abandoned
from models_api.prediction.listener import PredictionListener

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
    model.leave_processes()


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


def test_one_whose_class_does_not_tell_its_name_fails(tmp_path: Path) -> None:
    model = hosted(tmp_path, "tests.fakes.models.LateModel", qualified_name="late")
    assert model.state is LoadState.FAILED
    assert "do not tell its names and schemas" in str(model.failure)
    assert not list(tmp_path.iterdir())


def test_where_the_system_has_no_such_processes_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_api.hosting.hosted_model.HAS_FILE_LOCKS", False)
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
    assert not is_abandoned(folder)
    model.leave_processes()
    deadline = time.monotonic() + 10
    while list(folder.glob("*.socket")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(folder.glob("*.socket")) == []

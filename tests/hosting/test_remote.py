"""A hosted model that computes in another service, which may be away for a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from models_api.configuration.execution import ExecutionConfiguration
from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import BackendFailed, ModelNotReady
from models_api.hosting import repeated_tries
from models_api.hosting.hosted_model import HostedModel, LoadState, ModelState
from models_api.hosting.loader import ModelLoader
from models_api.hosting.registry import ModelRegistry
from models_api.hosting.remote_model import remote_stack
from models_api.loaded_model import LoadedModel
from tests.prediction.backends.scripted_service import Asked, ScriptedService, answer
from tests.prediction.backends.test_remote import METADATA

pytestmark = pytest.mark.timeout(30)


class There:
    """The other service, which may be away."""

    is_up = False
    metadata: Any = METADATA

    def __call__(self, asked: Asked) -> bytes | None:
        if not self.is_up:
            return None
        return answer(self.metadata if asked.method == "GET" else {"value": 2})


@pytest.fixture
def there() -> There:
    return There()


Host = Callable[..., HostedModel]


@pytest.fixture
def host(there: There, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(repeated_tries, "FIRST_PAUSE_SECONDS", 0.01)
    hosted: list[HostedModel] = []

    def make(required: bool = True, **more: Any) -> HostedModel:
        execution = ExecutionConfiguration(kind="remote", url=service.url, **more)
        configuration = ModelConfiguration(
            class_path="", qualified_name="double", execution=execution, required=required
        )
        model = HostedModel(configuration, remote_stack(configuration))
        hosted.append(model)
        return model

    with ScriptedService(there) as service:
        yield make
        for each in hosted:
            each.leave()


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError


def test_it_is_what_the_other_service_says(there: There, host: Host) -> None:
    there.is_up = True
    model = host()
    model.load()
    assert model.state is LoadState.READY
    assert model.details.display_name == "Double"
    assert (model.qualified_name, model.version) == ("double", "3")
    assert model.backend.predict(b'{"value": 1}') == b'{"value": 2}'
    assert LoadedModel(model).predict({"value": 1}).value == 2


def test_it_waits_for_a_service_that_is_away_and_says_why(
    there: There, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    model = host()
    model.load()
    assert (model.state, model.serving_state) == (LoadState.LOADING, ModelState.LOADING)
    assert model.is_waiting
    assert model.failure_class == "RemoteUnreachable"
    assert model.details.display_name == "double"
    with pytest.raises(ModelNotReady) as refused:
        _ = model.backend
    assert refused.value.retry_after_seconds is not None
    assert "closed connection" in refused.value.reason
    there.is_up = True
    wait_until(lambda: model.state is LoadState.READY and not model.is_waiting)
    assert model.failure is None
    said = [each.getMessage() for each in caplog.records if each.name.endswith("hosted_model")]
    assert len(said) == 2
    assert said[0].startswith("double waits for another service, which is asked again: http://")
    assert said[1].startswith("Loaded double 3")


def test_the_others_are_served_meanwhile(host: Host) -> None:
    model = host()
    loader = ModelLoader(lambda: [model])
    loader.load()
    assert loader.has_ended


def test_the_service_has_started_but_is_not_ready(there: There, host: Host) -> None:
    registry = ModelRegistry([host()])
    registry.load()
    assert registry.has_started
    assert not registry.has_failed
    assert not registry.is_ready
    assert [model.label for model in registry.unhealthy_models()] == ["double"]
    there.is_up = True
    wait_until(lambda: registry.is_ready)


def test_it_is_ready_without_one_that_is_not_required(host: Host) -> None:
    registry = ModelRegistry([host(required=False)])
    registry.load()
    assert registry.is_ready


def test_a_forked_worker_begins_anew(host: Host, there: There) -> None:
    model = host()
    model.load()
    model.forget_unfinished_load()
    assert (model.state, model.is_waiting) == (LoadState.NOT_LOADED, False)
    there.is_up = True
    model.load()
    assert model.state is LoadState.READY


def test_classes_of_this_process_are_its_schemas_before(host: Host) -> None:
    paths = dict.fromkeys(
        ["input_schema", "output_schema"], "tests.prediction.backends.test_remote.Number"
    )
    model = host(**paths)
    model.load()
    assert model.schemas.input.__name__ == "Number"
    assert model.version is None


def test_its_health_counts_where_that_is_wanted(there: There, host: Host) -> None:
    there.is_up = True
    model, other = host(health=True), host()
    model.load()
    other.load()
    assert other.health is None
    assert model.health is not None
    there.is_up = False
    asked = model.health.ask()
    assert asked is not None
    asked.wait(10)
    assert model.serving_state is ModelState.UNHEALTHY


def test_another_contract_is_warned_of(
    there: There, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    there.is_up = True
    model = host(health=True)
    model.load()
    there.metadata = {**METADATA, "version": "4"}
    assert model.health is not None
    asked = model.health.ask()
    assert asked is not None
    asked.wait(10)
    assert model.serving_state is ModelState.READY
    assert "double has changed where it computes: it is version 4 now" in caplog.text


def test_whether_it_is_left_alone_is_known(there: There, host: Host) -> None:
    there.is_up = True
    model = host(breaker_failures=1)
    said = [model.is_left_alone]
    model.load()
    said.append(model.is_left_alone)
    there.is_up = False
    with pytest.raises(BackendFailed):
        model.backend.predict(b"{}")
    assert [*said, model.is_left_alone] == [None, False, True]

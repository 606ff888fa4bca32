"""Hosted models, their loading, and the registry."""

import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ml_base.utilities import ModelManager

from models_api.configuration.sections import DecoratorConfiguration, ModelConfiguration
from models_api.exceptions import ModelNotFound, ModelNotReady
from models_api.hosting.hosted_model import HostedModel, LoadState
from models_api.hosting.model_stack import ModelStack
from models_api.hosting.registry import ModelRegistry
from models_api.prediction.description import ModelNames
from tests.fakes.decorators import Counting, Negative
from tests.fakes.models import Doubled, Number

ROOT = Path(__file__).parents[2]


def host(name: str, *decorators: str, **keys: Any) -> HostedModel:
    configuration = ModelConfiguration(
        class_path=f"tests.fakes.models.{name}",
        decorators=[
            DecoratorConfiguration(class_path=f"tests.fakes.decorators.{each}")
            for each in decorators
        ],
        **keys,
    )
    return HostedModel(configuration, ModelStack.from_configuration(configuration))


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "marker"
    monkeypatch.setenv("MARKER_FILE", str(path))
    return path


@pytest.fixture(autouse=True)
def _empty_model_manager(model_manager: ModelManager) -> None:
    """Keep the models of one test from those of the next."""


def wait_for_loading(registry: ModelRegistry) -> None:
    deadline = time.monotonic() + 60
    while not registry.has_started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert registry.has_started


# One model


def test_a_model_is_described_before_it_is_loaded(marker: Path) -> None:
    model = host("MarkingModel", "Negative")
    assert model.is_described
    assert model.label == model.qualified_name == model.known_name == "marking"
    assert model.class_name == "MarkingModel"
    assert model.schemas == (Number, Negative.Output)
    assert model.state is LoadState.NOT_LOADED
    assert repr(model) == "<HostedModel marking: not loaded>"
    assert not marker.exists()


def test_a_loaded_model_predicts(caplog: pytest.LogCaptureFixture) -> None:
    model = host("DoublingModel")
    with caplog.at_level(logging.INFO, "models_api.hosting.hosted_model"):
        model.load()
    assert model.state is LoadState.READY
    assert model.load_seconds is not None
    assert model.failure is None
    assert model.ready_model().predict(Number(value=2)) == Doubled(value=4)
    (record,) = caplog.records
    assert record.getMessage() == f"Loaded doubling 1.0.0 ({model.load_seconds:.2f} s)"


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        (
            "FailingModel",
            "RuntimeError: the weights are not there (tests/fakes/models.py, line 69)",
        ),
        ("ExitingModel", "SystemExit: no licence (tests/fakes/models.py, line 78)"),
        (
            "RenamingModel",
            'DescriptionError: the model calls itself "after", not "before"',
        ),
    ],
)
def test_a_model_that_fails_says_why(
    name: str, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = host(name)
    model.load()
    assert model.state is LoadState.FAILED
    assert model.failure == failure
    assert model.model is None
    assert model.details.description == "Doubles a number."
    with pytest.raises(ModelNotReady) as caught:
        model.ready_model()
    assert str(caught.value) == (
        f"The model {model.label} failed to load; the log of the service says why."
    )
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    seconds = f"{model.load_seconds:.2f} s"
    assert record.getMessage() == f"Failed to load {model.label} ({seconds}): {failure}"
    assert record.exc_info


def test_a_property_may_fail_in_any_way_before_the_model_is_loaded() -> None:
    configuration = ModelConfiguration(class_path="tests.fakes.changing.SecretiveModel")
    model = HostedModel(configuration, ModelStack.from_configuration(configuration))
    assert model.known_name == "in_place"
    assert not model.is_described
    model.load()
    assert model.schemas.output.__name__ == "Point"


@pytest.mark.parametrize("name", ["InterruptedModel", "UnspeakableModel"])
def test_whatever_an_init_raises_the_models_after_it_are_loaded(name: str) -> None:
    registry = ModelRegistry([executing(name), host("DoublingModel")])
    registry.start_loading()
    wait_for_loading(registry)
    assert [model.state for model in registry] == [LoadState.FAILED, LoadState.READY]


def executing(name: str) -> HostedModel:
    configuration = ModelConfiguration(class_path=f"tests.fakes.executing.{name}")
    return HostedModel(configuration, ModelStack.from_configuration(configuration))


@pytest.mark.parametrize("name", ["EventLoopModel", "SignalModel", "LateSignalModel"])
def test_what_only_a_main_thread_may_do_fails_apart_from_it(name: str) -> None:
    model = executing(name)
    model.load_apart()
    assert model.state is LoadState.FAILED


def test_a_model_that_is_asked_for_its_name_is_loaded_apart_from_the_main_thread() -> None:
    registry = ModelRegistry([executing("LateSignalModel")])
    assert registry.endpoints() == []
    assert registry.has_failed


def test_a_model_is_loaded_where_it_is_told_to() -> None:
    apart, here = executing("WhereModel"), executing("WhereModel")
    apart.load_apart()
    assert apart.ready_model().thread.name == "model-loading"
    here.load()
    assert here.ready_model().thread is threading.current_thread()


def test_an_interruption_from_the_keyboard_ends_the_loading() -> None:
    model = executing("InterruptedModel")
    with pytest.raises(KeyboardInterrupt):
        model.load()
    assert model.state is LoadState.FAILED


def test_a_failed_model_is_not_tried_again(marker: Path) -> None:
    model = host("MarkingModel", "Failing")
    model.load()
    model.load()
    assert model.state is LoadState.FAILED
    assert marker.read_text() == "initialised\n"


def test_a_model_that_is_not_loaded_says_so() -> None:
    with pytest.raises(ModelNotReady) as caught:
        host("DoublingModel").ready_model()
    assert str(caught.value) == "The model doubling is not loaded yet."
    assert caught.value.qualified_name == "doubling"
    assert caught.value.retry_after_seconds == 5


def test_a_model_that_says_nothing_is_loaded_when_it_is_asked() -> None:
    model = host("LateModel", "Suffix", configuration={"name": "very-late"})
    assert not model.is_described
    assert model.known_name is None
    assert model.label == "tests.fakes.models.LateModel"
    assert model.details == ModelNames(
        display_name="Late!",
        qualified_name="very-late",
        description="Says late what it is.",
        version="1.0.0",
    )
    assert model.label == "very-late"
    assert model.state is LoadState.READY


def test_a_configured_name_is_known_without_loading() -> None:
    model = host("LateModel", qualified_name="late")
    assert model.qualified_name == "late"
    assert model.model is None
    assert model.schemas == (Number, Doubled)
    assert model.state is LoadState.READY


def test_names_may_be_known_before_the_schemas_are() -> None:
    model = host("LateSchemasModel")
    assert model.details.display_name == "Late schemas"
    assert model.model is None
    assert not model.is_described
    assert model.schemas == (Number, Doubled)
    assert model.state is LoadState.READY


def test_a_model_that_fails_before_it_says_anything_goes_by_its_class() -> None:
    model = host("LateFailingModel")
    assert model.details == ModelNames(
        display_name="LateFailingModel",
        qualified_name="LateFailingModel",
        description="",
        version="",
    )
    with pytest.raises(ModelNotReady):
        _ = model.schemas


GIVEN = {
    "qualified_name": "trebling",
    "version": "2026-11",
    "display_name": "Trebling",
    "description": "Of another artefact.",
}


@pytest.mark.parametrize("name", ["DoublingModel", "LateModel"])
def test_names_of_the_file_win_over_those_of_the_model(name: str) -> None:
    model = host(name, **GIVEN)
    assert model.known_name == "trebling"
    model.load()
    assert model.failure is None
    assert model.details._asdict() == GIVEN
    assert model.ready_model().qualified_name != "trebling"


def test_names_of_the_file_win_over_those_of_decorators() -> None:
    assert host("DoublingModel", "Suffix", **GIVEN).known_name == "trebling"


def test_what_the_file_does_not_say_is_the_models_own() -> None:
    model = host("DoublingModel", version="2")
    assert (model.qualified_name, model.version) == ("doubling", "2")


def test_one_class_serves_under_several_names() -> None:
    models = [host("DoublingModel", qualified_name=name) for name in ("first", "second")]
    for model in models:
        model.load()
    assert [model.state for model in models] == [LoadState.READY] * 2
    assert [model.backend.predict(b'{"value": 2}') for model in models] == [b'{"value":4.0}'] * 2


def test_a_hundred_threads_run_init_once(marker: Path) -> None:
    model = host("MarkingModel")
    barrier = threading.Barrier(100)

    def load() -> LoadState:
        barrier.wait()
        model.load()
        return model.state

    with ThreadPoolExecutor(100) as pool:
        states = [future.result() for future in [pool.submit(load) for _ in range(100)]]
    assert states == [LoadState.READY] * 100
    assert marker.read_text() == "initialised\n"


def test_a_second_call_waits_for_the_first() -> None:
    model = host("SlowModel")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(model.load)
        while model.state is LoadState.NOT_LOADED:
            time.sleep(0.001)
        model.load()
        assert model.state is LoadState.READY
        first.result()


# The registry


def test_models_are_found_by_name() -> None:
    models = [host("DoublingModel"), host("TreblingModel")]
    registry = ModelRegistry(models)
    assert list(registry) == models
    assert len(registry) == 2
    assert registry["trebling"] is models[1]
    assert "doubling" in registry
    assert "quadrupling" not in registry
    with pytest.raises(ModelNotFound) as caught:
        registry["quadrupling"]
    assert str(caught.value) == 'There is no model "quadrupling".'
    assert caught.value.qualified_name == "quadrupling"
    assert repr(registry) == (
        "<ModelRegistry [<HostedModel doubling: not loaded>, <HostedModel trebling: not loaded>]>"
    )


def test_a_failing_model_leaves_the_others_ready() -> None:
    registry = ModelRegistry(
        [
            host(name)
            for name in ("DoublingModel", "FailingModel", "LateFailingModel", "TreblingModel")
        ]
    )
    assert (registry.has_started, registry.is_ready, registry.has_failed) == (False, False, False)
    registry.load()
    assert [model.state.value for model in registry] == ["ready", "failed", "failed", "ready"]
    assert (registry.has_started, registry.is_ready, registry.has_failed) == (True, False, True)


def test_a_service_without_models_is_ready() -> None:
    registry = ModelRegistry([])
    assert (registry.has_started, registry.is_ready, registry.has_failed) == (True, True, False)


def test_whoever_wants_to_know_hears_when_loading_has_ended() -> None:
    registry = ModelRegistry([host("DoublingModel"), host("FailingModel")])
    states: list[str] = []
    heard = threading.Event()

    def after_loading() -> None:
        states.extend(model.state.value for model in registry)
        heard.set()

    registry.loader.after_loading.append(after_loading)
    registry.start_loading()
    assert heard.wait(60)
    assert states == ["ready", "failed"]


def test_start_loading_returns_at_once_and_starts_one_thread(marker: Path) -> None:
    registry = ModelRegistry([host("SlowModel"), host("MarkingModel")])
    for _ in range(10):
        registry.start_loading()
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("model-loading") == 1
    wait_for_loading(registry)
    assert registry.is_ready
    registry.start_loading()
    assert marker.read_text() == "initialised\n"


def test_many_threads_start_the_loading_once(marker: Path) -> None:
    registry = ModelRegistry([host("MarkingModel")])
    with ThreadPoolExecutor(50) as pool:
        for future in [pool.submit(registry.start_loading) for _ in range(50)]:
            future.result()
    wait_for_loading(registry)
    assert marker.read_text() == "initialised\n"


def test_models_that_cannot_be_described_are_loaded_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = ModelRegistry([host("DoublingModel"), host("LateSchemasModel"), host("LateModel")])
    with caplog.at_level(logging.INFO, "models_api.hosting.hosted_model"):
        registry.load()
    assert [record.getMessage().split()[1] for record in caplog.records] == [
        "late",
        "late_schemas",
        "doubling",
    ]


def test_a_second_model_of_a_name_that_shows_only_when_loaded_fails() -> None:
    registry = ModelRegistry(
        [host("DoublingModel"), host("LateModel", configuration={"name": "doubling"})]
    )
    registry.load()
    states = [(model.state.value, model.failure) for model in registry]
    assert states == [
        ("ready", None),
        (
            "failed",
            'DescriptionError: another model has the qualified name "doubling" already',
        ),
    ]


# ml_base's ModelManager


def test_the_model_manager_holds_the_decorated_instance() -> None:
    model = host("DoublingModel", "Counting")
    model.load()
    held = ModelManager().get_model("doubling")
    assert held is model.model
    assert type(held) is Counting


def test_a_name_that_the_model_manager_has_already_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    host("DoublingModel").load()
    again = host("DoublingModel")
    again.load()
    assert again.state is LoadState.READY
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warning.getMessage() == (
        "doubling is not added to ml_base's ModelManager: "
        "A model with the same qualified name is already in the ModelManager singleton."
    )


def test_many_models_that_load_at_once_all_come_to_the_model_manager() -> None:
    models = [host("LateModel", configuration={"name": f"m{n}"}) for n in range(50)]
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(HostedModel.load, models))
    names = {each["qualified_name"] for each in ModelManager().get_models()}
    assert names == {f"m{n}" for n in range(50)}


# Forks


_SCRIPT = """
import multiprocessing, os, sys, threading
from tests.hosting.test_registry import host
from models_api.hosting.registry import ModelRegistry

def status(process):
    process.start()
    process.join(30)
    return process.exitcode
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SCRIPT + script],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "modelhost.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


needs_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork"
)


@needs_fork
def test_a_process_that_forks_while_models_load_waits_and_its_child_has_them() -> None:
    process = run(
        """
registry = ModelRegistry([host("SlowModel", configuration={"seconds": 0.5})])
registry.start_loading()
assert not registry.is_ready
child = multiprocessing.get_context("fork").Process(
    target=lambda: os._exit(0 if registry.is_ready else 1)
)
print(status(child), registry.is_ready)
"""
    )
    assert process.stdout == "0 True\n"


@needs_fork
@pytest.mark.parametrize("load", ["registry.load()", "registry.start_loading()"])
def test_a_model_that_forks_in_its_own_init_does_not_wait_for_itself(load: str) -> None:
    process = run(
        f"""
registry = ModelRegistry([host("ForkingModel"), host("DoublingModel")])
{load}
while not registry.has_started:
    pass
print(registry.is_ready, registry["forking"].model.exit_status)
"""
    )
    assert process.stdout == "True 7\n"


@needs_fork
def test_forks_after_the_loading_do_not_wait() -> None:
    process = run(
        """
registry = ModelRegistry([host("DoublingModel")])
registry.start_loading()
while not registry.has_started:
    pass
child = multiprocessing.get_context("fork").Process(
    target=lambda: os._exit(0 if registry.is_ready else 1)
)
print(status(child))
"""
    )
    assert process.stdout == "0\n"


# Models that are not required


def test_a_service_is_ready_without_a_model_that_is_not_required() -> None:
    registry = ModelRegistry([host("DoublingModel"), host("FailingModel", required=False)])
    assert (registry.is_ready, registry.has_started) == (False, False)
    registry.load()
    assert (registry.is_ready, registry.is_healthy, registry.has_failed) == (True, True, False)
    assert registry.serving_states(registry) == ["ready", "failed"]


def test_a_service_waits_for_a_model_that_is_not_required_until_it_has_failed() -> None:
    models = [host("DoublingModel"), host("FailingModel", required=False)]
    registry = ModelRegistry(models)
    models[0].load()
    assert (registry.is_ready, registry.serving_states(registry)) == (False, ["ready", "loading"])
    models[1].load()
    assert registry.is_ready


def test_one_that_is_required_fails_the_service_beside_one_that_is_not() -> None:
    registry = ModelRegistry([host("FailingModel"), host("ExitingModel", required=False)])
    registry.load()
    assert (registry.is_ready, registry.is_healthy, registry.has_started) == (False, False, True)


@pytest.mark.parametrize("required", [True, False])
def test_a_model_that_says_that_it_is_unhealthy_counts_if_it_is_required(
    required: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_text("sick", encoding="utf-8")
    monkeypatch.setenv("HEALTH_FOLDER", str(tmp_path))
    configuration = ModelConfiguration(class_path="tests.fakes.health.SickModel", required=required)
    sick = HostedModel(configuration, ModelStack.from_configuration(configuration))
    registry = ModelRegistry([host("DoublingModel"), sick])
    registry.load()
    assert registry.is_ready is not required
    assert [model.label for model in registry.unhealthy_models()] == ["sick"]
    assert registry.serving_states(registry) == ["ready", "unhealthy"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("models.FailingModel", "RuntimeError"),
        ("models.ExitingModel", "SystemExit"),
        ("models.RenamingModel", "DescriptionError"),
        ("executing.UnspeakableModel", "UnspeakableError"),
    ],
)
def test_a_failure_has_the_class_of_what_was_raised(name: str, reason: str) -> None:
    configuration = ModelConfiguration(class_path=f"tests.fakes.{name}")
    model = HostedModel(configuration, ModelStack.from_configuration(configuration))
    model.load()
    assert model.failure_class == reason
    assert model.not_ready().retry_after_seconds is None

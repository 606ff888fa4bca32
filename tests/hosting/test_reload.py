"""Other models take the places of those that are hosted, while these serve."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import yaml
from ml_base.utilities import ModelManager

from models_api.configuration.file import ConfigurationFile
from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import ModelNotFound, ModelNotReady
from models_api.hosting.assembly import build_registry
from models_api.hosting.editions import edition_of
from models_api.hosting.hosted_model import HostedModel, LoadState, ModelState, Resources
from models_api.hosting.reload import Reloader, ReloadRefused, Wish
from tests.fakes.reloadable import HeldModel, VersionedModel

CLASS_PATH = "tests.fakes.reloadable.VersionedModel"
ALL = Wish()


@pytest.fixture(autouse=True)
def manager(model_manager: ModelManager) -> ModelManager:
    return model_manager


class Hosting:
    """A registry that follows what a test says the file holds."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rest_config.yaml"
        self.resources = Resources()

    def start(self, *models: dict[str, Any], **sections: object) -> None:
        file = self.file(*models, **sections)
        self.registry = build_registry(file, self.resources)
        self.registry.load()
        assert file.configuration is not None
        self.reloader = Reloader(self.registry, self.resources, file.configuration)

    def file(self, *models: dict[str, Any], **sections: object) -> ConfigurationFile:
        content = {**sections, "models": [{"class_path": CLASS_PATH, **each} for each in models]}
        self.path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return ConfigurationFile(self.path)

    def apply(self, *models: dict[str, Any], wish: Wish = ALL, **sections: object) -> bool:
        return self.reloader.apply(self.file(*models, **sections), wish)

    def ask(self, name: str = "versioned", version: str | None = None) -> str:
        body = self.registry.resolve(name, version).backend.predict(b'{"number": 2}')
        return body.decode()


@pytest.fixture
def hosting(tmp_path: Path) -> Hosting:
    return Hosting(tmp_path)


def entry(version: str, **configuration: object) -> dict[str, Any]:
    return {"version": version, "configuration": {"mark": version, **configuration}}


def test_an_unchanged_entry_keeps_its_instance_also_at_another_place(hosting: Hosting) -> None:
    hosting.start(entry("1"), entry("2"))
    one, two = hosting.registry
    assert hosting.apply(entry("3"), entry("2"), entry("1"))
    assert [*hosting.registry][1:] == [two, one]
    assert hosting.registry.generation.number == 2
    assert '"made_by":"3"' in hosting.ask(version="3")


def test_a_file_that_says_the_same_changes_nothing(hosting: Hosting) -> None:
    hosting.start(entry("1"))
    generation = hosting.registry.generation
    assert not hosting.apply(entry("1"))
    assert hosting.registry.generation is generation


def test_the_order_alone_is_a_change(hosting: Hosting) -> None:
    hosting.start(entry("1"), entry("2"))
    assert hosting.apply(entry("2"), entry("1"))
    assert '"made_by":"2"' in hosting.ask()


@pytest.mark.parametrize(
    "change",
    [
        {"configuration": {"mark": "other"}},
        {"timeout_seconds": 3},
        {"concurrency": {"max_concurrency": 2}},
        {"decorators": [{"class_path": "tests.fakes.decorators.Counting"}]},
        {"smoke_tests": [{"input": {"number": 1}}]},
        {"required": False},
    ],
    ids=str,
)
def test_any_other_setting_makes_another_instance(hosting: Hosting, change: dict[str, Any]) -> None:
    hosting.start(entry("1"))
    (model,) = hosting.registry
    assert hosting.apply({**entry("1"), **change})
    (other,) = hosting.registry
    assert other is not model
    assert other.state is LoadState.READY


def test_a_model_that_hangs_where_it_must_predict_is_given_up(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_api.hosting.gate.LONGEST_SECONDS", 0.1)
    VersionedModel.may_end.clear()
    hosting.start(entry("1"))
    with pytest.raises(ReloadRefused, match=r"examples\[0\] of versioned takes longer than 0.1 s"):
        hosting.apply(entry("2", fails="hang"))
    assert '"made_by":"1"' in hosting.ask()
    hosting.reloader.departures.settle()
    assert hosting.reloader.departures, "it is still at it"
    VersionedModel.may_end.set()
    settle(hosting)


def test_one_of_fifty_that_fails_changes_none_and_leaves_nothing(
    hosting: Hosting, caplog: pytest.LogCaptureFixture
) -> None:
    def many(version: str, **of_last: object) -> list[dict[str, Any]]:
        names = [f"model_{number}" for number in range(50)]
        found = [{**entry(version), "qualified_name": name} for name in names]
        return [*found[:-1], {**found[-1], **entry(version, **of_last)}]

    # What is logged has tracebacks, which hold the models.
    caplog.set_level(logging.CRITICAL, "models_api")
    hosting.start(*many("1"))
    models, threads = [*hosting.registry], threading.active_count()
    with pytest.raises(ReloadRefused, match="model_49"):
        hosting.apply(*many("one of fifty", fails="predict"))
    settle(hosting)
    assert [*hosting.registry] == models
    gc.collect()
    made = [each for each in gc.get_objects() if type(each) is VersionedModel]
    assert not [each for each in made if each._mark == "one of fifty"]
    assert threading.active_count() <= threads
    assert hosting.apply(*many("2"))
    assert '"made_by":"2"' in hosting.ask("model_49")


def test_what_is_removed_is_not_found(hosting: Hosting) -> None:
    hosting.start(entry("1"), {**entry("1"), "qualified_name": "other"})
    hosting.apply(entry("1"))
    with pytest.raises(ModelNotFound):
        hosting.ask("other")


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        ([{"nonsense": 1}], "nonsense"),
        ([{"class_path": "tests.fakes.reloadable.Missing"}], "Missing"),
        ([entry("2"), entry("2")], "qualified name"),
        ([entry("2", fails="load")], "cannot be loaded: RuntimeError"),
        ([entry("2", fails="exit")], "cannot be loaded: SystemExit"),
        ([entry("2", fails="predict")], r"examples\[0\] of versioned fails"),
        ([entry("2", fails="exit while it predicts")], r"examples\[0\] of versioned fails"),
        ([entry("2", unknown=1)], "unknown"),
        (
            [{**entry("2"), "smoke_tests": [{"input": {"number": "x"}}]}],
            r"smoke_tests\[0\] of versioned fails",
        ),
        (
            [{**entry("2"), "smoke_tests": [{"input": {"number": 2}, "output": {"number": 3}}]}],
            r"smoke_tests\[0\] of versioned gives 2.0 at number, not 3",
        ),
        (
            [{**entry("2"), "smoke_tests": [{"input": {"number": 2}, "output": {"other": 3}}]}],
            "gives no other",
        ),
    ],
    ids=[
        *("unknown key", "no such class", "twice", "load", "exit", "predict"),
        *("exit while it predicts", "argument"),
        *("smoke test refused", "smoke test differs", "smoke test lacks"),
    ],
)
def test_what_fails_changes_nothing(
    hosting: Hosting, models: list[dict[str, Any]], reason: str
) -> None:
    hosting.start(entry("1"))
    generation = hosting.registry.generation
    with pytest.raises(ReloadRefused, match=reason):
        hosting.apply(entry("1"), *models)
    assert hosting.registry.generation is generation
    assert '"made_by":"1"' in hosting.ask()
    assert hosting.apply(entry("1"), entry("3"))


def test_one_that_fails_is_forgotten(hosting: Hosting) -> None:
    hosting.start(entry("1"))
    with pytest.raises(ReloadRefused):
        hosting.apply(entry("2", fails="predict"))
    assert len(hosting.resources.limiter._models) == 2
    settle(hosting)
    assert len(hosting.resources.limiter._models) == 1


@pytest.mark.parametrize(
    ("output", "tolerance"),
    [
        ({"number": 2.05, "made_by": "2"}, 0.1),
        ({"number": 2}, 0),
        ({"made_by": "2"}, 0),
    ],
)
def test_a_smoke_test_may_be_near_or_about_some_fields(
    hosting: Hosting, output: object, tolerance: float
) -> None:
    hosting.start(entry("1"))
    test = {"input": {"number": 2}, "output": output, "tolerance": tolerance}
    assert hosting.apply({**entry("2"), "smoke_tests": [test]})


def test_a_model_that_failed_at_the_start_keeps_no_change_out(hosting: Hosting) -> None:
    broken = {**entry("1", fails="load"), "qualified_name": "broken", "required": False}
    hosting.start(entry("1"), broken)
    failed = [*hosting.registry][1]
    assert hosting.apply(entry("2"), broken)
    assert [*hosting.registry][1] is failed
    assert '"made_by":"2"' in hosting.ask()


@pytest.mark.parametrize("how", ["written", "replaced", "removed", "in a folder"])
def test_a_change_of_an_artefact_is_another_edition(tmp_path: Path, how: str) -> None:
    artefact = tmp_path / "model"
    artefact.mkdir() if how == "in a folder" else artefact.write_text("1", encoding="utf-8")
    configuration = ModelConfiguration.model_validate({"artefact": str(artefact)})
    before = edition_of(configuration)
    assert edition_of(configuration) == before
    if how == "written":
        artefact.write_text("22", encoding="utf-8")
    elif how == "replaced":
        (tmp_path / "other").write_text("2", encoding="utf-8")
        (tmp_path / "other").replace(artefact)
    elif how == "removed":
        artefact.unlink()
    else:
        (artefact / "weights").write_text("1", encoding="utf-8")
    assert edition_of(configuration) != before


def test_another_edition_is_another_model(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosting.start(entry("1"))
    (model,) = hosting.registry
    monkeypatch.setattr("models_api.hosting.reload.edition_lately", lambda *_: "other")
    assert hosting.apply(entry("1"))
    assert [*hosting.registry] != [model]
    assert not hosting.apply(entry("1"))


def settle(hosting: Hosting) -> None:
    until = time.monotonic() + 30
    while hosting.reloader.departures and time.monotonic() < until:
        hosting.reloader.departures.settle()
    assert not hosting.reloader.departures


def test_a_model_that_left_needs_no_garbage_collection(hosting: Hosting) -> None:
    hosting.start(entry("1"), {**entry("1"), "qualified_name": "other"})
    references = [weakref.ref(model) for model in hosting.registry]
    weights = [weakref.ref(model.ready_model()) for model in hosting.registry]
    gc.collect()
    gc.disable()
    try:
        hosting.apply(entry("2"))
        assert [reference() for reference in [*references, *weights]] == [None] * 4
    finally:
        gc.enable()


def test_a_model_of_before_the_start_is_freed_though_it_is_a_circle(hosting: Hosting) -> None:
    hosting.start(entry("1", is_circular=True))
    (model,) = hosting.registry
    weights = weakref.ref(model.ready_model())
    del model
    gc.collect()
    gc.freeze()
    try:
        hosting.apply(entry("2"))
        settle(hosting)
        assert weights() is None
    finally:
        gc.unfreeze()


def test_a_request_that_has_a_model_keeps_it_to_its_end(hosting: Hosting) -> None:
    HeldModel.has_begun.clear()
    HeldModel.may_end.clear()
    held = {"class_path": "tests.fakes.reloadable.HeldModel"}
    hosting.start({**entry("1"), **held})
    answers: list[str] = []

    def ask() -> None:
        answers.append(hosting.registry.resolve("held").backend.predict(b'{"number": 0}').decode())

    thread = threading.Thread(target=ask)
    thread.start()
    assert HeldModel.has_begun.wait(10)
    hosting.apply({**entry("2"), **held})
    hosting.reloader.departures.settle()
    assert hosting.reloader.departures
    assert '"made_by":"2"' in hosting.ask("held")
    HeldModel.may_end.set()
    thread.join(10)
    assert '"made_by":"1"' in answers[0]
    settle(hosting)


def test_no_thread_is_left_of_a_model_that_left(hosting: Hosting) -> None:
    before = set(threading.enumerate())
    awaited = {"class_path": "tests.fakes.reloadable.AwaitedModel", "timeout_seconds": 20}
    hosting.start({**entry("1"), **awaited})
    hosting.ask("awaited")
    left = set(threading.enumerate()) - before
    assert left
    hosting.apply(entry("2"))
    settle(hosting)
    for thread in left:
        thread.join(10)
        assert not thread.is_alive()


def test_the_model_manager_has_the_model_that_is_hosted(
    hosting: Hosting, manager: ModelManager
) -> None:
    hosting.start(entry("1"))
    hosting.apply(entry("2"))
    (model,) = hosting.registry
    assert manager.get_model("versioned") is model.model
    with pytest.raises(ReloadRefused):
        hosting.apply(entry("3", fails="predict"))
    assert manager.get_model("versioned") is model.model


def test_other_sections_are_told_of_that_need_a_restart(hosting: Hosting) -> None:
    hosting.start(entry("1"))
    changed = hosting.file(entry("1"), service_title="Other", metrics={"enabled": True})
    assert hosting.reloader.sections_for_a_restart(changed) == ["service_title", "metrics"]
    assert hosting.reloader.sections_for_a_restart(hosting.file(entry("2"))) == []


def test_who_takes_requests_changes_without_another_instance(hosting: Hosting) -> None:
    hosting.start(entry("1"))
    (model,) = hosting.registry
    assert isinstance(model, HostedModel)
    kept = model.configuration.of_loading()
    assert "version" in kept
    assert not {"traffic", "aliases", "abort"} & set(kept)


UNLOADED = Wish(frozenset(["versioned"]), only="versioned")


def other(version: str = "1", **configuration: object) -> dict[str, Any]:
    return {**entry(version, **configuration), "qualified_name": "other"}


def test_what_is_unloaded_is_freed_and_no_other(hosting: Hosting) -> None:
    hosting.start(entry("1"), other())
    kept = hosting.registry["other"]
    weights = weakref.ref(hosting.registry["versioned"].ready_model())
    assert hosting.apply(entry("1"), other(), wish=UNLOADED)
    settle(hosting)
    assert weights() is None
    assert hosting.registry["other"] is kept
    assert not hosting.apply(entry("1"), other(), wish=UNLOADED)


def test_all_versions_of_a_name_are_unloaded_and_the_service_is_ready_without_them(
    hosting: Hosting,
) -> None:
    hosting.start(entry("1"), entry("2"), other())
    hosting.apply(entry("1"), entry("2"), other(), wish=UNLOADED)
    states = [model.serving_state for model in hosting.registry]
    assert states == [ModelState.UNLOADED, ModelState.UNLOADED, ModelState.READY]
    with pytest.raises(ModelNotReady, match="versioned 2 is unloaded") as caught:
        hosting.ask(version="2")
    assert caught.value.retry_after_seconds is None
    assert hosting.registry.is_ready
    assert hosting.registry.is_healthy


def test_what_was_unloaded_is_loaded_again(hosting: Hosting) -> None:
    hosting.start(entry("1"), other())
    hosting.apply(entry("1"), other(), wish=UNLOADED)
    assert hosting.apply(entry("1"), other(), wish=Wish(only="versioned"))
    assert '"made_by":"1"' in hosting.ask()
    assert hosting.registry.generation.number == 3


def test_a_changed_entry_of_what_is_unloaded_is_not_loaded(hosting: Hosting) -> None:
    hosting.start(entry("1"), other())
    hosting.apply(entry("1"), other(), wish=UNLOADED)
    hosting.apply(entry("2", fails="load"), other("2"), wish=Wish(frozenset(["versioned"])))
    assert [model.version for model in hosting.registry] == ["2", "2"]
    with pytest.raises(ModelNotReady):
        hosting.ask()
    assert '"made_by":"2"' in hosting.ask("other")
    with pytest.raises(ReloadRefused, match="cannot be loaded"):
        hosting.apply(entry("2", fails="load"), other("2"))
    with pytest.raises(ModelNotReady):
        hosting.ask()


def test_unloading_one_model_looks_at_the_files_of_no_other(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosting.start(entry("1"), other())
    kept = hosting.registry["other"]
    monkeypatch.setattr("models_api.hosting.reload.edition_lately", lambda *_: "changed")
    assert hosting.apply(entry("1"), other(), wish=UNLOADED)
    assert hosting.registry["other"] is kept
    assert hosting.apply(entry("1"), other(), wish=Wish(only="versioned"))
    assert hosting.registry["other"] is kept
    assert hosting.apply(entry("1"), other())
    assert hosting.registry["other"] is not kept


def test_a_model_that_failed_can_be_unloaded_and_tried_again(hosting: Hosting) -> None:
    failing = {**entry("1", fails="load")}
    hosting.start(failing, other())
    ready = [hosting.registry.is_ready]
    hosting.apply(failing, other(), wish=UNLOADED)
    assert [*ready, hosting.registry.is_ready] == [False, True]
    with pytest.raises(ReloadRefused, match="cannot be loaded"):
        hosting.apply(failing, other(), wish=Wish(only="versioned"))
    assert hosting.registry["versioned"].serving_state is ModelState.UNLOADED


def test_a_model_that_only_tells_its_name_once_it_is_loaded_can_be_unloaded(
    hosting: Hosting,
) -> None:
    late = {"class_path": "tests.fakes.models.LateModel"}
    hosting.start(entry("1"), late)
    name = [*hosting.registry][1].known_name
    assert name is not None
    for wish, state in (
        (Wish(frozenset([name]), only=name), ModelState.UNLOADED),
        (Wish(only=name), ModelState.READY),
    ):
        assert hosting.apply(entry("1"), late, wish=wish)
        assert hosting.registry[name].serving_state is state

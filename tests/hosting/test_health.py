"""A model's own health: who is asked, how often, and what counts as a yes."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest

from models_api.exceptions import DescriptionError
from models_api.hosting.health import ModelHealth, ask_all, has_health_check, health_checks
from tests.fakes import decorators, health, models


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEALTH_FOLDER", str(tmp_path))
    (tmp_path / "state").write_text("well", encoding="utf-8")
    return tmp_path


def health_of(model: Any, **seconds: float) -> ModelHealth:
    timing = {"interval_seconds": 0.0, "deadline_seconds": 60.0, **seconds}
    return ModelHealth(health_checks(model), "sick", lambda: None, **timing)


def asked_to_the_end(health: ModelHealth) -> bool | None:
    answered = health.ask()
    assert answered is None or answered.wait(30)
    return health.is_healthy


def test_a_model_without_the_method_has_no_health(folder: Path) -> None:
    assert not health_of(decorators.Plain(models.DoublingModel()))
    assert not health_of(decorators.Plain(health.PlantModel()))
    assert health_of(decorators.Plain(health.SickModel()))
    assert health_of(health.SickDecorator(models.DoublingModel()))


@pytest.mark.parametrize("cls", health.UNUSABLE)
def test_a_method_that_cannot_be_called_is_refused_with_its_remedy(cls: Any) -> None:
    with pytest.raises(DescriptionError, match=rf"{cls.__name__}\.is_healthy is") as caught:
        has_health_check(cls)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("sick", "SickModel.is_healthy returned False"),
        ("raise", "SickModel.is_healthy raised RuntimeError: the database is away"),
        ("exit", "SickModel.is_healthy raised SystemExit: 3"),
    ],
)
def test_the_log_says_once_why_and_when_it_is_over(
    folder: Path, state: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked = health_of(health.SickModel())
    with caplog.at_level(logging.INFO):
        assert asked_to_the_end(asked) is True
        for now, is_healthy in ((state, False), (state, False), ("well", True), ("well", True)):
            (folder / "state").write_text(now, encoding="utf-8")
            assert asked_to_the_end(asked) is is_healthy
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [f"sick is not healthy: {reason}", "sick is healthy again"]


@pytest.mark.parametrize("cls", [health.AwaitableHealthModel, health.ForgetfulModel])
def test_what_is_no_yes_is_a_no(cls: Any) -> None:
    assert asked_to_the_end(health_of(cls())) is False


def test_a_decorator_is_asked_as_well(folder: Path) -> None:
    asked = health_of(decorators.Plain(health.SickDecorator(health.HealthyModel())))
    assert asked_to_the_end(asked) is True
    (folder / "decorator is sick").touch()
    assert asked_to_the_end(asked) is False


def test_a_model_that_hangs_is_not_healthy_and_not_asked_again(folder: Path) -> None:
    (folder / "state").write_text("hang", encoding="utf-8")
    asked = health_of(health.SickModel(), deadline_seconds=0.0)
    answered = asked.ask()
    assert answered is not None
    while asked.is_healthy is None:
        time.sleep(0.001)
    assert asked.is_healthy is False
    assert [asked.ask() for _ in range(5)] == [None] * 5
    (folder / "state").write_text("well", encoding="utf-8")
    assert answered.wait(30)
    assert (folder / "asked").read_text(encoding="utf-8").count("\n") == 1


def test_an_answer_holds_for_a_while(folder: Path) -> None:
    asked = health_of(health.SickModel(), interval_seconds=3600.0)
    assert asked_to_the_end(asked) is True
    ask_all([asked] * 3)
    assert (folder / "asked").read_text(encoding="utf-8").count("\n") == 1


def test_those_who_want_to_know_hear_of_each_change(folder: Path) -> None:
    changes: list[bool | None] = []
    asked = ModelHealth(
        health_checks(health.SickModel()),
        "sick",
        lambda: changes.append(asked.is_healthy),
        interval_seconds=0.0,
    )
    for state in ("well", "well", "sick", "sick", "well"):
        (folder / "state").write_text(state, encoding="utf-8")
        asked_to_the_end(asked)
    assert changes == [True, False, True]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_each_worker_asks_for_itself(folder: Path) -> None:
    asked = health_of(health.SickModel(), interval_seconds=3600.0)
    assert asked_to_the_end(asked) is True
    child = os.fork()
    if not child:
        os._exit(0 if asked.is_healthy is None and asked_to_the_end(asked) else 1)
    assert os.waitpid(child, 0)[1] == 0
    processes = (folder / "asked").read_text(encoding="utf-8").split()
    assert processes == [str(os.getpid()), str(child)]

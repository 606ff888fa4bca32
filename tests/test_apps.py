"""The app: what it reads when Django starts, and what it makes when it is first asked."""

import threading
from pathlib import Path
from typing import Any

import pytest

import models_api
from models_api.apps import ModelsAPIConfig
from models_api.exceptions import ConfigurationError


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def start(text: str | None) -> ModelsAPIConfig:
        path = tmp_path / "service.yaml"
        if text is not None:
            path.write_text(text, encoding="utf-8")
        monkeypatch.setenv("REST_CONFIG", str(path))
        app_config = ModelsAPIConfig("models_api", models_api)
        app_config.ready()
        return app_config

    return start


def test_ready_reads_the_file_and_imports_no_model(start: Any) -> None:
    app_config = start("models: [{class_path: tests.fakes.exits_on_import.Model}]")
    assert app_config.configuration.models[0].class_path == "tests.fakes.exits_on_import.Model"
    with pytest.raises(ConfigurationError):
        _ = app_config.registry


def test_the_registry_is_made_once(start: Any) -> None:
    app_config = start("models: [{class_path: tests.fakes.models.DoublingModel}]")
    assert app_config.registry is app_config.registry
    assert [model.qualified_name for model in app_config.registry] == ["doubling"]


@pytest.mark.parametrize("text", [None, "", "service_titel: a", "- a", "a: ["])
def test_ready_never_raises_and_whoever_wants_to_serve_gets_the_problems(
    start: Any, text: str | None
) -> None:
    app_config = start(text)
    with pytest.raises(ConfigurationError) as caught:
        _ = app_config.configuration
    with pytest.raises(ConfigurationError) as again:
        _ = app_config.registry
    assert str(caught.value) == str(again.value)
    assert str(caught.value).startswith("The configuration has 1 problem:\n\n")


def test_ready_starts_no_thread(start: Any) -> None:
    before = set(threading.enumerate())
    start("models: [{class_path: tests.fakes.models.SlowModel}]")
    assert set(threading.enumerate()) <= before

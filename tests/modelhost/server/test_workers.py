from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from modelhost.server.workers import bound_predictions, prepare_worker
from models_api.apps import ModelsAPIConfig
from models_api.configuration.file import ConfigurationFile


@pytest.fixture
def service(app_config: ModelsAPIConfig, tmp_path: Path) -> ModelsAPIConfig:
    """The app with one model."""
    path = tmp_path / "rest_config.yaml"
    path.write_text("models: [{class_path: tests.fakes.misbehaving.ObedientModel}]")
    app_config.configuration_file = ConfigurationFile(path)
    return app_config


@pytest.fixture
def switch_interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize(("threads", "maximum"), [(64, 60), (5, 4), (4, 3), (1, None)])
def test_predictions_leave_some_threads_to_others(
    service: ModelsAPIConfig, threads: int, maximum: int | None
) -> None:
    bound_predictions(threads)
    assert service.service.limiter.places == maximum


def test_a_maximum_that_was_set_stays(service: ModelsAPIConfig, settings: Settings) -> None:
    settings.MODELS_API_MAX_CONCURRENT_PREDICTIONS = 7
    bound_predictions(64)
    assert service.service.limiter.places == 7


def test_a_configuration_with_problems_bounds_nothing(
    service: ModelsAPIConfig, tmp_path: Path
) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("modles: []")
    service.configuration_file = ConfigurationFile(path)
    bound_predictions(64)


def test_a_worker_is_prepared(service: ModelsAPIConfig, switch_interval: None) -> None:
    prepare_worker(64, 0)
    assert service.service.limiter.places == 60
    assert sys.getswitchinterval() == pytest.approx(0.0005)

"""The settings of the app."""

from pathlib import Path

import pytest
from pytest_django import Settings

from models_api.conf import configuration_path, maximum_batch_rows, maximum_body_bytes


def test_the_environment_names_the_configuration_before_the_settings_do(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REST_CONFIG", raising=False)
    assert configuration_path() == Path("rest_config.yaml")
    settings.REST_CONFIG = Path("/etc/settings.yaml")
    assert configuration_path() == Path("/etc/settings.yaml")
    monkeypatch.setenv("REST_CONFIG", "environment.yaml")
    assert configuration_path() == Path("environment.yaml")
    monkeypatch.setenv("REST_CONFIG", "")
    assert configuration_path() == Path("/etc/settings.yaml")


def test_limits_follow_the_settings_at_each_use(settings: Settings) -> None:
    assert maximum_batch_rows() == 1000
    settings.MODELS_API_MAX_BATCH_ROWS = 5
    assert maximum_batch_rows() == 5
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 7
    assert maximum_body_bytes() == 7
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = None
    assert maximum_body_bytes() is None

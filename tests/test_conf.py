"""The settings of the app."""

import os
import sys
from pathlib import Path

import pytest
from pytest_django import Settings

from models_api.conf import (
    asks_for_traces,
    configuration_path,
    makes_traces,
    maximum_batch_rows,
    maximum_body_bytes,
    maximum_values,
    shows_reasons,
)


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
    assert maximum_values() == 1_500_000
    settings.MODELS_API_MAX_JSON_VALUES = 6
    assert maximum_values() == 6
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 7
    assert maximum_body_bytes() == 7
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = None
    assert maximum_body_bytes() is None


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("wanted", [None, False, True])
def test_reasons_are_shown_if_the_settings_say_so_or_else_while_debugging(
    settings: Settings, debug: bool, wanted: bool | None
) -> None:
    settings.DEBUG, settings.MODELS_API_SHOW_REASONS = debug, wanted
    assert shows_reasons() is (debug if wanted is None else wanted)


def test_a_project_that_says_nothing_shows_no_reasons(settings: Settings) -> None:
    del settings.MODELS_API_SHOW_REASONS
    assert shows_reasons() is False
    settings.DEBUG = True
    assert shows_reasons() is True


@pytest.mark.parametrize(
    ("variables", "asks"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "models"}, False),
        ({"OTEL_TRACES_EXPORTER": ""}, False),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "false"}, True),
    ],
)
def test_opentelemetrys_own_variables_ask_for_traces(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], asks: bool
) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert asks_for_traces() is asks
    assert makes_traces() is asks


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk"])
def test_without_opentelemetry_there_are_no_traces(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.delenv("OTEL_SDK_DISABLED", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Without(missing), *sys.meta_path])
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, name)
    assert asks_for_traces()
    assert not makes_traces()


class Without:
    """Finds no module of a package, as if it were not installed."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, *_arguments: object) -> None:
        if f"{name}.".startswith(f"{self._package}."):
            raise ModuleNotFoundError(name=name)

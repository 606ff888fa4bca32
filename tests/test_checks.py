"""The system check of the configuration."""

from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core import checks
from django.core.checks.registry import registry
from drf_spectacular.settings import spectacular_settings

from models_api.apps import ModelsAPIConfig
from models_api.checks import check_configuration, check_openapi_version
from models_api.configuration.file import ConfigurationFile


@pytest.fixture
def configure(app_config: ModelsAPIConfig, tmp_path: Path) -> Any:
    def configure(text: str) -> Path:
        path = tmp_path / "service.yaml"
        path.write_text(text, encoding="utf-8")
        app_config.configuration_file = ConfigurationFile(path)
        return path

    return configure


def test_a_sound_configuration_passes(configure: Any) -> None:
    configure("models: [{class_path: tests.fakes.models.DoublingModel}]")
    assert check_configuration(None) == []


def test_each_problem_is_an_error_with_place_hint_and_id(configure: Any) -> None:
    path = configure("port: 80\nmodels: [{class_path: tests.fakes.models.Doubling}]")
    assert check_configuration(None) == [
        checks.Error(
            'unknown key "port"',
            hint="Known keys here: service_title, description, version, models, logging, metrics, "
            "open_inference, request_headers.",
            obj=f"{path}:1: port",
            id="models_api.E003",
        ),
        checks.Error(
            'the module tests.fakes.models has no name "Doubling"',
            hint="Did you mean tests.fakes.models.DoublingModel?",
            obj=f"{path}:2: models[0].class_path",
            id="models_api.E005",
        ),
    ]


def test_the_check_is_left_out_when_other_apps_are_checked(configure: Any) -> None:
    configure("port: 80")
    assert check_configuration([apps.get_app_config("rest_framework")]) == []
    assert len(check_configuration([apps.get_app_config("models_api")])) == 1


def test_the_check_has_a_tag_of_its_own() -> None:
    assert registry.tag_exists("models_api")


def test_no_model_is_loaded_by_the_check(configure: Any, app_config: ModelsAPIConfig) -> None:
    configure(
        "models:\n"
        "  - class_path: tests.fakes.models.FailingModel\n"
        "  - class_path: tests.fakes.models.LateFailingModel\n"
    )
    assert check_configuration(None) == []
    assert {model.state.value for model in app_config.registry} == {"not loaded"}


@pytest.mark.parametrize("version", ["3.0.3", "3.0"])
def test_a_document_of_openapi_3_0_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(spectacular_settings, "OAS_VERSION", version)
    assert check_openapi_version(None) == [
        checks.Warning(
            f"OpenAPI {version} cannot express the schemas of the models",
            hint='Set "OAS_VERSION": "3.1.0" in SPECTACULAR_SETTINGS.',
            id="models_api.W001",
        )
    ]
    assert check_openapi_version([apps.get_app_config("rest_framework")]) == []
    assert len(check_openapi_version([apps.get_app_config("models_api")])) == 1


def test_a_document_of_openapi_3_1_is_fine() -> None:
    assert check_openapi_version(None) == []


def test_a_project_that_makes_no_document_may_have_any_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spectacular_settings, "OAS_VERSION", "3.0.3")
    monkeypatch.setattr(apps, "is_installed", lambda name: name != "drf_spectacular")
    assert check_openapi_version(None) == []

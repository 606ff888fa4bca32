"""The system check of the configuration."""

from pathlib import Path
from typing import Any

import pytest
import yaml
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
            "open_inference, reload, request_headers.",
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


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["house-prices", "house_prices"], '"house-prices" and "house_prices"'),
        (["Rent", "rent", "re.nt"], '"Rent", "rent" and "re.nt"'),
        (["house prices", "houseprices"], '"house prices" and "houseprices"'),
        (["Größe", "größe"], '"Größe" and "größe"'),
        (["+", "-"], '"+" and "-"'),
    ],
)
def test_names_of_which_generated_clients_make_one_are_warned_of(
    configure: Any,
    app_config: ModelsAPIConfig,
    caplog: pytest.LogCaptureFixture,
    names: list[str],
    shown: str,
) -> None:
    models = [
        {
            "class_path": "tests.fakes.named.NamedModel",
            "qualified_name": name,
            "configuration": {"name": name},
        }
        for name in [*names, "another"]
    ]
    configure(yaml.safe_dump({"models": models}))
    message = (
        f"In generated clients the models {shown} become one: "
        "their names differ in punctuation or capital letters only"
    )
    hint = "Let their qualified names differ in a letter or a digit."
    assert check_configuration(None) == [checks.Warning(message, hint=hint, id="models_api.W002")]
    app_config.registry.load()
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert warnings.count(message) == 1


def test_names_that_differ_in_more_are_fine(configure: Any) -> None:
    names = ["house_prices", "house_prices_2", "haus", "Häuser", "häuserpreise", "模型", "模"]
    models = [
        {"class_path": "tests.fakes.named.NamedModel", "qualified_name": name} for name in names
    ]
    configure(yaml.safe_dump({"models": models}))
    assert check_configuration(None) == []


def test_a_model_may_have_the_name_of_a_route_that_is_not_there(configure: Any) -> None:
    configure("models: [{class_path: tests.fakes.broken.StatsName}]")
    assert check_configuration(None) == []


def test_a_name_that_cannot_be_reached_and_comes_late_keeps_its_model_from_loading(
    configure: Any, app_config: ModelsAPIConfig, caplog: pytest.LogCaptureFixture
) -> None:
    names = {"..": "there it is a step", "a/b": "take its slash", "stats": "is another route"}
    models = [
        {"class_path": "tests.fakes.broken.LateName", "configuration": {"name": name}}
        for name in names
    ]
    configure(yaml.safe_dump({"models": models, "open_inference": {"enabled": True}}))
    app_config.registry.load()
    failures = [model.failure or "" for model in app_config.registry]
    for failure, part in zip(failures, names.values(), strict=True):
        assert part in failure

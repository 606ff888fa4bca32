"""System checks: `manage.py check` lists every problem of the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning
from drf_spectacular.settings import spectacular_settings

from models_api.conf import METRICS_PERMISSIONS
from models_api.configuration.qualified_names import quoted
from models_api.exceptions import ConfigurationError, Problem
from models_api.hosting.registry import MERGED_NAMES, OwnsRegistry

OLD_OPENAPI_VERSION = "models_api.W001"
NAMES_MERGED_BY_CLIENTS = "models_api.W002"
UNSEEN_METRICS = "models_api.W003"


@register("models_api")
def check_configuration(
    app_configs: Sequence[AppConfig] | None, **_kwargs: object
) -> list[CheckMessage]:
    """Report what keeps the configured models from being served."""
    app_config = apps.get_app_config("models_api")
    if app_configs is not None and app_config not in app_configs:
        return []
    try:
        registry = cast(OwnsRegistry, app_config).registry
    except ConfigurationError as error:
        return _errors(error.problems)
    hint = "Let their qualified names differ in a letter or a digit."
    return [
        *_errors(registry.defects),
        *(
            CheckWarning(MERGED_NAMES % quoted(names), hint=hint, id=NAMES_MERGED_BY_CLIENTS)
            for names in registry.merged_names
        ),
    ]


def _errors(problems: Iterable[Problem]) -> list[CheckMessage]:
    return [
        Error(problem.message, hint=problem.hint, obj=problem.location, id=problem.id)
        for problem in problems
    ]


@register("models_api")
def check_metrics(app_configs: Sequence[AppConfig] | None, **_kwargs: object) -> list[CheckMessage]:
    """Warn of metrics that nobody can see."""
    app_config = apps.get_app_config("models_api")
    if app_configs is not None and app_config not in app_configs:
        return []
    try:
        section = cast(OwnsRegistry, app_config).configuration.metrics
    except ConfigurationError:
        return []
    is_unset = getattr(settings, METRICS_PERMISSIONS, None) is None
    if section is None or not section.is_wanted or not is_unset:
        return []
    message = f"The YAML file asks for metrics, and the setting {METRICS_PERMISSIONS} is missing"
    hint = (
        "There is no route for them, which used to be open to everybody. List the permissions "
        'that Prometheus has to meet, such as ["rest_framework.permissions.IsAdminUser"]; '
        '"rest_framework.permissions.AllowAny" opens it, and an empty list says that there '
        "shall be none."
    )
    return [CheckWarning(message, hint=hint, id=UNSEEN_METRICS)]


@register("models_api")
def check_openapi_version(
    app_configs: Sequence[AppConfig] | None, **_kwargs: object
) -> list[CheckMessage]:
    """Warn if the OpenAPI document of the whole project cannot hold the schemas of the models."""
    app_config = apps.get_app_config("models_api")
    version = str(spectacular_settings.OAS_VERSION)
    if app_configs is not None and app_config not in app_configs:
        return []
    if not apps.is_installed("drf_spectacular") or not version.startswith("3.0"):
        return []
    message = f"OpenAPI {version} cannot express the schemas of the models"
    hint = 'Set "OAS_VERSION": "3.1.0" in SPECTACULAR_SETTINGS.'
    return [CheckWarning(message, hint=hint, id=OLD_OPENAPI_VERSION)]

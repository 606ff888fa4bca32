"""System checks: `manage.py check` lists every problem of the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Error, register

from models_api.exceptions import ConfigurationError

if TYPE_CHECKING:
    from models_api.apps import ModelsAPIConfig


@register("models_api")
def check_configuration(
    app_configs: Sequence[AppConfig] | None, **_kwargs: Any
) -> list[CheckMessage]:
    """Report what keeps the configured models from being served."""
    app_config = cast("ModelsAPIConfig", apps.get_app_config("models_api"))
    if app_configs is not None and app_config not in app_configs:
        return []
    try:
        _ = app_config.registry
    except ConfigurationError as error:
        return [
            Error(problem.message, hint=problem.hint, obj=problem.location, id=problem.id)
            for problem in error.problems
        ]
    return []

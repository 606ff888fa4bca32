"""The Django app: it reads the configuration when Django starts, and owns the service."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import cast

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.signals import setting_changed
from django.utils.autoreload import BaseReloader, autoreload_started
from django.utils.log import configure_logging
from ml_base import MLModel

from models_api.conf import (
    ServiceSettings,
    asks_for_traces,
    configuration_path,
    makes_traces,
    service_settings,
)
from models_api.configuration.file import ConfigurationFile
from models_api.configuration.sections import ServiceConfiguration
from models_api.databases import DatabaseCleanup
from models_api.exceptions import ConfigurationError
from models_api.hosting.registry import ModelRegistry
from models_api.logs import SafeLogger
from models_api.service import ModelService
from models_api.signals import service_changed
from models_api.substitutes import with_substitutes
from models_api.threads import use_cleanup

logger = SafeLogger(__name__)

_making_service = threading.RLock()


class ModelsAPIConfig(AppConfig):
    """The app's state in this process: the configuration file, and the service made from it."""

    name = "models_api"
    verbose_name = "Model hosting"

    def ready(self) -> None:
        """Read the configuration: cheap, imports no model, leaves a broken file to the checks."""
        from models_api import checks, policy_checks  # noqa: F401, PLC0415 (register themselves)

        use_cleanup(DatabaseCleanup())
        self.configuration_file = ConfigurationFile(configuration_path())
        self._apply_logging()
        if asks_for_traces() and not makes_traces():
            logger.warning(
                "There are no traces, which OpenTelemetry's environment variables ask for: "
                'install "modelhost[tracing]"'
            )
        autoreload_started.connect(self._watch_configuration)
        self._substitutes: list[Mapping[str, MLModel]] = []
        self._sources = _sources()
        self._before_tests: tuple[ConfigurationFile, ModelService | None] | None = None
        setting_changed.connect(self._follow_settings)

    def use(self, file: ConfigurationFile) -> None:
        """Use another reading of the configuration file; only before there is a service."""
        configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)
        self.configuration_file = file
        self._apply_logging()

    def _apply_logging(self) -> None:
        known = len(self.configuration_file.problems)
        self.configuration_file.apply_logging()
        if len(self.configuration_file.problems) > known:
            # Half of what is broken may be in force, without any handler.
            configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)

    def _watch_configuration(self, sender: BaseReloader, **_kwargs: object) -> None:
        found = self.configuration_file.configuration
        if found is not None and found.reload is not None:
            return  # the service follows it by itself
        # So that the development server starts anew when the file is mended.
        path = configuration_path()
        sender.watch_dir(path.parent, path.name)

    @property
    def configuration(self) -> ServiceConfiguration:
        """The validated configuration.

        Raises:
            ConfigurationError: the file has problems.
        """
        if self.configuration_file.configuration is None:
            raise ConfigurationError(self.configuration_file.problems)
        return self.configuration_file.configuration

    @cached_property
    def service(self) -> ModelService:
        """The service; made at the first use, because that imports the classes of the models."""
        with _making_service:
            made: ModelService | None = vars(self).get("service")
            if made is None:  # no other thread has made it meanwhile
                own = ModelService.build(self.configuration_file, service_settings())
                own.registry.after_replacing.append(partial(service_changed.send, type(self)))
                own.registry.loads_on_demand = self._before_tests is not None
                vars(self)["service"] = made = self._substituted(own)
            return made

    def substitute(self, models: Mapping[str, MLModel]) -> None:
        """Let models take the places of those of the same names; for tests."""
        own = self.service.original or self.service
        self._substitutes = [*self._substitutes, models]
        self._put(own)

    def end_substitution(self, models: Mapping[str, MLModel]) -> None:
        """Put back whatever these models have taken the places of."""
        own = self.service.original or self.service
        self._substitutes = [each for each in self._substitutes if each is not models]
        self._put(own)

    def _substituted(self, own: ModelService) -> ModelService:
        given = {name: model for each in self._substitutes for name, model in each.items()}
        return with_substitutes(own, given) if self._substitutes else own

    def _put(self, own: ModelService | None) -> None:
        with _making_service:
            vars(self).pop("service", None)
            if own is not None:
                own.registry.reserve_names()
                vars(self)["service"] = self._substituted(own)
        service_changed.send(type(self))

    def _follow_settings(self, *, setting: str, **_kwargs: object) -> None:
        """Serve what the settings say, which only tests change, and then what was before."""
        if setting != "REST_CONFIG" and not setting.startswith("MODELS_API_"):
            return
        present = vars(self).get("service")
        own = present and (present.original or present)
        if self._before_tests is None:
            self._before_tests = self.configuration_file, own
        elif own is not None and own is not self._before_tests[1]:
            own.registry.leave()
        if _sources() == self._sources:
            (self.configuration_file, own), self._before_tests = self._before_tests, None
        else:
            self.configuration_file, own = ConfigurationFile(self._path()), None
        self._put(own)

    def _path(self) -> Path:
        """Return the path that the settings say, before the environment if tests have set it."""
        given = getattr(settings, "REST_CONFIG", None)
        return Path(given) if given and given != self._sources[0] else configuration_path()

    @property
    def registry(self) -> ModelRegistry:
        """The hosted models.

        Raises:
            ConfigurationError: the configuration has problems.
        """
        if self.service.error is not None:
            raise self.service.error
        return self.service.registry


def _sources() -> tuple[object, ServiceSettings]:
    """Return what a service is made from, as far as the settings say it."""
    return getattr(settings, "REST_CONFIG", None), service_settings()


def own_registry() -> ModelRegistry:
    """Return the hosted models of this process.

    Raises:
        ConfigurationError: the configuration has problems.
    """
    return cast(ModelsAPIConfig, apps.get_app_config("models_api")).registry


def current_service() -> ModelService:
    """Return the service of this process."""
    return cast(ModelsAPIConfig, apps.get_app_config("models_api")).service

"""The Django app: it reads the configuration when Django starts, and owns the service."""

from __future__ import annotations

from functools import cached_property
from typing import cast

from django.apps import AppConfig, apps
from django.conf import settings
from django.utils.autoreload import BaseReloader, autoreload_started
from django.utils.log import configure_logging

from models_api.conf import asks_for_traces, configuration_path, makes_traces, service_settings
from models_api.configuration.file import ConfigurationFile
from models_api.configuration.sections import ServiceConfiguration
from models_api.exceptions import ConfigurationError
from models_api.hosting.registry import ModelRegistry
from models_api.logs import SafeLogger
from models_api.service import ModelService

logger = SafeLogger(__name__)


class ModelsAPIConfig(AppConfig):
    """The app's state in this process: the configuration file, and the service made from it."""

    name = "models_api"
    verbose_name = "Model hosting"

    def ready(self) -> None:
        """Read the configuration: cheap, imports no model, leaves a broken file to the checks."""
        from models_api import checks  # noqa: F401, PLC0415 (registers itself)

        self.configuration_file = ConfigurationFile(configuration_path())
        self._apply_logging()
        if asks_for_traces() and not makes_traces():
            logger.warning(
                "There are no traces, which OpenTelemetry's environment variables ask for: "
                'install "modelhost[tracing]"'
            )
        autoreload_started.connect(self._watch_configuration)

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
        return ModelService.build(self.configuration_file, service_settings())

    @property
    def registry(self) -> ModelRegistry:
        """The hosted models.

        Raises:
            ConfigurationError: the configuration has problems.
        """
        if self.service.error is not None:
            raise self.service.error
        return self.service.registry


def current_service() -> ModelService:
    """Return the service of this process."""
    return cast(ModelsAPIConfig, apps.get_app_config("models_api")).service

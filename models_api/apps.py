"""The Django app: it reads the configuration when Django starts, and owns the registry."""

from __future__ import annotations

import atexit
import logging
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.utils.autoreload import BaseReloader, autoreload_started

from models_api.conf import (
    asks_for_traces,
    configuration_path,
    hung_prediction_seconds,
    makes_traces,
    maximum_concurrent_predictions,
    writes_access_log,
)
from models_api.configuration.sections import (
    ConfigurationFile,
    MetricsConfiguration,
    ServiceConfiguration,
)
from models_api.exceptions import ConfigurationError
from models_api.hosting.assembly import build_registry
from models_api.hosting.registry import HostedModel, ModelRegistry
from models_api.observability.access_log import AccessLog
from models_api.observability.old_hooks import observe_by_instruments
from models_api.observability.requests import RequestObserver, RequestRecorder
from models_api.observability.server_directory import server_directory
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.prediction.instruments import Instruments
from models_api.prediction.watchdog import Watchdog

if TYPE_CHECKING:
    from models_api.observability.exposition import Metrics

logger = logging.getLogger(__name__)


class ModelsAPIConfig(AppConfig):
    """The app's state in this process: the configuration file, and the registry made from it."""

    name = "models_api"
    verbose_name = "Model hosting"

    def ready(self) -> None:
        """Read the configuration: cheap, imports no model, leaves a broken file to the checks."""
        from models_api import checks  # noqa: F401, PLC0415 (registers itself)

        self.request_observers: list[RequestObserver] = [AccessLog()] if writes_access_log() else []
        """Called with each request that has been answered."""
        self.configuration_file = ConfigurationFile(configuration_path())
        self.configuration_file.apply_logging()
        if asks_for_traces() and not makes_traces():
            logger.warning(
                "There are no traces, which OpenTelemetry's environment variables ask for: "
                'install "modelhost[tracing]"'
            )
        autoreload_started.connect(self._watch_configuration)

    def _watch_configuration(self, sender: BaseReloader, **_kwargs: Any) -> None:
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
    def shared_values(self) -> SharedMemoryMetrics:
        """What this process counts, and all others of the same server."""
        directory = server_directory()
        atexit.register(directory.remove)
        return SharedMemoryMetrics(directory.join)

    @cached_property
    def metrics(self) -> Metrics | None:
        """What measures this process; None unless the configuration asks for it."""
        section = self.metrics_section
        if section is None:
            return None
        # Late, because prometheus_client looks, once, whether it is to share with other processes.
        from models_api.observability.exposition import Metrics  # noqa: PLC0415

        return Metrics(section, self.shared_values)

    @property
    def metrics_section(self) -> MetricsConfiguration | None:
        """What the configuration says of metrics; None if it wants none."""
        configuration = self.configuration_file.configuration
        section = configuration.metrics if configuration is not None else None
        return section if section is not None and section.is_wanted else None

    @property
    def request_recorder(self) -> RequestRecorder:
        """What hands requests to the observers of the project and, last, to the metrics."""
        metrics = [self.metrics.http.observe] if self.metrics is not None else []
        return RequestRecorder([*self.request_observers, *metrics])

    @cached_property
    def registry(self) -> ModelRegistry:
        """The hosted models; made at the first use, because that imports their classes.

        Raises:
            ConfigurationError: the configuration has problems.
        """
        registry = build_registry(self.configuration_file)
        registry.admission.limit(maximum_concurrent_predictions())
        patience_seconds = hung_prediction_seconds()
        if patience_seconds is not None:
            registry.admission.watch(Watchdog(registry.admission, patience_seconds).start)
        if self.metrics is not None:
            self.metrics.worker = registry.admission
        for model in registry:
            observe_by_instruments(model, self._instruments(model))
        return registry

    def _instruments(self, model: HostedModel) -> Instruments:
        instruments = Instruments() if self.metrics is None else self.metrics.models.meter(model)
        if makes_traces():
            # Late, because not every service has OpenTelemetry.
            from models_api.observability.tracing import TracedInstruments  # noqa: PLC0415

            return TracedInstruments(instruments)
        return instruments

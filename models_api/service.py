"""The composition root: everything that a service consists of is made here, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

from models_api.conf import ServiceSettings
from models_api.configuration.file import ConfigurationFile
from models_api.configuration.sections import MetricsConfiguration, ServiceConfiguration
from models_api.exceptions import ConfigurationError
from models_api.hosting.assembly import build_registry
from models_api.hosting.hosted_model import HostedModel, Resources
from models_api.hosting.registry import ModelRegistry
from models_api.observability.access_log import AccessLog
from models_api.observability.client_address import ClientAddresses
from models_api.observability.requests import RequestObserver, RequestRecorder
from models_api.observability.server_directory import server_directory
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.prediction.instruments import Instruments
from models_api.prediction.limiter import WorkerLimiter
from models_api.prediction.watchdog import Watchdog
from models_api.signals import SignalSender

if TYPE_CHECKING:
    from models_api.observability.exposition import Metrics


class ModelService:
    """What this process serves: its models, with what limits, measures and traces them."""

    def __init__(
        self,
        file: ConfigurationFile,
        settings: ServiceSettings,
        shared: SharedMemoryMetrics,
        limiter: WorkerLimiter,
    ) -> None:
        self.settings = settings
        self.limiter = limiter
        self.shared = shared
        """What this process counts, and all others of the same server."""
        self.metrics = _metrics(file, shared, limiter)
        """None unless the configuration asks for them."""
        self.error: ConfigurationError | None = None
        """What keeps the models from being served; None if nothing does."""
        self.original: ModelService | None = None
        """That whose models some others take the places of, for the time of a test."""
        self.resources = self._resources()
        """What the models share."""
        try:
            self.registry = build_registry(file, self.resources)
        except ConfigurationError as error:
            self.registry, self.error = ModelRegistry([], limiter, error), error
        known = None if self.error is not None else file.configuration
        self.configuration = known or ServiceConfiguration()
        """That of the file, or the default where the file cannot be used."""
        self.recorder = RequestRecorder(self._observers())

    @classmethod
    def build(cls, file: ConfigurationFile, settings: ServiceSettings) -> ModelService:
        """Make the service of a configuration file; loads no model.

        A file with problems makes a service without models, which can say so: see `error`.
        """
        directory = server_directory()
        limiter = WorkerLimiter(settings.maximum_concurrent_predictions)
        service = cls(file, settings, SharedMemoryMetrics(directory.join), limiter)
        service.registry.loader.before_exit.append(directory.leave)
        return service

    def use_threads(self, threads: int) -> None:
        """Bound the predictions in hand by the threads of this worker, unless the settings do."""
        if self.settings.maximum_concurrent_predictions is None:
            self.limiter.use_threads(threads)

    def _resources(self) -> Resources:
        patience = self.settings.hung_prediction_seconds
        return Resources(
            self.limiter,
            None if patience is None else Watchdog(self.limiter, patience),
            _InstrumentsFactory(self.metrics, makes_traces=self.settings.makes_traces),
            self.settings.maximum_batch_rows,
            self.settings.maximum_values,
            SignalSender,
            server_directory().join,
        )

    def _observers(self) -> list[RequestObserver]:
        observers: list[RequestObserver] = []
        if self.settings.writes_access_log:
            addresses = _client_addresses(self.settings.trusted_proxies)
            observers.append(AccessLog(addresses, logs_probes=self.settings.logs_probes))
        return observers if self.metrics is None else [*observers, self.metrics.http.observe]


def _client_addresses(trusted_proxies: Sequence[str]) -> ClientAddresses:
    try:
        return ClientAddresses(trusted_proxies)
    except ValueError as error:
        raise ImproperlyConfigured(f"MODELS_API_TRUSTED_PROXIES: {error}.") from None


def wanted_metrics(file: ConfigurationFile) -> MetricsConfiguration | None:
    """Return what a file says of metrics; None if it wants none."""
    section = file.configuration.metrics if file.configuration is not None else None
    return section if section is not None and section.is_wanted else None


def _metrics(
    file: ConfigurationFile, shared: SharedMemoryMetrics, limiter: WorkerLimiter
) -> Metrics | None:
    section = wanted_metrics(file)
    if section is None:
        return None
    # Late, because prometheus_client looks, once, whether it is to share with other processes.
    from models_api.observability.exposition import Metrics  # noqa: PLC0415

    return Metrics(section, shared, limiter, file.fingerprint)


class _InstrumentsFactory:
    """Makes what measures and traces the predictions of each model."""

    def __init__(self, metrics: Metrics | None, *, makes_traces: bool) -> None:
        self._metrics = metrics
        self._makes_traces = makes_traces

    def instruments(self, model: HostedModel) -> Instruments:
        found = Instruments() if self._metrics is None else self._metrics.models.meter(model)
        if not self._makes_traces:
            return found
        # Late, because not every service has OpenTelemetry.
        from models_api.observability.tracing import TracedInstruments  # noqa: PLC0415

        return TracedInstruments(found)

"""The composition root: everything that a service consists of is made here, once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

from models_api.artefacts.cache import ArtefactCache
from models_api.conf import ServiceSettings, state_directory
from models_api.configuration.file import ConfigurationFile
from models_api.configuration.sections import MetricsConfiguration, ServiceConfiguration
from models_api.exceptions import ConfigurationError
from models_api.file_locks import HAS_FILE_LOCKS
from models_api.hosting.assembly import build_registry
from models_api.hosting.hosted_model import HostedModel, Resources
from models_api.hosting.registry import ModelRegistry
from models_api.hosting.reload import Reloader
from models_api.observability.access_log import AccessLog
from models_api.observability.client_address import ClientAddresses
from models_api.observability.reload_folder import ReloadFolder
from models_api.observability.requests import RequestObserver, RequestRecorder
from models_api.observability.server_directory import server_directory
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.observability.taken_back import TakenBack
from models_api.observability.trials import Trials
from models_api.prediction.instruments import Instruments
from models_api.prediction.limiter import WorkerLimiter
from models_api.prediction.watchdog import Watchdog
from models_api.reload_thread import ReloadThread
from models_api.signals import SignalSender

if TYPE_CHECKING:
    from models_api.observability.exposition import Metrics
    from models_api.prediction.backends.remote import RemoteProtocol
    from models_api.prediction.backends.remote_service import RemoteService


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
        self._watch_versions(file)
        self.reload_thread = self._reload_thread(file)
        """Follows changes of the file; None unless the configuration asks for that."""

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
            {"open_inference": _open_inference},
            ArtefactCache(self.settings.artefact_cache),
        )

    def _watch_versions(self, file: ConfigurationFile) -> None:
        """See to it that versions which are worse than the others are taken back."""
        folders = (state_directory, server_directory().join)
        path = os.fsencode(file.document.path.absolute())
        taken_back = TakenBack(folders, f"taken-back-{hashlib.sha256(path).hexdigest()[:12]}")
        trials = Trials(lambda: self.registry.generation, self.shared, taken_back)
        self.registry.before_requests.append(trials.start)
        self.registry.after_replacing.append(trials.look)

    def _reload_thread(self, file: ConfigurationFile) -> ReloadThread | None:
        options = self.configuration.reload
        if options is None:
            return None
        reloader = Reloader(self.registry, self.resources, self.configuration)
        folder = ReloadFolder(server_directory().join) if HAS_FILE_LOCKS else None
        if folder is not None:
            server_directory().before_leaving.append(folder.stop)
        thread = ReloadThread(reloader, self.registry, file, options, folder)
        if self.metrics is not None:
            thread.at_start.append(self.metrics.reloads.begin)
            metrics = self.metrics
            thread.after_each.append(metrics.reloads.note)
            thread.after_each.append(lambda *_: metrics.use_configuration(thread.fingerprint))
        self.registry.loader.before_loading.append(thread.prepare)
        self.registry.before_requests.append(thread.start)
        return thread

    def _observers(self) -> list[RequestObserver]:
        observers: list[RequestObserver] = []
        if self.settings.writes_access_log:
            addresses = _client_addresses(self.settings.trusted_proxies)
            observers.append(AccessLog(addresses, logs_probes=self.settings.logs_probes))
        return observers if self.metrics is None else [*observers, self.metrics.http.observe]


def _open_inference(service: RemoteService, model: str, version: str | None) -> RemoteProtocol:
    # Late, because not every service has numpy.
    from models_api.open_inference.remote_protocol import OpenInferenceProtocol  # noqa: PLC0415

    return OpenInferenceProtocol(service, model, version)


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
        if not self._makes_traces or model.configuration.shadow:
            return found
        # Late, because not every service has OpenTelemetry.
        from models_api.observability.tracing import TracedInstruments  # noqa: PLC0415

        return TracedInstruments(found)

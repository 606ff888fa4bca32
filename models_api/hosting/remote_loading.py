"""How a model is loaded that computes in another service: by asking that what the model is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from models_api.configuration.sections import ModelConfiguration
from models_api.hosting.health import Fault
from models_api.hosting.loading import Loaded, LoadingMeans, NotYet, Remote
from models_api.logs import SafeLogger
from models_api.prediction.backends.http_pool import NoAnswer
from models_api.prediction.backends.modelhost_protocol import ModelhostProtocol
from models_api.prediction.backends.remote import RemotePredictor, RemoteProtocol
from models_api.prediction.backends.remote_service import RemoteService
from models_api.prediction.description import ModelDescription, ModelNames, RemoteDescription
from models_api.prediction.instruments import Instruments
from models_api.prediction.limiter import Bounds
from models_api.prediction.model_calls import PREDICTING_METHODS

logger = SafeLogger(__name__)

PATIENCE_SECONDS = 2.0
"""How long the other service may take to say what the model is."""
_HEALTH_SECONDS = 1.5

ProtocolMaker = Callable[[RemoteService, str, str | None], RemoteProtocol]
"""Makes what asks a service for the model that has a name there, and perhaps a version."""


class RemoteUnreachable(NotYet):
    """The other service does not say what the model is."""


def make_remote(
    configuration: ModelConfiguration,
    instruments: Instruments,
    protocols: Mapping[str, ProtocolMaker],
) -> Remote:
    """Make what asks the other service of a model; it asks nothing yet."""
    execution, bounds = configuration.execution, Bounds.of(configuration)
    name = configuration.qualified_name or ""
    service = RemoteService(
        execution,
        name,
        pool_size=bounds.max_concurrency,
        timeout_seconds=bounds.timeout_seconds,
        instruments=instruments,
        on_change=instruments.publish,
    )
    model = execution.model or name
    if execution.protocol in protocols:
        return Remote(service, protocols[execution.protocol](service, model, execution.version))
    return Remote(service, ModelhostProtocol(service, model))


def load_remotely(means: LoadingMeans) -> Loaded:
    """Learn from another service what the model is.

    Raises:
        RemoteUnreachable: it does not say it.
    """
    service, protocol = means.remote()
    try:
        found = protocol.describe(PATIENCE_SECONDS)
    except NoAnswer as error:
        raise RemoteUnreachable(f"{service.url}: {error}") from None
    given = means.profile.description.schemas
    assert means.stack is not None  # noqa: S101 (for the type checker)
    names, schemas = means.stack.renamed(found.names), given or found.schemas
    means.describe(ModelDescription(names, schemas))
    backend = RemotePredictor(
        protocol,
        means.label,
        schemas,
        means.prediction_means(names),
        validates=given is not None,
    )
    checks = (
        [partial(_fault, protocol, _Contract(means.label, found))]
        if means.configuration.execution.health
        else []
    )
    used = [name for name in PREDICTING_METHODS if name != "predict_columns"]
    return Loaded(backend, checks, used, {}, is_left_alone=lambda: service.is_left_alone)


class _Contract:
    """What the model was when it was loaded."""

    def __init__(self, label: str, description: RemoteDescription) -> None:
        self._label = label
        self._known = description

    def compare(self, description: RemoteDescription) -> None:
        """Warn, once, where the model is something else by now."""
        if description == self._known:
            return
        self._known = description
        names: ModelNames = description.names
        logger.warning(
            "%s has changed where it computes: it is version %s now, or has other schemas. The "
            "documents of this service say what it was before, until this service starts anew.",
            *(self._label, names.version),
        )


def _fault(protocol: RemoteProtocol, contract: _Contract) -> Fault | None:
    reason = protocol.fault(_HEALTH_SECONDS)
    if reason is not None:
        return Fault(reason)
    try:
        contract.compare(protocol.describe(_HEALTH_SECONDS))
    except NoAnswer as error:
        return Fault(str(error))
    return None

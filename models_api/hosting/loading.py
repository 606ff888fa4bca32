"""What a model is loaded with, and what comes of it, wherever it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ml_base import MLModel

from models_api.configuration.sections import ModelConfiguration
from models_api.hosting.health import Check
from models_api.hosting.model_stack import ModelStack
from models_api.hosting.survey import ModelProfile
from models_api.prediction.backend import Backend
from models_api.prediction.backends.process_group import Limits
from models_api.prediction.base import PredictionMeans
from models_api.prediction.description import ModelDescription, ModelNames
from models_api.prediction.instruments import Instruments

if TYPE_CHECKING:
    # Needs urllib3, which not every service has.
    from models_api.prediction.backends.remote import RemoteProtocol
    from models_api.prediction.backends.remote_service import RemoteService


class NotYet(Exception):
    """The model cannot be loaded as long as another service does not answer; says why."""


class Remote(NamedTuple):
    """The other service of a model."""

    service: RemoteService
    protocol: RemoteProtocol


class LoadingMeans(NamedTuple):
    """What a model is loaded with."""

    configuration: ModelConfiguration
    stack: ModelStack | None
    """None where only others can import its classes."""
    profile: ModelProfile
    """What is known of it before."""
    label: str
    """What the log calls the model."""
    instruments: Instruments
    describe: Callable[[ModelDescription], None]
    """Notes what the model says that it is; raises DescriptionError if it cannot be hosted so."""
    prediction_means: Callable[[ModelNames], PredictionMeans]
    limits: Limits
    directory: Callable[[], Path]
    """Returns the directory that the workers of this server share."""
    leaving: ExitStack
    """Is closed where the model is used no more."""
    edition: str
    """Tells what it is made from where its configuration is the same."""
    remote: Callable[[], Remote]
    """Returns the other service in which the model computes."""


class Loaded(NamedTuple):
    """A model that is loaded, wherever that is."""

    backend: Backend
    checks: Sequence[Check]
    """Of its health."""
    used_methods: Sequence[str]
    """Those that predict."""
    unused_methods: Mapping[str, str]
    """Those that would, but are never called, and why."""
    model: MLModel | None = None
    """The decorated instance; None where it is in another process."""
    is_left_alone: Callable[[], bool | None] = lambda: None
    """Whether another service, where it computes, does not answer; None without one."""

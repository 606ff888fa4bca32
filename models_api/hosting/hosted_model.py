"""One model with its place in this service: what it says about itself, and how far it has come."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from ml_base import MLModel

from models_api.artefacts.cache import ArtefactCache, Fetched
from models_api.configuration.sections import ModelConfiguration, ToleranceConfiguration
from models_api.exceptions import DescriptionError, DescriptionFailed, ModelNotReady
from models_api.fork import ForkGuard
from models_api.hosting.artefacts import fetched, with_artefact
from models_api.hosting.editions import address_of, edition_of
from models_api.hosting.execution import (
    LoadingFailed,
    add_to_model_manager,
    leave_model_manager,
    load,
)
from models_api.hosting.health import ModelHealth
from models_api.hosting.loading import Loaded, LoadingMeans, NotYet, Remote
from models_api.hosting.model_stack import ModelStack
from models_api.hosting.repeated_tries import RepeatedTries
from models_api.hosting.shadow import Shadow
from models_api.hosting.survey import ModelProfile, profile_of
from models_api.logs import SafeLogger
from models_api.prediction.backend import Backend
from models_api.prediction.backends.process_group import Limits
from models_api.prediction.base import PredictionMeans
from models_api.prediction.description import ModelDescription, ModelNames, ModelSchemas
from models_api.prediction.instruments import Instruments
from models_api.prediction.limiter import Bounds, ConcurrencyLimiter, WorkerLimiter
from models_api.prediction.listener import PredictionListener
from models_api.prediction.mistakes import explain_loading
from models_api.prediction.predictor import Predictor
from models_api.prediction.value_limit import DEFAULT_MAXIMUM_VALUES
from models_api.prediction.watchdog import Watchdog
from models_api.threads import cleaned_up

if TYPE_CHECKING:
    from models_api.hosting.remote_loading import ProtocolMaker

logger = SafeLogger(__name__)

T = TypeVar("T")

RETRY_AFTER_SECONDS = 5
"""How long a client should wait before it asks again for a model that is not ready."""
DEFAULT_MAXIMUM_ROWS = 1000
LOADING_THREAD = "model-loading"
"""Name of the threads that load models."""
_DESCRIPTION_WAIT_SECONDS = 1
"""How long a request waits for a model that tells only an instance what it is."""


class LoadState(Enum):
    """How far the loading of one model has come."""

    NOT_LOADED = "not loaded"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    UNLOADED = "unloaded"
    """It is not to be loaded."""


class ModelState(StrEnum):
    """How a model is to those who ask for it; the best first."""

    READY = "ready"
    UNHEALTHY = "unhealthy"
    LOADING = "loading"
    FAILED = "failed"
    UNLOADED = "unloaded"


class InstrumentsFactory(Protocol):
    """Makes what hears of the predictions of a model."""

    def instruments(self, model: HostedModel) -> Instruments:
        """Return the instruments of a model, which may have yet to say its name."""


class NoInstruments:
    """Makes instruments that do nothing."""

    def instruments(self, model: HostedModel) -> Instruments:
        """Return the instruments of a model."""
        return Instruments()


def _no_directory() -> Path:
    raise OSError("This process shares no directory with others.")


@dataclass(frozen=True)
class Resources:
    """What the hosted models of a service share."""

    limiter: WorkerLimiter = field(default_factory=WorkerLimiter)
    watchdog: Watchdog | None = None
    factory: InstrumentsFactory = field(default_factory=NoInstruments)
    maximum_rows: int = DEFAULT_MAXIMUM_ROWS
    """That one request may have."""
    maximum_values: int | None = DEFAULT_MAXIMUM_VALUES
    """That one request may hold, unless the model has a limit of its own; None for any number."""
    listener: type[PredictionListener] = PredictionListener
    """Of which kind is whoever is told of the predictions of each model."""
    directory: Callable[[], Path] = _no_directory
    """Returns the directory that the workers of this server share."""
    remote_protocols: Mapping[str, ProtocolMaker] = field(default_factory=dict)
    """By their names, what makes those of other services that this package does not know."""
    artefacts: ArtefactCache = field(default_factory=ArtefactCache)
    """Where artefacts of other places are kept."""
    reserved_names: frozenset[str] = frozenset()
    """Qualified names that stand for routes of the service."""


class Remains(NamedTuple):
    """What is left of a model that is hosted no more, until its last request has ended."""

    label: str
    backend: weakref.ref[Backend] | None
    """Whoever predicts holds it; None where it was never loaded."""
    instance: weakref.ref[MLModel] | None
    limiters: Sequence[ConcurrencyLimiter]
    """Its own, if it has come that far."""
    leaving: ExitStack
    """Lets its processes go."""

    @property
    def is_held(self) -> bool:
        """Whether somebody can predict with it still."""
        return self.backend is not None and self.backend() is not None


class HostedModel:
    """One model with its place in this service. All its methods may be called from any thread."""

    def __init__(
        self,
        configuration: ModelConfiguration,
        source: ModelStack | ModelProfile,
        resources: Resources | None = None,
        *,
        edition: str = "",
        is_hosted: bool = True,
    ) -> None:
        """Describe the model, without running any `__init__`, as far as its classes tell.

        Args:
            configuration: What the file says of it.
            source: The model's classes, or what they tell where only others can import them.
            resources: What it shares with the others.
            edition: Tells what it is made from where its configuration is the same, such as the
                state of its files.
            is_hosted: Whether requests can reach it; if not, nobody is told of it either.

        Raises:
            DescriptionError: a class says something that no model can.
        """
        label = configuration.qualified_name or configuration.class_path
        self.configuration = configuration
        self.edition = edition
        self.is_hosted = is_hosted
        self.profile = profile_of(source, label) if isinstance(source, ModelStack) else source
        """What the classes of the model tell."""
        self.state = LoadState.NOT_LOADED
        self.load_seconds: float | None = None
        """Seconds that loading took, well or not; None before it ended."""
        self.failure: str | None = None
        """What keeps the model from being loaded, in one line; None where nothing does."""
        self.failure_class: str | None = None
        """Name of the class of that error: all of it that clients are told."""
        self.health: ModelHealth | None = None
        """What the model says of its own health; None where it does not, or is not loaded."""
        self.artefact: Fetched | None = None
        """That of the model as it was loaded, and its revision there; None where it has none."""
        self._stack = source if isinstance(source, ModelStack) else None
        self._resources = resources or Resources()
        self._loaded: Loaded | None = None
        self._backend: Backend | None = None
        self._leaving = ExitStack()
        self._guard = ForkGuard()
        self._lock = threading.RLock()
        self._in_background = False
        self._ended = threading.Event()
        self._waiting: RepeatedTries | None = None
        self._others: Sequence[HostedModel] = ()
        self._limiter: ConcurrencyLimiter | None = None
        self._description = ModelDescription()
        self._check_reserved(configuration.qualified_name, key="qualified_name")
        self._note_description(self.profile.description)
        self.instruments = self._resources.factory.instruments(self)
        self.shadow = self._shadow()
        """What asks the model for copies of the traffic; None unless it is a shadow."""

    def __repr__(self) -> str:
        return f"<HostedModel {self.label}: {self.state.value}>"

    @property
    def class_name(self) -> str:
        """Name of the model's class, without decorators."""
        return self.profile.model_class.__name__

    @property
    def label(self) -> str:
        """Qualified name if it is known yet, else the class path: for logs and messages."""
        return self.known_name or self.configuration.source

    @property
    def is_one_of_several(self) -> bool:
        """Whether other versions of it are hosted, too."""
        name = self.known_name
        return name is not None and any(other.known_name == name for other in self._others)

    @property
    def title(self) -> str:
        """The label, with the version where there are several: for logs and messages."""
        return f"{self.label} {self.version}" if self.is_one_of_several else self.label

    @property
    def path_name(self) -> str:
        """The label, with the version as in a URL where there are several: for lists of names."""
        return f"{self.label}/versions/{self.version}" if self.is_one_of_several else self.label

    @property
    def known_name(self) -> str | None:
        """Qualified name as far as it is known without loading the model."""
        names = self._description.names
        return names.qualified_name if names is not None else self.configuration.qualified_name

    @property
    def version(self) -> str | None:
        """The model's version; None as long as only loading the model would tell."""
        names = self._description.names
        return names.version if names is not None else self.configuration.version

    @property
    def maximum_rows(self) -> int:
        """How many rows one request may have."""
        return self._resources.maximum_rows

    @property
    def maximum_values(self) -> int | None:
        """How much one request may hold; None for any number of values."""
        return self.configuration.max_values or self._resources.maximum_values

    @property
    def is_described(self) -> bool:
        """Whether names and schemas are known without loading the model."""
        return self._description.is_complete

    @property
    def qualified_name(self) -> str:
        """The model's id in URLs; loads the model if nothing else tells it, as `details` does."""
        return self.known_name or self.details.qualified_name

    @property
    def serving_state(self) -> ModelState:
        """How the model is, by what it has said of its health so far."""
        if self.state is LoadState.FAILED:
            return ModelState.FAILED
        if self.state is LoadState.UNLOADED:
            return ModelState.UNLOADED
        if self.state is not LoadState.READY:
            return ModelState.LOADING
        is_sick = self.health is not None and self.health.is_healthy is False
        return ModelState.UNHEALTHY if is_sick else ModelState.READY

    @property
    def details(self) -> ModelNames:
        """What the model says about itself; loads it if that is the only way to know.

        A model that failed to load before it could say anything goes by the name of its class.

        Raises:
            ModelNotReady: the model is being loaded in the background, and has yet to say it.
        """
        if self._description.names is None:
            self.require_description()
        if self._description.names is not None:
            return self._description.names
        return ModelNames(
            display_name=self.class_name,
            qualified_name=self.known_name or self.class_name,
            description="",
            version="",
        )

    @property
    def schemas(self) -> ModelSchemas:
        """Input and output schema; loads the model if that is the only way to know them.

        Raises:
            ModelNotReady: the model had to be loaded, and that failed or has not ended.
        """
        if self._description.schemas is None:
            self.require_description()
        if self._description.schemas is None:
            raise self.not_ready()
        return self._description.schemas

    @property
    def backend(self) -> Backend:
        """What predicts with the model, here or elsewhere.

        Raises:
            ModelNotReady: it is not loaded, or failed to load; it counts as a prediction.
        """
        if self._backend is None:
            with self.instruments.prediction():
                raise self.not_ready()
        return self._backend

    @property
    def predictor(self) -> Predictor:
        """What predicts with the model in this process.

        Raises:
            ModelNotReady: see `backend`.
            TypeError: the model computes elsewhere.
        """
        if not isinstance(self.backend, Predictor):
            raise TypeError(f"The model {self.label} computes in a process of its own.")
        return self.backend

    @property
    def model(self) -> MLModel | None:
        """The decorated instance; None unless the model is loaded, in this process."""
        return self._loaded.model if self._loaded is not None else None

    @property
    def used_methods(self) -> Sequence[str]:
        """Which of the model's methods predict; none as long as it is not loaded."""
        return self._loaded.used_methods if self._loaded is not None else ()

    @property
    def unused_methods(self) -> Mapping[str, str]:
        """Which methods that predict are never called, and why; none before it is loaded."""
        return self._loaded.unused_methods if self._loaded is not None else {}

    def ready_model(self) -> MLModel:
        """Return the decorated instance.

        Raises:
            ModelNotReady: it is not loaded, or failed to load.
            TypeError: the model computes elsewhere.
        """
        if self.model is None:
            _ = self.predictor  # raises, and says why
            raise self.not_ready()
        return self.model

    def load_apart(self) -> None:
        """Load the model on another thread than the main one, and wait for it; see `load`.

        No server loads models on its main thread, and more is allowed there: to set the handler of
        a signal, for one.
        """
        if threading.current_thread() is not threading.main_thread():
            self.load()
            return
        thread = threading.Thread(target=cleaned_up(self.load), name=LOADING_THREAD, daemon=True)
        thread.start()
        thread.join()

    def load(self) -> None:
        """Load the model, once; a second call waits for the first.

        What the model raises is in `failure`; only an interruption from the keyboard comes out.
        """
        with self._lock:
            if self.state is LoadState.NOT_LOADED:
                self.state = LoadState.LOADING
                self._try()

    def _try(self) -> None:
        started = time.perf_counter()
        try:
            self._guard.call(self._load)
        except NotYet as error:
            self._wait(error)
        except BaseException as error:
            # Whatever somebody else's model raises, the other models go on.
            self.load_seconds = time.perf_counter() - started
            self._fail(error)
            if _is_interruption(error):
                raise
        else:
            self.load_seconds = time.perf_counter() - started
            self.failure = self.failure_class = self._waiting = None
            self.state = LoadState.READY
            logger.info("Loaded %s %s (%.2f s)", self.label, self.version, self.load_seconds)
        finally:
            self._ended.set()
            self.instruments.publish()

    @property
    def has_ended(self) -> bool:
        """Whether the loading has ended, well or not."""
        return self.state in (LoadState.READY, LoadState.FAILED, LoadState.UNLOADED)

    @property
    def is_waiting(self) -> bool:
        """Whether another service is what keeps the model from being loaded; it is asked again."""
        return self._waiting is not None

    @property
    def may_load_later(self) -> bool:
        """Whether what keeps it from being loaded is elsewhere, and may pass by itself."""
        is_polled = self.configuration.poll_seconds is not None
        is_missing = self.artefact is None and address_of(self.configuration) is not None
        return self.is_waiting or (is_polled and is_missing)

    @property
    def trouble(self) -> str | None:
        """What keeps the model from being loaded, or its source from telling what it has."""
        address = address_of(self.configuration)
        doubt = self._resources.artefacts.revisions.doubt(address) if address else None
        return self.failure or doubt

    @property
    def is_left_alone(self) -> bool | None:
        """Whether another service, where the model computes, does not answer; None without one."""
        return self._loaded.is_left_alone() if self._loaded is not None else None

    def _wait(self, error: NotYet) -> None:
        """Try again from time to time, until the other service answers."""
        self.failure, self.failure_class = str(error), type(error).__name__
        if self._waiting is not None:
            return
        logger.warning("%s waits for another service, which is asked again: %s", self.label, error)
        self._waiting = RepeatedTries(self._try_again)
        self._waiting.start()

    def _try_again(self) -> bool:
        """Try to load the model; return whether that has ended, well or not."""
        with self._lock:
            if self.is_waiting:
                self._try()
        return self.state is not LoadState.LOADING

    def _fail(self, error: BaseException) -> None:
        self.failure, self.failure_class = _failure(error)
        self.state = LoadState.FAILED
        end = "" if self.configuration.required else "; the service is ready without it"
        told = (self.title, self.load_seconds, self.failure, end)
        # The log of the model's process has that one's traceback.
        traceback = None if isinstance(error, LoadingFailed) else error
        logger.error("Failed to load %s (%.2f s): %s%s", *told, exc_info=traceback)

    def leave(self) -> None:
        """Take the model out of ml_base's ModelManager; its processes end if no worker needs them.

        It predicts no more.
        """
        self._stop_waiting()
        self._leave_model_manager()
        self._leaving.close()

    def enter(self) -> None:
        """Be hosted from now on, where it was loaded before requests could reach it."""
        self.is_hosted = True
        self._enter_model_manager()
        self.instruments.publish()

    def unloaded(self) -> HostedModel:
        """Return what stands for the model as long as it is not to be loaded."""
        made = HostedModel(
            self.configuration, self.profile, self._resources, edition=self.edition, is_hosted=False
        )
        made._description = self._description
        made.shadow = None
        made.state = LoadState.UNLOADED
        made._ended.set()
        return made

    def retire(self) -> Remains:
        """Be hosted no more; requests that have the model already go on, and keep it.

        Returns what to give up once they have ended, which does not keep the model itself.
        """
        self.is_hosted = False
        self.instruments.withdraw()
        self._stop_waiting()
        if self.shadow is not None:
            self.shadow.close(0)  # its thread goes on with the copies that it has
        self._leave_model_manager()
        self._others = ()
        limiters = [self._limiter] if self._limiter is not None else []
        instance = None
        with suppress(TypeError):  # its class allows none
            instance = None if self.model is None else weakref.ref(self.model)
        backend = None if self._backend is None else weakref.ref(self._backend)
        label = f"{self.label} {self.version or ''}".rstrip()
        return Remains(label, backend, instance, limiters, self._leaving.pop_all())

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.end()

    def _enter_model_manager(self) -> None:
        is_own = self._stack is not None and not self._stack.is_given
        # It knows models by the names that they give themselves.
        if is_own and self.model is not None and self.model.qualified_name == self.known_name:
            add_to_model_manager(self.model)

    def _leave_model_manager(self) -> None:
        if self.model is not None:
            leave_model_manager(self.model)

    def load_in_background(self) -> None:
        """Leave the loading to another thread; requests will not wait for its end."""
        self._in_background = True
        self.instruments.publish()

    def forget_unfinished_load(self) -> None:
        """Undo a loading that a fork cut off: the thread that did it is not in this process."""
        self._in_background = False
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._waiting = None
        if self.state is LoadState.LOADING:
            self.state = LoadState.NOT_LOADED
        elif self.state is not LoadState.NOT_LOADED:
            self._ended.set()

    @property
    def is_loading(self) -> bool:
        """Whether the model is being loaded in the background, or will be next."""
        return self._in_background and not self._ended.is_set()

    def reserve_names_of(self, others: Sequence[HostedModel]) -> None:
        """Keep the model from taking a name that one of the others has, once it is known."""
        self._others = others

    def require_description(self) -> None:
        """Load the model, or wait for it a little, if it tells only an instance what it is.

        Raises:
            ModelNotReady: the model is being loaded in the background, and has yet to say it.
        """
        if self.is_described:
            return
        if not self._in_background:
            self.load_apart()
        elif not self._ended.wait(_DESCRIPTION_WAIT_SECONDS):
            raise self.not_ready()

    def not_ready(self) -> ModelNotReady:
        """Return the error that says how far the loading has come."""
        if self.state is LoadState.FAILED:
            message = f"The model {self.title} failed to load; the log of the service says why."
            reason = self.failure or ""
            return ModelNotReady(self.label, message, reason, retry_after_seconds=None)
        if self.state is LoadState.UNLOADED:
            message = f"The model {self.title} is unloaded until somebody has it loaded again."
            return ModelNotReady(self.label, message, retry_after_seconds=None)
        message, reason = f"The model {self.title} is not loaded yet.", self.failure or ""
        return ModelNotReady(self.label, message, reason, retry_after_seconds=RETRY_AFTER_SECONDS)

    def _load(self) -> None:
        artefacts = self._resources.artefacts
        self.artefact = fetched(self.configuration, artefacts)
        address = address_of(self.configuration)
        if address is not None and self.artefact is not None:
            artefacts.revisions.note(address, self.artefact.revision)
            self.edition = edition_of(self.configuration, self.artefact.revision)
        means = LoadingMeans(
            self.configuration,
            self._stack,
            self.profile._replace(description=self._description),
            self.label,
            self.instruments,
            self._note_description,
            self._means,
            Limits(self._resources.maximum_rows, self._resources.maximum_values),
            self._resources.directory,
            self._leaving,
            self.edition,
            lambda: self._remote,
        )
        loaded = load(with_artefact(means, self.artefact))
        checks, publish = loaded.checks, self.instruments.publish
        self.health = ModelHealth(checks, self.label, publish) or None
        self._loaded, self._backend = loaded, loaded.backend
        if self.is_hosted:
            self._enter_model_manager()

    @cached_property
    def _remote(self) -> Remote:
        # Needs urllib3, which not every service has.
        from models_api.hosting.remote_loading import make_remote  # noqa: PLC0415

        protocols = self._resources.remote_protocols
        return make_remote(self.configuration, self.instruments, protocols)

    def _note_description(self, description: ModelDescription) -> None:
        if description.names is not None:
            self._check_names(description.names)
        self._description = description

    def _shadow(self) -> Shadow[HostedModel] | None:
        if not self.configuration.shadow:
            return None
        shadow = Shadow(self, self.configuration.tolerance or ToleranceConfiguration())
        self._leaving.callback(shadow.close)
        return shadow

    def _means(self, names: ModelNames) -> PredictionMeans:
        resources, batching = self._resources, self.configuration.batching
        if self.shadow is not None:
            # It takes no places of others, nobody gives a worker up because it hangs, and what it
            # answers was not answered to anybody.
            alone = WorkerLimiter()
            resources = replace(
                resources, limiter=alone, watchdog=None, listener=PredictionListener
            )
        bounds = Bounds.of(self.configuration)
        self._limiter = resources.limiter.add_model(names.qualified_name, bounds, self.instruments)
        return PredictionMeans(
            self._limiter,
            self.instruments,
            resources.maximum_rows,
            self.maximum_values,
            batching.max_batch_size if batching is not None else None,
            resources.watchdog,
            resources.listener(self.profile.model_class, names),
        )

    def _check_names(self, names: ModelNames) -> None:
        expected, actual = self.known_name, names.qualified_name
        if expected is not None and actual != expected:
            message = f'the model calls itself "{actual}", not "{expected}"'
            hint = f"Write in the file which name it is to have, such as qualified_name: {actual}"
            raise DescriptionError(message, hint)
        self._check_reserved(actual)
        namesakes = [other for other in self._others if other.known_name == actual]
        if any(other.version in (None, names.version) for other in namesakes):
            message = f'another model has the qualified name "{actual}" already'
            hint = "Give one of the two another qualified_name, or each a version of its own."
            raise DescriptionError(message, hint)
        if any(names.version in other.configuration.aliases for other in namesakes):
            message = f'its version "{names.version}" is an alias of another version'
            raise DescriptionError(message, "Rename that alias, or write another version.")

    def _check_reserved(self, name: str | None, key: str = "class_path") -> None:
        if name in self._resources.reserved_names:
            message = f'the qualified name "{name}" is taken: /v2/models/{name} is another route'
            hint = "Give the model another qualified_name, or switch open_inference off."
            raise DescriptionError(message, hint, key=key)


def _failure(error: BaseException) -> tuple[str, str]:
    """Return in one line why a model was not loaded, and the name of the error's class."""
    if isinstance(error, LoadingFailed):
        return error.failure, error.failure_class
    cause = error.__cause__ if isinstance(error, DescriptionFailed) else None
    return explain_loading(error), type(cause or error).__name__


def _is_interruption(error: BaseException) -> bool:
    """Return whether the error came from the keyboard; elsewhere a model has raised it."""
    is_main = threading.current_thread() is threading.main_thread()
    return isinstance(error, KeyboardInterrupt) and is_main

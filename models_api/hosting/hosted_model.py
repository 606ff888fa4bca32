"""One model with its place in this service: what it says about itself, and how far it has come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from ml_base import MLModel
from ml_base.utilities import ModelManager

from models_api.configuration.sections import ExecutionConfiguration, ModelConfiguration
from models_api.exceptions import DescriptionError, DescriptionFailed, ModelNotReady
from models_api.file_locks import HAS_FILE_LOCKS
from models_api.fork import ForkGuard
from models_api.hosting.description import read_names, read_schemas
from models_api.hosting.health import Fault, ModelHealth, has_health_check, health_checks
from models_api.hosting.model_stack import ModelStack
from models_api.logs import SafeLogger
from models_api.prediction.backends.process import ModelProcesses, ProcessPredictor
from models_api.prediction.backends.process_group import ProcessGroup
from models_api.prediction.description import ModelDescription, ModelNames, ModelSchemas
from models_api.prediction.instruments import Instruments
from models_api.prediction.limiter import Bounds, WorkerLimiter
from models_api.prediction.listener import PredictionListener
from models_api.prediction.mistakes import explain_loading
from models_api.prediction.model_calls import PREDICTING_METHODS
from models_api.prediction.predictor import PredictionMeans, Predictor
from models_api.prediction.value_limit import DEFAULT_MAXIMUM_VALUES
from models_api.prediction.watchdog import Watchdog
from models_api.schemas.array_types import why_no_columns
from models_api.threads import cleaned_up

logger = SafeLogger(__name__)

T = TypeVar("T")

RETRY_AFTER_SECONDS = 5
"""How long a client should wait before it asks again for a model that is not ready."""
DEFAULT_MAXIMUM_ROWS = 1000
LOADING_THREAD = "model-loading"
"""Name of the threads that load models."""
_DESCRIPTION_WAIT_SECONDS = 1
"""How long a request waits for a model that tells only an instance what it is."""

# ml_base's ModelManager is not safe under threads.
_model_manager_lock = threading.Lock()


class LoadState(Enum):
    """How far the loading of one model has come."""

    NOT_LOADED = "not loaded"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class ModelState(StrEnum):
    """How a model is to those who ask for it; the best first."""

    READY = "ready"
    UNHEALTHY = "unhealthy"
    LOADING = "loading"
    FAILED = "failed"


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
    reserved_names: frozenset[str] = frozenset()
    """Qualified names that stand for routes of the service."""


class HostedModel:
    """One model with its place in this service. All its methods may be called from any thread."""

    def __init__(
        self,
        configuration: ModelConfiguration,
        stack: ModelStack,
        resources: Resources | None = None,
    ) -> None:
        """Describe the model, without running any `__init__`, as far as its classes tell.

        Raises:
            DescriptionError: a class says something that no model can.
        """
        self.configuration = configuration
        self.refusals = stack.refusals()
        """What the model may answer besides 400, as its classes list it."""
        self._has_health_check = any(has_health_check(layer.cls) for layer in stack.layers)
        self.state = LoadState.NOT_LOADED
        self.load_seconds: float | None = None
        """Seconds that loading took, well or not; None before it ended."""
        self.failure: str | None = None
        """What kept the model from being loaded, in one line; None unless the state is FAILED."""
        self.failure_class: str | None = None
        """Name of the class of that error: all of it that clients are told."""
        self.defect: DescriptionFailed | None = None
        """Why the model will not be loaded, where its classes tell that already."""
        self.model: MLModel | None = None
        """The decorated instance; None unless the state is READY."""
        self.health: ModelHealth | None = None
        """What the model says of its own health; None where it does not, or is not loaded."""
        self.unused_methods: dict[str, str] = {}
        """Which methods that predict are never called, and why; none before the model is loaded."""
        self._processes: ProcessGroup | None = None
        """Where the model computes; None where that is here."""
        self._methods_elsewhere: list[str] = []
        """Which of its methods predict in its processes."""
        self._stack = stack
        self._resources = resources or Resources()
        self._backend: Predictor | ProcessPredictor | None = None
        self._guard = ForkGuard()
        self._lock = threading.RLock()
        self._in_background = False
        self._ended = threading.Event()
        self._others: Sequence[HostedModel] = ()
        self._description = ModelDescription()
        self._check_reserved(configuration.qualified_name, key="qualified_name")
        self._describe()
        self.instruments = self._resources.factory.instruments(self)

    def __repr__(self) -> str:
        return f"<HostedModel {self.label}: {self.state.value}>"

    @property
    def class_name(self) -> str:
        """Name of the model's class, without decorators."""
        return self._stack.model.cls.__name__

    @property
    def label(self) -> str:
        """Qualified name if it is known yet, else the class path: for logs and messages."""
        return self.known_name or self.configuration.class_path

    @property
    def known_name(self) -> str | None:
        """Qualified name as far as it is known without loading the model."""
        names = self._description.names
        return names.qualified_name if names is not None else self.configuration.qualified_name

    @property
    def version(self) -> str | None:
        """The model's own version; None as long as only loading the model would tell."""
        names = self._description.names
        return names.version if names is not None else None

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
    def backend(self) -> Predictor | ProcessPredictor:
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
    def used_methods(self) -> list[str]:
        """Which of the model's methods predict; none as long as it is not loaded."""
        if self.model is None:
            return self._methods_elsewhere
        classes = (type(self.model), self._stack.model.cls)
        defined = [n for n in PREDICTING_METHODS if any(hasattr(cls, n) for cls in classes)]
        return [name for name in defined if name not in self.unused_methods]

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
            if self.state is not LoadState.NOT_LOADED:
                return
            self.state = LoadState.LOADING
            started = time.perf_counter()
            try:
                self._guard.call(self._load)
            except BaseException as error:
                # Whatever somebody else's model raises, the other models go on.
                self.load_seconds = time.perf_counter() - started
                self._fail(error)
                if _is_interruption(error):
                    raise
            else:
                self.load_seconds = time.perf_counter() - started
                self.state = LoadState.READY
                logger.info("Loaded %s %s (%.2f s)", self.label, self.version, self.load_seconds)
            finally:
                self._ended.set()
                self.instruments.publish()

    def _fail(self, error: BaseException) -> None:
        cause = error.__cause__ if isinstance(error, DescriptionFailed) else None
        self.failure, self.failure_class = explain_loading(error), type(cause or error).__name__
        self.state = LoadState.FAILED
        end = "" if self.configuration.required else "; the service is ready without it"
        told = (self.label, self.load_seconds, self.failure, end)
        logger.error("Failed to load %s (%.2f s): %s%s", *told, exc_info=error)

    def leave_processes(self) -> None:
        """Use the processes of the model no more; they end if no other worker does."""
        if self._processes is not None:
            self._processes.leave()

    def leave_model_manager(self) -> None:
        """Take the model out of ml_base's ModelManager, if it is in there."""
        if self.model is None:
            return
        with _model_manager_lock:
            manager, name = ModelManager(), self.model.qualified_name
            if manager.get_model(name) is self.model:
                manager.remove_model(name)

    def load_in_background(self) -> None:
        """Leave the loading to another thread; requests will not wait for its end."""
        self._in_background = True
        self.instruments.publish()

    def forget_unfinished_load(self) -> None:
        """Undo a loading that a fork cut off: the thread that did it is not in this process."""
        self._in_background = False
        self._lock = threading.RLock()
        self._ended = threading.Event()
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
            message = f"The model {self.label} failed to load; the log of the service says why."
            reason = self.failure or ""
            return ModelNotReady(self.label, message, reason, retry_after_seconds=None)
        message = f"The model {self.label} is not loaded yet."
        return ModelNotReady(self.label, message, retry_after_seconds=RETRY_AFTER_SECONDS)

    def _load(self) -> None:
        execution = self.configuration.execution
        if execution.kind == "process":
            self._load_in_processes(execution)
        else:
            self._load_here()

    def _load_in_processes(self, execution: ExecutionConfiguration) -> None:
        """Have the processes of the model load it, which other workers may have done.

        Raises:
            DescriptionError: the system has no such processes, or the classes do not tell what the
                model is.
            LoadingFailed: it could not be loaded there.
        """
        if not HAS_FILE_LOCKS:
            message = "this system does not have what processes of models need"
            hint = "Remove execution, or serve the model on Linux."
            raise DescriptionError(message, hint, key="execution")
        names, schemas = self._description
        if names is None or schemas is None:
            message = "the model's classes do not tell its names and schemas"
            hint = (
                "Make them attributes of the class, so that this process need not load the model."
            )
            raise DescriptionError(message, hint)
        directory = self._resources.directory
        group = ProcessGroup(self.configuration, execution, directory, self.label)
        self._processes, processes = group, ModelProcesses(group, self.label)
        told = processes.wait_until_loaded()
        failures = [each["failure"] for each in told if each["failure"]]
        if failures:
            group.leave()
            raise LoadingFailed(failures[0])
        self.unused_methods, self._methods_elsewhere = told[0]["unused"], told[0]["used"]
        means = self._means(names)
        checks = [partial(_fault_of_process, processes)] if self._has_health_check else []
        self.health = ModelHealth(checks, self.label, self.instruments.publish) or None
        self._backend = ProcessPredictor(
            processes,
            names.qualified_name,
            schemas,
            means,
            retry=execution.retry,
        )

    def _load_here(self) -> None:
        model = self._stack.build(self.instruments)
        names, schemas = self._checked_names(model), read_schemas(model)
        self._description = ModelDescription(names, schemas)
        if not self._stack.is_given:
            _add_to_model_manager(model)
        checks = health_checks(model)
        self.health = ModelHealth(checks, self.label, self.instruments.publish) or None
        self._backend = Predictor(model, schemas, names.qualified_name, self._means(names))
        self._note_unused_methods(schemas)
        self.model = model

    def _note_unused_methods(self, schemas: ModelSchemas) -> None:
        unused = self._stack.hidden_methods()
        if self._stack.predicts_columns and (reason := why_no_columns(*schemas)):
            unused.setdefault("predict_columns", reason)
        if self.configuration.batching is not None:
            # For rows of several requests, beneath the decorators.
            unused.pop("predict_batch", None)
        self.unused_methods = unused
        for method, why in unused.items():
            message = "%s of %s is not used: %s. Rows that come together do without it."
            logger.warning(message, method, self.label, why)

    def _means(self, names: ModelNames) -> PredictionMeans:
        resources, batching = self._resources, self.configuration.batching
        bounds = Bounds.of(self.configuration)
        return PredictionMeans(
            resources.limiter.add_model(names.qualified_name, bounds, self.instruments),
            self.instruments,
            resources.maximum_rows,
            self.configuration.max_values or resources.maximum_values,
            batching.max_batch_size if batching is not None else None,
            resources.watchdog,
            resources.listener(self._stack.model.cls, names),
        )

    def _describe(self) -> None:
        """Read names and schemas without running any `__init__`, as far as the classes tell them.

        Raises:
            DescriptionError: the class says something that no model can.
        """
        model = self._told("anything", self._stack.build_uninitialised)
        if model is not None:
            names = self._told("its names", partial(self._checked_names, model))
            schemas = self._told("its schemas", partial(read_schemas, model))
            self._description = ModelDescription(names, schemas)

    def _told(self, what: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except (DescriptionError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 (`__new__` or a property can raise anything)
            logger.debug("%s tells %s only once it is loaded: %r", self.label, what, error)
            if isinstance(error, DescriptionFailed) and error.is_certain:
                self.defect = self.defect or error
            return None

    def _checked_names(self, model: MLModel) -> ModelNames:
        names = self._stack.renamed(read_names(model))
        expected, actual = self.known_name, names.qualified_name
        if expected is not None and actual != expected:
            message = f'the model calls itself "{actual}", not "{expected}"'
            hint = f"Write qualified_name: {actual}, or leave the key out."
            raise DescriptionError(message, hint, key="qualified_name")
        self._check_reserved(actual)
        if actual in [other.known_name for other in self._others]:
            message = f'another model has the qualified name "{actual}" already'
            raise DescriptionError(message, "Give one of the two another qualified_name.")
        return names

    def _check_reserved(self, name: str | None, key: str = "class_path") -> None:
        if name in self._resources.reserved_names:
            message = f'the qualified name "{name}" is taken: /v2/models/{name} is another route'
            hint = "Give the model another qualified_name, or switch open_inference off."
            raise DescriptionError(message, hint, key=key)


class LoadingFailed(Exception):
    """The model could not be loaded in its process, whose log says more."""


def _fault_of_process(processes: ModelProcesses) -> Fault | None:
    reason = processes.fault()
    return None if reason is None else Fault(reason)


def _is_interruption(error: BaseException) -> bool:
    """Return whether the error came from the keyboard; elsewhere a model has raised it."""
    is_main = threading.current_thread() is threading.main_thread()
    return isinstance(error, KeyboardInterrupt) and is_main


def _add_to_model_manager(model: MLModel) -> None:
    with _model_manager_lock:
        try:
            ModelManager().add_model(model)
        except ValueError as error:
            logger.warning(
                "%s is not added to ml_base's ModelManager: %s", model.qualified_name, error
            )

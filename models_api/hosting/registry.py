"""The hosted models of this process: what they are, whether they are loaded, and the loading."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Protocol

from ml_base import MLModel
from ml_base.utilities import ModelManager
from pydantic import BaseModel

from models_api.api.bodies import ModelDetails
from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import (
    ConfigurationError,
    DescriptionError,
    ModelNotFound,
    ModelNotReady,
)
from models_api.hosting.loading import ModelStack, one_line, read_names, read_schemas
from models_api.prediction.admission import Admission
from models_api.prediction.batcher import BatchObserver, group_commit
from models_api.prediction.stages import Stages
from models_api.prediction.turns import Turns

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
"""How long a client should wait before it asks again for a model that is not ready."""
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


class ModelObserver(BatchObserver, Protocol):
    """Hears of what a hosted model does, from any thread."""

    def publish(self) -> None:
        """Hear that the model is, or is not, loaded."""

    def measured(self, predict: Callable[..., Any]) -> Callable[..., Any]:
        """Return what predicts in the same way, and hear of each prediction."""


class HostedModel:
    """One model with its place in this service. All its methods may be called from any thread."""

    def __init__(self, configuration: ModelConfiguration, stack: ModelStack) -> None:
        self.configuration = configuration
        self.state = LoadState.NOT_LOADED
        self.load_seconds: float | None = None
        """Seconds that loading took, well or not; None before it ended."""
        self.failure: str | None = None
        """What kept the model from being loaded, in one line; None unless the state is FAILED."""
        self.model: MLModel | None = None
        """The decorated instance; None unless the state is READY."""
        self.observer: ModelObserver | None = None
        self.stages = Stages()
        self._stack = stack
        self._lock = threading.RLock()
        self._in_background = False
        self._ended = threading.Event()
        self._neighbours: tuple[HostedModel, ...] = ()
        self._names: dict[str, str] | None = None
        self._schemas: tuple[type[BaseModel], type[BaseModel]] | None = None
        self._describe()

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
        if self._names is not None:
            return self._names["qualified_name"]
        return self.configuration.qualified_name

    @property
    def version(self) -> str | None:
        """The model's own version; None as long as only loading the model would tell."""
        return self._names["version"] if self._names is not None else None

    @property
    def is_described(self) -> bool:
        """Whether names and schemas are known without loading the model."""
        return self._names is not None and self._schemas is not None

    @property
    def qualified_name(self) -> str:
        """The model's id in URLs; loads the model if nothing else tells it, as `details` does."""
        return self.known_name or self.details.qualified_name

    @property
    def details(self) -> ModelDetails:
        """What the model says about itself; loads it if that is the only way to know.

        A model that failed to load before it could say anything goes by the name of its class.

        Raises:
            ModelNotReady: the model is being loaded in the background, and has yet to say it.
        """
        if self._names is None:
            self.require_description()
        if self._names is None:
            name = self.known_name or self.class_name
            return ModelDetails(
                display_name=self.class_name, qualified_name=name, description="", version=""
            )
        return ModelDetails(**self._names)

    @property
    def schemas(self) -> tuple[type[BaseModel], type[BaseModel]]:
        """Input and output schema; loads the model if that is the only way to know them.

        Raises:
            ModelNotReady: the model had to be loaded, and that failed or has not ended.
        """
        if self._schemas is None:
            self.require_description()
        if self._schemas is None:
            raise self.not_ready()
        return self._schemas

    def ready_model(self) -> MLModel:
        """The decorated instance.

        Raises:
            ModelNotReady: it is not loaded, or failed to load.
        """
        if self.model is None:
            raise self.not_ready()
        return self.model

    def load(self) -> None:
        """Load the model, once; a second call waits for the first. Never raises: see `state`."""
        with self._lock:
            if self.state is not LoadState.NOT_LOADED:
                return
            self.state = LoadState.LOADING
            started = time.perf_counter()
            try:
                model = self._stack.build()
                self._names, self._schemas = self._checked_names(model), read_schemas(model)
            except BaseException as error:
                # Whatever somebody else's model raises, the other models go on.
                self.load_seconds = time.perf_counter() - started
                self.failure = one_line(error)
                self.state = LoadState.FAILED
                logger.exception("Failed to load %s (%.2f s)", self.label, self.load_seconds)
                if isinstance(error, KeyboardInterrupt):
                    raise
            else:
                self.load_seconds = time.perf_counter() - started
                _add_to_model_manager(model)
                self._observe_batches(model)
                self.model = model
                self.state = LoadState.READY
                version = self._names["version"]
                logger.info("Loaded %s %s (%.2f s)", self.label, version, self.load_seconds)
            finally:
                self._ended.set()
                if self.observer is not None:
                    self.observer.publish()

    def load_in_background(self) -> None:
        """Leave the loading to another thread; requests will not wait for its end."""
        self._in_background = True
        if self.observer is not None:
            self.observer.publish()

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
    def is_awaited(self) -> bool:
        """Whether the model is being loaded in the background, or will be next."""
        return self._in_background and not self._ended.is_set()

    def set_neighbours(self, neighbours: Iterable[HostedModel]) -> None:
        """Say which other models there are; none of their names may this one take."""
        self._neighbours = tuple(neighbours)

    def require_description(self) -> None:
        """Load the model, or wait for it a little, if it tells only an instance what it is.

        Raises:
            ModelNotReady: the model is being loaded in the background, and has yet to say it.
        """
        if self.is_described:
            return
        if not self._in_background:
            self.load()
        elif not self._ended.wait(_DESCRIPTION_WAIT_SECONDS):
            raise self.not_ready()

    def _describe(self) -> None:
        """Read names and schemas without running any `__init__`, as far as the classes tell them.

        Raises:
            DescriptionError: the class says something that no model can.
        """
        try:
            model = self._stack.build_uninitialised()
        except Exception as error:  # noqa: BLE001 (a `__new__` of their own can raise anything)
            logger.debug("%s tells nothing before it is loaded: %r", self.label, error)
            return
        try:
            self._names = self._checked_names(model)
        except DescriptionError:
            raise
        except Exception as error:  # noqa: BLE001 (a property can raise anything)
            logger.debug("%s tells its names only once it is loaded: %r", self.label, error)
        try:
            self._schemas = read_schemas(model)
        except DescriptionError:
            raise
        except Exception as error:  # noqa: BLE001
            logger.debug("%s tells its schemas only once it is loaded: %r", self.label, error)

    def _observe_batches(self, model: MLModel) -> None:
        batches = group_commit(model)
        if batches is not None:
            batches.observer = self.observer

    def _checked_names(self, model: MLModel) -> dict[str, str]:
        names = read_names(model)
        expected, actual = self.known_name, names["qualified_name"]
        if expected is not None and actual != expected:
            message = f'the model calls itself "{actual}", not "{expected}"'
            hint = f"Write qualified_name: {actual}, or leave the key out."
            raise DescriptionError(message, hint, key="qualified_name")
        if actual in [neighbour.known_name for neighbour in self._neighbours]:
            message = f'another model has the qualified name "{actual}" already'
            raise DescriptionError(message, "Give one of the two another qualified_name.")
        return names

    def not_ready(self) -> ModelNotReady:
        """Make the error that says how far the loading has come."""
        if self.state is LoadState.FAILED:
            message = f"The model {self.label} failed to load; the log of the service says why."
        else:
            message = f"The model {self.label} is not loaded yet."
        return ModelNotReady(self.label, message, retry_after_seconds=RETRY_AFTER_SECONDS)


class ModelRegistry:
    """The hosted models, in the order of the configuration, and their loading."""

    def __init__(self, models: list[HostedModel]) -> None:
        self._models = models
        for model in models:
            model.set_neighbours(other for other in models if other is not model)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._follows_forks = False
        self.admission = Admission()
        """The predictions of all models that this process has in hand."""
        self.turns = Turns()
        """When each of them may begin to compute."""
        self.after_loading: Callable[[], None] = _do_nothing
        """Called on whichever thread has loaded all models, well or not."""

    def __iter__(self) -> Iterator[HostedModel]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def __contains__(self, qualified_name: str) -> bool:
        return self._find(qualified_name) is not None

    def __getitem__(self, qualified_name: str) -> HostedModel:
        """Look a model up by its qualified name.

        Raises:
            ModelNotFound: there is none of that name.
            ModelNotReady: there is none yet, but some model has yet to say its name.
        """
        model = self._find(qualified_name)
        if model is None:
            raise ModelNotFound(qualified_name, f'There is no model "{qualified_name}".')
        return model

    def _find(self, qualified_name: str) -> HostedModel | None:
        for model in self._models:
            if model.known_name == qualified_name:
                return model
        for model in self._models:
            if model.known_name is None:
                if model.is_awaited:
                    raise model.not_ready()
                if model.qualified_name == qualified_name:
                    return model
        return None

    def __repr__(self) -> str:
        return f"<ModelRegistry {self._models!r}>"

    @property
    def has_started(self) -> bool:
        """Whether the loading of every model has ended, well or not."""
        return all(model.state in (LoadState.READY, LoadState.FAILED) for model in self._models)

    @property
    def is_ready(self) -> bool:
        """Whether every model is loaded, and no prediction hangs."""
        is_loaded = all(model.state is LoadState.READY for model in self._models)
        return is_loaded and not self.admission.is_hung

    @property
    def has_failed(self) -> bool:
        """Whether a model failed to load."""
        return any(model.state is LoadState.FAILED for model in self._models)

    @property
    def is_healthy(self) -> bool:
        """Whether no model failed to load, and no prediction hangs."""
        return not (self.has_failed or self.admission.is_hung)

    def details(self) -> list[ModelDetails]:
        """What the models say about themselves.

        Raises:
            ModelNotReady: a model is being loaded in the background, and has yet to say it.
        """
        return [model.details for model in self._models]

    def require_descriptions(self) -> None:
        """Make sure that every model has said what it is, or will never do so.

        Raises:
            ModelNotReady: a model is being loaded in the background, and has yet to say it.
        """
        for model in self._models:
            model.require_description()

    def endpoints(self) -> list[HostedModel]:
        """The models that take predictions, as far as their names are known.

        A model that tells its name only once it is loaded gets loaded, unless that happens in the
        background.
        """
        with_endpoint = [model for model in self._models if model.configuration.create_endpoint]
        for model in with_endpoint:
            if model.known_name is None and self._thread is None:
                model.load()
        return [model for model in with_endpoint if model.known_name is not None]

    def load(self) -> None:
        """Load every model: first those without a name before, then those without schemas."""
        for model in sorted(self._models, key=_knowledge):
            model.load()
        self.after_loading()

    def start_loading(self) -> None:
        """Begin to load every model in a thread, unless that was done before; returns at once.

        A process whose main thread forks meanwhile waits for the loading to end, because the thread
        would be missing in the child. So a server that loads the application before it forks its
        workers (gunicorn's `preload_app`) shares the loaded models among them.
        """
        with self._lock:
            if self._thread is not None:
                return
            for model in self._models:
                model.load_in_background()
            self._thread = threading.Thread(target=self.load, name="model-loading", daemon=True)
            if not self._follows_forks and hasattr(os, "register_at_fork"):
                os.register_at_fork(
                    before=self._finish_before_fork, after_in_child=self._forget_unfinished_load
                )
                self._follows_forks = True
            self._thread.start()

    def _finish_before_fork(self) -> None:
        # Servers fork on their main thread. A model that forks while it loads, on whatever thread,
        # must not wait for itself.
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and self._thread is not None and self._thread.is_alive():
            with _exit_on_signals():
                self._thread.join()

    def _forget_unfinished_load(self) -> None:
        # The next request starts it again.
        if not self.has_started:
            self._lock = threading.Lock()
            self._thread = None
            for model in self._models:
                model.forget_unfinished_load()


def _do_nothing() -> None:
    pass


def _knowledge(model: HostedModel) -> tuple[bool, bool]:
    return model.known_name is not None, model.is_described


class UnusableRegistry(ModelRegistry):
    """Stands for the models of a configuration with problems; the status endpoints need one."""

    def __init__(self, error: ConfigurationError) -> None:
        super().__init__([])
        self._error = error
        self._has_logged = False

    @property
    def has_started(self) -> bool:
        """Nothing was loaded."""
        return False

    @property
    def is_ready(self) -> bool:
        """Nothing was loaded."""
        return False

    @property
    def has_failed(self) -> bool:
        """The configuration did."""
        return True

    def details(self) -> list[ModelDetails]:
        """Raise ModelNotReady: nobody knows the models."""
        raise self._not_ready("")

    def require_descriptions(self) -> None:
        """Raise ModelNotReady: nobody knows the models."""
        raise self._not_ready("")

    def endpoints(self) -> list[HostedModel]:
        """No model takes predictions."""
        return []

    def start_loading(self) -> None:
        """Log, once, what keeps the models from being loaded."""
        with self._lock:
            if not self._has_logged:
                logger.error("No model is served. %s", self._error)
            self._has_logged = True

    def _find(self, qualified_name: str) -> HostedModel | None:
        raise self._not_ready(qualified_name)

    def _not_ready(self, qualified_name: str) -> ModelNotReady:
        message = "The configuration of the models has problems; the log of the service lists them."
        return ModelNotReady(qualified_name, message, retry_after_seconds=RETRY_AFTER_SECONDS)


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """End the process at once on a signal to stop, which a server would only note for later."""

    def stop(number: int, _frame: object) -> None:
        logger.warning("Stopped by %s before all models were loaded", signal.Signals(number).name)
        os._exit(128 + number)

    numbers = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
    handlers = {number: signal.getsignal(number) for number in numbers}
    replaced = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in replaced:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)


def _add_to_model_manager(model: MLModel) -> None:
    with _model_manager_lock:
        try:
            ModelManager().add_model(model)
        except ValueError as error:
            logger.warning(
                "%s is not added to ml_base's ModelManager: %s", model.qualified_name, error
            )

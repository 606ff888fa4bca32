"""The hosted models of this process: what they are, whether they are loaded, and the loading."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from enum import Enum

from ml_base import MLModel
from ml_base.utilities import ModelManager
from pydantic import BaseModel

from models_api.configuration import ModelConfiguration
from models_api.exceptions import DescriptionError, ModelNotFound, ModelNotReady
from models_api.loading import ModelStack, read_names, read_schemas
from models_api.schemas import ModelDetails

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
"""How long a client should wait before it asks again for a model that is not ready."""

# ml_base's ModelManager is not safe under threads.
_model_manager_lock = threading.Lock()


class LoadState(Enum):
    """How far the loading of one model has come."""

    NOT_LOADED = "not loaded"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class HostedModel:
    """One model with its place in this service. All its methods may be called from any thread."""

    def __init__(self, configuration: ModelConfiguration, stack: ModelStack) -> None:
        self.configuration = configuration
        self.state = LoadState.NOT_LOADED
        self.load_seconds: float | None = None
        """Seconds that loading took, well or not; None before it ended."""
        self.model: MLModel | None = None
        """The decorated instance; None unless the state is READY."""
        self._stack = stack
        self._lock = threading.RLock()
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
    def is_described(self) -> bool:
        """Whether names and schemas are known without loading the model."""
        return self._names is not None and self._schemas is not None

    @property
    def qualified_name(self) -> str:
        """The model's id in URLs; loads the model if nothing else tells it."""
        return self.known_name or self.details.qualified_name

    @property
    def details(self) -> ModelDetails:
        """What the model says about itself; loads it if that is the only way to know.

        A model that failed to load before it could say anything goes by the name of its class.
        """
        if self._names is None:
            self.load()
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
            ModelNotReady: the model had to be loaded, and that failed.
        """
        if self._schemas is None:
            self.load()
        if self._schemas is None:
            raise self._not_ready()
        return self._schemas

    def ready_model(self) -> MLModel:
        """The decorated instance.

        Raises:
            ModelNotReady: it is not loaded, or failed to load.
        """
        if self.model is None:
            raise self._not_ready()
        return self.model

    def load(self) -> None:
        """Load the model, once; a second call waits for the first. Never raises: see `state`."""
        with self._lock:
            if self.state is not LoadState.NOT_LOADED:
                return
            self.state = LoadState.LOADING
            _this_thread.loads += 1
            started = time.perf_counter()
            try:
                model = self._stack.build()
                self._names, self._schemas = self._checked_names(model), read_schemas(model)
            except (Exception, SystemExit):
                # Whatever somebody else's model raises, the other models go on.
                self.load_seconds = time.perf_counter() - started
                self.state = LoadState.FAILED
                logger.exception("Failed to load %s (%.2f s)", self.label, self.load_seconds)
            else:
                self.load_seconds = time.perf_counter() - started
                self.model = model
                self.state = LoadState.READY
                _add_to_model_manager(model)
                version = self._names["version"]
                logger.info("Loaded %s %s (%.2f s)", self.label, version, self.load_seconds)
            finally:
                _this_thread.loads -= 1

    def _describe(self) -> None:
        """Read names and schemas without running any `__init__`, as far as the classes tell them.

        Raises:
            DescriptionError: the class says something that no model can.
        """
        model = self._stack.build_uninitialised()
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

    def _checked_names(self, model: MLModel) -> dict[str, str]:
        names = read_names(model)
        expected, actual = self.known_name, names["qualified_name"]
        if expected is not None and actual != expected:
            message = f'the model calls itself "{actual}", not "{expected}"'
            raise DescriptionError(
                message, f"Write qualified_name: {actual}, or leave the key out."
            )
        return names

    def _not_ready(self) -> ModelNotReady:
        if self.state is LoadState.FAILED:
            message = f"The model {self.label} failed to load; the log of the service says why."
        else:
            message = f"The model {self.label} is not loaded yet."
        return ModelNotReady(self.label, message, retry_after_seconds=RETRY_AFTER_SECONDS)


class ModelRegistry:
    """The hosted models, in the order of the configuration, and their loading."""

    def __init__(self, models: list[HostedModel]) -> None:
        self._models = models
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[HostedModel]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def __contains__(self, qualified_name: str) -> bool:
        return any(model.qualified_name == qualified_name for model in self._models)

    def __getitem__(self, qualified_name: str) -> HostedModel:
        """Look a model up by its qualified name.

        Raises:
            ModelNotFound: there is none of that name.
        """
        for model in self._models:
            if model.qualified_name == qualified_name:
                return model
        raise ModelNotFound(qualified_name, f'There is no model "{qualified_name}".')

    def __repr__(self) -> str:
        return f"<ModelRegistry {self._models!r}>"

    @property
    def has_started(self) -> bool:
        """Whether the loading of every model has ended, well or not."""
        return all(model.state in (LoadState.READY, LoadState.FAILED) for model in self._models)

    @property
    def is_ready(self) -> bool:
        """Whether every model is loaded."""
        return all(model.state is LoadState.READY for model in self._models)

    @property
    def has_failed(self) -> bool:
        """Whether a model failed to load."""
        return any(model.state is LoadState.FAILED for model in self._models)

    def load(self) -> None:
        """Load every model, those first that cannot be described before."""
        for model in sorted(self._models, key=lambda model: model.is_described):
            model.load()

    def start_loading(self) -> None:
        """Begin to load every model in a thread, unless that was done before; returns at once.

        A process that forks meanwhile waits for the loading to end, because the thread would be
        missing in the child. So a server that loads the application before it forks its workers
        (gunicorn's `preload_app`) shares the loaded models among them.
        """
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self.load, name="model-loading", daemon=True)
            os.register_at_fork(before=self._finish_before_fork)
            self._thread.start()

    def _finish_before_fork(self) -> None:
        # A model that forks while it loads must not wait for itself.
        if self._thread is not None and not _this_thread.loads:
            self._thread.join()


class _ThisThread(threading.local):
    loads = 0
    """Models that the current thread is loading."""


_this_thread = _ThisThread()


def _add_to_model_manager(model: MLModel) -> None:
    with _model_manager_lock:
        try:
            ModelManager().add_model(model)
        except ValueError as error:
            logger.warning(
                "%s is not added to ml_base's ModelManager: %s", model.qualified_name, error
            )

"""How a model is loaded where it is to compute, by the kind of its execution."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from ml_base import MLModel
from ml_base.utilities import ModelManager

from models_api.exceptions import DescriptionError
from models_api.file_locks import HAS_FILE_LOCKS
from models_api.hosting.description import read_names, read_schemas
from models_api.hosting.health import Fault, health_checks
from models_api.hosting.loading import Loaded, LoadingMeans
from models_api.hosting.model_stack import ModelStack
from models_api.logs import SafeLogger
from models_api.prediction.backends.process import ModelProcesses, ProcessPredictor
from models_api.prediction.backends.process_group import ProcessGroup
from models_api.prediction.description import (
    ModelDescription,
    ModelNames,
    ModelSchemas,
    description_from,
)
from models_api.prediction.model_calls import PREDICTING_METHODS
from models_api.prediction.predictor import Predictor
from models_api.schemas.array_types import why_no_columns

logger = SafeLogger(__name__)

# ml_base's ModelManager is not safe under threads.
_model_manager_lock = threading.Lock()


class LoadingFailed(Exception):
    """The model could not be loaded in its process, whose log says more."""

    def __init__(self, failure: str, failure_class: str) -> None:
        self.failure = failure
        self.failure_class = failure_class
        """Name of the class of the error there."""
        super().__init__(failure)


def load(means: LoadingMeans) -> Loaded:
    """Load a model as its configuration says.

    Raises:
        BaseException: whatever the model raises, among others.
    """
    return _LOADERS[means.configuration.execution.kind](means)


def _load_here(means: LoadingMeans) -> Loaded:
    """Load a model for the threads of this process."""
    stack = means.stack
    assert stack is not None  # noqa: S101 (for the type checker)
    model = stack.build(means.instruments)
    names, schemas = stack.renamed(read_names(model)), read_schemas(model)
    means.describe(ModelDescription(names, schemas))
    backend = Predictor(model, schemas, names.qualified_name, means.prediction_means(names))
    unused = _unused_methods(means, stack, schemas)
    classes = (type(model), stack.model.cls)
    defined = [name for name in PREDICTING_METHODS if any(hasattr(cls, name) for cls in classes)]
    used = [name for name in defined if name not in unused]
    return Loaded(backend, health_checks(model), used, unused, model)


def _unused_methods(
    means: LoadingMeans, stack: ModelStack, schemas: ModelSchemas
) -> dict[str, str]:
    unused = stack.hidden_methods()
    if stack.predicts_columns and (reason := why_no_columns(*schemas)):
        unused.setdefault("predict_columns", reason)
    if means.configuration.batching is not None:
        # For rows of several requests, beneath the decorators.
        unused.pop("predict_batch", None)
    for method, why in unused.items():
        message = "%s of %s is not used: %s. Rows that come together do without it."
        logger.warning(message, method, means.label, why)
    return unused


def _load_in_processes(means: LoadingMeans) -> Loaded:
    """Have the processes of a model load it, which other workers may have done.

    Raises:
        DescriptionError: the system has no such processes, or the model cannot be hosted as what
            it says that it is.
        LoadingFailed: it could not be loaded there.
    """
    if not HAS_FILE_LOCKS:
        message = "this system does not have what processes of models need"
        hint = "Remove execution, or serve the model on Linux."
        raise DescriptionError(message, hint, key="execution")
    execution = means.configuration.execution
    group = ProcessGroup(
        means.configuration, means.directory, means.label, means.limits, means.edition
    )
    means.leaving.callback(group.leave)
    processes = ModelProcesses(group, means.label)
    told = processes.wait_until_loaded(describes=not means.profile.description.is_complete)
    failures = [(each["failure"], each["failure_class"]) for each in told if each["failure"]]
    if failures:
        group.leave()
        raise LoadingFailed(*failures[0])
    names, schemas = _described(means, told[0])
    prediction_means, name = means.prediction_means(names), names.qualified_name
    backend = ProcessPredictor(processes, name, schemas, prediction_means, retry=execution.retry)
    checks = [partial(_fault_of_process, processes)]
    return Loaded(backend, checks, told[0]["used"], told[0]["unused"])


def _described(means: LoadingMeans, told: Mapping[str, Any]) -> tuple[ModelNames, ModelSchemas]:
    """Return what the classes of a model tell of it, or else what it says once it is loaded."""
    names, schemas = means.profile.description
    if names is None or schemas is None:
        given = description_from(told["description"])
        names, schemas = names or given.names, schemas or given.schemas
        assert names is not None and schemas is not None  # noqa: S101, PT018 (it is loaded)
        means.describe(ModelDescription(names, schemas))
    return names, schemas


def _load_remotely(means: LoadingMeans) -> Loaded:
    """Learn from another service what the model is.

    Raises:
        NotYet: it does not answer.
    """
    # Needs urllib3, which not every service has.
    from models_api.hosting.remote_loading import load_remotely  # noqa: PLC0415

    return load_remotely(means)


def _fault_of_process(processes: ModelProcesses) -> Fault | None:
    reason = processes.fault()
    return None if reason is None else Fault(reason)


def add_to_model_manager(model: MLModel) -> None:
    """Have ml_base's ModelManager know an instance by its qualified name."""
    with _model_manager_lock:
        try:
            ModelManager().add_model(model)
        except ValueError as error:
            name = model.qualified_name
            first = ModelManager().get_model(name)
            if first is not None and first.version != model.version:
                told = "%s %s is not added to ml_base's ModelManager, which has version %s of it"
                logger.info(told, name, model.version, first.version)
            else:
                logger.warning("%s is not added to ml_base's ModelManager: %s", name, error)


def leave_model_manager(model: MLModel) -> None:
    """Take an instance out of ml_base's ModelManager, if that is the one which it knows."""
    manager, name = ModelManager(), model.qualified_name
    # It raises where it knows no model of that name.
    with _model_manager_lock, suppress(ValueError):
        if manager.get_model(name) is model:
            manager.remove_model(name)


_LOADERS: Mapping[str, Callable[[LoadingMeans], Loaded]] = {
    "thread": _load_here,
    "process": _load_in_processes,
    "remote": _load_remotely,
}

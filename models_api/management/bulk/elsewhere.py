"""Models of this project that compute in another service, or in a Python of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from models_api.apps import current_service
from models_api.configuration.sections import ConcurrencyConfiguration, ModelConfiguration
from models_api.hosting.hosted_model import HostedModel, LoadState, Resources
from models_api.hosting.remote_model import remote_stack
from models_api.management.bulk.options import STANDARD, Options
from models_api.management.bulk.target import (
    ANY_NUMBER,
    ONE_BY_ONE,
    ROWS_OF_A_REQUEST,
    TOGETHER,
    Target,
    unloadable,
    useful_processes,
)
from models_api.observability.server_directory import ServerDirectory
from models_api.prediction.backends.process import LINES_PER_PROCESS
from models_api.schemas.json_schema import json_schema
from models_api.scoring.elsewhere import OF_PROCESSES, OF_SERVICE, BackendPredictor
from models_api.scoring.model_name import ModelName

_MOST_PROCESSES = 64
"""As in the configuration."""


def computes_elsewhere(model: HostedModel) -> bool:
    """Whether none of this job's processes can load a model."""
    execution = model.configuration.execution
    return execution.kind == "remote" or execution.python is not None


def target_elsewhere(
    options: Options, hosted: HostedModel, identity: Mapping[str, object], files: ExitStack
) -> Target:
    """Return what predicts with such a model, which `files` gives up.

    Raises:
        JobRefused: it cannot be loaded.
    """
    is_remote = hosted.configuration.execution.kind == "remote"
    processes = min(useful_processes(options), _MOST_PROCESSES)
    calls = options.concurrency if is_remote else LINES_PER_PROCESS * processes
    own = _as_asked_here(hosted, processes, calls, files)
    with _printing_apart(options):
        own.load_apart()
    if own.state is not LoadState.READY:
        raise unloadable(own)
    predictor = BackendPredictor(
        own.backend,
        ModelName(own.qualified_name, own.version),
        temper=OF_SERVICE if is_remote else OF_PROCESSES,
        patience=options.give_up_after,
        end=own.leave,
    )
    return Target(
        own.version,
        json_schema(own.schemas.input, "validation"),
        json_schema(own.schemas.output, "serialization"),
        _batch_size(own),
        identity,
        predictor,
        calls,
    )


def _batch_size(model: HostedModel) -> int:
    if model.configuration.is_remote:
        return ROWS_OF_A_REQUEST
    if {"predict_batch", "predict_columns"}.isdisjoint(model.used_methods):
        return ONE_BY_ONE
    return TOGETHER


def _as_asked_here(
    hosted: HostedModel, processes: int, calls: int, files: ExitStack
) -> HostedModel:
    """Return the model as it predicts for nobody else, where it computes, without limits."""
    own = _alone(hosted.configuration, processes, calls)
    directory = ServerDirectory()
    files.callback(directory.leave)
    shared = current_service().resources
    resources = Resources(
        maximum_rows=ANY_NUMBER,
        maximum_values=None,
        directory=directory.join,
        remote_protocols=shared.remote_protocols,
        artefacts=shared.artefacts,
    )
    source = remote_stack(own) if own.is_remote else hosted.profile
    model = HostedModel(own, source, resources, edition=hosted.edition)
    files.callback(model.leave)
    return model


def _alone(given: ModelConfiguration, processes: int, calls: int) -> ModelConfiguration:
    execution = given.execution
    if execution.kind == "process":
        execution = execution.model_copy(update={"processes": processes})
    return given.model_copy(
        update={
            "execution": execution,
            "concurrency": ConcurrencyConfiguration(max_concurrency=calls),
            "batching": None,
            "timeout_seconds": None,
        }
    )


@contextmanager
def _printing_apart(options: Options) -> Iterator[None]:
    """Have processes that are started print elsewhere than where the predictions go."""
    if options.output != STANDARD:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)

"""What predicts for a file of rows: a model of this project, or one of another service."""

from __future__ import annotations

import gc
import hashlib
import logging
from contextlib import ExitStack
from functools import partial

import django

from models_api.apps import current_service, own_registry
from models_api.configuration.execution import ExecutionConfiguration
from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import ConfigurationError, ModelNotFound, ModelNotReady
from models_api.hosting.artefacts import stack_of
from models_api.hosting.hosted_model import HostedModel, LoadState, Resources
from models_api.hosting.model_stack import ModelStack
from models_api.loaded_model import find_model
from models_api.management.bulk.elsewhere import computes_elsewhere, target_elsewhere
from models_api.management.bulk.options import Options
from models_api.management.bulk.target import (
    ANY_NUMBER,
    ONE_BY_ONE,
    ROWS_OF_A_REQUEST,
    TOGETHER,
    Target,
    unloadable,
    useful_processes,
)
from models_api.schemas.json_schema import json_schema
from models_api.scoring.errors import JobRefused
from models_api.scoring.model_name import ModelName
from models_api.scoring.processes import started
from models_api.scoring.results import ResultFormat
from models_api.scoring.rows import RowFormat
from models_api.scoring.scorers import BatchScorer, LocalPredictor, Scorer


def local_target(options: Options, files: ExitStack) -> Target:
    """Return what predicts with a model of this project's configuration, which `files` gives up.

    Raises:
        JobRefused: there is none of that name, or it cannot be loaded.
    """
    hosted = _hosted(options.name)
    configuration = hosted.configuration.model_dump_json().encode()
    identity = {"configuration of the model": hashlib.sha256(configuration).hexdigest()[:16]}
    if computes_elsewhere(hosted):
        return target_elsewhere(options, hosted, identity, files)
    try:
        schemas, stack = hosted.schemas, _stack_here(_configuration_here(hosted))
    except ModelNotReady as error:  # only its instance would tell them
        raise unloadable(hosted) from error
    batching = hosted.configuration.batching
    outermost = stack.layers[-1].cls
    takes_batches = any(hasattr(outermost, n) for n in ("predict_batch", "predict_columns"))
    return Target(
        hosted.version,
        json_schema(schemas.input, "validation"),
        json_schema(schemas.output, "serialization"),
        batching.max_batch_size if batching else TOGETHER if takes_batches else ONE_BY_ONE,
        identity,
    )


def remote_target(options: Options) -> Target:
    """Return what predicts by requests to a service.

    Raises:
        JobRefused: it does not say what the model is.
    """
    try:
        from models_api.scoring.remote import RemotePredictor  # noqa: PLC0415 (few have urllib3)
    except ImportError:
        message = '--url needs urllib3: pip install "modelhost[remote]"'
        raise JobRefused(message) from None
    assert options.url is not None  # noqa: S101 (for the type checker)
    remote = RemotePredictor(
        options.url,
        options.name,
        key=options.key,
        patience=options.give_up_after,
        connections=options.concurrency,
    )
    model = remote.describe()
    return Target(
        model.version,
        model.input_schema,
        model.output_schema,
        ROWS_OF_A_REQUEST,
        {"service": options.url},
        remote,
        options.concurrency,
    )


def make_scorers(
    options: Options, target: Target, row_format: RowFormat, results: ResultFormat
) -> list[Scorer]:
    """Return what predicts at the same time.

    Raises:
        JobRefused: the model cannot be loaded.
    """
    if target.elsewhere is not None:
        return [BatchScorer(row_format, target.elsewhere, results) for _ in range(target.calls)]
    processes = useful_processes(options)
    if processes == 1:
        return [_local_scorer(options.name, row_format, results)]
    makes = [
        partial(_scorer_of_process, options.name, row_format, results, number)
        for number in range(processes)
    ]
    return [*started(makes)]


def _scorer_of_process(
    name: ModelName, row_format: RowFormat, results: ResultFormat, number: int
) -> Scorer:
    """Make the scorer of a process that was started for it."""
    django.setup()
    # What all of them have to say is said once.
    logging.disable(logging.CRITICAL if number else logging.INFO)
    scorer = _local_scorer(name, row_format, results)
    # The objects of a batch are many, and looking among all others for garbage takes half again
    # of the time.
    gc.freeze()
    return scorer


def _local_scorer(name: ModelName, row_format: RowFormat, results: ResultFormat) -> Scorer:
    own = _as_loaded_here(_hosted(name))
    own.load_apart()
    if own.state is LoadState.FAILED:
        raise unloadable(own)
    predictor = LocalPredictor(own.predictor, own.qualified_name, own.version)
    return BatchScorer(row_format, predictor, results)


def _hosted(name: ModelName) -> HostedModel:
    try:
        return find_model(own_registry(), name.model, name.version)
    except (ModelNotFound, ConfigurationError) as error:
        raise JobRefused(str(error)) from None


def _as_loaded_here(hosted: HostedModel) -> HostedModel:
    """Return the model as it predicts for nobody else: in this process, without limits."""
    own, artefacts = _configuration_here(hosted), current_service().resources.artefacts
    resources = Resources(maximum_rows=ANY_NUMBER, maximum_values=None, artefacts=artefacts)
    return HostedModel(own, _stack_here(own), resources)


def _configuration_here(hosted: HostedModel) -> ModelConfiguration:
    alone = {"batching": None, "timeout_seconds": None}
    if hosted.configuration.execution.kind == "process":
        alone["execution"] = ExecutionConfiguration()  # type: ignore[assignment]
    return hosted.configuration.model_copy(update=alone)


def _stack_here(configuration: ModelConfiguration) -> ModelStack:
    return stack_of(configuration, current_service().resources.artefacts)

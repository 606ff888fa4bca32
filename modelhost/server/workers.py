"""What a worker process does before its first request, under gunicorn and `serve` alike."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from django.apps import apps
from django.core.exceptions import AppRegistryNotReady

from modelhost.environment import flag
from modelhost.server.metrics import begin_worker
from models_api.cpus import keep_on_one_processor

if TYPE_CHECKING:
    from models_api.apps import ModelsAPIConfig
    from models_api.service import ModelService

DEFAULT_THREADS = 64
"""A thread costs little while it waits for its batch; the limiter bounds how many compute."""
_SWITCH_INTERVAL_SECONDS = 0.0005
_SECONDS_TO_CATCH_UP = 20.0
"""After which it serves what it has: gunicorn ends workers that are silent for long."""


def prepare_worker(threads: int, index: int) -> None:
    """Count this worker in the metrics, bound its predictions, and pin it if wanted.

    Args:
        threads: Requests that the worker handles at a time.
        index: Counts the workers that the server has started, this one excluded.
    """
    # A request takes the GIL several times, and beside a model that computes in Python it waits so
    # long each time: with Python's own 5 ms, health checks beside a few such models wait for
    # longer than the 100 ms that they are promised.
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    begin_worker()
    bound_predictions(threads)
    catch_up()
    if flag("CPU_AFFINITY", default=False):
        keep_on_one_processor(index)


def catch_up() -> None:
    """Follow changes of the models, and host before the first request what other workers do."""
    service = _service()
    if service is not None and service.reload_thread is not None:
        service.reload_thread.catch_up(_SECONDS_TO_CATCH_UP)


def bound_predictions(threads: int) -> None:
    """Keep some of a worker's threads free from predictions, for probes, metrics and pages."""
    service = _service()
    if service is not None:
        service.use_threads(threads)


def _service() -> ModelService | None:
    try:
        return cast("ModelsAPIConfig", apps.get_app_config("models_api")).service
    except (AppRegistryNotReady, LookupError):
        return None  # another application is served

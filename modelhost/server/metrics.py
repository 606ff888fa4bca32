"""What the service does for metrics that models keep by themselves with prometheus_client."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from pathlib import Path
from typing import cast

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from models_api.observability.server_directory import (
    MULTIPROCESS_VARIABLE,
    SERVER_PID_VARIABLE,
    given_directory,
    server_directory,
)

logger = logging.getLogger(__name__)


def share_models_own_metrics() -> None:
    """Let prometheus_client share its metrics among worker processes, if there are metrics at all.

    It has to be told before it is imported.
    """
    from models_api.apps import ModelsAPIConfig  # noqa: PLC0415 (needs Django to be set up)
    from models_api.service import wanted_metrics  # noqa: PLC0415

    app_config = cast(ModelsAPIConfig, apps.get_app_config("models_api"))
    if wanted_metrics(app_config.configuration_file) is None or given_directory() is not None:
        return
    directory = server_directory()
    atexit.register(directory.remove)
    try:
        os.environ[MULTIPROCESS_VARIABLE] = str(directory.join())
    except OSError as error:
        logger.warning(
            "Workers do not share the metrics that models keep by themselves: %s. Let %s be "
            "writable, or name another directory in %s.",
            error,
            directory.path.parent,
            MULTIPROCESS_VARIABLE,
        )


def begin_server() -> None:
    """Tell workers that this process is their server, and forget the metrics of an earlier one.

    Raises:
        ImproperlyConfigured: the directory that is given for them cannot be made.
    """
    own = str(os.getpid())
    if os.environ.get(SERVER_PID_VARIABLE) == own:
        return  # it reads its configuration anew
    os.environ[SERVER_PID_VARIABLE] = own
    given = given_directory()
    # A server that takes over from another, still running one shares its directory.
    if given is not None and "GUNICORN_PID" not in os.environ:
        try:
            given.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImproperlyConfigured(
                f"{MULTIPROCESS_VARIABLE} names {given}, which cannot be made: {error.strerror}. "
                "Name another directory, or none."
            ) from None
        for path in given.glob("*.db"):
            path.unlink(missing_ok=True)


def begin_worker() -> None:
    """Count this process among the workers, before its first request."""
    if "modelhost.wsgi" not in sys.modules:
        return  # the settings are used for something else
    from models_api.apps import ModelsAPIConfig  # noqa: PLC0415 (needs Django to be set up)

    metrics = cast(ModelsAPIConfig, apps.get_app_config("models_api")).service.metrics
    if metrics is not None:
        metrics.start_worker()


def forget_ended_workers() -> None:
    """Take all workers that have ended out of what prometheus_client shows of live processes."""
    for path in _metrics_folder().glob("gauge_live*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdecimal() and not _is_alive(int(pid)):
            forget_worker(int(pid))


def forget_worker(pid: int) -> None:
    """Take a worker that has ended out of what prometheus_client shows of live processes."""
    folder = _metrics_folder()
    if any(folder.glob(f"gauge_live*_{pid}.db")):
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415

        mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def end_server() -> None:
    """Remove what workers have shared."""
    server_directory().remove()


def _metrics_folder() -> Path:
    return given_directory() or server_directory().path


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True

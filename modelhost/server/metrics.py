"""What the service does for metrics that models keep by themselves with prometheus_client."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import cast

from django.apps import apps

from models_api.file_locks import HAS_FILE_LOCKS
from models_api.logs import SafeLogger
from models_api.observability.server_directory import (
    MULTIPROCESS_VARIABLE,
    begin_directory,
    give_to_prometheus,
    given_directory,
    make_given,
    server_directory,
)

logger = SafeLogger(__name__)


def share_models_own_metrics() -> None:
    """Let prometheus_client share its metrics among worker processes, if there are any."""
    from models_api.apps import ModelsAPIConfig  # noqa: PLC0415 (needs Django to be set up)
    from models_api.service import wanted_metrics  # noqa: PLC0415

    _make_given_usable()
    app_config = cast(ModelsAPIConfig, apps.get_app_config("models_api"))
    is_given = given_directory() is not None
    if not is_given:
        give_to_prometheus(None)  # that of a server which has started this one
    # Without locks one process serves, which has nobody to share with.
    if wanted_metrics(app_config.configuration_file) is None or not HAS_FILE_LOCKS:
        return
    if not is_given:
        try:
            give_to_prometheus(server_directory().join())
        except OSError as error:
            logger.warning("Each worker shows its own metrics alone: %s", error)
            return
    # Late, because it imports prometheus_client.
    from models_api.observability.prometheus_sharing import share_among_workers  # noqa: PLC0415

    share_among_workers()


def begin_server() -> None:
    """Have this process share with the workers that it forks, and forget an earlier server."""
    _make_given_usable()
    if not begin_directory():
        return  # it reads its configuration anew
    given = given_directory()
    # A server that takes over from another, still running one shares its directory.
    if given is not None and "GUNICORN_PID" not in os.environ:
        for path in given.glob("*.db"):
            with suppress(OSError):  # somebody else's, or no file
                path.unlink()


def open_server(user: int | None = None, group: int | None = None) -> None:
    """Make what the workers share, before they are forked, and let them have it.

    Args:
        user: Whom the workers run as, if it is not the user of this process.
        group: The same.
    """
    directory = server_directory()
    try:
        directory.join()
        directory.give_to(
            os.geteuid() if user is None else user, os.getegid() if group is None else group
        )
    except OSError as error:
        logger.warning("Each worker shows its own metrics alone: %s", error)


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
    folder = _metrics_folder()
    for path in folder.glob("gauge_live*.db") if folder is not None else ():
        pid = path.stem.rpartition("_")[2]
        if pid.isdecimal() and not _is_alive(int(pid)):
            forget_worker(int(pid))


def forget_worker(pid: int) -> None:
    """Take a worker that has ended out of what prometheus_client shows of live processes."""
    folder = _metrics_folder()
    if folder is not None and any(folder.glob(f"gauge_live*_{pid}.db")):
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415

        mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def end_server() -> None:
    """Remove what workers have shared."""
    server_directory().leave()


def _make_given_usable() -> None:
    given = given_directory()
    if given is not None:
        try:
            make_given(given)
        except OSError as error:
            logger.warning("%s is not heeded: %s", MULTIPROCESS_VARIABLE, error)
            give_to_prometheus(None)


def _metrics_folder() -> Path | None:
    return given_directory() or server_directory().path


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True

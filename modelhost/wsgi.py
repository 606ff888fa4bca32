"""The WSGI application.

Importing it begins to load the models, because whoever does that is going to serve them.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

import django
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from modelhost.environment import unknown_variables
from modelhost.server.configuration import (
    CANNOT_START,
    share_configuration,
    use_what_was_taken,
)
from modelhost.server.ends import skip_native_handlers
from modelhost.server.forks import end_while_starting, reset_signals_in_children
from modelhost.server.metrics import share_models_own_metrics
from modelhost.server.output import show_lines_at_once
from modelhost.server.problems import report
from models_api.exceptions import ConfigurationError
from models_api.file_locks import HAS_FILE_LOCKS, fcntl
from models_api.logs import SafeLogger, make_all_safe
from models_api.observability.server_directory import server_directory

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_HEAD_START_SECONDS = 1.0
_STOPPING_SECONDS = 2.0
_held: TextIO | None = None

logger = SafeLogger("modelhost")


def _start() -> WSGIApplication:
    show_lines_at_once()
    end_while_starting()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelhost.settings")
    skip_native_handlers()  # first, because the other hides whose process this is
    reset_signals_in_children()
    try:
        # A second time it would configure logging anew, without what the YAML file says of it.
        if not apps.ready:
            django.setup(set_prefix=False)
            share_configuration()
        use_what_was_taken()
        for sentence in unknown_variables():
            logger.warning(sentence)
        share_models_own_metrics()
        return _make_application()
    except (ConfigurationError, ImproperlyConfigured) as error:
        _refuse(error)


def _make_application() -> WSGIApplication:
    """Return what answers, while the models are being loaded."""
    # Late, because they import what needs Django to be set up.
    from modelhost import fast_lane  # noqa: PLC0415
    from modelhost.path_prefix import with_path_prefix  # noqa: PLC0415
    from modelhost.security import ServiceHandler  # noqa: PLC0415
    from models_api.apps import current_service  # noqa: PLC0415

    handler = ServiceHandler()
    service = current_service()
    if service.error is not None:
        raise service.error
    answering = fast_lane.FastLane(handler, service) if fast_lane.applies() else handler
    application = with_path_prefix(answering)
    # The servers themselves log by whatever handlers the models have added.
    service.registry.loader.after_each.append(make_all_safe)
    service.registry.loader.after_loading.append(_leave_out_of_garbage_collection)
    service.registry.start_loading()
    if service.reload_thread is not None and server_directory().is_of_worker:
        service.reload_thread.start()
    return application


def _leave_out_of_garbage_collection() -> None:
    """Hide what is there now from the garbage collector: code and models, which stay.

    It would look at all of it every few requests, as those for many rows make many objects: tens
    of milliseconds each time for the modules of scikit-learn alone.
    """
    gc.collect()
    gc.freeze()


def _refuse(error: ConfigurationError | ImproperlyConfigured) -> NoReturn:
    """Say what is wrong, and end the server.

    Gunicorn stops when a worker ends with that status. While it stops, it does not take that well
    from a second one: so only the first of its workers does it, and the others come later.
    """
    report(error)
    first = _comes_first()
    time.sleep(_HEAD_START_SECONDS if first else _STOPPING_SECONDS)
    sys.exit(CANNOT_START if first else 1)


def _comes_first() -> bool:
    """Whether no other child of the same process has come here yet, as far as Linux can tell."""
    if not HAS_FILE_LOCKS:
        return True
    global _held  # noqa: PLW0603 (open, and so locked, until the process has ended)
    try:
        _held = Path(f"/proc/{os.getppid()}/comm").open(encoding="utf-8")  # noqa: SIM115
    except OSError:
        return True
    try:
        fcntl.flock(_held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


application = _start()

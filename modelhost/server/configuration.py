"""What the YAML file held at the start of a server, for all its workers, whenever they start.

Those that are forked have it from the first process of the server. Where that knows nothing of this
package, the first worker leaves it to the others in the directory that they share.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from typing import cast

import django
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from modelhost.server.problems import report
from models_api.apps import ModelsAPIConfig
from models_api.configuration.file import ConfigurationFile
from models_api.exceptions import ConfigurationError
from models_api.file_locks import HAS_FILE_LOCKS
from models_api.logs import SafeLogger
from models_api.observability.reload_folder import ReloadFolder
from models_api.observability.server_directory import server_directory

CANNOT_START = 3
"""Exit status: gunicorn gives up on workers that exit with it, and starts no others."""
_NAME = "configuration"
_SECONDS_TO_CHECK = 60.0

logger = SafeLogger(__name__)


def read_configuration() -> None:
    """Read the file in the first process of a server, without importing any model.

    Its problems are for the workers to report.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelhost.settings")
    # A second time it would configure logging anew, without what the YAML file says of it.
    if not apps.ready:
        try:
            django.setup(set_prefix=False)
        except ImproperlyConfigured as error:
            report(error)
            sys.exit(CANNOT_START)


def share_configuration() -> None:
    """Use what the first of several workers has read, in one that got nothing from its parent."""
    app = _app()
    found = app.configuration_file
    own = found.document.content if not found.problems else None
    try:
        agreed = server_directory().agree(_NAME, own)
    except OSError as error:
        logger.warning("Each worker reads the YAML file for itself: %s", error)
        return
    if agreed is not None and agreed != own:
        app.use(ConfigurationFile(found.document.path, agreed))


def use_what_was_taken() -> None:
    """Use what the workers have changed their models to since the start, if they have."""
    app, folder = _app(), ReloadFolder(server_directory().join)
    if "service" in vars(app) or not _follows_changes(app.configuration_file):
        return
    try:
        taken = folder.taken()
    except OSError:
        return  # there is no directory, and so nobody has left anything
    if taken is not None and taken.file != app.configuration_file.document.content:
        app.use(ConfigurationFile(app.configuration_file.document.path, taken.file))


def _follows_changes(file: ConfigurationFile) -> bool:
    """Whether the models may have been changed while the service runs, as far as is known."""
    return HAS_FILE_LOCKS and (file.configuration is None or file.configuration.reload is not None)


def _note_taken(file: ConfigurationFile) -> None:
    """Have workers that start later use this file, and not what was taken before."""
    if not _follows_changes(file):
        return
    folder = ReloadFolder(server_directory().join)
    try:
        folder.end(folder.ask(file.document.content or b""), None)
    except OSError as error:
        logger.warning("Workers that start later may host other models: %s", error)


def reread_configuration() -> None:
    """Use what the file holds now for the workers that are forked from now on, if it is right."""
    app = _app()
    found = ConfigurationFile(app.configuration_file.document.path)
    if is_right(found, _SECONDS_TO_CHECK):
        app.use(found)
        _note_taken(found)
    else:
        logger.error("The workers go on with what the YAML file held before")


def is_right(file: ConfigurationFile | None = None, seconds: float | None = None) -> bool:
    """Whether a service can be made of a file, or of the one that was read; reports its problems.

    In a process of its own, because that imports the models.

    Args:
        file: None for the one that was read.
        seconds: That it may take; None for any time.
    """
    context = multiprocessing.get_context("fork")
    check = context.Process(target=_report_problems, args=(file,))
    check.start()
    check.join(seconds)
    if check.exitcode is None:
        logger.error("The models of the YAML file are not imported within %.0f s", seconds)
        check.kill()
        check.join()
    return check.exitcode == 0


def _report_problems(file: ConfigurationFile | None) -> None:
    app = _app()
    if file is not None:
        app.use(file)
    try:
        _ = app.registry
    except ConfigurationError as error:
        report(error)
        sys.exit(CANNOT_START)


def _app() -> ModelsAPIConfig:
    return cast(ModelsAPIConfig, apps.get_app_config("models_api"))

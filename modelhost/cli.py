"""The console script `modelhost`: manage.py for a folder that has none."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path


def main() -> None:
    """Run a management command of the service, with the working directory importable."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelhost.settings")
    # A console script finds its own folder on the path, not the one where the models are.
    sys.path.insert(0, str(Path.cwd()))
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415
    from django.core.management import execute_from_command_line  # noqa: PLC0415

    threading.excepthook = _report
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))


def _report(error: threading.ExceptHookArgs) -> None:
    # The reloading development server checks the configuration in a thread, which ends with a
    # traceback; the message of the check is enough.
    from django.core.management.base import CommandError  # noqa: PLC0415

    if isinstance(error.exc_value, CommandError):
        print(error.exc_value, file=sys.stderr)  # noqa: T201
    else:
        threading.__excepthook__(error)

"""The console script `modelhost`: manage.py for a folder that has none."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """Run a management command of the service, with the working directory importable."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelhost.settings")
    # A console script finds its own folder on the path, not the one where the models are.
    sys.path.insert(0, str(Path.cwd()))
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415
    from django.core.management import execute_from_command_line  # noqa: PLC0415

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))

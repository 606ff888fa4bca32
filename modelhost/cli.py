"""The console script `modelhost`: manage.py for a folder that has none."""

from __future__ import annotations

import os
import platform
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, ManagementUtility

from modelhost.server.problems import report

OWN = {
    "serve": "Serve the models in production, by granian.",
    "runserver": "Serve them while you develop: starts anew when a file changes.",
    "new": "Write the files of a model project, to begin with.",
    "check": "List all that is wrong with the YAML file, and with the settings (--deploy).",
    "reload": "Have a running server host what its YAML file says now.",
    "status": "Print which models the workers of a running server have.",
    "load_models": "Load the models, and say what that takes.",
    "predict": "Predict for all rows of a file (CSV, JSON lines, Parquet).",
    "inspect": "Say what a model's file is, and what to write in the YAML file for it.",
    "spectacular": "Write the OpenAPI document (--file schema.yaml).",
    "config_schema": "Print the JSON Schema of the YAML file, for editors.",
    "ray_config": "Write a configuration by which Ray Serve runs the models.",
}
"""Each with what it does."""
DJANGOS = {
    "shell": "Open a Python prompt with the service set up.",
    "diffsettings": "Print the settings that differ from Django's.",
}
"""Those of Django's that make sense without a database of one's own."""


class Commands(ManagementUtility):
    """Runs the command that the command line names."""

    def main_help_text(self, commands_only: bool = False) -> str:
        """Return what `help` prints."""
        if commands_only:
            return super().main_help_text(commands_only=True)
        return f"""\
Serves the models that a YAML file lists (rest_config.yaml here, or what REST_CONFIG names).

{_listed(OWN)}

Django's:

{_listed(DJANGOS)}

"{self.prog_name} help COMMAND" says more of a command.
"{self.prog_name} help --commands" lists all, Django's other ones too."""

    def execute(self) -> None:
        """Run it."""
        # Django's commands would tell Django's version alone.
        if self.argv[1:] == ["version"] or self.argv[-1] == "--version":
            print(_versions())  # noqa: T201
        else:
            super().execute()


def _listed(commands: dict[str, str]) -> str:
    return "\n".join([f"  {name:15}{text}" for name, text in commands.items()])


def _versions() -> str:
    return (
        f"modelhost {version('modelhost')}"
        f" (Django {django.get_version()}, Python {platform.python_version()})"
    )


def main() -> None:
    """Run a management command of the service, with the working directory importable."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelhost.settings")
    # A console script finds its own folder on the path, not the one where the models are.
    sys.path.insert(0, str(Path.cwd()))
    threading.excepthook = _report
    try:
        Commands(sys.argv).execute()
    except ImproperlyConfigured as error:
        report(error)
        sys.exit(1)


def _report(error: threading.ExceptHookArgs) -> None:
    # The reloading development server checks the configuration in a thread, which ends with a
    # traceback; the message of the check is enough.
    if isinstance(error.exc_value, CommandError):
        print(error.exc_value, file=sys.stderr)  # noqa: T201
    else:
        threading.__excepthook__(error)

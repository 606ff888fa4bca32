"""The supervisor of the processes of a model; workers start it, see `process_group`."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

from models_api import logs


def main() -> None:
    """Read the model's configuration from standard input, and supervise its processes."""
    given = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 (of our own user)
    # Whoever has started it waits for this process only, and has no child that outlives it.
    if os.fork():
        os._exit(0)
    if given["log"] is not None:
        logs.use_plain_form(given["log"])
    elif "DJANGO_SETTINGS_MODULE" in os.environ:
        import django  # noqa: PLC0415

        django.setup()
    from models_api.model_processes.supervisor import supervise  # noqa: PLC0415 (after the logging)

    supervise(given, Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])


main()

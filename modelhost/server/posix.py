"""Whether this system has what the production servers need."""

from __future__ import annotations

import os

from models_api.file_locks import HAS_FILE_LOCKS


def lack_of_posix(server: str) -> str | None:
    """Return what to say where a server that forks cannot run; None where it can."""
    if HAS_FILE_LOCKS and hasattr(os, "fork") and hasattr(os, "register_at_fork"):
        return None
    return (
        f"{server} forks its workers, so it needs a POSIX system: serve on Linux or macOS, in a "
        "container, or in the Windows Subsystem for Linux. Here `modelhost runserver` works, for "
        "development."
    )

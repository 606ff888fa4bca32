"""Django's development server, started as people start it: python manage.py runserver."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.end_to_end.server import Server

_LISTENING = re.compile(r"Starting (?:WSGI )?development server at (http://127\.0\.0\.1:[1-9]\d*)")


class DevelopmentServer(Server):
    """Runs `python manage.py runserver --noreload` while the `with` block lasts."""

    def __init__(
        self,
        configuration: Path | Mapping[str, object],
        *arguments: str,
        command: Sequence[str] = (sys.executable, "manage.py"),
        reload: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(configuration, **options)
        reloading = [] if reload else ["--noreload"]
        self._command = [*command, "runserver", *reloading, *arguments, "127.0.0.1:0"]

    def has_printed(self, text: str) -> bool:
        """Whether the text is in the log; may be asked by another thread before the server runs."""
        return self._log_path.exists() and text in self.log

    def _listening(self) -> str | None:
        found = _LISTENING.search(self.log)
        return found[1] if found else None

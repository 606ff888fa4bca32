"""Django's development server, started as people start it: python manage.py runserver."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.end_to_end.server import Server

_LISTENING = re.compile(r"Starting development server at (http://127\.0\.0\.1:[1-9]\d*)")


class DevelopmentServer(Server):
    """Runs `python manage.py runserver --noreload` while the `with` block lasts."""

    def __init__(
        self, configuration: Path | Mapping[str, object], *arguments: str, **options: Any
    ) -> None:
        super().__init__(configuration, **options)
        self._command = [
            sys.executable,
            "manage.py",
            "runserver",
            "--noreload",
            *arguments,
            "127.0.0.1:0",
        ]

    def _listening(self) -> str | None:
        found = _LISTENING.search(self.log)
        return found[1] if found else None

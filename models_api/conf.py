"""The settings of this app, read when they are needed."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings


def configuration_path() -> Path:
    """Path of the YAML file: REST_CONFIG of the environment, or of the settings, or the default."""
    return Path(
        os.environ.get("REST_CONFIG")
        or getattr(settings, "REST_CONFIG", None)
        or "rest_config.yaml"
    )


def maximum_body_bytes() -> int | None:
    """Size that a request's body may have, in bytes; None for no limit."""
    limit: int | None = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return limit

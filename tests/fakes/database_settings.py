"""The service's own settings, with a database that the models use."""

from __future__ import annotations

import os

from modelhost.settings import *  # noqa: F403

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["TEST_DATABASE"],
        "NAME": "postgres",
        "USER": "postgres",
        "CONN_MAX_AGE": int(os.environ["TEST_CONN_MAX_AGE"]),  # type: ignore[dict-item]
        "OPTIONS": {"application_name": "models"},  # type: ignore[dict-item]
    }
}

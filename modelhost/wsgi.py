"""The WSGI application.

Importing it begins to load the models, because whoever does that is going to serve them.
"""

from __future__ import annotations

import os
import sys
from typing import cast

from django.apps import apps
from django.conf import settings
from django.core.cache import close_caches
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, reset_queries

from models_api.exceptions import ConfigurationError

_CANNOT_START = 3  # gunicorn gives up on workers that exit with this status, and starts no others


def _start() -> WSGIHandler:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelhost.settings")
    try:
        handler = get_wsgi_application()
        if settings.SETTINGS_MODULE == "modelhost.settings":
            _leave_connections_alone()
        from models_api.apps import ModelsAPIConfig  # noqa: PLC0415 (needs Django to be set up)

        cast(ModelsAPIConfig, apps.get_app_config("models_api")).registry.start_loading()
    except (ConfigurationError, ImproperlyConfigured) as error:
        print(error, file=sys.stderr)  # noqa: T201
        raise SystemExit(_CANNOT_START) from None
    return handler


def _leave_connections_alone() -> None:
    """Spare each request the care of connections to databases and caches, of which there are none.

    It is a quarter of what Django does for a prediction.
    """
    request_started.disconnect(reset_queries)
    request_started.disconnect(close_old_connections)
    request_finished.disconnect(close_old_connections)
    request_finished.disconnect(close_caches)


application = _start()

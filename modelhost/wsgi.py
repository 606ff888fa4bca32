"""The WSGI application.

Importing it begins to load the models, because whoever does that is going to serve them.
"""

from __future__ import annotations

import os
import sys
from typing import cast

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application

from models_api.exceptions import ConfigurationError

_CANNOT_START = 3  # gunicorn gives up on workers that exit with this status, and starts no others


def _start() -> WSGIHandler:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelhost.settings")
    try:
        handler = get_wsgi_application()
        from models_api.apps import ModelsAPIConfig  # noqa: PLC0415 (needs Django to be set up)

        cast(ModelsAPIConfig, apps.get_app_config("models_api")).registry.start_loading()
    except (ConfigurationError, ImproperlyConfigured) as error:
        print(error, file=sys.stderr)  # noqa: T201
        raise SystemExit(_CANNOT_START) from None
    return handler


application = _start()

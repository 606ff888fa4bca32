"""The service without request ids and without a line for each request in its log."""

from __future__ import annotations

import os

from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelhost.settings")
settings.MIDDLEWARE.remove("models_api.middleware.RequestMiddleware")

from modelhost.wsgi import application  # noqa: E402 (sets Django up)

__all__ = ["application"]

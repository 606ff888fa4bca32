"""System checks of the service as it is deployed: `manage.py check --deploy`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

# Django's own checks of TLS are silent while its SecurityMiddleware is not installed.
_TLS_SETTINGS = {
    "SECURE_SSL_REDIRECT": (
        "Requests without TLS are answered as they are.",
        "Set MODELHOST_SSL_REDIRECT=1, unless a proxy redirects them.",
        "modelhost.W001",
    ),
    "SECURE_HSTS_SECONDS": (
        "Browsers are not told to come with TLS only.",
        "Set MODELHOST_HSTS_SECONDS, in the beginning to a small number, unless a proxy does it.",
        "modelhost.W002",
    ),
}


@checks.register(deploy=True)
def check_tls(
    app_configs: Sequence[AppConfig] | None,  # noqa: ARG001 (Django gives it to every check)
    **_kwargs: Any,
) -> list[checks.CheckMessage]:
    """Warn where nothing makes clients use TLS."""
    return [
        checks.Warning(message, hint=hint, id=id_)
        for name, (message, hint, id_) in _TLS_SETTINGS.items()
        if not getattr(settings, name)
    ]

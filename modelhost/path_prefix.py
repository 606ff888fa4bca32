"""The path under which clients reach the service, where something in front takes it away.

What the service writes for clients, such as redirects and the servers of the OpenAPI document,
begins with it: WSGI's SCRIPT_NAME, which Django and the fast lane both heed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from django.conf import settings

from modelhost.environment import as_prefix, prefix

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication

_STATUS_PATHS = frozenset(
    {
        *("/api/health", "/api/health/ready", "/api/health/startup", "/metrics"),
        *("/v2/health/live", "/v2/health/ready"),
    }
)


class PathPrefix:
    """A WSGI application that tells another one where it is.

    Args:
        application: What answers.
        taken: The path that a proxy takes away before it passes a request on.
        kept: The path that requests still have; those without it, as orchestrators send, are as
            good. Probes are, even where it begins as their paths do.
        trusts_proxy: Whether X-Forwarded-Prefix says what the proxy has taken away.
    """

    def __init__(
        self, application: WSGIApplication, taken: str, kept: str, *, trusts_proxy: bool
    ) -> None:
        self._application = application
        self._taken = taken
        self._kept = kept
        self._trusts_proxy = trusts_proxy

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        path = environ.get("PATH_INFO", "")
        kept = self._kept
        if kept and path not in _STATUS_PATHS and f"{path}/".startswith(f"{kept}/"):
            environ["PATH_INFO"] = path.removeprefix(kept)
        inner = environ.get("SCRIPT_NAME", "").rstrip("/")
        environ["SCRIPT_NAME"] = f"{self._taken_from(environ)}{kept}{inner}"
        return self._application(environ, start_response)

    def _taken_from(self, environ: dict[str, Any]) -> str:
        told = environ.get("HTTP_X_FORWARDED_PREFIX") if self._trusts_proxy else None
        # One that is malformed says nothing: it would get into redirects.
        found = as_prefix(told) if told else None
        return self._taken if found is None else found


def with_path_prefix(application: WSGIApplication) -> WSGIApplication:
    """Return the application as it is to be served, told its prefix where there may be one."""
    # Gunicorn cuts it off by itself, and fails for requests without it, such as probes.
    kept = prefix("SCRIPT_NAME")
    os.environ.pop("SCRIPT_NAME", None)
    taken = getattr(settings, "MODELHOST_PATH_PREFIX", "")
    trusts_proxy = getattr(settings, "MODELHOST_TRUST_PROXY_PREFIX", False)
    if not (taken or kept or trusts_proxy):
        return application
    return PathPrefix(application, taken, kept, trusts_proxy=trusts_proxy)

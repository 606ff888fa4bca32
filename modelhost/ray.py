"""The application of Ray Serve that `modelhost ray_config` names: one model, in each replica.

Nothing else of this project imports Ray.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import serve

from modelhost.asgi import ASGIApplication
from modelhost.one_model import OneModelService

_ADDED_BY_SERVE = frozenset({"x-request-id"})


class ModelUnhealthy(Exception):
    """The model says that it is not healthy: Serve replaces its replica."""


@serve.ingress()  # under the name by which it is found again in the replica
class Replica:
    """One process of Serve, with one model, which answers as a service of modelhost does."""

    def __init__(self, arguments: Mapping[str, object]) -> None:
        """Load the model.

        Raises:
            ConfigurationError, LoadingFailed: Serve shows them as the status of the application.
        """
        # As the command modelhost does: the models may lie where Ray was started.
        sys.path.insert(0, str(Path.cwd()))
        self._service = OneModelService(arguments, "args")

    def __serve_build_asgi_app__(self) -> ASGIApplication:
        """Return what answers requests."""
        from models_api.conf import maximum_body_bytes  # noqa: PLC0415 (once Django is set up)

        application = self._service.application()
        return ASGIApplication(application, maximum_body_bytes(), _ADDED_BY_SERVE)

    async def check_health(self) -> None:
        """Ask the model for its health.

        Raises:
            ModelUnhealthy: see there.
        """
        if not await asyncio.to_thread(lambda: self._service.is_healthy):
            label = self._service.model.label
            raise ModelUnhealthy(f"The model {label} is not healthy; its log says why.")


_DEPLOYMENT = serve.deployment(name="model")(Replica)


def app(args: dict[str, Any]) -> serve.Application:
    """Return the application of one model; its options are the deployment's in the configuration.

    Args:
        args: Keys of an entry of `models`, as a YAML file has them, and `request_headers`.
    """
    return _DEPLOYMENT.bind(args)

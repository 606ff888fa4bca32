"""A service of one model, made from plain data: what computes for other services."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import django
import yaml
from django.apps import apps

from models_api.hosting.hosted_model import HostedModel, LoadState, ModelState
from models_api.threads import cleaned_up

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from models_api.apps import ModelsAPIConfig
    from models_api.service import ModelService

SERVICE_KEYS = ("request_headers",)
"""Keys of the service that stand beside those of the model."""


class LoadingFailed(Exception):
    """The model could not be loaded."""


class OneModelService:
    """The service of this process, which has one model."""

    def __init__(self, arguments: Mapping[str, object], source: str) -> None:
        """Set Django up, and load the model; once in a process.

        Args:
            arguments: Keys of an entry of `models`, and of SERVICE_KEYS, as a YAML file has them.
            source: Names them in messages.

        Raises:
            ConfigurationError: the keys have problems.
            LoadingFailed: see there.
        """
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelhost.settings")
        # Whoever gets through to this process asks by whatever name it has in front.
        os.environ.setdefault("MODELHOST_ALLOWED_HOSTS", "*")
        django.setup(set_prefix=False)
        self._service = _make_service(arguments, source)
        (self._model,) = self._service.registry
        self._load()

    def _load(self) -> None:
        # In a thread, as servers do: more is allowed there, such as an event loop.
        thread = threading.Thread(target=cleaned_up(self._service.registry.load))
        thread.start()
        thread.join()
        if self._model.state is LoadState.FAILED:
            message = f"The model {self._model.label} failed to load: {self._model.failure}"
            raise LoadingFailed(message)

    @property
    def model(self) -> HostedModel:
        """The model."""
        return self._model

    @property
    def is_healthy(self) -> bool:
        """Whether the model says so, or nothing, and none of its predictions hangs.

        It is asked, if that is due, and waited for no longer than a moment.
        """
        registry = self._service.registry
        return not registry.is_hung and registry.serving_states([self._model]) == [ModelState.READY]

    def application(self) -> WSGIApplication:
        """Return what answers requests, by all routes of a service."""
        # Late, because they import what needs Django to be set up.
        from modelhost import fast_lane  # noqa: PLC0415
        from modelhost.security import ServiceHandler  # noqa: PLC0415

        handler = ServiceHandler()
        return fast_lane.FastLane(handler, self._service) if fast_lane.applies() else handler


def _make_service(arguments: Mapping[str, object], source: str) -> ModelService:
    # Late, because it needs Django to be set up.
    from models_api.configuration.file import ConfigurationFile  # noqa: PLC0415

    app = cast("ModelsAPIConfig", apps.get_app_config("models_api"))
    app.use(ConfigurationFile(Path(source), file_content(arguments)))
    if app.service.error is not None:
        raise app.service.error
    return app.service


def file_content(arguments: Mapping[str, object]) -> bytes:
    """Return the configuration file that has the model, and nothing else."""
    model = {key: value for key, value in arguments.items() if key not in SERVICE_KEYS}
    service = {key: arguments[key] for key in SERVICE_KEYS if key in arguments}
    return yaml.safe_dump({**service, "models": [model]}, sort_keys=False).encode()

"""What tests of a project use: models that stand in for those of the YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from django.apps import apps
from django.test.utils import TestContextDecorator
from ml_base import MLModel

from models_api.apps import ModelsAPIConfig

__all__ = ["use_models"]


class use_models(TestContextDecorator):  # noqa: N801 (as Django's override_settings)
    """Lets models stand in for those of the same names, and besides, for the time of a test.

    A context manager, and a decorator of functions, of coroutines and of subclasses of Django's
    SimpleTestCase. Within it the routes, the documents and `get_model` have these models, whatever
    thread asks. The models that are not replaced are still there; each is loaded, if it was not
    before, when it is first asked for, on the thread that asks.

    Decorators of the YAML file and its `batching`, `concurrency` and `timeout_seconds` do not
    apply to a model that stands in, and no metric counts its predictions.
    """

    def __init__(self, models: Mapping[str, MLModel] | None = None, /, **named: MLModel) -> None:
        """Make it.

        Args:
            models: Instances by qualified name, where that is no name in Python.
            named: Likewise.

        Raises:
            TypeError: one of them is no instance of a model.
        """
        super().__init__()
        self._models = {**(models or {}), **named}
        self._used: list[Mapping[str, MLModel]] = []
        for name, model in self._models.items():
            _check(name, model)

    def enable(self) -> None:
        """Begin."""
        models = dict(self._models)
        _app_config().substitute(models)
        self._used.append(models)

    def disable(self) -> None:
        """End."""
        _app_config().end_substitution(self._used.pop())


def _check(name: str, model: object) -> None:
    if isinstance(model, type) and issubclass(model, MLModel):
        raise TypeError(f"use_models({name}={model.__name__}): write {model.__name__}().")
    if not isinstance(model, MLModel):
        raise TypeError(
            f"use_models({name}=...): {model!r} is no model. Give an instance of a subclass of "
            "ml_base.MLModel, with its names and schemas; of the real model's class it has these."
        )


def _app_config() -> ModelsAPIConfig:
    return cast(ModelsAPIConfig, apps.get_app_config("models_api"))

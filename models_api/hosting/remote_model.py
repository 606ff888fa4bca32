"""What stands for the class of a model that computes in another service."""

from __future__ import annotations

from typing import Any, ClassVar

from ml_base import MLModel
from pydantic import BaseModel

from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import REFUSALS, Refusal
from models_api.hosting.class_paths import import_class
from models_api.hosting.model_stack import Layer, ModelStack, names_of


class RemoteModel(MLModel):
    """Base of the classes that stand for such models; there is no instance that predicts."""

    # What is None, only the other service tells.
    display_name = qualified_name = description = version = None
    input_schema: ClassVar[type[BaseModel] | None] = None
    output_schema: ClassVar[type[BaseModel] | None] = None
    refusals: ClassVar[tuple[type[Refusal], ...]] = REFUSALS
    """Nobody knows here by which of them it answers."""

    def predict(self, data: Any) -> Any:
        """Predict nothing."""
        raise NotImplementedError


def remote_stack(configuration: ModelConfiguration) -> ModelStack:
    """Return the stack of a class that stands for a model; imports its schemas, if it names them.

    Raises:
        ClassPathError: one of these cannot be used.
    """
    execution = configuration.execution
    schemas = {
        key: import_class(path, BaseModel)
        for key in ("input_schema", "output_schema")
        if (path := getattr(execution, key)) is not None
    }
    cls: Any = type(configuration.qualified_name or "", (RemoteModel,), schemas)
    cls.__abstractmethods__ = frozenset()  # it is described by an instance that was never made
    return ModelStack(Layer(cls, {}), (), given_names=names_of(configuration))

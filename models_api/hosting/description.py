"""What a model says about itself, read from an instance."""

from __future__ import annotations

import reprlib

from ml_base import MLModel
from pydantic import BaseModel

from models_api.configuration.qualified_names import problem_of_name, shortened
from models_api.exceptions import DescriptionError, DescriptionFailed
from models_api.hosting.model_stack import layers_of
from models_api.logs import one_line
from models_api.prediction.description import ModelNames, ModelSchemas

# Values in messages are cut to this many characters.
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


def _attribute(model: MLModel, name: str) -> object:
    """Read an attribute, and let nobody answer in place of a property that raises.

    Python takes an AttributeError inside a property for an attribute that is not there, and asks
    `__getattr__`, by which ml_base's decorators give what the wrapped model says.
    """
    value: object = None
    failed: DescriptionFailed | None = None
    layers = layers_of(model)
    for index, layer in enumerate(layers):
        try:
            value = type(layer).__getattribute__(layer, name)  # type: ignore[call-arg]
        except Exception as error:  # noqa: BLE001 (a property can raise anything)
            failed = failed or _failure(layers, index, name, error)
            if isinstance(error, AttributeError) and hasattr(type(layer), "__getattr__"):
                break
        else:
            failed = None  # whatever is below, this one does without it
    if failed is not None:
        raise failed
    if value is None:
        # Classes that set it in `__init__` declare it as None, to satisfy the abstract class.
        raise DescriptionFailed(f"{type(model).__name__}.{name} is None", len(layers) - 1)
    return value


def _failure(layers: list[MLModel], index: int, name: str, error: Exception) -> DescriptionFailed:
    message = f"{type(layers[index]).__name__}.{name} raised {one_line(error)}"
    failed = DescriptionFailed(message, index, is_certain=_is_certain(layers, error))
    failed.__cause__ = error
    return failed


def _is_certain(layers: list[MLModel], error: Exception) -> bool:
    """Whether it is not for want of what an `__init__` sets that something has no attribute."""
    lacking = error.obj if isinstance(error, AttributeError) else None
    of_layers = any(lacking is layer or lacking is type(layer) for layer in layers)
    return lacking is not None and not of_layers


_SCHEMAS = ("input_schema", "output_schema")


def read_names(model: MLModel) -> ModelNames:
    """Read display name, qualified name, description and version.

    Raises:
        DescriptionError: one of them is no string, or the qualified name cannot stand in a URL.
        DescriptionFailed: a property raised, as one of an uninitialised model may well do.
    """
    names: dict[str, str] = {}
    for name in ModelNames._fields:
        value = _attribute(model, name)
        if not isinstance(value, str):
            message = f"{name} is {_short.repr(value)}, which is not a string"
            text = value if isinstance(value, int | float) else "..."
            raise DescriptionError(message, f'Write {name} = "{text}" in the class.')
        names[name] = value
    problem = problem_of_name(names["qualified_name"])
    if problem is not None:
        reason, hint = problem
        name = shortened(names["qualified_name"])
        raise DescriptionError(f'the qualified name "{name}" {reason}', hint)
    return ModelNames(**names)


def read_schemas(model: MLModel) -> ModelSchemas:
    """Read the input and the output schema.

    Raises:
        DescriptionError: one of them is no pydantic model.
        DescriptionFailed: a property raised.
    """
    schemas: list[type[BaseModel]] = []
    for name in _SCHEMAS:
        schema = _attribute(model, name)
        if not isinstance(schema, type) or not issubclass(schema, BaseModel):
            message = f"{name} is {_short.repr(schema)}, which is not a pydantic model"
            hint = f"Set {name} to a subclass of pydantic.BaseModel."
            if isinstance(schema, BaseModel):
                hint = f"Name the class, without brackets: {name} = {type(schema).__name__}"
            raise DescriptionError(message, hint)
        schemas.append(schema)
    return ModelSchemas(*schemas)

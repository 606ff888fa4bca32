"""What a model says about itself, read from an instance."""

from __future__ import annotations

import reprlib

from ml_base import MLModel
from pydantic import BaseModel

from models_api.configuration.qualified_names import problem_of_name, shortened
from models_api.exceptions import DescriptionError
from models_api.prediction.description import ModelNames, ModelSchemas

# Values in messages are cut to this many characters.
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


def _attribute(model: MLModel, name: str) -> object:
    value: object = getattr(model, name)
    if value is None:
        # Classes that set it in `__init__` declare it as None, to satisfy the abstract class.
        raise AttributeError(f"{type(model).__name__}.{name} is None")
    return value


_SCHEMAS = ("input_schema", "output_schema")


def read_names(model: MLModel) -> ModelNames:
    """Read display name, qualified name, description and version.

    Raises:
        DescriptionError: one of them is no string, or the qualified name cannot stand in a URL.
        Exception: whatever a property of the model raises; an uninitialised one may well do.
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
        Exception: whatever a property of the model raises.
    """
    schemas: list[type[BaseModel]] = []
    for name in _SCHEMAS:
        schema = _attribute(model, name)
        if not isinstance(schema, type) or not issubclass(schema, BaseModel):
            message = f"{name} is {_short.repr(schema)}, which is not a pydantic model"
            raise DescriptionError(message, f"Set {name} to a subclass of pydantic.BaseModel.")
        schemas.append(schema)
    return ModelSchemas(*schemas)

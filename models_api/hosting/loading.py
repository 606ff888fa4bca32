"""From class paths to models: importing classes, describing them, building the decorated model."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import re
import reprlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel

from models_api.configuration.explanation import QUALIFIED_NAME_HINT
from models_api.configuration.sections import (
    QUALIFIED_NAME_PATTERN,
    BatchingConfiguration,
    ModelConfiguration,
)
from models_api.exceptions import ClassPathError, DescriptionError
from models_api.prediction.batcher import batching_decorator

# Values in messages are cut to this many characters.
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
_IMPORT_HINT = "Check that the module can be imported: `python -c 'import {module}'`."


def import_class(class_path: str, base: type) -> type[Any]:
    """Import the class at a dotted path.

    Raises:
        ClassPathError: the module is missing, raised, or lacks the name; or the class is no `base`.
    """
    module_path, _, name = class_path.rpartition(".")
    if not module_path or not all(part.isidentifier() for part in class_path.split(".")):
        hint = "Write module and class with dots between, such as my_package.models.MyModel."
        raise ClassPathError(f'"{class_path}" is not a class path', hint)
    module = _import_module(module_path)
    try:
        found = getattr(module, name)
    except AttributeError:
        nearest = difflib.get_close_matches(name, dir(module), n=1)
        hint = (
            f"Did you mean {module_path}.{nearest[0]}?"
            if nearest
            else f"Define it in {module_path}."
        )
        message = f'the module {module_path} has no name "{name}"'
        raise ClassPathError(message, hint) from None
    _check_kind(class_path, found, base)
    abstract = sorted(getattr(found, "__abstractmethods__", ()))
    if abstract:
        raise ClassPathError(
            f"{class_path} does not define {', '.join(abstract)}", "Define them in the class."
        )
    return cast(type[Any], found)


def _check_kind(class_path: str, found: Any, base: type) -> None:
    hint = f"Name a class that derives from {base.__module__.split('.')[0]}.{base.__name__}."
    if not isinstance(found, type):
        message = f"{class_path} is not a class (its type is {type(found).__name__})"
        raise ClassPathError(message, hint)
    if not issubclass(found, base):
        raise ClassPathError(f"{class_path} is not a subclass of {base.__name__}", hint)
    if base is MLModel and issubclass(found, MLModelDecorator):
        hint = "List it under the decorators of a model."
        raise ClassPathError(f"{class_path} is a decorator, not a model", hint)


def _import_module(module_path: str) -> Any:
    hint = _IMPORT_HINT.format(module=module_path)
    try:
        return importlib.import_module(module_path)
    except ModuleNotFoundError as error:
        if error.name and f"{module_path}.".startswith(f"{error.name}."):
            raise ClassPathError(
                f'there is no module "{error.name}"', _elsewhere(error.name)
            ) from error
        if error.name:
            message = f'{module_path} imports "{error.name}", and there is no such module'
            hint = "Install the package that provides it."
            raise ClassPathError(message, hint) from error
        raise ClassPathError(f"importing {module_path} raised {one_line(error)}", hint) from error
    except (Exception, SystemExit) as error:
        # A module of somebody else's can raise anything while it is imported.
        raise ClassPathError(f"importing {module_path} raised {one_line(error)}", hint) from error


def _elsewhere(missing: str) -> str:
    """Say where a missing module may be."""
    package, _, name = missing.rpartition(".")
    if package in sys.modules and not hasattr(sys.modules[package], "__path__"):
        return f"{package} is a module: write the name of one of its classes behind it."
    # None stands for sys.path.
    folders = getattr(sys.modules.get(package), "__path__", ()) if package else None
    names = {module.name for module in pkgutil.iter_modules(folders)}
    nearest = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.75)
    if nearest:
        return f"Did you mean {package}{'.' if package else ''}{nearest[0]}?"
    return "Install the package, or start the service in the folder that holds the module."


def one_line(error: BaseException) -> str:
    """Write kind and text of an error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


@dataclass(frozen=True, slots=True)
class Layer:
    """A class of the stack around one model, with the keyword arguments of its `__init__`."""

    cls: type[Any]
    arguments: Mapping[str, Any]

    def check_arguments(self) -> None:
        """Raise ClassPathError if the `__init__` does not take the configured arguments."""
        try:
            signature = inspect.signature(self.cls.__init__)
        except ValueError:
            return  # a class written in C says nothing about its signature
        misfit = f"the configuration does not fit {self.cls.__name__}.__init__"
        positional, keyword = self.model_arguments(None)
        if keyword.keys() & self.arguments.keys():
            hint = "Remove it from the configuration: it is the model that is decorated."
            raise ClassPathError(f'{misfit}: the argument "model" is taken', hint)
        try:
            signature.bind(None, *positional, **keyword, **self.arguments)
        except TypeError as error:
            hint = f"Its signature is {self.cls.__name__}{_without_self(signature)}."
            # Python 3.12 adds of which kind the argument is, which the signature shows.
            reason = str(error).replace("keyword-only argument", "argument")
            raise ClassPathError(f"{misfit}: {reason}", hint) from None

    def model_arguments(self, model: MLModel | None) -> tuple[list[Any], dict[str, Any]]:
        """How the `__init__` takes the decorated model: positionally, by name, or not at all."""
        if not issubclass(self.cls, MLModelDecorator):
            return [], {}
        parameters = list(inspect.signature(self.cls.__init__).parameters.values())[1:]
        by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        if any(each.name == "model" and each.kind in by_name for each in parameters):
            return [], {"model": model}
        takes_any = parameters[:1] and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL
        return ([model], {}) if takes_any else ([], {})


def _without_self(signature: inspect.Signature) -> str:
    parameters = list(signature.parameters.values())[1:]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


@dataclass(frozen=True, slots=True)
class ModelStack:
    """The class of one model and those of its decorators, innermost first."""

    model: Layer
    decorators: tuple[Layer, ...]
    batching: BatchingConfiguration | None = None
    timeout_seconds: float | None = None

    @classmethod
    def from_configuration(cls, configuration: ModelConfiguration) -> ModelStack:
        """Import the classes that the configuration names.

        Raises:
            ClassPathError: one of them cannot be used.
        """
        return cls(
            Layer(import_class(configuration.class_path, MLModel), configuration.configuration),
            tuple(
                Layer(import_class(decorator.class_path, MLModelDecorator), decorator.configuration)
                for decorator in configuration.decorators
            ),
            configuration.batching,
            configuration.timeout_seconds,
        )

    def check_batching(self) -> None:
        """Raise ClassPathError if batches are asked for, and the model's class predicts none."""
        # Decorators forward unknown attributes to the model, so that only a class can tell.
        if self.batching is not None and not hasattr(self.model.cls, "predict_batch"):
            name = self.model.cls.__name__
            hint = (
                "Define predict_batch(self, data: list[Input]) -> list[Output], or remove batching."
            )
            raise ClassPathError(f"{name} does not define predict_batch", hint)

    def build(self) -> MLModel:
        """Make the model, which runs every `__init__`, and whatever they raise comes out."""
        model = self.model.cls(**self.model.arguments)
        if self.batching is not None:
            model = batching_decorator(model)(model, self.batching, self.timeout_seconds)
        for layer in self.decorators:
            model = _decorate(layer, model)
        return cast(MLModel, model)

    def build_uninitialised(self) -> MLModel:
        """Make the stack without running any `__init__`: good for reading descriptions only."""
        model = _uninitialised(self.model.cls)
        for layer in self.decorators:
            decorator = _uninitialised(layer.cls)
            # ml_base's decorators send every attribute that is set on them to the model.
            decorator.__dict__.update(_model=model, _configuration=dict(layer.arguments))
            model = decorator
        return cast(MLModel, model)


def _uninitialised(cls: Any) -> Any:
    return cls.__new__(cls)


def _decorate(layer: Layer, model: MLModel) -> MLModel:
    # Given at once, so that attributes that the decorator sets in `__init__` find a model to go to.
    positional, keyword = layer.model_arguments(model)
    decorator = layer.cls(*positional, **keyword, **layer.arguments)
    if decorator.__dict__.get("_model") is None:
        decorator.set_model(model)
    return cast(MLModel, decorator)


def _attribute(model: MLModel, name: str) -> Any:
    value = getattr(model, name)
    if value is None:
        # Classes that set it in `__init__` declare it as None, to satisfy the abstract class.
        raise AttributeError(f"{type(model).__name__}.{name} is None")
    return value


NAMES = ("display_name", "qualified_name", "description", "version")
SCHEMAS = ("input_schema", "output_schema")


def read_names(model: MLModel) -> dict[str, str]:
    """Read display name, qualified name, description and version.

    Raises:
        DescriptionError: one of them is no string, or the qualified name cannot stand in a URL.
        Exception: whatever a property of the model raises; an uninitialised one may well do.
    """
    names = {name: _attribute(model, name) for name in NAMES}
    for name, value in names.items():
        if not isinstance(value, str):
            message = f"{name} is {_short.repr(value)}, which is not a string"
            text = value if isinstance(value, int | float) else "..."
            raise DescriptionError(message, f'Write {name} = "{text}" in the class.')
    if not re.fullmatch(QUALIFIED_NAME_PATTERN, names["qualified_name"]):
        message = f'the qualified name "{names["qualified_name"]}" cannot stand in a URL'
        raise DescriptionError(message, QUALIFIED_NAME_HINT)
    return names


def read_schemas(model: MLModel) -> tuple[type[BaseModel], type[BaseModel]]:
    """Read the input and the output schema.

    Raises:
        DescriptionError: one of them is no pydantic model.
        Exception: whatever a property of the model raises.
    """
    schemas = [_attribute(model, name) for name in SCHEMAS]
    for name, schema in zip(SCHEMAS, schemas, strict=True):
        if not isinstance(schema, type) or not issubclass(schema, BaseModel):
            message = f"{name} is {_short.repr(schema)}, which is not a pydantic model"
            raise DescriptionError(message, f"Set {name} to a subclass of pydantic.BaseModel.")
    return schemas[0], schemas[1]

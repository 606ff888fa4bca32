"""From a configuration file to the registry, or to a list of all that is wrong with the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec

from ml_base import MLModel, MLModelDecorator

from models_api.configuration.document import Key, key_path
from models_api.configuration.file import ConfigurationFile
from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import (
    ClassPathError,
    ConfigurationError,
    DescriptionError,
    Problem,
)
from models_api.hosting.class_paths import import_class
from models_api.hosting.hosted_model import HostedModel, Resources
from models_api.hosting.model_stack import ModelStack
from models_api.hosting.registry import ModelRegistry
from models_api.schemas.json_schema import json_schema

INVALID_CLASS = "models_api.E005"
INVALID_DESCRIPTION = "models_api.E006"
MISSING_PACKAGE = "models_api.E008"


def build_registry(file: ConfigurationFile, resources: Resources | None = None) -> ModelRegistry:
    """Import the classes that the file names, and make their hosted models; loads none of them.

    Args:
        file: The configuration.
        resources: What the models share; by default nothing limits or measures them.

    Raises:
        ConfigurationError: with all problems of the file, and of the classes that it names.
    """
    reserved = file.configuration.reserved_names if file.configuration else frozenset[str]()
    resources = replace(resources or Resources(), reserved_names=reserved)
    problems = [*file.problems, *_package_problems(file), *_class_problems(file)]
    defects: list[Problem] = []
    models: list[HostedModel] = []
    places: dict[str, tuple[Key, ...]] = {}
    for keys, configuration, stack in _stacks(file):
        problems += _layer_problems(file, keys, stack)
        try:
            model = HostedModel(configuration, stack, resources)
            _check_schemas(model)
        except DescriptionError as error:
            problems.append(_problem(file, INVALID_DESCRIPTION, (*keys, error.key), error))
        else:
            problems += _duplicate_problems(file, keys, model, places)
            defects += _defects(file, keys, model)
            models.append(model)
    if problems:
        raise ConfigurationError([*problems, *defects])
    headers = file.configuration.request_headers if file.configuration is not None else ()
    return ModelRegistry(models, resources.limiter, defects=defects, request_headers=headers)


def _stacks(
    file: ConfigurationFile,
) -> Iterator[tuple[tuple[Key, ...], ModelConfiguration, ModelStack]]:
    for index, configuration in file.models():
        # Those that cannot be imported are among the class problems.
        with suppress(ClassPathError):
            yield ("models", index), configuration, ModelStack.from_configuration(configuration)


def _package_problems(file: ConfigurationFile) -> Iterator[Problem]:
    open_inference = file.configuration and file.configuration.open_inference
    if open_inference and open_inference.enabled and find_spec("numpy") is None:
        keys = ("open_inference", "enabled")
        message = "the Open Inference Protocol needs numpy, which is not installed"
        hint = 'Install it: pip install "modelhost[open-inference]"'
        yield file.document.problem(MISSING_PACKAGE, keys, message, hint)


def _class_problems(file: ConfigurationFile) -> Iterator[Problem]:
    for keys, class_path in file.class_paths():
        try:
            import_class(class_path, MLModelDecorator if "decorators" in keys else MLModel)
        except ClassPathError as error:
            yield _problem(file, INVALID_CLASS, keys, error)


def _layer_problems(
    file: ConfigurationFile, keys: tuple[Key, ...], stack: ModelStack
) -> Iterator[Problem]:
    try:
        stack.check_batching()
    except ClassPathError as error:
        yield _problem(file, INVALID_CLASS, (*keys, "batching"), error)
    places = [keys, *((*keys, "decorators", index) for index in range(len(stack.decorators)))]
    for place, layer in zip(places, (stack.model, *stack.decorators), strict=True):
        for check, key in (
            (layer.check_methods, "class_path"),
            (layer.check_arguments, "configuration"),
        ):
            try:
                check()
            except ClassPathError as error:
                yield _problem(file, INVALID_CLASS, (*place, key), error)


def _duplicate_problems(
    file: ConfigurationFile,
    keys: tuple[Key, ...],
    model: HostedModel,
    places: dict[str, tuple[Key, ...]],
) -> Iterator[Problem]:
    if model.known_name is None:
        return
    first = places.setdefault(model.known_name, keys)
    if first is not keys:
        message = f'{key_path(first)} has the qualified name "{model.known_name}" already'
        hint = "Remove one of the two, or give one another class, with a qualified_name of its own."
        yield file.document.problem(INVALID_DESCRIPTION, (*keys, "class_path"), message, hint)


def _defects(
    file: ConfigurationFile, keys: tuple[Key, ...], model: HostedModel
) -> Iterator[Problem]:
    if model.defect is None:
        return
    layer = model.defect.layer
    place = (*keys, "decorators", layer - 1) if layer else keys
    hint = "Mend the property. The other models are served, this one will not be loaded."
    message = str(model.defect)
    yield file.document.problem(INVALID_DESCRIPTION, (*place, "class_path"), message, hint)


def _check_schemas(model: HostedModel) -> None:
    if model.is_described:
        input_schema, output_schema = model.schemas
        json_schema(input_schema, "validation")
        json_schema(output_schema, "serialization")


def _problem(
    file: ConfigurationFile,
    id_: str,
    keys: tuple[Key, ...],
    error: ClassPathError | DescriptionError,
) -> Problem:
    return file.document.problem(id_, keys, str(error), error.hint)

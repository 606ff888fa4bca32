"""From a configuration file to the registry, or to a list of all that is wrong with the file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from models_api.artefacts.source import require_package
from models_api.configuration.document import UNSET_VARIABLE, key_path
from models_api.configuration.execution import ExecutionConfiguration
from models_api.configuration.file import CONTRADICTION, ConfigurationFile
from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import (
    ArtefactError,
    ClassPathError,
    ConfigurationError,
    DescriptionError,
    Problem,
    TrafficError,
)
from models_api.hosting.artefacts import named, stack_of
from models_api.hosting.editions import edition_of
from models_api.hosting.elsewhere import survey_elsewhere
from models_api.hosting.hosted_model import HostedModel, Resources
from models_api.hosting.model_stack import ModelStack
from models_api.hosting.registry import ModelRegistry
from models_api.hosting.remote_model import remote_stack
from models_api.hosting.survey import (
    INVALID_DESCRIPTION,
    Keys,
    Mistake,
    ModelProfile,
    artefact_mistake,
    check_schemas,
    class_mistake,
    description_mistake,
    layer_mistakes,
)
from models_api.hosting.traffic import Share, schema_difference, traffic_of

MISSING_PACKAGE = "models_api.E008"
MISSING_FILE = "models_api.E011"


class Built(NamedTuple):
    """The hosted models of a file."""

    models: Sequence[HostedModel]
    """In its order."""
    defects: Sequence[Problem]
    """What is wrong with single models, without which the others can be served."""


Reuse = Callable[[ModelConfiguration, str], HostedModel | None]
"""Returns the hosted model that there is already for an entry and its edition, if there is one."""


def build_registry(file: ConfigurationFile, resources: Resources | None = None) -> ModelRegistry:
    """Import the classes that the file names, and make their hosted models; loads none of them.

    Args:
        file: The configuration.
        resources: What the models share; by default nothing limits or measures them.

    Raises:
        ConfigurationError: with all problems of the file, and of the classes that it names.
    """
    resources = resources or Resources()
    models, defects = build_models(file, resources)
    headers = file.configuration.request_headers if file.configuration is not None else ()
    return ModelRegistry(models, resources.limiter, defects=defects, request_headers=headers)


def build_models(
    file: ConfigurationFile,
    resources: Resources,
    reuse: Reuse = lambda _configuration, _edition: None,
    edition_of: Callable[[ModelConfiguration], str] = edition_of,
    *,
    is_hosted: bool = True,
) -> Built:
    """Import the classes that the file names, and make their hosted models; loads none of them.

    Args:
        file: The configuration.
        resources: What the models share.
        reuse: Finds those that need not be made.
        edition_of: Tells what else than its configuration a model is made from.
        is_hosted: Whether requests can reach those that are made.

    Raises:
        ConfigurationError: as for `build_registry`.
    """
    reserved = file.configuration.reserved_names if file.configuration else frozenset[str]()
    resources = replace(resources, reserved_names=reserved)
    problems = [*file.problems, *_package_problems(file), *_class_problems(file)]
    defects: list[Problem] = []
    models: list[HostedModel] = []
    names: dict[str, list[tuple[Keys, HostedModel]]] = {}
    places: dict[str, dict[str | None, Keys]] = {}
    for keys, configuration, edition, source, mistakes in _sources(
        file, resources, reuse, edition_of
    ):
        problems += _problems(file, keys, mistakes)
        if source is None:
            continue
        try:
            model = (
                source
                if isinstance(source, HostedModel)
                else HostedModel(
                    configuration, source, resources, edition=edition, is_hosted=is_hosted
                )
            )
            check_schemas(model.profile.description)
        except DescriptionError as error:
            mistake = description_mistake(error)
            if mistake.keys == ("class_path",) and configuration.is_without_class:
                mistake = mistake._replace(keys=("artefact",))
            problems += _problems(file, keys, [mistake])
        else:
            problems += _duplicate_problems(file, keys, model, places)
            defects += _defects(file, keys, model)
            models.append(model)
            if model.known_name is not None:
                names.setdefault(model.known_name, []).append((keys, model))
    problems += [*_alias_problems(file, names), *_traffic_problems(file, names)]
    if problems:
        raise ConfigurationError([*problems, *defects])
    return Built(models, defects)


Source = ModelStack | ModelProfile | HostedModel | None
"""The classes of a model, or what they tell elsewhere, or the model that there is already."""


def _sources(
    file: ConfigurationFile,
    resources: Resources,
    reuse: Reuse,
    edition_of: Callable[[ModelConfiguration], str],
) -> Iterator[tuple[Keys, ModelConfiguration, str, Source, Iterable[Mistake]]]:
    """Yield each model with what it can be made from, and what is wrong there."""
    models: list[tuple[Keys, ModelConfiguration]] = []
    for index, found in file.models():
        try:
            models.append((("models", index), named(found)))
        except ArtefactError as error:
            yield ("models", index), found, "", None, [artefact_mistake(error)]
    surveys = survey_elsewhere([configuration for _, configuration in models])
    for (keys, configuration), survey in zip(models, surveys, strict=True):
        # Before anything is read, so that what changes meanwhile is another one.
        edition = edition_of(configuration)
        known = reuse(configuration, edition)
        if known is not None:
            yield keys, configuration, edition, known, ()
            continue
        if survey is not None:
            yield keys, configuration, edition, survey.profile, survey.mistakes
            continue
        try:
            stack = _stack(configuration, resources)
        except ArtefactError as error:
            yield keys, configuration, edition, None, [artefact_mistake(error)]
        except ClassPathError:
            pass  # it is among the class problems
        else:
            yield keys, configuration, edition, stack, layer_mistakes(stack)


def _stack(configuration: ModelConfiguration, resources: Resources) -> ModelStack:
    if configuration.is_remote:
        return remote_stack(configuration)
    return stack_of(configuration, resources.artefacts)


def _package_problems(file: ConfigurationFile) -> Iterator[Problem]:
    open_inference = file.configuration and file.configuration.open_inference
    if open_inference and open_inference.enabled and find_spec("numpy") is None:
        keys = ("open_inference", "enabled")
        message = "the Open Inference Protocol needs numpy, which is not installed"
        hint = 'Install it: pip install "modelhost[open-inference]"'
        yield file.document.problem(MISSING_PACKAGE, keys, message, hint)
    for index, model in file.models():
        if isinstance(model.artefact, str):
            try:
                require_package(model.artefact)
            except ArtefactError as error:
                place = ("models", index, error.key)
                yield file.document.problem(MISSING_PACKAGE, place, str(error), error.hint)
        if model.is_remote:
            yield from _remote_problems(file, ("models", index, "execution"), model.execution)


def _remote_problems(
    file: ConfigurationFile, keys: Keys, execution: ExecutionConfiguration
) -> Iterator[Problem]:
    needed = {"urllib3": ("kind", "remote"), "numpy": ("protocol", "open-inference")}
    if execution.protocol != "open_inference":
        del needed["numpy"]
    for package, (key, extra) in needed.items():
        if find_spec(package) is None:
            message = f"{key}: {getattr(execution, key)} needs {package}, which is not installed"
            hint = f'Install it: pip install "modelhost[{extra}]"'
            yield file.document.problem(MISSING_PACKAGE, (*keys, key), message, hint)
    variable = execution.token_env
    if variable is not None and not os.environ.get(variable):
        message = f"the environment variable {variable} is not set"
        hint = "Set it to the bearer token of the other service."
        yield file.document.problem(UNSET_VARIABLE, (*keys, "token_env"), message, hint)
    elif variable is not None and not _is_token(os.environ[variable]):
        message = f"the environment variable {variable} has a character that no token can have"
        hint = "See to it that it has no blanks and line breaks, not at its end either."
        yield file.document.problem(UNSET_VARIABLE, (*keys, "token_env"), message, hint)
    for key in ("ca_file", "client_certificate", "client_key"):
        path = getattr(execution, key)
        if path is not None and not Path(path).is_file():
            hint = "Write its path from the folder where the service starts, or in full."
            yield file.document.problem(MISSING_FILE, (*keys, key), "there is no such file", hint)


def _is_token(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _class_problems(file: ConfigurationFile) -> Iterator[Problem]:
    for keys, class_path in file.class_paths():
        yield from _problems(file, (), class_mistake(keys, class_path))


def _problems(file: ConfigurationFile, keys: Keys, mistakes: Iterable[Mistake]) -> list[Problem]:
    return [
        file.document.problem(each.id, (*keys, *each.keys), each.message, each.hint)
        for each in mistakes
    ]


def _duplicate_problems(
    file: ConfigurationFile,
    keys: Keys,
    model: HostedModel,
    places: dict[str, dict[str | None, Keys]],
) -> Iterator[Problem]:
    if model.known_name is None:
        return
    versions = places.setdefault(model.known_name, {})
    first = versions.get(model.version) or versions.get(None)
    if model.version is None and versions:
        first = next(iter(versions.values()))
    versions.setdefault(model.version, keys)
    if first is not None:
        message = f'{key_path(first)} has the qualified name "{model.known_name}" already'
        hint = (
            "Remove one of the two, or write another qualified_name for one, or another version "
            "for one."
        )
        if None in versions:
            hint = (
                "Write version for each of the two if they are versions of one model, one of which "
                "tells its own only once it is loaded; else another qualified_name for one."
            )
        key = "artefact" if model.configuration.is_without_class else "class_path"
        yield file.document.problem(INVALID_DESCRIPTION, (*keys, key), message, hint)


def _alias_problems(
    file: ConfigurationFile, names: Mapping[str, Sequence[tuple[Keys, HostedModel]]]
) -> Iterator[Problem]:
    named = [each for versions in names.values() for each in versions]
    versions = {(model.known_name, model.version): keys for keys, model in named}
    aliases: dict[tuple[str | None, str], Keys] = {}
    for keys, model in named:
        for position, alias in enumerate(model.configuration.aliases):
            name, place = (model.known_name, alias), (*keys, "aliases", position)
            if name in versions:
                message = f'{key_path(versions[name])} is the version "{alias}" of "{name[0]}"'
                hint = "Write another alias, or none: versions are asked by their own names, too."
                yield file.document.problem(CONTRADICTION, place, message, hint)
            elif name in aliases:
                message = f'{key_path(aliases[name])} has this alias of "{name[0]}" already'
                hint = "Remove it from one of the two: an alias stands for one version."
                yield file.document.problem(CONTRADICTION, place, message, hint)
            aliases.setdefault(name, keys)


def _traffic_problems(
    file: ConfigurationFile, names: Mapping[str, Sequence[tuple[Keys, HostedModel]]]
) -> Iterator[Problem]:
    for name, versions in names.items():
        try:
            traffic = traffic_of(name, [model for _, model in versions])
        except TrafficError as error:
            keys = (*versions[error.version][0], error.key)
            yield file.document.problem(CONTRADICTION, keys, str(error), error.hint)
            continue
        for share in traffic.shares if traffic is not None else ():
            yield from _schema_problems(file, versions, share)


def _schema_problems(
    file: ConfigurationFile,
    versions: Sequence[tuple[Keys, HostedModel]],
    share: Share,
) -> Iterator[Problem]:
    first = next(model for _, model in versions if model.configuration.create_endpoint)
    if not (share.percent and share.model.is_described and first.is_described):
        return  # nobody knows yet, and then the end of the loading tells
    try:
        found = schema_difference(share.model, first)
    except DescriptionError:
        return  # it is among the problems already
    if found is not None:
        keys = next(keys for keys, model in versions if model is share.model)
        hint = (
            "Give it another qualified_name, or write allow_schema_change: true if it takes what "
            "clients of that name send."
        )
        yield file.document.problem(CONTRADICTION, (*keys, "traffic"), found, hint)


def _defects(file: ConfigurationFile, keys: Keys, model: HostedModel) -> Iterator[Problem]:
    if model.profile.defect is None:
        return
    layer = model.profile.defect.layer
    place = (*keys, "decorators", layer - 1) if layer else keys
    hint = "Mend the property. The other models are served, this one will not be loaded."
    message = str(model.profile.defect)
    yield file.document.problem(INVALID_DESCRIPTION, (*place, "class_path"), message, hint)

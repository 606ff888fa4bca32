"""What the classes of a model tell without running any `__init__`, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel

from models_api import exceptions
from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import (
    REFUSALS,
    ArtefactError,
    ClassPathError,
    DescriptionError,
    DescriptionFailed,
    Refusal,
)
from models_api.hosting.class_paths import import_class
from models_api.hosting.description import read_names, read_schemas
from models_api.hosting.health import has_health_check
from models_api.hosting.model_stack import ModelStack
from models_api.logs import SafeLogger
from models_api.prediction.description import (
    ModelDescription,
    ModelNames,
    description_data,
    description_from,
)
from models_api.schemas.json_schema import json_schema

logger = SafeLogger(__name__)

T = TypeVar("T")
Keys = tuple[str | int, ...]

INVALID_CLASS = "models_api.E005"
INVALID_DESCRIPTION = "models_api.E006"
INVALID_ARTEFACT = "models_api.E012"


class Mistake(NamedTuple):
    """One thing wrong with a model, as `exceptions.Problem` is with a file."""

    id: str
    keys: Keys
    """Within the model's entry in the file."""
    message: str
    hint: str


class ModelProfile(NamedTuple):
    """What the classes of one model tell."""

    model_class: type[MLModel]
    """Without decorators; a mere name where this process cannot import it."""
    description: ModelDescription
    """As far as they tell it."""
    refusals: tuple[type[Refusal], ...] = ()
    defect: DescriptionFailed | None = None
    """Why the model will not be loaded, where they tell that already."""


class Survey(NamedTuple):
    """What was found of a model's classes where they can be imported."""

    profile: ModelProfile | None
    """None where they cannot be hosted."""
    mistakes: Sequence[Mistake]


def profile_of(stack: ModelStack, label: str) -> ModelProfile:
    """Return what classes tell.

    Raises:
        DescriptionError: one of them says something that no model can.
    """
    reader = _Reader(label)
    model = reader.told("anything", stack.build_uninitialised)
    description = ModelDescription()
    if model is not None:
        description = ModelDescription(
            reader.told("its names", partial(_names, stack, model)),
            reader.told("its schemas", partial(read_schemas, model)),
        )
    for layer in stack.layers:
        has_health_check(layer.cls)  # raises, where it has one that cannot be asked
    return ModelProfile(stack.model.cls, description, stack.refusals(), reader.defect)


def check_schemas(description: ModelDescription) -> None:
    """Raise DescriptionError if a schema has no JSON Schema."""
    if description.schemas is not None:
        json_schema(description.schemas.input, "validation")
        json_schema(description.schemas.output, "serialization")


def class_mistakes(configuration: ModelConfiguration) -> Iterator[Mistake]:
    """Yield what is wrong with the class paths of a model."""
    if not configuration.is_without_class:
        yield from class_mistake(("class_path",), configuration.class_path)
    for index, decorator in enumerate(configuration.decorators):
        yield from class_mistake(("decorators", index, "class_path"), decorator.class_path)


def class_mistake(keys: Keys, class_path: str) -> Iterator[Mistake]:
    """Yield what is wrong with one class path."""
    try:
        import_class(class_path, _base(keys))
    except ClassPathError as error:
        yield Mistake(INVALID_CLASS, keys, str(error), error.hint)


def _base(keys: Keys) -> type:
    if "execution" in keys:
        return BaseModel
    base: type = MLModelDecorator if "decorators" in keys else MLModel
    return base


def layer_mistakes(stack: ModelStack) -> Iterator[Mistake]:
    """Yield what is wrong with the methods and the configured arguments of classes."""
    checks: list[tuple[Callable[[], None], Keys]] = [(stack.check_batching, ("batching",))]
    places: list[Keys] = [(), *(("decorators", index) for index in range(len(stack.decorators)))]
    for place, layer in zip(places, stack.layers, strict=True):
        checks += [
            (layer.check_methods, (*place, "class_path")),
            (layer.check_arguments, (*place, "configuration")),
        ]
    for check, keys in checks:
        try:
            check()
        except ArtefactError as error:
            yield artefact_mistake(error)
        except ClassPathError as error:
            yield Mistake(INVALID_CLASS, keys, str(error), error.hint)


def description_mistake(error: DescriptionError) -> Mistake:
    """Return the mistake of a model that says something that none can."""
    return Mistake(INVALID_DESCRIPTION, (error.key,), str(error), error.hint)


def artefact_mistake(error: ArtefactError) -> Mistake:
    """Return the mistake of a model whose file cannot be served."""
    return Mistake(INVALID_ARTEFACT, (error.key,), str(error), error.hint)


def _names(stack: ModelStack, model: MLModel) -> ModelNames:
    return stack.renamed(read_names(model))


class _Reader:
    """Reads what a model says of itself that was not initialised."""

    def __init__(self, label: str) -> None:
        self.defect: DescriptionFailed | None = None
        self._label = label

    def told(self, what: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except (DescriptionError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 (`__new__` or a property can raise anything)
            logger.debug("%s tells %s only once it is loaded: %r", self._label, what, error)
            if isinstance(error, DescriptionFailed) and error.is_certain:
                self.defect = self.defect or error
            return None


def survey_data(configuration: ModelConfiguration) -> dict[str, object]:
    """Survey a model, and return what was found as what JSON holds; see `survey_from`."""
    mistakes = list(class_mistakes(configuration))
    profile: dict[str, object] | None = None
    if not mistakes:
        try:
            stack = ModelStack.from_configuration(configuration)
            mistakes = list(layer_mistakes(stack))
            profile = _profile_data(profile_of(stack, configuration.source))
        except ArtefactError as error:
            mistakes.append(artefact_mistake(error))
        except DescriptionError as error:
            mistakes.append(description_mistake(error))
    return {"profile": profile, "mistakes": mistakes}


def survey_from(data: Mapping[str, Any]) -> Survey:
    """Return what was found of a model by a process that can import its classes."""
    profile = data["profile"]
    mistakes = [Mistake(id_, tuple(keys), *texts) for id_, keys, *texts in data["mistakes"]]
    return Survey(None if profile is None else _profile_from(profile), mistakes)


def _profile_data(profile: ModelProfile) -> dict[str, object]:
    defect = profile.defect
    return {
        "class": (profile.model_class.__module__, profile.model_class.__name__),
        "description": description_data(profile.description),
        "refusals": [_kind(refusal).__name__ for refusal in profile.refusals],
        "defect": None if defect is None else (str(defect), defect.layer),
    }


def _kind(refusal: type[Refusal]) -> type[Refusal]:
    return next((kind for kind in REFUSALS if issubclass(refusal, kind)), Refusal)


def _profile_from(data: Mapping[str, Any]) -> ModelProfile:
    module, name = data["class"]
    return ModelProfile(
        type(name, (MLModel,), {"__module__": module}),
        description_from(data["description"]),
        tuple(getattr(exceptions, each) for each in data["refusals"]),
        None if data["defect"] is None else DescriptionFailed(*data["defect"]),
    )

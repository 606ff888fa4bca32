"""Models that stand in for those of the YAML file, for the time of a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import ClassVar

from ml_base import MLModel

from models_api.configuration.sections import ModelConfiguration
from models_api.hosting.hosted_model import HostedModel, Resources
from models_api.hosting.model_stack import Layer, ModelStack
from models_api.hosting.registry import ModelRegistry
from models_api.prediction.instruments import Instruments
from models_api.prediction.model_calls import synchronous
from models_api.service import ModelService
from models_api.signals import SignalSender


@dataclass(frozen=True, slots=True)
class GivenStack(ModelStack):
    """An instance in place of the classes that make one, under a name of its own."""

    is_given: ClassVar[bool] = True

    instance: MLModel | None = None

    def build(self, instruments: Instruments) -> MLModel:
        """Return the instance."""
        return synchronous(self.build_uninitialised())

    def build_uninitialised(self) -> MLModel:
        """Return the instance, which describes itself as well as any other."""
        assert self.instance is not None  # noqa: S101 (for the type checker)
        return self.instance


def with_substitutes(service: ModelService, given: Mapping[str, MLModel]) -> ModelService:
    """Return a service with these models in place of those of the same names, and besides.

    All else is that service's own. Its models are loaded when somebody asks for them, one by one,
    and a file with problems leaves the given models alone.
    """
    made = copy(service)
    made.registry = ModelRegistry(
        _models(service.registry, given, service.resources),
        service.limiter,
        request_headers=service.registry.request_headers,
    )
    made.registry.loads_on_demand = True
    made.error = None
    made.original = service
    return made


def _models(
    registry: ModelRegistry, given: Mapping[str, MLModel], resources: Resources
) -> Sequence[HostedModel]:
    # Neither measured nor limited together with the models of the file.
    resources = Resources(
        maximum_rows=resources.maximum_rows,
        maximum_values=resources.maximum_values,
        listener=SignalSender,
    )
    # Of several versions those with an endpoint last, so that a name which has one keeps it.
    by_endpoint = sorted(registry, key=lambda model: model.configuration.create_endpoint)
    known = {model.known_name: model.configuration for model in by_endpoint}
    stand_ins = {
        name: _hosted(name, instance, known.get(name), resources)
        for name, instance in given.items()
    }
    models = []
    for model in registry:
        name = model.known_name or ""
        if name not in given:
            models.append(model)
        elif name in stand_ins:  # in the place of all its versions
            models.append(stand_ins.pop(name))
    return [*models, *stand_ins.values()]


def _hosted(
    name: str, instance: MLModel, known: ModelConfiguration | None, resources: Resources
) -> HostedModel:
    cls = type(instance)
    configuration = ModelConfiguration(
        class_path=f"{cls.__module__}.{cls.__qualname__}",
        qualified_name=name,
        create_endpoint=known.create_endpoint if known is not None else True,
    )
    stack = GivenStack(Layer(cls, {}), (), given_names={"qualified_name": name}, instance=instance)
    hosted = HostedModel(configuration, stack, resources)
    hosted.load()
    return hosted

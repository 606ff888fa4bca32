"""The stack of one model: its class, and those of the decorators around it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ml_base import MLModel, MLModelDecorator

from models_api.configuration.sections import BatchingConfiguration, ModelConfiguration
from models_api.exceptions import (
    REFUSALS,
    ArtefactError,
    ClassPathError,
    DescriptionError,
    Refusal,
)
from models_api.hosting.class_paths import has_no_init, import_class
from models_api.prediction.batcher import BatchingDecorator, batching_decorator
from models_api.prediction.description import ModelNames
from models_api.prediction.instruments import Instruments
from models_api.prediction.model_calls import (
    PREDICTING_METHODS,
    awaitable,
    is_asynchronous,
    synchronous,
)
from models_api.runtimes.artefact_model import artefact_class

ARTEFACT = "artefact"
"""The argument of a model's `__init__` that is the path of its artefact."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A class of the stack around one model, with the keyword arguments of its `__init__`."""

    cls: type[MLModel]
    arguments: Mapping[str, object]
    artefact: Path | None = None
    """A further argument of that name, of a model that has a class and an artefact."""

    @property
    def keywords(self) -> dict[str, object]:
        """The keyword arguments, with the artefact if there is one."""
        given = {} if self.artefact is None else {ARTEFACT: self.artefact}
        return {**self.arguments, **given}

    def check_methods(self) -> None:
        """Raise ClassPathError if a method that predicts gives no prediction, but a generator."""
        for name in PREDICTING_METHODS:
            method = getattr(self.cls, name, None)
            # What a list can be made of is as good as one.
            yields = inspect.isgeneratorfunction(method) and name != "predict_batch"
            if yields or inspect.isasyncgenfunction(method):
                hint = (
                    "A request has one answer: return it instead of yielding it, put together from "
                    "its parts if it comes in parts."
                )
                raise ClassPathError(f"{self.cls.__name__}.{name} is a generator function", hint)
            self._check_takes_data(name, inspect.getattr_static(self.cls, name, None))

    def _check_takes_data(self, name: str, method: object) -> None:
        bound = 0 if isinstance(method, staticmethod) else 1
        function = method.__func__ if isinstance(method, staticmethod | classmethod) else method
        if not inspect.isfunction(function):
            return
        # As it is called: what it wraps may take other arguments.
        signature = inspect.signature(function, follow_wrapped=False)
        try:
            signature.bind(*[None] * (bound + 1))
        except TypeError:
            given = "the columns" if name == "predict_columns" else "the data"
            message = f"{self.cls.__name__}.{name} cannot be called with {given} alone"
            parameter = "columns" if name == "predict_columns" else "data"
            hint = f"Write def {name}(self, {parameter}); it is now def {name}{signature}."
            raise ClassPathError(message, hint) from None

    def check_arguments(self) -> None:
        """Raise ClassPathError if the `__init__` does not take the configured arguments."""
        try:
            signature = inspect.signature(self.cls.__init__)
        except ValueError:
            return  # a class written in C says nothing about its signature
        misfit = f"the configuration does not fit {self.cls.__name__}.__init__"
        self._check_takes_artefact(signature)
        positional, keyword = self.model_arguments(None)
        if keyword.keys() & self.arguments.keys():
            hint = "Remove it from the configuration: it is the model that is decorated."
            raise ClassPathError(f'{misfit}: the argument "model" is taken', hint)
        try:
            signature.bind(None, *positional, **keyword, **self.keywords)
        except TypeError as error:
            hint = f"Its signature is {self.cls.__name__}{_without_self(signature)}."
            # Python 3.12 adds of which kind the argument is, which the signature shows.
            reason = str(error).replace("keyword-only argument", "argument")
            raise ClassPathError(f"{misfit}: {reason}", hint) from None

    def _check_takes_artefact(self, signature: inspect.Signature) -> None:
        kinds = {each.name: each.kind for each in signature.parameters.values()}
        takes_any = inspect.Parameter.VAR_KEYWORD in kinds.values()
        by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        if self.artefact is not None and not takes_any and kinds.get(ARTEFACT) not in by_name:
            name = self.cls.__name__
            message = f"{name}.__init__ takes no argument that is called artefact"
            hint = f"Its signature is {name}{_without_self(signature)}. Add artefact: Path to it."
            raise ArtefactError(message, hint)

    def refusals(self) -> tuple[type[Refusal], ...]:
        """Return what the class says that it raises to refuse requests.

        Raises:
            DescriptionError: it lists something else.
        """
        listed = getattr(self.cls, "refusals", ())
        is_list = isinstance(listed, list | tuple | set | frozenset)
        if not is_list or not all(isinstance(e, type) and issubclass(e, REFUSALS) for e in listed):
            names = ", ".join(each.__name__ for each in REFUSALS)
            message = f"{self.cls.__name__}.refusals should be a tuple of refusals"
            hint = f"List {names} of models_api.for_models, or what derives from them."
            raise DescriptionError(message, hint)
        return tuple(listed)

    def model_arguments(
        self, model: MLModel | None
    ) -> tuple[list[MLModel | None], dict[str, MLModel | None]]:
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

    is_given: ClassVar[bool] = False
    """Whether an instance takes the place of the classes, for the time of a test."""

    model: Layer
    decorators: tuple[Layer, ...]
    batching: BatchingConfiguration | None = None
    given_names: Mapping[str, str] = field(default_factory=dict)
    """Those of ModelNames that the configuration says in place of the model."""

    @classmethod
    def from_configuration(cls, configuration: ModelConfiguration) -> ModelStack:
        """Import the classes that the configuration names, or make that of its artefact.

        Raises:
            ArtefactError: the artefact cannot be used.
            ClassPathError: one of the classes cannot be used.
        """
        return cls(
            _model_layer(configuration),
            tuple(
                Layer(import_class(decorator.class_path, MLModelDecorator), decorator.configuration)
                for decorator in configuration.decorators
            ),
            configuration.batching,
            names_of(configuration),
        )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The model's class and those of the decorators, innermost first."""
        return (self.model, *self.decorators)

    def refusals(self) -> tuple[type[Refusal], ...]:
        """Return by which refusals the classes say that they answer.

        Raises:
            DescriptionError: one of them lists something else.
        """
        return tuple(refusal for layer in self.layers for refusal in layer.refusals())

    def check_batching(self) -> None:
        """Raise ClassPathError if batches are asked for, and the model's class predicts none."""
        # Decorators forward unknown attributes to the model, so that only a class can tell.
        if self.batching is not None and not hasattr(self.model.cls, "predict_batch"):
            name = self.model.cls.__name__
            hint = (
                "Define predict_batch(self, data: list[Input]) -> list[Output], or remove batching."
            )
            raise ClassPathError(f"{name} does not define predict_batch", hint)

    @property
    def predicts_columns(self) -> bool:
        """Whether the class of the model or of a decorator defines `predict_columns`."""
        return any(hasattr(each.cls, "predict_columns") for each in (self.model, *self.decorators))

    def hidden_methods(self) -> dict[str, str]:
        """Return which methods of the model its decorators hide, and why.

        Decorators forward unknown attributes, so that to call such a method of the outermost one
        would skip what those around the model do.
        """
        if not self.decorators:
            return {}
        outermost = self.decorators[-1].cls
        return {
            name: f"its decorator {outermost.__name__} does not define it"
            for name in PREDICTING_METHODS
            if hasattr(self.model.cls, name) and not hasattr(outermost, name)
        }

    def build(self, instruments: Instruments) -> MLModel:
        """Make the model, which runs every `__init__`, and whatever they raise comes out."""
        model = self._build_model()
        if self.batching is not None:
            model = synchronous(model)
            model = batching_decorator(model)(model, self.batching, instruments)
        for layer in self.decorators:
            model = _decorate(layer, self._as_seen_by(layer.cls, model))
        return synchronous(model)

    def _build_model(self) -> MLModel:
        cls = self.model.cls
        if not has_no_init(cls):
            return cls(**self.model.keywords)
        model = _uninitialised(cls)
        super(MLModel, model).__init__()  # what stands behind it in the class's bases
        return model

    def _as_seen_by(self, decorator: type[MLModel], model: MLModel) -> MLModel:
        if not is_asynchronous(decorator):
            return synchronous(model)
        # One that awaits its model shall do so with batching, too.
        is_awaited = isinstance(model, BatchingDecorator) and is_asynchronous(self.model.cls)
        return awaitable(model) if is_awaited else model

    def renamed(self, names: ModelNames) -> ModelNames:
        """Return the names under which a model that calls itself so is hosted."""
        return names._replace(**self.given_names)

    def build_uninitialised(self) -> MLModel:
        """Make the stack without running any `__init__`: good for reading descriptions only."""
        model = _uninitialised(self.model.cls)
        for layer in self.decorators:
            decorator = _uninitialised(layer.cls)
            # ml_base's decorators send every attribute that is set on them to the model.
            decorator.__dict__.update(_model=model, _configuration=dict(layer.arguments))
            model = decorator
        return model


def _model_layer(configuration: ModelConfiguration) -> Layer:
    if configuration.is_without_class:
        return Layer(artefact_class(configuration), {})
    model = import_class(configuration.class_path, MLModel)
    artefact = configuration.artefact
    # Where it is an address, a path takes its place before the model is made.
    return Layer(model, configuration.configuration, Path(artefact) if artefact else None)


def names_of(configuration: ModelConfiguration) -> dict[str, str]:
    """Return which names a configuration says in place of its model."""
    given = {name: getattr(configuration, name) for name in ModelNames._fields}
    return {name: value for name, value in given.items() if value is not None}


def layers_of(model: MLModel) -> list[MLModel]:
    """Return a model and the decorators around it, innermost first."""
    layers = [model]
    while isinstance(model, MLModelDecorator):
        model = model.__dict__.get("_model")
        if model is None:
            break
        layers.insert(0, model)
    return layers


def _uninitialised(cls: type[MLModel]) -> MLModel:
    return cls.__new__(cls)  # type: ignore[call-overload]


def _decorate(layer: Layer, model: MLModel) -> MLModel:
    # Given at once, so that attributes that the decorator sets in `__init__` find a model to go to.
    positional, keyword = layer.model_arguments(model)
    decorator = layer.cls(*positional, **keyword, **layer.arguments)
    if decorator.__dict__.get("_model") is None:
        decorator.set_model(model)
    return decorator

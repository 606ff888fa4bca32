"""How the code of a model is called, whether or not it is made of coroutines, or forks."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import Any, TypeVar, cast

from ml_base import MLModel, MLModelDecorator

from models_api.fork import ForkGuard
from models_api.prediction.event_loop import EventLoop

D = TypeVar("D")
T = TypeVar("T")

PREDICTING_METHODS = ("predict", "predict_batch", "predict_columns")


class ModelCalls:
    """Makes the calls of one model for those that await nothing. Safe to use from many threads."""

    def __init__(self) -> None:
        self._guard = ForkGuard()
        self._event_loop = EventLoop()

    def make(self, method: Callable[[D], T], data: D) -> T:
        """Return what a method of the model returns in the end, in the process that called it."""
        guard = self._guard
        forks = guard.forks
        try:
            result = method(data)
        except BaseException as error:
            guard.end_child(forks, error)
            raise
        if guard.forks != forks:
            guard.end_child(forks)
        if result.__class__ is CoroutineType:  # of a method that does not look like it
            return self._event_loop.run(cast("Awaitable[T]", result))
        return result


def is_asynchronous(cls: type[MLModel]) -> bool:
    """Return whether a class of models or decorators predicts by coroutine functions."""
    methods = [getattr(cls, name) for name in PREDICTING_METHODS if hasattr(cls, name)]
    return any(inspect.iscoroutinefunction(inspect.unwrap(method)) for method in methods)


def synchronous(model: MLModel) -> MLModel:
    """Return the model as those see it that await nothing: itself, or a decorator around it."""
    return _decorated(model, _run_to_its_end) if is_asynchronous(type(model)) else model


def awaitable(model: MLModel) -> MLModel:
    """Return a decorator for those that await a model; each of its calls takes a thread."""
    return _decorated(model, _run_in_thread)


def _decorated(model: MLModel, forward: Callable[[str], Callable[..., object]]) -> MLModel:
    # Only a class says what a model can do.
    names = [name for name in PREDICTING_METHODS if hasattr(type(model), name)]
    methods: dict[str, Any] = {name: forward(name) for name in names}
    decorator = type("EventLoopDecorator", (MLModelDecorator,), methods)(model)
    # ml_base's decorators send attributes that are set on them to the model.
    decorator.__dict__["event_loop"] = EventLoop()
    return decorator


def _run_to_its_end(name: str) -> Callable[..., object]:
    def call(self: Any, *args: object, **kwargs: object) -> object:
        result = getattr(self._model, name)(*args, **kwargs)
        return self.event_loop.run(result) if inspect.isawaitable(result) else result

    return call


def _run_in_thread(name: str) -> Callable[..., object]:
    async def call(self: Any, *args: object, **kwargs: object) -> object:
        return await asyncio.to_thread(getattr(self._model, name), *args, **kwargs)

    return call

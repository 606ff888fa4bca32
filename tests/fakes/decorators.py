"""Decorators that take their model in the ways that decorators are written."""

import os
from pathlib import Path
from typing import Any

from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel

from tests.fakes.models import Doubled, Number


class Plain(MLModelDecorator):
    """Changes nothing, and has ml_base's own `__init__`."""


class Suffix(MLModelDecorator):
    """Has an attribute of its own, which ml_base would set on the model."""

    def __init__(self, model: MLModel | None = None, suffix: str = "!") -> None:
        super().__init__(model)
        self.__dict__["suffix"] = suffix

    @property
    def display_name(self) -> str:
        """The model's name with the suffix behind it."""
        return self._model.display_name + self.__dict__.get("suffix", "?")


class KeywordOnly(MLModelDecorator):
    """Takes its model by name only, behind another argument."""

    def __init__(self, *, level: str, model: MLModel | None = None) -> None:
        super().__init__(model)
        self.__dict__["level"] = level


class Anything(MLModelDecorator):
    """Takes its model as one of any number of arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class WithoutModel(MLModelDecorator):
    """Takes no model in its `__init__`: it gets it from `set_model`."""

    def __init__(self, level: int = 1) -> None:
        super().__init__()
        self.__dict__["level"] = level


class ForgetfulSetModel(WithoutModel):
    """Its `set_model` returns nothing."""

    def set_model(self, model: MLModel) -> None:
        """Take the model."""
        super().set_model(model)


class Counting(MLModelDecorator):
    """Sets an attribute in `__init__`, which ml_base sends to the model: there has to be one."""

    def __init__(self, model: MLModel | None = None, start: int = 0) -> None:
        super().__init__(model)
        self.count = start


class Negative(MLModelDecorator):
    """Changes schema and prediction, and marks that its `__init__` ran."""

    class Output(BaseModel):
        """The negative of the prediction."""

        negative: float

    output_schema = Output

    def __init__(self, model: MLModel | None = None) -> None:
        super().__init__(model)
        with Path(os.environ["MARKER_FILE"]).open("a", encoding="utf-8") as marker:
            marker.write("decorated\n")

    def predict(self, data: Number) -> "Negative.Output":
        """Negate the prediction."""
        prediction: Doubled = self._model.predict(data)
        return self.Output(negative=-prediction.value)


class Failing(MLModelDecorator):
    """Cannot be made."""

    def __init__(self, model: MLModel | None = None) -> None:
        raise ValueError("this decorator never works")

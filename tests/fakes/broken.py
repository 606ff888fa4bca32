"""Classes that cannot be served, each for another reason."""

from collections.abc import Callable
from typing import Any

from ml_base import MLModel
from pydantic import BaseModel

from tests.fakes.models import DoublingModel, Number

NOT_A_CLASS = DoublingModel.predict


class NotAModel:
    """Has nothing of MLModel."""


class NoInit(MLModel):
    """Lacks `__init__`, `predict` and a version."""

    display_name = "No init"
    qualified_name = "no_init"
    description = ""
    input_schema = Number
    output_schema = Number


class NumericVersion(DoublingModel):
    """Has a number for a version."""

    version: Any = 1.1


class UnusableName(DoublingModel):
    """Has a name that no URL takes."""

    qualified_name = "my model/2"


class FloatSchema(DoublingModel):
    """Has a number for a schema."""

    input_schema: Any = float


class Callback(BaseModel):
    """Cannot be described as JSON Schema."""

    callback: Callable[[int], int]


class UndocumentableSchema(DoublingModel):
    """Takes what no JSON can hold."""

    input_schema: Any = Callback

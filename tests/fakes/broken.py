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


class DotsName(DoublingModel):
    """Has a name that clients take for the folder above."""

    qualified_name = ".."


class LongName(DoublingModel):
    """Has a name that is longer than one can be."""

    qualified_name = "name " * 41


class StatsName(DoublingModel):
    """Has the name of a route of the Open Inference Protocol."""

    qualified_name = "stats"


class LateName(DoublingModel):
    """Tells its name only once it is loaded."""

    qualified_name: Any = None

    def __init__(self, name: str) -> None:
        """Take the name."""
        self.qualified_name = name


class FloatSchema(DoublingModel):
    """Has a number for a schema."""

    input_schema: Any = float


class Callback(BaseModel):
    """Cannot be described as JSON Schema."""

    callback: Callable[[int], int]


class UndocumentableSchema(DoublingModel):
    """Takes what no JSON can hold."""

    input_schema: Any = Callback

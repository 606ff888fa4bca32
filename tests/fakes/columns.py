"""A model that predicts columns, its twin that does not, and decorators around them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy
from ml_base import MLModel, MLModelDecorator
from ml_base.ml_model import MLModelSchemaValidationException
from pydantic import BaseModel, Field, RootModel


class Species(StrEnum):
    SETOSA = "setosa"
    VIRGINICA = "virginica"


class Plant(BaseModel):
    height: float = Field(gt=0, lt=100)
    leaves: int = Field(ge=0)
    alive: bool
    name: str = Field(alias="plantName", max_length=8)
    species: Species


class StrictPlant(Plant, strict=True):
    """The same, and nothing is converted."""


class Forecast(BaseModel):
    height: float
    leaves: int = Field(le=1000)
    alive: bool
    name: str = Field(serialization_alias="plantName")
    species: Species


class RowsModel(MLModel):
    """Doubles heights; does something else for plants of some names."""

    display_name = "Rows"
    qualified_name = "rows"
    description = "Says what becomes of plants."
    version = "1.0.0"
    input_schema: type[BaseModel] = Plant
    output_schema = Forecast

    def __init__(self) -> None:
        self.calls: list[str] = []
        """How it was asked, one for each call."""

    def predict(self, data: Plant) -> Any:
        self.calls.append("predict")
        return self._predict(data)

    def predict_batch(self, data: list[Plant]) -> list[Any]:
        self.calls.append("predict_batch")
        return [self._predict(plant) for plant in data]

    def _predict(self, plant: Plant) -> Any:
        if plant.name == "refused":
            raise MLModelSchemaValidationException("this plant makes no sense")
        if plant.name == "raises":
            raise RuntimeError("secret reason")
        height = {"nan": numpy.nan, "infinite": -numpy.inf}.get(plant.name, 2 * plant.height)
        # Not an instance, so that it is checked as columns are.
        return {
            "height": height,
            "leaves": "many" if plant.name == "misfit" else plant.leaves,
            "alive": not plant.alive,
            "name": plant.name.upper(),
            "species": plant.species,
        }


class ColumnsModel(RowsModel):
    """The same by columns."""

    qualified_name = "columns"

    def predict_columns(self, columns: Mapping[str, Any]) -> Any:
        self.calls.append("predict_columns")
        names = set(columns["name"])
        if names & {"refused", "raises"}:
            raise RuntimeError("one of these")
        if "exits" in names:
            raise SystemExit
        height = 2 * columns["height"]
        height[columns["name"] == "nan"] = numpy.nan
        height[columns["name"] == "infinite"] = -numpy.inf
        found: dict[str, Any] = {
            "height": height,
            "leaves": columns["leaves"],
            "alive": ~columns["alive"],
            "name": [name.upper() for name in columns["name"]],
            "species": columns["species"],
        }
        return _spoiled(found, names)


class StrictColumnsModel(ColumnsModel):
    qualified_name = "strict_columns"
    input_schema = StrictPlant


class StrictRowsModel(RowsModel):
    qualified_name = "strict_rows"
    input_schema = StrictPlant


class Whole(RootModel[float]):
    """A number, and no object with a field that is one."""


class WholeColumnsModel(ColumnsModel):
    qualified_name = "whole_columns"
    input_schema = Whole


class ForwardingDecorator(MLModelDecorator):
    """Knows nothing of columns; columns would miss what it does."""

    def predict(self, data: Plant) -> Any:
        return {**self._model.predict(data), "leaves": 7}


class ColumnsDecorator(ForwardingDecorator):
    """Knows of columns."""

    def predict_columns(self, columns: Mapping[str, Any]) -> Any:
        found = self._model.predict_columns(columns)
        return {**found, "leaves": [7] * len(found["leaves"])}


def _spoiled(found: dict[str, Any], names: set[str]) -> Any:
    """Make of right columns what no schema takes, by the names of the plants."""
    if "misfit" in names:
        found["leaves"] = ["many"] * len(found["leaves"])
    if "short" in names:
        found["height"] = found["height"][1:]
    if "missing" in names:
        del found["alive"]
    if "extra" in names:
        found["age"] = found["leaves"]
    if "table" in names:
        found["height"] = found["height"].reshape(-1, 1)
    if "letters" in names:
        found["name"] = "x" * len(found["leaves"])
    if "nothing" in names:
        return None
    return list(found.values()) if "list" in names else found


RAISING = ("refused", "raises", "exits")
"""Each is answered as if there were no columns."""
SPOILERS = ("misfit", "table", "short", "missing", "letters", "nothing", "list")
"""Each is an error, whatever the rows would be."""

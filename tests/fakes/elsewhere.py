"""Models for a Python that has ml_base, pydantic and models_api.for_models, and nothing else."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel, Field

from models_api.for_models import Conflict, current_request

logger = logging.getLogger("elsewhere")


class Box(BaseModel):
    left: float
    label: str | None = None


class Asked(BaseModel):
    number: float = Field(ge=0, description="What is doubled.")
    boxes: list[Box] = []


class Told(BaseModel):
    doubled: float
    box: Box


class DoublingModel(MLModel):
    """Doubles numbers, but for some."""

    display_name = "Elsewhere"
    qualified_name: Any = "elsewhere"
    description: Any = "Doubles numbers."
    version: Any = "1.2.3"
    input_schema: Any = Asked
    output_schema = Told
    refusals = (Conflict,)

    def __init__(self, factor: float = 2.0) -> None:
        self._factor = factor

    def predict(self, data: Any) -> Any:
        """Double."""
        if data.number == 7:
            raise Conflict("seven is taken")
        if data.number == 8:
            raise ValueError("eight")
        if data.number == 9:
            time.sleep(60)
        logger.warning("doubling %s", data.number)
        boxes = data.boxes or [Box(left=data.number)]
        return Told(doubled=self._factor * data.number, box=boxes[0])


class TwinModel(DoublingModel):
    """The same, under another name."""

    qualified_name = "twin"


class GatheringModel(DoublingModel):
    """Predicts rows together."""

    qualified_name = "gathering"

    def predict_batch(self, data: list[Any]) -> list[Any]:
        """Double all."""
        return [Told(doubled=2 * each.number, box=Box(left=len(data))) for each in data]


class LateModel(DoublingModel):
    """Tells only as an instance what it is."""

    qualified_name = None
    input_schema = None

    def __init__(self) -> None:
        super().__init__()
        self.qualified_name = "late"
        self.input_schema = Asked


class ReportingModel(MLModel):
    """Tells of its Python."""

    display_name = "Reporting"
    qualified_name = "reporting"
    description = "Tells of its Python."
    version = "1.0.0"

    class input_schema(BaseModel):  # noqa: N801
        """Nothing."""

    class output_schema(BaseModel):  # noqa: N801
        """What it tells."""

        prefix: str
        path: list[str]
        lacking: list[str]
        variable: str
        request: str

    def __init__(self) -> None:
        pass

    def is_healthy(self) -> bool:
        """Say yes."""
        return True

    def predict(self, data: Any) -> Any:
        """Tell."""
        names = ("django", "rest_framework", "yaml", "numpy", "prometheus_client")
        return self.output_schema(
            prefix=sys.prefix,
            path=sys.path,
            lacking=[name for name in names if importlib.util.find_spec(name) is None],
            variable=os.environ.get("ELSEWHERE", ""),
            request=current_request().id,
        )


class Adding(MLModelDecorator):
    """Adds to what the model gives."""

    def predict(self, data: Any) -> Any:
        """Add."""
        told = self._model.predict(data)
        told.doubled += self._configuration["added"]
        return told


class RequiringModel(DoublingModel):
    """Takes an argument that has to be given."""

    def __init__(self, folder: str) -> None:
        super().__init__()


class NumberedModel(DoublingModel):
    """Has a number for a version."""

    version = 1.5


class YieldingModel(DoublingModel):
    """Yields in place of returning."""

    def predict(self, data: Any) -> Any:
        """Yield."""
        yield data


class BrokenModel(DoublingModel):
    """Has a property that is never going to work."""

    @property
    def description(self) -> Any:
        """Fail."""
        return "x".nothing  # type: ignore[attr-defined]


class FailingModel(DoublingModel):
    """Cannot be loaded."""

    qualified_name = "failing"

    def __init__(self) -> None:
        raise FileNotFoundError("there are no weights")


class NeverModel(DoublingModel):
    """Is never loaded."""

    qualified_name = "never"

    def __init__(self) -> None:
        time.sleep(1000)


class OnceModel(DoublingModel):
    """Is loaded, and then not again while there is a file."""

    qualified_name = "once"

    def __init__(self, mark: str) -> None:
        super().__init__()
        if Path(mark).exists():
            raise RuntimeError("not again")

    def predict(self, data: Any) -> Any:
        """Double, or die."""
        if data.number == 0:
            os._exit(3)
        return super().predict(data)

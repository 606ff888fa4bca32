"""Models that get their artefact by its path."""

from __future__ import annotations

import os
from pathlib import Path

from ml_base import MLModel
from pydantic import BaseModel


class Asked(BaseModel):
    """What is asked."""

    factor: float = 1


class Told(BaseModel):
    """What is in the artefact."""

    value: float
    path: str
    process: int


class ReadingModel(MLModel):
    """Reads a number from a file, or from a file of that name in a folder."""

    display_name = "Reading"
    qualified_name = "reading"
    description = "Reads a number."
    version = "1.0.0"
    input_schema = Asked
    output_schema = Told

    def __init__(self, artefact: Path, offset: float = 0) -> None:
        assert isinstance(artefact, Path)
        self.path = artefact
        file = artefact / "number" if artefact.is_dir() else artefact
        self.number = float(file.read_text()) + offset

    def predict(self, data: Asked) -> Told:
        """Tell it."""
        value = self.number * data.factor
        return Told(value=value, path=str(self.path), process=os.getpid())


class PositionalModel(ReadingModel):
    """Takes its artefact by position alone."""

    def __init__(self, artefact: Path, /) -> None:
        super().__init__(artefact)


class AnythingModel(ReadingModel):
    """Takes whatever it is given."""

    def __init__(self, **arguments: Path) -> None:
        super().__init__(arguments["artefact"])

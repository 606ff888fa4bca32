"""Models whose names are more than identifiers."""

from __future__ import annotations

from ml_base import MLModel
from pydantic import BaseModel, create_model


class NamedInput(BaseModel):
    value: int


class NamedOutput(BaseModel):
    name: str
    value: int


class NamedModel(MLModel):
    """Tells its name, which it has from its configuration."""

    display_name = "Named"
    qualified_name: str = None  # type: ignore[assignment]
    description = "Tells its name."
    version = "1.0.0"
    input_schema: type[BaseModel] = NamedInput
    output_schema: type[BaseModel] = NamedOutput

    def __init__(self, name: str = "") -> None:
        """Take the name."""
        if name:
            self.qualified_name = name

    def predict(self, data: NamedInput) -> NamedOutput:
        """Tell it."""
        return NamedOutput(name=self.qualified_name, value=data.value)


ODD = "R&D, it's (v2) + $5 @ [a~b]!=~*"
LONGEST = "é" * 100


class Blank(NamedModel):
    qualified_name = "house prices"


class Accented(NamedModel):
    qualified_name = "prédiction"


class Chinese(NamedModel):
    qualified_name = "模型 1"


class Hindi(NamedModel):
    qualified_name = "हिन्दी"


class Odd(NamedModel):
    qualified_name = ODD


class Longest(NamedModel):
    qualified_name = LONGEST


class Rocket(NamedModel):
    qualified_name = "🚀"
    # Of the name that the others' has, and another class.
    input_schema = create_model("NamedInput", value=(int, 0))


NAMES = [model.qualified_name for model in NamedModel.__subclasses__()]
CLASS_PATHS = [f"{__name__}.{model.__name__}" for model in NamedModel.__subclasses__()]

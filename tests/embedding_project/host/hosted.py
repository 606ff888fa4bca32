"""A model that the host project hosts."""

from ml_base import MLModel
from pydantic import BaseModel


class Number(BaseModel):
    """A number."""

    number: float | None = None


class Doubled(BaseModel):
    """Twice that number."""

    doubled: float


class DoublingModel(MLModel):
    """Doubles a number."""

    display_name = "Doubling"
    qualified_name = "doubling"
    description = "Doubles a number."
    version = "1.0.0"
    input_schema = Number
    output_schema = Doubled

    def __init__(self):
        pass

    def predict(self, data):
        """Double the number."""
        return Doubled(doubled=2 * (data.number or 0))


class OtherModel(DoublingModel):
    """The same under another name."""

    qualified_name = "other"

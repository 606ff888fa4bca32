"""Models that were told a secret, and say it whenever something goes wrong."""

from __future__ import annotations

from ml_base import MLModel
from pydantic import BaseModel


class Question(BaseModel):
    """What the models are asked."""

    number: float


class SecretiveModel(MLModel):
    """Raises with its secret for a negative number."""

    display_name = "Secretive"
    qualified_name = "secretive"
    description = "Keeps a secret."
    version = "1.0.0"
    input_schema = Question
    output_schema = Question

    def __init__(self, token: str) -> None:
        self._token = token

    def predict(self, data: Question) -> Question:
        """Give back the number, or raise."""
        if data.number < 0:
            raise ValueError(f"The store of weights does not know {self._token}.")
        return data


class LockedOutModel(SecretiveModel):
    """Fails to load, and says why."""

    qualified_name = "locked_out"

    def __init__(self, token: str) -> None:
        raise PermissionError(f"The store of weights does not know {token}.")

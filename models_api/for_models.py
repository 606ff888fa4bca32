"""What the code of models and decorators may use of this package; nothing of it needs Django."""

from models_api.exceptions import (
    Conflict,
    Refusal,
    ResourceNotFound,
    TooManyRequests,
    Unprocessable,
)

__all__ = ["Conflict", "Refusal", "ResourceNotFound", "TooManyRequests", "Unprocessable"]

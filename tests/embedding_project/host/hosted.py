"""A model that the host project hosts."""

from typing import Any

from ml_base import MLModel
from pydantic import BaseModel

from models_api.for_models import current_request


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


class Caller(BaseModel):
    """Whom the model works for."""

    id: str
    tenant: str | None
    principal: str
    auth: str


class AskingModel(DoublingModel):
    """Says whom it works for."""

    qualified_name = "asking"
    output_schema: Any = Caller

    def predict(self, data):
        """Say it."""
        request = current_request()
        return Caller(
            id=request.id,
            tenant=request.headers.get("X-Tenant"),
            principal=str(request.principal),
            auth=type(request.auth).__name__,
        )

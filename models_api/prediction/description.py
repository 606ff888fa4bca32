"""What a model says about itself."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel


class ModelNames(NamedTuple):
    """Who a model says that it is."""

    display_name: str
    qualified_name: str
    description: str
    version: str


class ModelSchemas(NamedTuple):
    """What a model takes, and what it gives."""

    input: type[BaseModel]
    output: type[BaseModel]


class ModelDescription(NamedTuple):
    """All that a model has said about itself so far."""

    names: ModelNames | None = None
    """None as long as only loading the model would tell."""
    schemas: ModelSchemas | None = None
    """Likewise."""

    @property
    def is_complete(self) -> bool:
        """Whether names and schemas are known."""
        return self.names is not None and self.schemas is not None

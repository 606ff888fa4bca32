"""What a model says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from models_api.schemas.documented import documented_schema
from models_api.schemas.json_schema import Mode, json_schema

_MODES: tuple[Mode, Mode] = ("validation", "serialization")


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


class RemoteDescription(NamedTuple):
    """What another service says of a model that computes there."""

    names: ModelNames
    schemas: ModelSchemas


def description_data(description: ModelDescription) -> dict[str, object]:
    """Return a description as what JSON holds, for a process that has not these classes.

    Raises:
        DescriptionError: a schema has no JSON Schema.
    """
    names, schemas = description
    return {
        "names": None if names is None else names._asdict(),
        "schemas": None
        if schemas is None
        else [
            {"name": schema.__name__, "document": json_schema(schema, mode)}
            for schema, mode in zip(schemas, _MODES, strict=True)
        ],
    }


def description_from(data: Mapping[str, Any]) -> ModelDescription:
    """Return the description that `description_data` has made data of."""
    names, schemas = data["names"], data["schemas"]
    return ModelDescription(
        None if names is None else ModelNames(**names),
        None if schemas is None else ModelSchemas(*(documented_schema(**each) for each in schemas)),
    )

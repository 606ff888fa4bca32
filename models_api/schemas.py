"""The bodies of responses that are the service's own, as pydantic models."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field


class HealthStatus(StrEnum):
    """Whether the service works."""

    HEALTHY = "HEALTHY"
    NOT_HEALTHY = "NOT_HEALTHY"


class ReadinessStatus(StrEnum):
    """Whether the service can answer predictions for all its models."""

    ACCEPTING_TRAFFIC = "ACCEPTING_TRAFFIC"
    REFUSING_TRAFFIC = "REFUSING_TRAFFIC"


class StartupStatus(StrEnum):
    """Whether the service has finished loading its models, well or not."""

    STARTED = "STARTED"
    NOT_STARTED = "NOT_STARTED"


class HealthStatusResponse(BaseModel):
    """Health of the service."""

    health_status: HealthStatus = Field(
        description="NOT_HEALTHY once a model failed to load; the log says why."
    )


class ReadinessStatusResponse(BaseModel):
    """Readiness of the service."""

    readiness_status: ReadinessStatus = Field(
        description="ACCEPTING_TRAFFIC once every model is loaded."
    )


class StartupStatusResponse(BaseModel):
    """Progress of the start of the service."""

    startup_status: StartupStatus = Field(
        description="STARTED once loading has ended, well or not."
    )


class ModelDetails(BaseModel):
    """What a model says about itself."""

    display_name: str = Field(description="Name of the model for people.")
    qualified_name: str = Field(description="Identifier of the model, as used in URLs.")
    description: str = Field(description="What the model does.")
    version: str = Field(description="Version of the model.")


class ModelDetailsCollection(BaseModel):
    """The models of this service."""

    models: list[ModelDetails] = Field(
        description="Every model of the configuration, in its order."
    )


class ModelMetadata(ModelDetails):
    """What a model says about itself, and the data that it takes and gives."""

    input_schema: dict[str, Any] = Field(
        description="JSON Schema of the prediction's request body."
    )
    output_schema: dict[str, Any] = Field(
        description="JSON Schema of the prediction's response body."
    )


class ErrorDetail(BaseModel):
    """One problem of a request's body."""

    location: list[str | int] = Field(
        description="Keys and indexes that lead to the value; empty for the body as a whole."
    )
    type: str = Field(description="Kind of problem, stable across releases of the model.")
    message: str = Field(description="What is wrong, for people.")


class Error(BaseModel):
    """Why a request was not answered."""

    type: str = Field(description="Kind of error, such as ValidationError.")
    messages: list[str] = Field(description="What is wrong, for people.")
    details: list[ErrorDetail] | None = Field(
        default=None,
        description="The problems one by one, for programs; on validation errors only.",
    )

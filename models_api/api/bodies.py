"""The bodies of responses that are the service's own, as pydantic models."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field, NonNegativeInt, RootModel

from models_api.hosting.hosted_model import ModelState


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
        description="NOT_HEALTHY once a model that is required failed to load; the log says why."
    )


class ReadinessStatusResponse(BaseModel):
    """Readiness of the service."""

    readiness_status: ReadinessStatus = Field(
        description="ACCEPTING_TRAFFIC once every model is loaded, unless one is not healthy; one "
        "that is not required may have failed, or be unhealthy."
    )
    unhealthy_models: list[str] | None = Field(
        default=None,
        description="Names of the models that do not say of themselves that they are healthy, with "
        "`/versions/` and the version where there are several; only there if there are some.",
    )


class StartupStatusResponse(BaseModel):
    """Progress of the start of the service."""

    startup_status: StartupStatus = Field(
        description="STARTED once loading has ended, well or not."
    )


class _ModelNames(BaseModel):
    display_name: str = Field(description="Name of the model for people.")
    qualified_name: str = Field(description="Identifier of the model, as used in URLs.")
    description: str = Field(description="What the model does.")
    version: str = Field(description="Version of the model.")


_REASON = "Class of the exception that kept it from being loaded; only there if it failed."


class _Version(_ModelNames):
    aliases: list[str] | None = Field(
        default=None,
        description="Other names of the version, for URLs; only there if there are several "
        "versions of the model, or it has some.",
    )
    traffic: float | None = Field(
        default=None,
        description="Percent of the requests without a version that this version takes; only "
        "there as `aliases` is.",
    )
    taken_back: str | None = Field(
        default=None,
        description="Why the version takes none of them any more, whatever the configuration says; "
        "only there if it was taken back.",
    )


class ModelDetails(_Version):
    """What a model says about itself, and how it is."""

    state: ModelState = Field(description="Whether it answers predictions.")
    reason: str | None = Field(default=None, description=_REASON)


class ModelReadiness(BaseModel):
    """Whether a model answers predictions."""

    qualified_name: str = Field(description="Identifier of the model, as used in URLs.")
    ready: bool = Field(description="Whether it is loaded, and does not say that it is unhealthy.")
    version: str | None = Field(
        default=None, description="Version of the model; only there if the URL has one."
    )
    state: ModelState = Field(description="How it is, where it is not ready.")
    reason: str | None = Field(default=None, description=_REASON)


class ReloadStatus(BaseModel):
    """How the models were changed last while the service runs."""

    generation: int = Field(description="How often the models have been others, and 1.")
    outcome: Literal["none", "taken", "refused"] = Field(
        description="How the last change went; the log says why one was refused."
    )
    time: float | None = Field(
        default=None, description="When that was, in seconds since 1970; only there if it was."
    )


class ModelDetailsCollection(BaseModel):
    """The models of this service."""

    models: list[ModelDetails] = Field(
        description="Every model of the configuration, in its order."
    )
    reload: ReloadStatus | None = Field(
        default=None,
        description="Only there if models are changed while the service runs, as the worker has it "
        "that answers.",
    )


class ModelMetadata(_Version):
    """What a model says about itself, and the data that it takes and gives."""

    input_schema: dict[str, object] = Field(
        description="JSON Schema of the prediction's request body."
    )
    output_schema: dict[str, object] = Field(
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


# Bodies of the Open Inference Protocol, https://github.com/kserve/open-inference-protocol, and of
# the extensions that Triton has for it. Named apart from whatever models call their own.


OpenInferenceDatatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BF16",
    "BYTES",
]


class OpenInferenceServer(BaseModel):
    """What the server says about itself."""

    name: str = Field(description="Title of the service.")
    version: str = Field(description="Version of the service.")
    extensions: list[str] = Field(description="What it can do beyond the protocol.")


class OpenInferenceLive(BaseModel):
    """Whether the server works."""

    live: bool = Field(description="Whether it answers requests.")


class OpenInferenceReady(OpenInferenceLive):
    """Whether the server should get requests."""

    ready: bool = Field(description="Whether every model is loaded that is required.")


class OpenInferenceModelReady(BaseModel):
    """Whether a model can be asked."""

    name: str = Field(description="Name of the model.")
    ready: bool = Field(description="Whether it is loaded.")


class OpenInferenceTensor(BaseModel):
    """A tensor that a model takes or gives."""

    name: str = Field(description="Name of the field of the model's schema.")
    datatype: str = Field(description="Type of the elements: BOOL, INT64, FP64 or BYTES.")
    shape: list[int] = Field(description="Dimensions, rows first; -1 stands for any number.")
    parameters: dict[str, object] = Field(
        description="`content_type` of BYTES, whether it is `required`, whether it is `nullable`."
    )


class OpenInferenceModel(BaseModel):
    """What a model takes and gives."""

    name: str = Field(description="Qualified name of the model.")
    versions: list[str] = Field(description="All versions that there are.")
    platform: str = Field(description="What the model is made with.")
    inputs: list[OpenInferenceTensor] = Field(description="The tensors that it takes.")
    outputs: list[OpenInferenceTensor] = Field(description="The tensors that it gives.")
    parameters: dict[str, object] = Field(
        description="`max_rows` of a request; `positional` names what the columns of a single "
        "tensor with another name stand for; `whole` says whether the only tensor holds the "
        "`input` or the `output` itself, and no field of it; `others`, whether further tensors "
        "are `taken` or `refused`, where they are not ignored."
    )


class OpenInferenceRequestInput(BaseModel):
    """A tensor with its elements."""

    name: str = Field(description="Name of the input.")
    shape: list[NonNegativeInt] = Field(description="Dimensions, rows first.")
    datatype: OpenInferenceDatatype = Field(description="Type of the elements.")
    parameters: dict[str, object] | None = Field(
        default=None,
        description="`content_type` of BYTES: `str`, `datetime`, `base64` or `json`; or "
        "`binary_data_size`, if the elements are behind the JSON.",
    )
    data: list[object] | None = Field(
        default=None, description="The elements, flat in row-major order or nested."
    )


class OpenInferenceRequestOutput(BaseModel):
    """An output that is wanted."""

    name: str = Field(description="Name of the output.")
    parameters: dict[str, object] | None = Field(
        default=None, description="`binary_data`: whether its elements should be behind the JSON."
    )


class OpenInferenceRequest(BaseModel):
    """Rows to predict for."""

    id: str | None = Field(default=None, description="Comes back in the response.")
    parameters: dict[str, object] | None = Field(
        default=None,
        description="`binary_data_output`: whether all outputs should be behind the JSON; "
        "`content_type` of all inputs.",
    )
    inputs: list[OpenInferenceRequestInput] = Field(
        min_length=1, description="The tensors that the model takes."
    )
    outputs: list[OpenInferenceRequestOutput] | None = Field(
        default=None, description="The outputs that are wanted; all, if this is missing."
    )


class OpenInferenceResponseOutput(BaseModel):
    """An output with its elements."""

    name: str = Field(description="Name of the output.")
    shape: list[NonNegativeInt] = Field(description="Dimensions, rows first.")
    datatype: OpenInferenceDatatype = Field(description="Type of the elements.")
    parameters: dict[str, object] | None = Field(
        default=None, description="`content_type` of BYTES; `binary_data_size`."
    )
    data: list[object] | None = Field(
        default=None,
        description="The elements in row-major order, unless they are behind the JSON.",
    )


class OpenInferenceResponse(BaseModel):
    """What the model predicts for the rows."""

    model_name: str = Field(description="Qualified name of the model.")
    model_version: str = Field(description="Version of the model.")
    id: str | None = Field(default=None, description="That of the request.")
    outputs: list[OpenInferenceResponseOutput] = Field(description="The tensors that were wanted.")


class OpenInferenceConfigTensor(BaseModel):
    """A tensor, as Triton's configurations describe it."""

    name: str = Field(description="Name of the field of the model's schema.")
    data_type: str = Field(description="Such as TYPE_FP64; TYPE_STRING for BYTES.")
    dims: list[int] = Field(description="Dimensions without that of rows.")


class OpenInferenceConfig(BaseModel):
    """A model's configuration, in the form of Triton's."""

    name: str = Field(description="Qualified name of the model.")
    platform: str = Field(description="What the model is made with.")
    backend: str = Field(description="What runs it.")
    max_batch_size: int = Field(description="Rows that a request may have.")
    input: list[OpenInferenceConfigTensor] = Field(description="The tensors that it takes.")
    output: list[OpenInferenceConfigTensor] = Field(description="The tensors that it gives.")


class OpenInferenceDuration(BaseModel):
    """Requests, and the time that they took together."""

    count: int = Field(description="Number of requests.")
    ns: int = Field(description="Nanoseconds.")


class OpenInferenceDurations(BaseModel):
    """Requests by what became of them."""

    success: OpenInferenceDuration = Field(description="Those that were answered.")
    fail: OpenInferenceDuration = Field(description="Those that were refused, or failed.")


class OpenInferenceModelStatistics(BaseModel):
    """What has become of a model's inference requests."""

    name: str = Field(description="Qualified name of the model.")
    version: str = Field(description="Version of the model.")
    last_inference: int = Field(description="Milliseconds since 1970; 0 if there was none.")
    inference_count: int = Field(description="Rows that were predicted.")
    execution_count: int = Field(description="Requests that were answered.")
    inference_stats: OpenInferenceDurations = Field(description="Requests and their durations.")


class OpenInferenceStatistics(BaseModel):
    """What has become of inference requests, in the process that answers."""

    model_stats: list[OpenInferenceModelStatistics] = Field(description="Model by model.")


class OpenInferenceIndexEntry(BaseModel):
    """A model of the service."""

    name: str = Field(description="Qualified name of the model.")
    version: str = Field(description="Version of the model.")
    state: str = Field(description="READY, LOADING or UNAVAILABLE.")
    reason: str = Field(description="Why it is not ready; empty if it is.")


class OpenInferenceIndex(RootModel[list[OpenInferenceIndexEntry]]):
    """The models of the service."""


class OpenInferenceError(BaseModel):
    """Why a request was not answered."""

    error: str = Field(description="What is wrong, for people.")


RESPONSES: tuple[type[BaseModel], ...] = (
    Error,
    HealthStatusResponse,
    ModelDetailsCollection,
    ModelMetadata,
    ModelReadiness,
    OpenInferenceConfig,
    OpenInferenceError,
    OpenInferenceIndex,
    OpenInferenceLive,
    OpenInferenceModel,
    OpenInferenceModelReady,
    OpenInferenceReady,
    OpenInferenceResponse,
    OpenInferenceServer,
    OpenInferenceStatistics,
    ReadinessStatusResponse,
    StartupStatusResponse,
)
"""All that the service answers, but for predictions."""

"""The service's configuration: the keys of the YAML file, their types, defaults and meaning."""

from __future__ import annotations

import os
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from models_api.configuration.qualified_names import (
    RESERVED_BY_OPEN_INFERENCE,
    QualifiedName,
)

OTHER_KIND = "other_kind"
"""Type of the error of keys that do not go with a kind of execution."""
HEADER_NAME_PATTERN = r"^[A-Za-z0-9-]+$"


def _none_is_empty(value: object) -> object:
    # `configuration:` with nothing behind it is what a person leaves when the last entry goes.
    return {} if value is None else value


Arguments = Annotated[
    dict[str, object],
    BeforeValidator(_none_is_empty, json_schema_input_type=dict[str, object] | None),
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DecoratorConfiguration(_Section):
    """A decorator around a model."""

    class_path: str = Field(examples=["my_package.decorators.MyDecorator"])
    """Dotted path of a subclass of ml_base.MLModelDecorator."""
    configuration: Arguments = {}
    """Keyword arguments of the decorator's `__init__`."""


Decorators = Annotated[
    list[DecoratorConfiguration],
    BeforeValidator(
        lambda value: [] if value is None else value,
        json_schema_input_type=list[DecoratorConfiguration] | None,
    ),
]


class BatchingConfiguration(_Section):
    """How concurrent requests for a model are predicted together."""

    max_batch_size: int = Field(default=64, ge=1)
    """Rows that one call of the model's `predict_batch` gets at most."""
    max_wait_seconds: float = Field(default=0.0, ge=0, le=60, allow_inf_nan=False)
    """Seconds that a batch waits for more rows before it is predicted."""
    max_queue_size: int = Field(default=1024, ge=1)
    """Requests that may wait; further ones are refused. The older name of that of `concurrency`."""


class ConcurrencyConfiguration(_Section):
    """How many predictions of a model run and wait at a time, in each worker."""

    max_concurrency: int | None = Field(
        default=None,
        ge=1,
        description="Predictions of the model that run at a time in one worker; by default 4, or "
        "with batching as many rows as a call may have and may wait.",
    )
    max_queue_size: int | None = Field(
        default=None,
        ge=0,
        description="Predictions that may wait for one of those; further ones get 503 "
        "after 30 ms. By default twice max_concurrency.",
    )


class ExecutionConfiguration(_Section):
    """Where a model computes."""

    kind: Literal["thread", "process"] = "thread"
    """`thread`: on the threads of each worker; `process`: in processes that all workers share."""
    processes: int = Field(default=1, ge=1, le=64)
    """Processes, each with the model; one makes one call of it at a time."""
    memory_limit_mb: int | None = Field(default=None, ge=1)
    """Megabytes that a process may use; one that uses more is ended, and replaced."""
    nice: int = Field(default=0, ge=0, le=19)
    """How far they stand back where the processors are busy, as the command nice has it."""
    environment: dict[str, str] = {}
    """Environment variables of the processes, besides those of the server."""
    retry: bool = False
    """Whether a request whose process has died is sent to another one, once."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        of_processes = self.model_fields_set - {"kind"}
        if self.kind == "thread" and of_processes:
            raise PydanticCustomError(
                OTHER_KIND,
                "{keys} goes with kind: process only",
                {"keys": ", ".join(sorted(of_processes)), "hint": "Write kind: process before it."},
            )
        return self


class ModelConfiguration(_Section):
    """One model of the service."""

    class_path: str = Field(examples=["my_package.models.MyModel"])
    """Dotted path of a subclass of ml_base.MLModel."""
    qualified_name: QualifiedName | None = None
    """The model's own qualified name; says under which URLs it is before it has been imported."""
    create_endpoint: bool = True
    """Whether clients can ask the model for predictions; if not, it is only loaded and listed."""
    required: bool = True
    """Whether the service is unready without the model; if not, it may fail, or be unhealthy."""
    configuration: Arguments = {}
    """Keyword arguments of the model's `__init__`."""
    decorators: Decorators = []
    """Decorators around the model, applied in this order: the last one is outermost."""
    timeout_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Seconds that a request waits for its prediction at most; without it, as long as it takes."""
    batching: BatchingConfiguration | None = None
    """Predict concurrent requests together; leave it out to predict each on its own."""
    concurrency: ConcurrencyConfiguration | None = None
    """How many predictions of the model run and wait at a time; without it, by the defaults."""
    execution: ExecutionConfiguration = ExecutionConfiguration()
    """Where the model computes; without it, on the threads of each worker."""
    max_values: int | None = Field(default=None, ge=1)
    """Values that one request may hold; without it, as many as `MODELHOST_MAX_JSON_VALUES` says."""


class MetricsConfiguration(_Section):
    """Prometheus metrics at /metrics."""

    enabled: bool = False
    """Whether metrics are collected and shown."""
    should_group_status_codes: bool = True
    """Count status codes as `2xx`, `3xx` and so on."""
    should_ignore_untemplated: bool = False
    """Leave out requests that match no route."""
    should_group_untemplated: bool = True
    """Count requests that match no route under the handler `none`."""
    should_round_latency_decimals: bool = False
    """Round durations to `round_latency_decimals` decimals."""
    should_respect_env_var: bool = False
    """Collect only if the environment variable named by `env_var_name` is `true`."""
    should_instrument_requests_inprogress: bool = False
    """Show a gauge of the requests in progress."""
    excluded_handlers: list[str] = []
    """Regular expressions of the routes that are left out."""
    body_handlers: list[str] = []
    """Regular expressions of the routes whose bodies are measured."""
    round_latency_decimals: int = Field(default=4, ge=0)
    """Decimals that durations are rounded to, in seconds."""
    env_var_name: str = "ENABLE_METRICS"
    """Environment variable that `should_respect_env_var` looks at."""
    inprogress_name: str = "http_requests_inprogress"
    """Name of the gauge of the requests in progress."""
    inprogress_labels: bool = False
    """Label that gauge with method and handler."""

    @property
    def is_wanted(self) -> bool:
        """Whether metrics are enabled here, and by the environment if that is to be respected."""
        variable = os.environ.get(self.env_var_name, "").lower()
        return self.enabled and (not self.should_respect_env_var or variable in ("true", "1"))


class OpenInferenceConfiguration(_Section):
    """The Open Inference Protocol at /v2."""

    enabled: bool = False
    """Whether clients of KServe, Triton and MLServer can ask the models, too; needs numpy."""


HeaderName = Annotated[str, Field(pattern=HEADER_NAME_PATTERN)]


class ServiceConfiguration(_Section):
    """The configuration of a modelhost service."""

    service_title: str = "RESTful Model Service"
    """Title of the API's documentation."""
    description: str = ""
    """Description of the API, in Markdown."""
    version: str = "0.1.0"
    """Version of the API; a number such as 1.10 needs quotes."""
    models: list[ModelConfiguration] = Field(
        default=[], examples=[[{"class_path": "my_package.models.MyModel"}]]
    )
    """The models that the service hosts."""
    logging: dict[str, object] | None = None
    """Logging, in the form that Python's logging.config.dictConfig takes."""
    metrics: MetricsConfiguration | None = None
    """Prometheus metrics; none are collected without this key."""
    open_inference: OpenInferenceConfiguration | None = None
    """The Open Inference Protocol; without this key there is none."""
    request_headers: list[HeaderName] = []
    """Headers of requests that the code of models and decorators may read; no others."""

    @property
    def reserved_names(self) -> frozenset[str]:
        """Qualified names that a model cannot be reached by, because they stand for a route."""
        is_enabled = self.open_inference is not None and self.open_inference.enabled
        return frozenset([RESERVED_BY_OPEN_INFERENCE] if is_enabled else [])

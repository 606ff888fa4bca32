"""The service's configuration: the keys of the YAML file, their types, defaults and meaning."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from models_api.configuration.artefact_addresses import (
    is_address,
    problem_of_address,
    shown_address,
)
from models_api.configuration.execution import ExecutionConfiguration
from models_api.configuration.header_names import HEADER_NAME_PATTERN
from models_api.configuration.qualified_names import (
    RESERVED_BY_OPEN_INFERENCE,
    QualifiedName,
)
from models_api.configuration.section import IN_OWN_WORDS, SECTION

_DIGEST = "[0-9A-Fa-f]{64}"


def _none_is_empty(value: object) -> object:
    # `configuration:` with nothing behind it is what a person leaves when the last entry goes.
    return {} if value is None else value


Arguments = Annotated[
    dict[str, object],
    BeforeValidator(_none_is_empty, json_schema_input_type=dict[str, object] | None),
]


class _Section(BaseModel):
    model_config = SECTION


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
        "with batching as many rows as a call may have and may wait, or 64 if it is remote.",
    )
    max_queue_size: int | None = Field(
        default=None,
        ge=0,
        description="Predictions that may wait for one of those; further ones get 503 "
        "after 30 ms. By default twice max_concurrency.",
    )


class AbortConfiguration(_Section):
    """When a version gets no requests any more, because it is worse than the others."""

    max_error_ratio: float | None = Field(default=1.2, ge=1, allow_inf_nan=False)
    """How many times as often as the others it may fail; null for any."""
    max_latency_ratio: float | None = Field(default=1.25, ge=1, allow_inf_nan=False)
    """How many times as long as the others it may typically take; null for any."""
    min_requests: int = Field(default=50, ge=1)
    """Requests that it gets before anything is decided."""


_OF_CLASSES = ("configuration", "decorators", "batching")
"""Keys that say what is made of the class of a model."""


def _ask_for_a_source(schema: dict[str, Any]) -> None:
    """Tell editors that a model has a class or an artefact, or computes elsewhere."""
    del schema["required"]  # the class is the only one
    schema["anyOf"] = [
        {"required": ["class_path"]},
        {"required": ["artefact"]},
        {"required": ["qualified_name", "execution"]},
    ]


RuntimeName = Literal[
    "onnx", "sklearn", "skops", "lightgbm", "xgboost", "catboost", "torch_export", "mlflow"
]
OF_RUNTIMES = frozenset(["runtime", "trusted", "columns", "labels", "output", "schema"])
"""Keys of a model that is made from its artefact, without a class."""
FOLDER = "folder"
"""Key of the validation's context: where relative paths begin."""


class ColumnConfiguration(_Section):
    """What is known of one column of an artefact besides what the artefact says."""

    name: str
    """Name of the column, or for one of an array the name that it shall have."""
    type: Literal["number", "integer", "boolean", "string"] | None = None
    """Type of its values."""
    nullable: bool | None = None
    """Whether a value may be missing, which is `null`."""
    minimum: float | None = Field(default=None, allow_inf_nan=False)
    """The least value that clients may send."""
    maximum: float | None = Field(default=None, allow_inf_nan=False)
    """The greatest value that clients may send."""
    categories: list[str | bool | int | float] | None = None
    """The only values that clients may send; an empty list for any."""
    description: str | None = None
    """What it means, for the documentation."""
    example: str | bool | int | float | None = None
    """A value, for the documentation."""


def _named_column(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _digest(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(_DIGEST, value):
        message, hint = "this is no SHA-256", "Write the 64 digits that sha256sum prints."
        raise PydanticCustomError(IN_OWN_WORDS, message, {"hint": hint})
    return value.lower() if isinstance(value, str) else value


def _in_folder(path: object, info: ValidationInfo) -> object:
    if not isinstance(path, str):
        raise PydanticCustomError("string_type", "a path is a string")
    folder: Path = (info.context or {}).get(FOLDER, Path())
    return (folder / Path(path).expanduser()).absolute()


def _located(artefact: object, info: ValidationInfo) -> object:
    if not isinstance(artefact, str) or not is_address(artefact):
        return _in_folder(artefact, info)
    problem = problem_of_address(artefact)
    if problem is not None:
        message, hint = problem
        raise PydanticCustomError(IN_OWN_WORDS, "{message}", {"message": message, "hint": hint})
    return artefact


LocalPath = Annotated[
    Path, BeforeValidator(_in_folder, json_schema_input_type=str), PlainSerializer(str)
]
Artefact = Annotated[
    Path | str, BeforeValidator(_located, json_schema_input_type=str), PlainSerializer(str)
]
Digest = Annotated[str, BeforeValidator(_digest), Field(pattern=f"^{_DIGEST}$")]


def _flag_or_types(value: object) -> object:
    # Of a union, pydantic would say of each part why it is not that.
    is_list = isinstance(value, list) and all(isinstance(each, str) for each in value)
    if is_list or isinstance(value, bool):
        return value
    raise PydanticCustomError("trust", "Input should be true, false or a list of names of types")


Trust = Annotated[bool | list[str], BeforeValidator(_flag_or_types)]
Columns = list[
    Annotated[
        ColumnConfiguration,
        BeforeValidator(_named_column, json_schema_input_type=str | ColumnConfiguration),
    ]
]
Outputs = Annotated[
    list[str],
    BeforeValidator(
        lambda value: [value] if isinstance(value, str) else value,
        json_schema_input_type=str | list[str],
    ),
]


class ToleranceConfiguration(_Section):
    """By how much the numbers of a shadow may differ from those that were answered."""

    absolute: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """By so much."""
    relative: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    """By such a part of the larger of the two; 0.01 is a hundredth."""


def _check_traffic_key(text: str) -> str:
    kind, _, name = text.partition(":")
    is_header = kind == "header" and re.fullmatch(HEADER_NAME_PATTERN, name)
    if is_header or (kind == "field" and all(name.split("."))):
        return text
    hint = "Write header: or field: before the name, such as header:X-User or field:customer.id"
    raise PydanticCustomError(IN_OWN_WORDS, "not the name of a header or field", {"hint": hint})


Alias = Annotated[str, Field(min_length=1)]
TrafficKeyText = Annotated[str, AfterValidator(_check_traffic_key)]


class SmokeTest(_Section):
    """What a new version of a model must predict before it takes requests."""

    input: object
    """The body of a request for one prediction."""
    output: object = None
    """What the answer must hold; without this key, any answer will do."""
    tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """How far a number of the answer may be from the expected one."""


class ModelConfiguration(_Section):
    """One model of the service."""

    model_config = ConfigDict(json_schema_extra=_ask_for_a_source)

    class_path: str = Field(examples=["my_package.models.MyModel"])
    """Dotted path of a subclass of ml_base.MLModel."""
    artefact: Artefact | None = Field(
        default=None, examples=["models/iris.onnx", "s3://models/iris.onnx"]
    )
    """The model's file or folder: a path, from the folder of this file, or an address."""
    sha256: Digest | None = None
    """The SHA-256 that the artefact must have, which is checked before it is loaded."""
    poll_seconds: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    """Seconds between two looks at the source for something newer."""
    watch: list[LocalPath] = []
    """Paths of files and folders with which the model changes, besides its artefact."""
    runtime: RuntimeName | None = None
    """Kind of the artefact; without it, by what is in the file."""
    trusted: Trust = False
    """Whether it may execute code where it is read, as a pickle does; or which types may."""
    qualified_name: QualifiedName | None = None
    """Under which name the model is hosted, in place of its own, or of the name of its file."""
    version: str | None = None
    """In place of its own version, or of the beginning of its file's SHA-256."""
    aliases: list[Alias] = Field(default=[], examples=[["stable"]])
    """Other names of this version, by which requests can ask it in place of the version."""
    display_name: str | None = None
    """In place of its own, or of the qualified name of a file."""
    description: str | None = None
    """In place of its own, or of what its file is."""
    columns: Columns = []
    """Of an artefact: what its columns are, where it does not say, or not well."""
    labels: list[str | bool | int | float] | None = None
    """Of an artefact: names of its classes, in the order of their probabilities."""
    output: Outputs = []
    """Of an artefact: which of its outputs a prediction has; without it, all."""
    schema_: LocalPath | None = Field(default=None, alias="schema", examples=["iris.schema.json"])
    """Of an artefact: the file that keeps what it tells; without it, one beside the artefact."""
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
    smoke_tests: list[SmokeTest] = []
    """What the model must predict where it is loaded while the service runs, to take requests."""
    concurrency: ConcurrencyConfiguration | None = None
    """How many predictions of the model run and wait at a time; without it, by the defaults."""
    execution: ExecutionConfiguration = ExecutionConfiguration()
    """Where the model computes; without it, on the threads of each worker."""
    max_values: int | None = Field(default=None, ge=1)
    """Values that one request may hold; without it, as many as `MODELHOST_MAX_JSON_VALUES` says."""
    traffic: float | None = Field(default=None, ge=0, le=100, allow_inf_nan=False)
    """Percent of the requests for the qualified name that this version of several answers."""
    traffic_key: TrafficKeyText | None = Field(default=None, examples=["header:X-User"])
    """What requests of one user have in common, who stays with one version; else chance decides."""
    abort: AbortConfiguration | None = None
    """When this version gets no traffic any more; without it, whatever becomes of its requests."""
    allow_schema_change: bool = False
    """Whether this version may get traffic though its input schema is not that of the first."""

    shadow: bool = False
    """Whether this version gets a copy of the traffic, and its answers are only measured."""
    tolerance: ToleranceConfiguration | None = None
    """By how much the numbers of a shadow may differ; without it, by nothing."""

    @model_validator(mode="before")
    @classmethod
    def _require_no_shadow(cls, data: object) -> object:
        """Have the service ready without a shadow, unless the file says otherwise."""
        is_shadow = isinstance(data, dict) and data.get("shadow") is True
        return {"required": False, **data} if is_shadow else data  # type: ignore[dict-item]

    @model_validator(mode="before")
    @classmethod
    def _need_no_class(cls, data: object) -> object:
        """Do without a class for a file, and where the model computes in another service."""
        if not isinstance(data, dict):
            return data
        execution = data.get("execution")
        is_remote = isinstance(execution, dict) and execution.get("kind") == "remote"
        needs_none = is_remote or data.get("artefact") is not None
        return {"class_path": "", **data} if needs_none else data

    @model_validator(mode="after")
    def _check_remote(self) -> Self:
        if not self.is_remote:
            return self
        if self.qualified_name is None:
            message = "kind: remote needs a qualified_name beside execution"
            hint = "Write under which name the model is here, as qualified_name: iris"
            raise PydanticCustomError(IN_OWN_WORDS, message, {"hint": hint})
        given = [key for key in _OF_CLASSES if key in self.model_fields_set]
        if given and not self.class_path:
            message = f"{', '.join(given)} goes with a class, and a remote model has none here"
            hint = "Put it into the configuration of the service that has the class."
            raise PydanticCustomError(IN_OWN_WORDS, "{message}", {"message": message, "hint": hint})
        return self

    @property
    def is_remote(self) -> bool:
        """Whether the model computes in another service; its class is not needed here then."""
        return self.execution.kind == "remote"

    def of_loading(self) -> dict[str, object]:
        """Return what the model is loaded with: all keys but those that say who takes requests."""
        return self.model_dump(exclude=set(OF_TRAFFIC))

    @property
    def source(self) -> str:
        """Where the model comes from: a class path, an artefact's path, or the URL of a service."""
        artefact = self.artefact
        where = shown_address(artefact) if isinstance(artefact, str) else str(artefact or "")
        return self.class_path or where or self.execution.url or ""

    @property
    def is_without_class(self) -> bool:
        """Whether the class of the model is made from its artefact."""
        return self.artefact is not None and not self.class_path and not self.is_remote


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


class ReloadConfiguration(_Section):
    """New versions without a restart."""

    watch: bool = True
    """Whether the service looks for changes by itself; if not, `modelhost reload` has it look."""
    interval_seconds: float = Field(default=2.0, gt=0, le=3600, allow_inf_nan=False)
    """Seconds between two looks."""


class OpenInferenceConfiguration(_Section):
    """The Open Inference Protocol at /v2."""

    enabled: bool = False
    """Whether clients of KServe, Triton and MLServer can ask the models, too; needs numpy."""
    allow_load_unload: bool = False
    """Whether requests can unload models of this file, and load them again; needs `reload`."""


OF_TRAFFIC = frozenset(["aliases", "traffic", "traffic_key", "allow_schema_change", "abort"])
"""Keys of a model that say who takes requests, and nothing of what is loaded."""


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
    reload: ReloadConfiguration | None = None
    """How models are changed while the service runs; without this key, they are not."""
    request_headers: list[HeaderName] = []
    """Headers of requests that the code of models and decorators may read; no others."""

    @property
    def reserved_names(self) -> frozenset[str]:
        """Qualified names that a model cannot be reached by, because they stand for a route."""
        is_enabled = self.open_inference is not None and self.open_inference.enabled
        return frozenset([RESERVED_BY_OPEN_INFERENCE] if is_enabled else [])

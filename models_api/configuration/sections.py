"""The service's configuration: the keys of the YAML file, their types, defaults and meaning."""

from __future__ import annotations

import logging.config
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from models_api.configuration.document import Key, YAMLDocument
from models_api.configuration.explanation import explain
from models_api.exceptions import Problem
from models_api.observability.log_records import REQUEST_FILTER

INVALID_LOGGING = "models_api.E007"
_LOGGING_PART = re.compile(
    r"Unable to configure ((?P<kind>formatter|filter|handler|logger) '(?P<name>.+)'|(?P<root>root))"
)

QUALIFIED_NAME_PATTERN = r"^[A-Za-z0-9_.-]+$"


def _none_is_empty(value: Any) -> Any:
    # `configuration:` with nothing behind it is what a person leaves when the last entry goes.
    return {} if value is None else value


Arguments = Annotated[
    dict[str, Any],
    BeforeValidator(_none_is_empty, json_schema_input_type=dict[str, Any] | None),
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
    """Requests that may wait; further ones are refused."""


class ConcurrencyConfiguration(_Section):
    """How many predictions of a model are in hand."""

    max_concurrency: int | None = Field(default=None, ge=1)
    """Predictions of the model that run at a time."""
    max_queue_size: int | None = Field(default=None, ge=0)
    """Predictions that may wait for one of those."""


class ModelConfiguration(_Section):
    """One model of the service."""

    class_path: str = Field(examples=["my_package.models.MyModel"])
    """Dotted path of a subclass of ml_base.MLModel."""
    qualified_name: str | None = Field(default=None, pattern=QUALIFIED_NAME_PATTERN)
    """The model's own qualified name; says under which URLs it is before it has been imported."""
    create_endpoint: bool = True
    """Whether clients can ask the model for predictions; if not, it is only loaded and listed."""
    configuration: Arguments = {}
    """Keyword arguments of the model's `__init__`."""
    decorators: Decorators = []
    """Decorators around the model, applied in this order: the last one is outermost."""
    timeout_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Seconds that a request waits for its prediction at most; without it, as long as it takes."""
    concurrency: ConcurrencyConfiguration | None = None
    """How many predictions run at a time, and how many wait."""
    batching: BatchingConfiguration | None = None
    """Predict concurrent requests together; leave it out to predict each on its own."""


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
        """Whether metrics are enabled here, and in the environment if that has a say."""
        variable = os.environ.get(self.env_var_name, "").lower()
        return self.enabled and (not self.should_respect_env_var or variable in ("true", "1"))


class OpenInferenceConfiguration(_Section):
    """The Open Inference Protocol at /v2."""

    enabled: bool = False
    """Whether clients of KServe, Triton and MLServer can ask the models, too; needs numpy."""


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
    logging: dict[str, Any] | None = None
    """Logging, in the form that Python's logging.config.dictConfig takes."""
    metrics: MetricsConfiguration | None = None
    """Prometheus metrics; none are collected without this key."""
    open_inference: OpenInferenceConfiguration | None = None
    """The Open Inference Protocol; without this key there is none."""


class ConfigurationFile:
    """What a configuration file holds. Reading it never raises: `problems` says what is wrong."""

    def __init__(self, path: Path) -> None:
        self.document = YAMLDocument(path)
        self.problems: list[Problem] = list(self.document.problems)
        self.configuration: ServiceConfiguration | None = None
        """None if the keys and values do not fit; problems elsewhere may be there all the same."""
        if self.document.data is not None or not self.problems:
            self._validate()

    def models(self) -> Iterator[tuple[int, ModelConfiguration]]:
        """The models that are described rightly with their indexes, whatever is wrong elsewhere."""
        for index, model in enumerate(_items(self.document.data, "models")):
            with suppress(ValidationError):
                yield index, ModelConfiguration.model_validate(model)

    def class_paths(self) -> Iterator[tuple[tuple[Key, ...], str]]:
        """Every class path with its keys, also where the file has problems elsewhere."""
        for index, model in enumerate(_items(self.document.data, "models")):
            yield from self._class_path(model, ("models", index))
            for position, decorator in enumerate(_items(model, "decorators")):
                yield from self._class_path(decorator, ("models", index, "decorators", position))

    def apply_logging(self) -> None:
        """Configure Python's logging as the file says; a mistake in it becomes a problem.

        Loggers that exist already stay enabled unless the file says otherwise: the service's own
        would fall silent.
        """
        section = (
            self.document.data.get("logging") if isinstance(self.document.data, dict) else None
        )
        known = any(problem.key_path.startswith("logging") for problem in self.problems)
        if not isinstance(section, dict) or known:
            return
        try:
            logging.config.dictConfig(
                {"disable_existing_loggers": False, **_with_request_ids(section)}
            )
        except Exception as error:  # noqa: BLE001 (handlers of any library are made there)
            message = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
            keys = ("logging", *_logging_keys(str(error)))
            hint = "Python's documentation of logging.config has the schema of this mapping."
            if "version" not in section:
                hint = "Add this line: version: 1"
            elif "'NoneType' object has no attribute 'split'" in message:
                hint = "Add the key class, such as class: logging.StreamHandler"
            self.problems.append(self.document.problem(INVALID_LOGGING, keys, message, hint))

    def _validate(self) -> None:
        try:
            self.configuration = ServiceConfiguration.model_validate(self.document.data)
        except ValidationError as error:
            self.problems += explain(error, self.document, ServiceConfiguration)

    def _class_path(
        self, section: Any, keys: tuple[Key, ...]
    ) -> Iterator[tuple[tuple[Key, ...], str]]:
        keys = (*keys, "class_path")
        class_path = section.get("class_path") if isinstance(section, dict) else None
        if isinstance(class_path, str) and not self.document.is_broken(keys):
            yield keys, class_path


def _with_request_ids(section: dict[str, Any]) -> dict[str, Any]:
    """Let the section's handlers know the request of each record."""
    handlers, filters = section.get("handlers"), section.get("filters", {})
    if not isinstance(handlers, dict) or not isinstance(filters, dict):
        return section
    return {
        **section,
        "filters": {**filters, REQUEST_FILTER: {"()": REQUEST_FILTER}},
        "handlers": {name: _with_request_filter(handler) for name, handler in handlers.items()},
    }


def _with_request_filter(handler: Any) -> Any:
    filters = (handler.get("filters") or []) if isinstance(handler, dict) else None
    if not isinstance(filters, list):
        return handler
    return {**handler, "filters": [REQUEST_FILTER, *filters]}


def _logging_keys(message: str) -> tuple[str, ...]:
    """Where in the mapping the thing is that Python could not configure."""
    part = _LOGGING_PART.search(message)
    if part is None:
        return ()
    return ("root",) if part["root"] else (f"{part['kind']}s", part["name"])


def _items(section: Any, key: str) -> list[Any]:
    items = section.get(key) if isinstance(section, dict) else None
    return items if isinstance(items, list) else []

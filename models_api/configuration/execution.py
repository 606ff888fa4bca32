"""The section `execution` of a model: where it computes."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from models_api.configuration.section import IN_OWN_WORDS, SECTION


class _Section(BaseModel):
    model_config = SECTION


_KINDS_OF_KEYS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("processes", "memory_limit_mb", "nice", "python", "environment"), ("process",)
    ),
    "retry": ("process", "remote"),
    "ray": ("thread", "process", "remote"),
}
"""The kinds of execution that a key goes with; others go with `remote` alone."""
_OF_TLS = ("ca_file", "client_certificate", "client_key")


def _checked_url(url: str) -> str:
    """Refuse what is no address of a service, or would show a secret in the log."""
    hint = "Write scheme and host, and port and path if need be: http://models.internal:8000"
    try:
        parts = urlsplit(url)
        is_complete = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        is_complete = False
    if not is_complete or not url.isprintable() or " " in url:
        raise PydanticCustomError(IN_OWN_WORDS, "this is no URL of a service", {"hint": hint})
    if parts.username is not None or parts.password is not None:
        message = "a URL here has no user and no password"
        hint = "Put a token into an environment variable, and name that: token_env: MODELS_TOKEN"
        raise PydanticCustomError(IN_OWN_WORDS, message, {"hint": hint})
    if parts.query or parts.fragment or "?" in url or "#" in url:
        message = "a URL here ends with its path"
        hint = "Leave out what begins with ? or #."
        raise PydanticCustomError(IN_OWN_WORDS, message, {"hint": hint})
    return url.rstrip("/")


def _checked_variable(name: str) -> str:
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None:
        # It is not shown: somebody may have written the token itself.
        message = "this is no name of an environment variable"
        hint = "Write the name of the variable that has the token: token_env: MODELS_TOKEN"
        raise PydanticCustomError(IN_OWN_WORDS, message, {"hint": hint})
    return name


class RayAutoscalingConfiguration(_Section):
    """How many replicas of a model Ray Serve runs, by how much is asked of it."""

    min_replicas: int = Field(default=1, ge=0)
    """Replicas while nothing is asked; with 0 the first request waits until one is there."""
    max_replicas: int = Field(ge=1)
    """Replicas at most."""
    target_ongoing_requests: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Requests that a replica is to have in hand; without it, Serve's own default."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise PydanticCustomError(
                IN_OWN_WORDS,
                "min_replicas is {least}, which is more than max_replicas, {most}",
                {"least": self.min_replicas, "most": self.max_replicas, "hint": "Swap the two."},
            )
        return self


class RayConfiguration(_Section):
    """How Ray Serve runs a model; `modelhost ray_config` reads it, and no worker does."""

    replicas: int = Field(default=1, ge=1)
    """Processes with the model, which Serve keeps running; none with `autoscaling`."""
    autoscaling: RayAutoscalingConfiguration | None = None
    """Let Serve choose the number of replicas."""
    cpus: float = Field(default=1, ge=0, allow_inf_nan=False)
    """Processors that Ray sets aside for a replica; it does not bound what that uses."""
    gpus: float = Field(default=0, ge=0, allow_inf_nan=False)
    """GPUs that Ray gives to a replica; with 0.5 two replicas share one."""
    memory_mb: int | None = Field(default=None, ge=1)
    """Megabytes that Ray sets aside for a replica; it does not bound what that uses."""
    max_ongoing_requests: int | None = Field(
        default=None,
        ge=1,
        description="Requests that a replica has in hand at a time. By default as many as it lets "
        "run and wait, which `concurrency` says; with batching, rows of two calls.",
    )
    max_queued_requests: int | None = Field(default=None, ge=1)
    """Requests that wait at each proxy of Serve; more are answered 503. By default any number."""
    runtime_env: dict[str, object] = {}
    """Where replicas find the code of the model, as Ray's runtime_env says it."""

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        if self.autoscaling is not None and "replicas" in self.model_fields_set:
            raise PydanticCustomError(
                IN_OWN_WORDS,
                "replicas does not go with autoscaling",
                {"hint": "Remove one of the two: max_replicas says how many there are at most."},
            )
        return self


class ExecutionConfiguration(_Section):
    """Where a model computes."""

    kind: Literal["thread", "process", "remote"] = Field(
        default="thread",
        description="`thread`: on the threads of each worker; `process`: in processes that all "
        "workers share; `remote`: in another service, which is asked over HTTP.",
    )
    processes: int = Field(default=1, ge=1, le=64)
    """Processes, each with the model; one makes one call of it at a time."""
    memory_limit_mb: int | None = Field(default=None, ge=1)
    """Megabytes that a process may use; one that uses more is ended, and replaced."""
    nice: int = Field(default=0, ge=0, le=19)
    """How far they stand back where the processors are busy, as the command nice has it."""
    python: str | None = Field(default=None, min_length=1, examples=["/srv/rent/.venv"])
    """Path of their Python, or of its virtual environment; without it, that of the server."""
    environment: dict[str, str] = {}
    """Environment variables of the processes, besides those of the server."""
    retry: bool = False
    """Whether a request whose process has died, or whose connection broke, is sent once more."""
    url: Annotated[str, AfterValidator(_checked_url)] | None = Field(
        default=None, examples=["http://models.internal:8000"]
    )
    """Where the other service is: the part of its URLs before `/api/models` or `/v2`."""
    protocol: Literal["modelhost", "open_inference"] = "modelhost"
    """What it speaks: that of this service, or that of Triton, KServe and MLServer."""
    model: str | None = Field(default=None, min_length=1)
    """What the model is called there; by default its qualified name."""
    version: str | None = Field(default=None, min_length=1)
    """The version to ask there by `open_inference`; without it, whichever the service chooses."""
    input_schema: str | None = Field(default=None, examples=["my_package.models.MyInput"])
    """Dotted path of the pydantic class of the input; without it, the other service is asked."""
    output_schema: str | None = Field(default=None, examples=["my_package.models.MyOutput"])
    """Dotted path of the pydantic class of the output."""
    token_env: Annotated[str, AfterValidator(_checked_variable)] | None = Field(
        default=None, examples=["MODELS_TOKEN"]
    )
    """Environment variable that has the bearer token for the other service."""
    ca_file: str | None = None
    """File of the certificates that vouch for it, instead of those of the system."""
    client_certificate: str | None = None
    """File of the certificate that this service shows."""
    client_key: str | None = None
    """File of its key, unless that is in the same one."""
    connect_timeout_seconds: float = Field(default=2.0, gt=0, le=60, allow_inf_nan=False)
    """Seconds that a connection may take to come about."""
    pool_size: int | None = Field(default=None, ge=1, le=1024)
    """Connections that each worker keeps; by default as many as the model's max_concurrency."""
    health: bool = False
    """Whether the model is unhealthy, and so this service unready, where it is not ready there."""
    breaker_failures: int = Field(default=5, ge=1)
    """Requests in a row without any answer after which the other service is left alone a while."""
    breaker_seconds: float = Field(default=5.0, gt=0, le=3600, allow_inf_nan=False)
    """Seconds for which requests are then refused at once, before one is tried again."""
    ray: RayConfiguration | None = None
    """How Ray Serve runs the model, for `modelhost ray_config`."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        given = self.model_fields_set - {"kind"}
        kinds = {key: _KINDS_OF_KEYS.get(key, ("remote",)) for key in sorted(given)}
        others = [key for key in kinds if self.kind not in kinds[key]]
        if others:
            wanted = [kind for kind in kinds[others[0]] if kind != self.kind]
            others = [key for key in others if kinds[key] == kinds[others[0]]]
            message = f"{', '.join(others)} goes with kind: {' or '.join(wanted)} only"
            hint = f"Write kind: {wanted[0]} before it."
            raise PydanticCustomError(IN_OWN_WORDS, "{message}", {"message": message, "hint": hint})
        if self.kind == "remote":
            self._check_remote()
        return self

    def _check_remote(self) -> None:
        message, hint = self._problem_of_remote()
        if message:
            raise PydanticCustomError(IN_OWN_WORDS, "{message}", {"message": message, "hint": hint})

    def _problem_of_remote(self) -> tuple[str, str]:
        if self.url is None:
            return (
                "kind: remote needs a url",
                "Write where the other service is, such as url: http://models.internal:8000",
            )
        of_tls = [key for key in _OF_TLS if getattr(self, key) is not None]
        if of_tls and not self.url.startswith("https:"):
            message = f"{', '.join(of_tls)} goes with a url that begins with https only"
            return message, "Write https:// in the url, or remove the key."
        if self.client_key is not None and self.client_certificate is None:
            return "client_key needs client_certificate", "Name the file of the certificate, too."
        if (self.input_schema is None) != (self.output_schema is None):
            message = "input_schema and output_schema go together"
            return message, "Name both classes, or none, so that the other service is asked."
        if self.version is not None and self.protocol != "open_inference":
            message = "version goes with protocol: open_inference only"
            return message, "Remove it: a service like this one has one version of a model."
        return "", ""

"""The settings of this app, read when they are needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from rest_framework.permissions import BasePermission

METRICS_PERMISSIONS = "MODELS_API_METRICS_PERMISSIONS"

_OTLP_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def configuration_path() -> Path:
    """Return the YAML file's path: REST_CONFIG in the environment or settings, or the default."""
    return Path(
        os.environ.get("REST_CONFIG")
        or getattr(settings, "REST_CONFIG", None)
        or "rest_config.yaml"
    )


def maximum_batch_rows() -> int:
    """Return how many rows one request for a batch of predictions may hold."""
    limit: int = getattr(settings, "MODELS_API_MAX_BATCH_ROWS", 1000)
    return limit


def model_permissions() -> Mapping[str, Any]:
    """Return by patterns of qualified names who may ask the models, as ModelPermission reads it."""
    return _by_pattern("MODELS_API_PERMISSIONS")


def model_throttle_rates() -> Mapping[str, Any]:
    """Return by patterns of qualified names how many rows ModelRateThrottle lets through."""
    return _by_pattern("MODELS_API_THROTTLE_RATES")


def _by_pattern(name: str) -> Mapping[str, Any]:
    found = getattr(settings, name, None)
    return found if isinstance(found, Mapping) else {}


def of_model(settings_: Mapping[str, Any], qualified_name: str) -> Any:
    """Return what is set for a model: that of the first pattern for its name; None without."""
    return next(
        (value for pattern, value in settings_.items() if is_for(pattern, qualified_name)), None
    )


def is_for(pattern: str, qualified_name: str) -> bool:
    """Whether a pattern is for a model: its name, or a pattern of the shell, such as credit_*."""
    return pattern == qualified_name or fnmatchcase(qualified_name, str(pattern))


def maximum_values() -> int | None:
    """Return how many values one request may hold, as its schema counts; None for any number."""
    limit: int | None = getattr(settings, "MODELS_API_MAX_JSON_VALUES", 1_500_000)
    return limit


def asks_for_traces() -> bool:
    """Return whether OpenTelemetry's environment variables ask for traces."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter:
        return exporter != "none"
    return any(os.environ.get(name) for name in _OTLP_ENDPOINTS)


def makes_traces() -> bool:
    """Return whether there are traces: they are asked for, and OpenTelemetry is installed."""
    if not asks_for_traces():
        return False
    try:
        return find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:
        return False


def artefact_cache() -> Path | None:
    """Return the folder in which artefacts of other places are kept; None for the default."""
    folder: str | Path | None = getattr(settings, "MODELS_API_ARTEFACT_CACHE", None)
    return None if folder is None else Path(folder)


def writes_access_log() -> bool:
    """Return whether each request gets a line in the log."""
    wanted: bool = getattr(settings, "MODELS_API_ACCESS_LOG", True)
    return wanted


def logs_probes() -> bool:
    """Return whether probes, and files of the documentation, are logged and traced like others."""
    wanted: bool = getattr(settings, "MODELS_API_LOG_PROBES", False)
    return wanted


def maximum_concurrent_predictions() -> int | None:
    """Return how many predictions this process may have in hand; None for any number."""
    limit: int | None = getattr(settings, "MODELS_API_MAX_CONCURRENT_PREDICTIONS", None)
    return limit


def hung_prediction_seconds() -> float | None:
    """Return after how many seconds a prediction is taken for hung; None for never."""
    seconds: float | None = getattr(settings, "MODELS_API_HUNG_PREDICTION_SECONDS", None)
    return seconds


def state_directory() -> Path:
    """Return the folder of what outlives the service, which may have yet to be made.

    Raises:
        OSError: nobody knows where this user's files are.
    """
    given = getattr(settings, "MODELS_API_STATE_DIRECTORY", None)
    if given:
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    try:
        return Path(base).expanduser() / "modelhost"
    except RuntimeError as error:
        raise OSError(str(error)) from error


def trusted_proxies() -> tuple[str, ...]:
    """Return the addresses and networks whose X-Forwarded-For is believed."""
    given = getattr(settings, "MODELS_API_TRUSTED_PROXIES", ())
    return (given,) if isinstance(given, str) else tuple(given)


def metrics_permissions() -> list[type[BasePermission]]:
    """Return who may see the metrics; there is no route for them where nobody is named.

    Raises:
        ImproperlyConfigured: the setting is no list of permissions.
    """
    given = getattr(settings, METRICS_PERMISSIONS, None) or []
    hint = 'write a list such as ["rest_framework.permissions.IsAdminUser"]'
    if isinstance(given, str):
        raise ImproperlyConfigured(f"{METRICS_PERMISSIONS} is the string {given!r}; {hint}.")
    found = []
    for each in given:
        try:
            found.append(import_string(each) if isinstance(each, str) else each)
        except ImportError as error:
            message = f"{METRICS_PERMISSIONS} names {each!r}, which cannot be imported: {error}"
            raise ImproperlyConfigured(f"{message}; {hint}.") from error
    return found


class ServiceSettings(NamedTuple):
    """The settings that a service is made with, once."""

    maximum_batch_rows: int
    maximum_values: int | None
    maximum_concurrent_predictions: int | None
    hung_prediction_seconds: float | None
    writes_access_log: bool
    makes_traces: bool
    logs_probes: bool = False
    trusted_proxies: tuple[str, ...] = ()
    artefact_cache: Path | None = None
    """Of artefacts of other places; None for the default."""


def service_settings() -> ServiceSettings:
    """Return the settings as they are now."""
    return ServiceSettings(
        maximum_batch_rows(),
        maximum_values(),
        maximum_concurrent_predictions(),
        hung_prediction_seconds(),
        writes_access_log(),
        makes_traces(),
        logs_probes(),
        trusted_proxies(),
        artefact_cache(),
    )


def maximum_body_bytes() -> int | None:
    """Return the size that a request's body may have, in bytes; None for no limit."""
    limit: int | None = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return limit


def shows_reasons() -> bool:
    """Whether clients are told why something failed: for development only."""
    shown: bool | None = getattr(settings, "MODELS_API_SHOW_REASONS", None)
    return settings.DEBUG if shown is None else shown

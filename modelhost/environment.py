"""The environment variables that begin with MODELHOST_, read with their types."""

from __future__ import annotations

import difflib
import logging
import os
import re

from django.core.exceptions import ImproperlyConfigured

from models_api.observability.client_address import ClientAddresses

_COMMON = "MODELHOST_"
VARIABLES = frozenset(
    {
        *("ACCESS_LOG", "ALLOWED_HOSTS", "API_KEY", "ARTEFACT_CACHE", "BIND", "COMPRESS_MIN_BYTES"),
        *("CORS_ORIGINS", "CPU_AFFINITY", "DEBUG"),
        *("GRACEFUL_TIMEOUT_SECONDS", "HSTS_SECONDS", "HSTS_SUBDOMAINS", "HUNG_PREDICTION_SECONDS"),
        *("LOG_FORMAT", "LOG_LEVEL", "LOG_PROBES", "MAX_BATCH_ROWS", "MAX_BODY_BYTES"),
        *("MAX_CONCURRENT_PREDICTIONS", "MAX_JSON_VALUES", "PATH_PREFIX", "PRELOAD", "SECRET_KEY"),
        *(
            "SHOW_REASONS",
            "SSL_REDIRECT",
            "STATE_DIRECTORY",
            "THREADS",
            "TIMEOUT_SECONDS",
            "TRUSTED_PROXIES",
            "TRUST_PROXY_PREFIX",
            "TRUST_PROXY_TLS",
            "WORKERS",
        ),
    }
)
"""All that are read, without what is common to their names."""
# What a server tells its workers, and what Kubernetes tells every container of the namespace of a
# Service that is called modelhost.
_NOT_SETTINGS = re.compile(r"SHARED_DIRECTORY|SERVICE_(HOST|PORT\w*)|PORT(_\d+_\w+)?")
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")
_SEGMENT = r"/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~@:+-]+"
_PREFIX = re.compile(rf"((?:{_SEGMENT})*)/?")
_LONGEST_PREFIX = 255
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d+)?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[0-9a-fA-F:]+)\]|(?P<host>[^:\[\]/,]*)):(?P<port>\d+)")


def text(name: str, default: str) -> str:
    """Read MODELHOST_<name>; set but empty counts as not set.

    Raises:
        LookupError: VARIABLES does not have the name.
    """
    if name not in VARIABLES:
        raise LookupError(f"VARIABLES has no {name}.")
    return os.environ.get(f"{_COMMON}{name}", "").strip() or default


def unknown_variables() -> list[str]:
    """Return a sentence for each variable with the prefix that nothing reads."""
    given = (each.removeprefix(_COMMON) for each in os.environ if each.startswith(_COMMON))
    unknown = [
        each for each in given if each not in VARIABLES and not _NOT_SETTINGS.fullmatch(each)
    ]
    return [_explain(each) for each in sorted(unknown)]


def _explain(name: str) -> str:
    near = difflib.get_close_matches(name.upper(), sorted(VARIABLES), n=1)
    meant = f"Did you mean {_COMMON}{near[0]}?" if near else "The page on running lists them."
    return f"The variable {_COMMON}{name} is none of modelhost's, and does nothing. {meant}"


def flag(name: str, *, default: bool) -> bool:
    """Read MODELHOST_<name> as yes or no.

    Raises:
        ImproperlyConfigured: it is neither.
    """
    value = text(name, "1" if default else "0").lower()
    if value not in _TRUE + _FALSE:
        raise ImproperlyConfigured(f"MODELHOST_{name} is {value!r}; write 1 or 0.")
    return value in _TRUE


def number(name: str, default: int) -> int:
    """Read MODELHOST_<name> as a whole number.

    Raises:
        ImproperlyConfigured: it is none, or negative.
    """
    value = text(name, str(default))
    if not (value.isascii() and value.isdecimal()):
        raise ImproperlyConfigured(f"MODELHOST_{name} is {value!r}; write a whole number.")
    return int(value)


def log_level() -> str:
    """Read MODELHOST_LOG_LEVEL as the name of one of logging's levels.

    Raises:
        ImproperlyConfigured: there is no such level.
    """
    value = text("LOG_LEVEL", "INFO").upper()
    known = logging.getLevelNamesMapping()
    if value not in known:
        raise ImproperlyConfigured(f"MODELHOST_LOG_LEVEL is {value!r}; write one of {list(known)}.")
    return value


def log_format() -> str:
    """Read MODELHOST_LOG_FORMAT: text or json.

    Raises:
        ImproperlyConfigured: it is neither.
    """
    value = text("LOG_FORMAT", "text").lower()
    if value not in ("text", "json"):
        raise ImproperlyConfigured(f"MODELHOST_LOG_FORMAT is {value!r}; write text or json.")
    return value


def prefix(variable: str) -> str:
    """Read a variable, by its whole name, as a path such as /ml, without a slash at its end.

    Raises:
        ImproperlyConfigured: it is none.
    """
    value = os.environ.get(variable, "").strip()
    found = as_prefix(value)
    if found is None:
        raise ImproperlyConfigured(
            f"{variable} is {value!r}; write a path such as /ml, of letters, digits and ._~@:+- "
            "between its slashes."
        )
    return found


def as_prefix(value: str) -> str | None:
    """Return a path without a slash at its end; None if it could lead elsewhere than below it."""
    found = _PREFIX.fullmatch(value) if len(value) <= _LONGEST_PREFIX else None
    return found[1] if found else None


def items(name: str, default: str) -> list[str]:
    """Read MODELHOST_<name> as a list with commas between the items."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def origins(values: list[str]) -> list[str]:
    """Return origins as browsers write them, or `*` alone for all.

    Raises:
        ImproperlyConfigured: one of them is none.
    """
    found = [value.lower() for value in values]
    for value in found:
        if value != "*" and not _ORIGIN.fullmatch(value):
            raise ImproperlyConfigured(
                f"MODELHOST_CORS_ORIGINS has {value!r}; write origins such as "
                "https://pages.example.com, without a path, or * for all."
            )
    if "*" in found:
        return ["*"]
    return [_without_default_port(value) for value in found]


def networks(values: list[str]) -> list[str]:
    """Return addresses and networks of proxies as they are.

    Raises:
        ImproperlyConfigured: one of them is none.
    """
    try:
        ClientAddresses(values)
    except ValueError as error:
        raise ImproperlyConfigured(f"MODELHOST_TRUSTED_PROXIES: {error}.") from None
    return values


def _without_default_port(origin: str) -> str:
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition("://")[0], ""))


def split_address(bind: str) -> tuple[str, int] | None:
    """Return host and port of HOST:PORT, [IPV6]:PORT or :PORT; None if it is none of them."""
    found = _ADDRESS.fullmatch(bind)
    return (found["ipv6"] or found["host"], int(found["port"])) if found else None

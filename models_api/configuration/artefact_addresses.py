"""Addresses of artefacts that are not on this machine: which there are, and how they are shown."""

from __future__ import annotations

import difflib
import re
from urllib.parse import urlsplit, urlunsplit

SCHEMES = ("s3", "gs", "az", "https", "http", "mlflow")
OBJECT_STORES = ("s3", "gs", "az")
MLFLOW_MODEL = re.compile(
    r"mlflow:models:/(?P<name>[^/@:]+)(?:/(?P<version>[0-9]+)|@(?P<alias>[A-Za-z0-9_.-]+))"
)

_BEGINNING = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://|(?P<mlflow>mlflow|models|runs):)"
)
_KNOWN = (
    "Write a path, or an address that begins with s3://, gs://, az://, https://, http:// or "
    "mlflow:models:/"
)


def is_address(text: str) -> bool:
    """Return whether it is an address, and not a path."""
    return _BEGINNING.match(text) is not None


def scheme_of(address: str) -> str:
    """Return with which of SCHEMES an address begins, or what stands there instead."""
    found = _BEGINNING.match(address)
    return (found["scheme"] or found["mlflow"]).lower() if found else ""


def problem_of_address(address: str) -> tuple[str, str] | None:
    """Return what is wrong with an address, and its remedy; neither tells a secret."""
    scheme = scheme_of(address)
    if scheme in ("models", "runs"):
        hint = "Write mlflow: before it, such as mlflow:models:/rent@champion"
        return f"there is no source of artefacts that is called {scheme}:", hint
    if scheme not in SCHEMES:
        near = difflib.get_close_matches(scheme, SCHEMES, n=1, cutoff=0.5)
        meant = f"Did you mean {near[0]}://? " if near else ""
        return f"there is no source of artefacts that is called {scheme}://", meant + _KNOWN
    if not address.isprintable():
        return "the address holds a line break or another character that none has", "Remove it."
    return _PROBLEMS[scheme](address)


def _problem_of_object(address: str) -> tuple[str, str] | None:
    scheme, _, rest = address.partition("://")
    bucket, slash, key = rest.partition("/")
    if "@" in bucket:
        hint = "Remove them: credentials come from environment variables."
        return "the address has credentials in it", hint
    hint = f"Write {scheme}://bucket/models/iris.onnx, or a folder with a slash at its end."
    if not bucket or not slash:
        return "the address names no object", hint
    if any(part in (".", "..") for part in key.split("/")) or "//" in key:
        return "the address names no object: a part of its path is empty, or a dot", hint
    return None


def _problem_of_page(address: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(address)
        is_complete = bool(parts.hostname) and " " not in address
        _ = parts.port
    except ValueError:
        is_complete = False
    if not is_complete:
        return "this is no URL", "Write it in full: https://files.internal/models/iris.onnx"
    return None


def _problem_of_mlflow(address: str) -> tuple[str, str] | None:
    if MLFLOW_MODEL.fullmatch(address):
        return None
    message = "this names no version of a registered model"
    return message, "Write mlflow:models:/name@alias or mlflow:models:/name/3"


_PROBLEMS = {
    **dict.fromkeys(OBJECT_STORES, _problem_of_object),
    **dict.fromkeys(("http", "https"), _problem_of_page),
    "mlflow": _problem_of_mlflow,
}


def shown_address(address: str) -> str:
    """Return an address without the secrets that may be in it: user, password, signature."""
    if scheme_of(address) not in ("http", "https"):
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        return "an address"
    query = "..." if parts.query else ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def can_move(address: str) -> bool:
    """Return whether what is at an address may be something else later, other than by mistake."""
    found = MLFLOW_MODEL.fullmatch(address)
    return found is None or found["version"] is None

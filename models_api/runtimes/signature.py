"""What an artefact takes and gives, in words of no library, and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from models_api.configuration.sections import RuntimeName

Label = str | int | bool | float
"""Name of a class, or a category."""
ValueType = Literal[
    "number", "integer", "boolean", "string", "datetime", "binary", "any", "unknown"
]
"""`binary` is Base64 in JSON; `any` is whatever JSON holds; `unknown` is for the configuration."""
Shape = tuple[int | None, ...]
"""Dimensions of one row's value; None where they vary. Empty for a single value."""


@dataclass(frozen=True, slots=True)
class Column:
    """What one row has under one name."""

    name: str
    type: ValueType
    shape: Shape = ()
    nullable: bool = False
    """Whether the value, or one within it, may be missing."""
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[Label, ...] = ()
    """The only values there are; empty where there are others."""
    description: str = ""
    example: str | int | bool | float | None = None
    optional: bool = False
    """Whether it may be left out, which is `null` then."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a prediction has under one name."""

    name: str
    type: ValueType
    shape: Shape = ()
    labels: tuple[Label, ...] = ()
    """The only values there are, or the keys of a mapping."""
    by_label: bool = False
    """Whether it is a mapping from labels to numbers."""
    of_classes: bool = False
    """Whether the configuration may name the classes in it."""
    description: str = ""
    nullable: bool = False
    """Whether the value, or one within it, may be missing."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What an artefact takes and gives."""

    summary: str
    """What it is, in a sentence for the description of the model."""
    library: str
    """Name and version of the library that read it."""
    inputs: tuple[Column, ...]
    """Empty where the configuration has to say it all."""
    outputs: tuple[Output, ...]
    labels: tuple[Label, ...] = ()
    """The classes, in the order of their probabilities; empty where there are none."""
    types: tuple[str, ...] = ()
    """Those that the artefact makes objects of and that somebody has to trust."""
    advice: str = ""
    """What else may be done where the configuration would have to say what it takes."""


@dataclass(frozen=True, slots=True)
class SavedSignature:
    """The signature of a file, kept beside it."""

    runtime: RuntimeName
    sha256: str
    """Of the artefact."""
    signature: Signature


_SAVED = TypeAdapter(SavedSignature)


def to_json(saved: SavedSignature) -> bytes:
    """Write a signature as JSON."""
    return _SAVED.dump_json(saved, indent=2) + b"\n"


def from_json(text: bytes) -> SavedSignature:
    """Read what `to_json` wrote.

    Raises:
        ValueError: it is something else.
    """
    return _SAVED.validate_json(text)

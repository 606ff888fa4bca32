"""By what a job names the model that predicts."""

from __future__ import annotations

from typing import NamedTuple


class ModelName(NamedTuple):
    """A model, in one of its versions."""

    model: str
    """Its qualified name."""
    version: str | None = None
    """A version or an alias; None for the one that takes what names none."""

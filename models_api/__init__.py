"""A reusable Django app that serves `ml_base` models behind a REST API."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models_api.loaded_model import LoadedModel

__all__ = ["get_model"]


def get_model(qualified_name: str, version: str | None = None) -> LoadedModel:
    """Return a model of the YAML file for a project's own code, loaded at the first call.

    Args:
        qualified_name: That of its URLs.
        version: The version that it has to be, or an alias of it; None for that which is asked by
            the name alone.

    Raises:
        ModelNotFound: there is no such model, or it has no such version.
        ModelLoadFailed: it failed to load; the message says why.
        ConfigurationError: the YAML file has problems.
    """
    # Late, so that importing the app costs nothing, and needs no settings.
    from models_api.apps import own_registry  # noqa: PLC0415
    from models_api.loaded_model import load_model  # noqa: PLC0415

    return load_model(own_registry(), qualified_name, version)

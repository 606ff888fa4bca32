"""Routes of models, and of their versions, whose names may have any character."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from django.urls import URLPattern

from models_api.api.literal_routes import literal_path
from models_api.api.views import HostedModelView
from models_api.hosting.release import NamedVersion


def model_path(
    route: str, view: type[HostedModelView], name: str, model: str, **given: Any
) -> URLPattern:
    """Return the route of a view of a model.

    Args:
        route: With `{model}` where its qualified name stands.
        view: Answers the requests.
        name: Beginning of the name that `reverse` knows.
        model: Its qualified name.
        given: What the view is given besides.
    """
    of_model = view.as_view(qualified_name=model, **given)
    kwargs = {"qualified_name": model}
    return literal_path(route.format(model=model), of_model, kwargs, name=f"{name}-{model}")


def version_path(
    route: str, view: type[HostedModelView], name: str, version: NamedVersion, **given: Any
) -> URLPattern:
    """Return the route of a view of a version, as `model_path` does; it has `{version}`, too."""
    if not version.is_documented:
        given["schema"] = None
    model, text = version.qualified_name, version.name
    return literal_path(
        route.format(model=model, version=text),
        view.as_view(is_versioned=True, qualified_name=model, version=text, **given),
        {"qualified_name": model, "version": text},
        name=f"{name}-{model}-version-{text}",
        shown=route.format(model=quote(model), version=quote(text, safe="")),
    )

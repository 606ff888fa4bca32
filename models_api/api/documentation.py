"""The documentation: the OpenAPI document, Swagger UI, ReDoc, and all that these pages load."""

from __future__ import annotations

import json
import threading
from collections.abc import Container
from importlib.resources import files
from pathlib import Path
from posixpath import normpath
from typing import Literal, Protocol
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import SuspiciousFileOperation
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.template import Context, Engine
from django.urls import (
    NoReverseMatch,
    Resolver404,
    URLPattern,
    URLResolver,
    get_script_prefix,
    resolve,
    reverse,
)
from django.views.static import serve
from drf_spectacular.renderers import OpenApiYamlRenderer
from rest_framework.authentication import BasicAuthentication, TokenAuthentication
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from models_api.api.openapi import HiddenRoutes, ModelsAPISchemaGenerator
from models_api.api.views import ModelsAPIView, visible_models
from models_api.exceptions import ModelNotReady
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.registry import ModelRegistry


def _content_security_policy(**sources: str) -> str:
    """Return the header that allows the service's own files, the sources given, and no others."""
    directives = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        **{name.replace("_", "-"): source for name, source in sources.items()},
    }
    return "; ".join(f"{name} {source}" for name, source in directives.items())


_APP = Path(__file__).parents[1]
_SIDECAR = Path(str(files("drf_spectacular_sidecar"))) / "static" / "drf_spectacular_sidecar"
_ASSET_FOLDERS = {
    "swagger-ui": _SIDECAR / "swagger-ui-dist",
    "redoc": _SIDECAR / "redoc" / "bundles",
    "modelhost": _APP / "static" / "models_api",
}
_MAXIMUM_TEXTS = 16
_BY_HEADER_ALONE = (BasicAuthentication, TokenAuthentication)

Format = Literal["json", "yaml"]

# An engine of the app's own: a project that only has an API may have none.
_engine = Engine(dirs=[str(_APP / "templates")])


class DocumentedRoutes(Protocol):
    """Returns the routes to describe, as they are while these models are known."""

    def __call__(self, registry: ModelRegistry, /) -> list[URLPattern | URLResolver]: ...


class OpenAPIDocument:
    """The OpenAPI document of a service, written once for each root path, format and set of models.

    Safe to use from many threads.
    """

    def __init__(self, registry: ModelRegistry, routes: DocumentedRoutes) -> None:
        self._registry = registry
        self._routes = routes
        self._lock = threading.Lock()
        self._descriptions: list[Description] = []
        self._texts: dict[tuple[str, Format, frozenset[HiddenRoutes]], bytes] = {}

    def text(
        self, root: str, document_format: Format, hidden: frozenset[HiddenRoutes] = frozenset()
    ) -> bytes:
        """Return the text of the document for an API that is included at the root path.

        Args:
            root: That path.
            document_format: JSON or YAML.
            hidden: Whose routes are not in it.

        Raises:
            ModelNotReady: a model is being loaded that describes itself only then.
        """
        self._registry.require_descriptions()
        generation = self._registry.generation
        described = [_description(model) for model in generation.models]
        descriptions = [(generation.number,), *described]
        with self._lock:
            # A model may describe itself otherwise once it is loaded, and a project may include the
            # API at a path with parameters, which makes any number of roots.
            if descriptions != self._descriptions or len(self._texts) > _MAXIMUM_TEXTS:
                self._descriptions = descriptions
                self._texts.clear()
            key = (root, document_format, hidden)
            if key not in self._texts:
                self._texts[key] = _written(self._document(root, hidden), document_format)
            return self._texts[key]

    def _document(self, root: str, hidden: frozenset[HiddenRoutes]) -> dict[str, object]:
        routes = self._routes(self._registry)
        generator = ModelsAPISchemaGenerator(patterns=routes, hidden=hidden)
        document = generator.get_schema(public=not hidden)
        return {**document, "servers": [{"url": root}]} if root else document


Description = tuple[object, ...]
"""Details of a model, and its schemas where they are known."""


def _description(model: HostedModel) -> Description:
    try:
        return model.details, model.schemas
    except ModelNotReady:
        return (model.details,)


def _written(document: dict[str, object], document_format: Format) -> bytes:
    if document_format == "yaml":
        # As `manage.py spectacular` writes it.
        text: bytes = OpenApiYamlRenderer().render(document, renderer_context={})
        return text
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode()


class OpenAPIView(ModelsAPIView):
    """Base of the views of the OpenAPI document of the models that whoever asks may see."""

    schema = None  # type: ignore[assignment] # keeps it out of the document
    document: OpenAPIDocument = None  # type: ignore[assignment] # always given to as_view
    document_format: Format = "json"

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Return the document; its URL tells the root path where the API is included."""
        root = request._request.path.removesuffix(f"/openapi.{self.document_format}")
        self.registry.require_descriptions()
        visible = visible_models(self.registry, request, self.registry)
        text = self.document.text(root, self.document_format, self._hidden(visible))
        return HttpResponse(text, content_type=f"application/{self.document_format}")

    def _hidden(self, visible: Container[HostedModel]) -> frozenset[HiddenRoutes]:
        hidden = [model for model in self.registry if model not in visible]
        releases = [self.registry.release(model.qualified_name) for model in hidden]
        without_version: list[HiddenRoutes] = [
            (release.qualified_name, None) for release in releases if release.model not in visible
        ]
        return frozenset(
            [*without_version, *((model.qualified_name, model.version) for model in hidden)]
        )


class OpenAPIJSONView(OpenAPIView):
    """Returns the document as JSON."""

    document_format = "json"


class OpenAPIYAMLView(OpenAPIView):
    """Returns the document as YAML."""

    document_format = "yaml"


class PageView(ModelsAPIView):
    """Base of the views for people; they hold nothing that the OpenAPI document does not."""

    schema = None  # type: ignore[assignment] # keeps it out of the document
    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()


class RootView(PageView):
    """Redirects to the documentation."""

    def get(self, request: Request, **kwargs: object) -> HttpResponseRedirect:
        """Redirect to the documentation."""
        match = request._request.resolver_match
        name = f"{match.namespace}:docs" if match and match.namespace else "docs"
        return HttpResponseRedirect(reverse(name, kwargs=kwargs))


class DocumentationView(PageView):
    """Base of the views that show the OpenAPI document as a page."""

    title = ""
    template_name = ""
    content_security_policy = ""

    def get(self, request: Request, **kwargs: object) -> HttpResponse:
        """Return the page."""
        header = settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-")
        context = Context(
            {
                "title": self.title,
                "csrf_cookie": settings.CSRF_COOKIE_NAME,
                "csrf_header": header,
                "login_url": login_url(request._request),
            }
        )
        text = _engine.get_template(f"models_api/{self.template_name}").render(context)
        return HttpResponse(text, headers={"Content-Security-Policy": self.content_security_policy})


def login_url(request: HttpRequest) -> str:
    """Return where the project's users log in, to come back then; empty if that helps nobody."""
    kinds = OpenAPIView.authentication_classes
    if all(issubclass(kind, _BY_HEADER_ALONE) for kind in kinds):
        return ""
    try:
        url = resolve_url(settings.LOGIN_URL)
        parts = urlsplit(url)
        if not parts.netloc:  # many projects have no such page, and leave the setting as it was
            resolve(f"/{parts.path.removeprefix(get_script_prefix()).lstrip('/')}")
    except (NoReverseMatch, Resolver404):
        return ""
    back = urlencode({REDIRECT_FIELD_NAME: request.get_full_path()})
    return f"{url}{'&' if parts.query else '?'}{back}"


class SwaggerUIView(DocumentationView):
    """Shows the document with Swagger UI, where requests can be tried out."""

    template_name = "swagger_ui.html"
    # The style sheet holds its icons.
    content_security_policy = _content_security_policy(img_src="'self' data:")


class ReDocView(DocumentationView):
    """Shows the document with ReDoc, for reading."""

    template_name = "redoc.html"
    # ReDoc's script adds style elements, and searches in a worker that it makes itself.
    content_security_policy = _content_security_policy(
        img_src="'self' data:", style_src="'self' 'unsafe-inline'", worker_src="blob:"
    )


class AssetView(PageView):
    """Returns the scripts, styles and images of the pages."""

    is_routine = True

    def get(self, request: Request, folder: str, path: str, **kwargs: object) -> HttpResponseBase:
        """Return a file of one of the folders."""
        # Each file has one URL.
        if folder not in _ASSET_FOLDERS or normpath(path) != path:
            raise Http404
        try:
            response: HttpResponseBase = serve(
                request._request, path, document_root=str(_ASSET_FOLDERS[folder])
            )
        except (SuspiciousFileOperation, OSError):
            raise Http404 from None  # leads out of the folder, or is too long
        response["Cache-Control"] = "public, max-age=3600"
        return response

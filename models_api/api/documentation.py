"""The documentation: the OpenAPI document, Swagger UI, ReDoc, and all that these pages load."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from posixpath import normpath
from typing import Any

from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation
from django.http import Http404, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template import Context, Engine
from django.urls import reverse
from django.views.static import serve
from drf_spectacular.renderers import OpenApiYamlRenderer
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from models_api.api.openapi import ModelsAPISchemaGenerator
from models_api.api.views import ModelsAPIView
from models_api.exceptions import ModelNotReady
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.registry import ModelRegistry


def _content_security_policy(**sources: str) -> str:
    """Allow the service's own scripts, styles and data, the sources given, and nothing else."""
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
Writer = Callable[[dict[str, Any]], str | bytes]
_MAXIMUM_TEXTS = 16

# An engine of the app's own: a project that only has an API may have none.
_engine = Engine(dirs=[str(_APP / "templates")])


class OpenAPIDocument:
    """The OpenAPI document of a registry, written once. Safe to use from many threads."""

    def __init__(
        self, registry: ModelRegistry, patterns_of: Callable[[ModelRegistry], list[Any]]
    ) -> None:
        self._registry = registry
        self._patterns_of = patterns_of
        self._lock = threading.Lock()
        self._descriptions: list[Any] = []
        self._texts: dict[tuple[str, Writer], str | bytes] = {}

    def text(self, root: str, write: Writer) -> str | bytes:
        """Write the document, as it is seen where the API is included at the root path.

        Raises:
            ModelNotReady: a model is being loaded, and has yet to say what it is.
        """
        self._registry.require_descriptions()
        descriptions = [_description(model) for model in self._registry]
        with self._lock:
            # A model may say something else of itself once it is loaded, and a project may include
            # the API at a path with parameters, which makes any number of roots.
            if descriptions != self._descriptions or len(self._texts) > _MAXIMUM_TEXTS:
                self._descriptions = descriptions
                self._texts.clear()
            if (root, write) not in self._texts:
                self._texts[root, write] = write(self._make(root))
            return self._texts[root, write]

    def _make(self, root: str) -> dict[str, Any]:
        patterns = self._patterns_of(self._registry)
        generator = ModelsAPISchemaGenerator(patterns=patterns)  # type: ignore[no-untyped-call]
        document = generator.get_schema(public=True)
        return {**document, "servers": [{"url": root}]} if root else document


def _description(model: HostedModel) -> tuple[Any, ...]:
    try:
        return model.details, model.schemas
    except ModelNotReady:
        return (model.details,)


def _write_json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)


def _write_yaml(document: dict[str, Any]) -> bytes:
    # As `manage.py spectacular` writes it.
    text: bytes = OpenApiYamlRenderer().render(document, renderer_context={})
    return text


class OpenAPIView(ModelsAPIView):
    """Gives the OpenAPI document; the project's policies apply to it as to the metadata."""

    schema = None  # type: ignore[assignment] # keeps it out of the document
    document: OpenAPIDocument = None  # type: ignore[assignment] # always given to as_view
    file_name = ""
    media_type = ""
    write: Writer = None  # type: ignore[assignment] # set by subclasses

    def get(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Give the document as it is seen from this URL, which tells where the API is included."""
        root = request._request.path.removesuffix(f"/{self.file_name}")
        return HttpResponse(self.document.text(root, self.write), content_type=self.media_type)


class OpenAPIJSONView(OpenAPIView):
    """Gives the document as JSON."""

    file_name = "openapi.json"
    media_type = "application/json"
    write = staticmethod(_write_json)


class OpenAPIYAMLView(OpenAPIView):
    """Gives the document as YAML."""

    file_name = "openapi.yaml"
    media_type = "application/yaml"
    write = staticmethod(_write_yaml)


class PageView(ModelsAPIView):
    """Base of the views for people; they hold nothing that the OpenAPI document does not."""

    schema = None  # type: ignore[assignment] # keeps it out of the document
    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()


class RootView(PageView):
    """Leads people to the documentation."""

    def get(self, request: Request, **kwargs: Any) -> HttpResponseRedirect:
        """Redirect to the documentation."""
        match = request._request.resolver_match
        name = f"{match.namespace}:docs" if match and match.namespace else "docs"
        return HttpResponseRedirect(reverse(name, kwargs=kwargs))


class DocumentationView(PageView):
    """Base of the views that show the OpenAPI document as a page."""

    title = ""
    template_name = ""
    content_security_policy = ""

    def get(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Show the page."""
        header = settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-")
        context = Context(
            {
                "title": self.title,
                "csrf_cookie": settings.CSRF_COOKIE_NAME,
                "csrf_header": header,
            }
        )
        text = _engine.get_template(f"models_api/{self.template_name}").render(context)
        return HttpResponse(text, headers={"Content-Security-Policy": self.content_security_policy})


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
    """Gives the scripts, styles and images of the pages."""

    def get(self, request: Request, folder: str, path: str, **kwargs: Any) -> HttpResponseBase:
        """Give a file of one of the folders."""
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

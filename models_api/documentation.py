"""The documentation: the OpenAPI document, Swagger UI, ReDoc, and all that these pages load."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
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

from models_api.openapi import ModelsAPISchemaGenerator
from models_api.registry import ModelRegistry
from models_api.views import ModelsAPIView


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


_APP = Path(__file__).parent
_SIDECAR = Path(str(files("drf_spectacular_sidecar"))) / "static" / "drf_spectacular_sidecar"
_ASSET_FOLDERS = {
    "swagger-ui": _SIDECAR / "swagger-ui-dist",
    "redoc": _SIDECAR / "redoc" / "bundles",
    "modelhost": _APP / "static" / "models_api",
}
# An engine of the app's own: a project that only has an API may have none.
_engine = Engine(dirs=[str(_APP / "templates")])


class OpenAPIView(ModelsAPIView):
    """Gives the OpenAPI document; the project's policies apply to it as to the metadata."""

    schema = None  # type: ignore[assignment] # keeps it out of the document
    patterns_of: Callable[[ModelRegistry], list[Any]] = None  # type: ignore[assignment] # given
    """Makes the URL patterns that the document describes."""
    file_name = ""

    def document(self, request: Request) -> dict[str, Any]:
        """Describe the API as it is seen from this URL, which tells where it is included."""
        self.registry.require_descriptions()
        # Made anew each time, because a model may tell its name only once it is loaded.
        patterns = self.patterns_of(self.registry)
        generator = ModelsAPISchemaGenerator(patterns=patterns)  # type: ignore[no-untyped-call]
        document = generator.get_schema(public=True)
        prefix = request._request.path.removesuffix(f"/{self.file_name}")
        return {**document, "servers": [{"url": prefix}]} if prefix else document


class OpenAPIJSONView(OpenAPIView):
    """Gives the document as JSON."""

    file_name = "openapi.json"

    def get(self, request: Request) -> HttpResponse:
        """Give the document as JSON."""
        text = json.dumps(self.document(request), indent=2, ensure_ascii=False, allow_nan=False)
        return HttpResponse(text, content_type="application/json")


class OpenAPIYAMLView(OpenAPIView):
    """Gives the document as YAML."""

    file_name = "openapi.yaml"

    def get(self, request: Request) -> HttpResponse:
        """Give the document as YAML."""
        text = OpenApiYamlRenderer().render(self.document(request), renderer_context={})
        return HttpResponse(text, content_type="application/yaml")


class PageView(ModelsAPIView):
    """Base of the views for people; they hold nothing that the OpenAPI document does not."""

    schema = None  # type: ignore[assignment] # keeps it out of the document
    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()


class RootView(PageView):
    """Leads people to the documentation."""

    def get(self, request: Request) -> HttpResponseRedirect:
        """Redirect to the documentation."""
        match = request._request.resolver_match
        namespace = match.namespace if match else "models_api"
        return HttpResponseRedirect(reverse(f"{namespace}:docs"))


class DocumentationView(PageView):
    """Base of the views that show the OpenAPI document as a page."""

    title = ""
    template_name = ""
    content_security_policy = ""

    def get(self, request: Request) -> HttpResponse:
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

    def get(self, request: Request, folder: str, path: str) -> HttpResponseBase:
        """Give a file of one of the folders."""
        if folder not in _ASSET_FOLDERS:
            raise Http404
        try:
            response: HttpResponseBase = serve(
                request._request, path, document_root=str(_ASSET_FOLDERS[folder])
            )
        except (SuspiciousFileOperation, OSError):
            raise Http404 from None  # leads out of the folder, or is too long
        response["Cache-Control"] = "public, max-age=3600"
        return response

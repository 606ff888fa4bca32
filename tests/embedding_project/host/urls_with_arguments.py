"""The host project's URLs, with the models under prefixes that carry arguments and namespaces."""

from django.urls import include, path

from .urls import own

urlpatterns = [
    *own,
    path("<str:version>/ml/", include("models_api.urls")),
    path("tenants/<slug:tenant>/ml/", include("models_api.urls", namespace="tenants")),
]

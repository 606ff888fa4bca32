"""The host project's URLs, with the models at the root."""

from django.urls import include, path

from .urls import own

urlpatterns = [path("", include("models_api.urls")), *own]

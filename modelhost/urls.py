"""The service's URLconf: the models, at the root."""

from django.urls import include, path

urlpatterns = [path("", include("models_api.urls"))]

"""A Django project in one module, which hosts the models of REST_CONFIG under its own settings."""

from __future__ import annotations

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import include, path

from models_api.apps import current_service

if "TEST_DATABASE" in os.environ:
    from tests.fakes.database_settings import DATABASES
else:
    DATABASES = {}

settings.configure(
    DATABASES=DATABASES,
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["rest_framework", "models_api"],
    REST_CONFIG=os.environ["REST_CONFIG"],
    REST_FRAMEWORK={"UNAUTHENTICATED_USER": None, "DEFAULT_AUTHENTICATION_CLASSES": []},
    ROOT_URLCONF=__name__,
    USE_TZ=True,
)
application = get_wsgi_application()
current_service().registry.start_loading()
urlpatterns = [path("", include("models_api.urls"))]

"""Settings of the host project; variables that begin with HOST_ make its variants."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent.parent

SECRET_KEY = "of no use to anybody"
ALLOWED_HOSTS = ["127.0.0.1"]
FORCE_SCRIPT_NAME = os.environ.get("HOST_SCRIPT_NAME")
ROOT_URLCONF = os.environ.get("HOST_URLCONF", "host.urls")
WSGI_APPLICATION = "host.wsgi.application"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    "models_api",
    *os.environ.get("HOST_APPS", "").split(),
]
# As `django-admin startproject` writes them.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    *os.environ.get("HOST_MIDDLEWARE", "").split(),
]
TEMPLATES = (
    [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
    if "HOST_TEMPLATES" in os.environ
    else []
)
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("HOST_DATABASE", ":memory:"),
        "ATOMIC_REQUESTS": True,
    }
}
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
# Quick, because the passwords of tests are no secrets.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGIN_URL = os.environ.get("HOST_LOGIN_URL", "/accounts/login/")
STATIC_URL = "static/"
USE_TZ = True

REST_CONFIG = FOLDER / "models.yaml"
if "HOST_METRICS" in os.environ:
    MODELS_API_METRICS_PERMISSIONS = os.environ["HOST_METRICS"].split()
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": os.environ.get(
        "HOST_AUTHENTICATION", "rest_framework.authentication.BasicAuthentication"
    ).split(),
    "DEFAULT_PERMISSION_CLASSES": [
        "rest_framework.permissions.IsAuthenticated",
        "host.policies.IsNotMallory",
    ],
    "DEFAULT_THROTTLE_CLASSES": ["host.policies.TinasThrottle"],
    "EXCEPTION_HANDLER": "host.policies.exception_handler",
    "DEFAULT_VERSIONING_CLASS": os.environ.get("HOST_VERSIONING"),
    "ALLOWED_VERSIONS": ["v1"],
    "DEFAULT_VERSION": "v1",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "The host's API",
    # The default of drf-spectacular.
    "OAS_VERSION": os.environ.get("HOST_OAS_VERSION", "3.0.3"),
}

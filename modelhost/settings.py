"""Settings of the service, driven by environment variables that begin with MODELHOST_.

All of them are optional, and without any the service is safe to run: no debug pages, local host
names only, no database. docs/running.md lists them.
"""

from __future__ import annotations

import sys
from typing import Any

from corsheaders.defaults import default_headers
from django.core.management.utils import get_random_secret_key

from modelhost.environment import (
    flag,
    items,
    log_format,
    log_level,
    networks,
    number,
    origins,
    prefix,
    text,
)
from models_api.conf import makes_traces

DEBUG = flag("DEBUG", default=False)
# Nothing is signed with the key yet, so one made at each start does; Django insists on having one.
SECRET_KEY = text("SECRET_KEY", "") or get_random_secret_key()
ALLOWED_HOSTS = items("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")

ROOT_URLCONF = "modelhost.urls"
WSGI_APPLICATION = "modelhost.wsgi.application"
INSTALLED_APPS = ["rest_framework", "drf_spectacular", "models_api", "modelhost"]
MIDDLEWARE = [
    "models_api.middleware.RequestMiddleware",
    "models_api.middleware.RequestsInProgressMiddleware",
    "modelhost.middleware.HeadMiddleware",
    "modelhost.middleware.JSONErrorMiddleware",
    "modelhost.security.ResponseHeadersMiddleware",
    "modelhost.security.HostMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.security.SecurityMiddleware",
]
if makes_traces():
    MIDDLEWARE.insert(1, "models_api.tracing.TracingMiddleware")
MODELHOST_COMPRESS_MIN_BYTES = number("COMPRESS_MIN_BYTES", 0)
if MODELHOST_COMPRESS_MIN_BYTES:
    # Around what replaces the content of responses.
    place = MIDDLEWARE.index("modelhost.middleware.JSONErrorMiddleware")
    MIDDLEWARE.insert(place, "modelhost.compression.CompressionMiddleware")
CORS_ALLOWED_ORIGINS = origins(items("CORS_ORIGINS", ""))
if CORS_ALLOWED_ORIGINS:
    INSTALLED_APPS.append("corsheaders")
    place = MIDDLEWARE.index("modelhost.security.HostMiddleware")
    MIDDLEWARE.insert(place, "corsheaders.middleware.CorsMiddleware")
if CORS_ALLOWED_ORIGINS == ["*"]:
    CORS_ALLOW_ALL_ORIGINS, CORS_ALLOWED_ORIGINS = True, []
CORS_ALLOW_METHODS = ["GET", "HEAD", "OPTIONS", "POST"]
CORS_ALLOW_HEADERS = [
    *default_headers,
    *("content-encoding", "inference-header-content-length", "x-request-id"),
    *("traceparent", "tracestate"),
]
CORS_EXPOSE_HEADERS = [
    "Allow",
    "Inference-Header-Content-Length",
    "Retry-After",
    "X-Model-Version",
    "X-Request-ID",
]
# Commands such as migrate want a database; this one is empty, and never opened while serving.
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}

APPEND_SLASH = False
USE_I18N = False
TIME_ZONE = "UTC"
DATA_UPLOAD_MAX_MEMORY_SIZE = number("MAX_BODY_BYTES", 10 * 1024 * 1024)
MODELS_API_MAX_JSON_VALUES = number("MAX_JSON_VALUES", 1_500_000) or None
MODELS_API_ARTEFACT_CACHE = text("ARTEFACT_CACHE", "") or None
MODELS_API_MAX_BATCH_ROWS = number("MAX_BATCH_ROWS", 1000)
MODELS_API_MAX_CONCURRENT_PREDICTIONS = number("MAX_CONCURRENT_PREDICTIONS", 0) or None
MODELS_API_HUNG_PREDICTION_SECONDS = number("HUNG_PREDICTION_SECONDS", 300) or None
_IS_DEVELOPMENT_SERVER = sys.argv[1:2] == ["runserver"]
if _IS_DEVELOPMENT_SERVER:
    # Nobody would start another one, and a debugger may well hold a prediction for long.
    MODELS_API_HUNG_PREDICTION_SECONDS = None
MODELS_API_ACCESS_LOG = flag("ACCESS_LOG", default=True)
MODELS_API_LOG_PROBES = flag("LOG_PROBES", default=False)
MODELS_API_STATE_DIRECTORY = text("STATE_DIRECTORY", "") or None
MODELS_API_TRUSTED_PROXIES = networks(items("TRUSTED_PROXIES", ""))
# Open, as probes are; the page on metrics says what keeps others from them.
MODELS_API_METRICS_PERMISSIONS = ["rest_framework.permissions.AllowAny"]
MODELS_API_SHOW_REASONS = flag("SHOW_REASONS", default=DEBUG or _IS_DEVELOPMENT_SERVER)

X_FRAME_OPTIONS = "DENY"
# TLS ends in front of this service; whoever serves only TLS says so.
SECURE_SSL_REDIRECT = flag("SSL_REDIRECT", default=False)
# Orchestrators and Prometheus ask from within, without TLS; the path may begin with a prefix, but
# it is that of no model with such a name.
SECURE_REDIRECT_EXEMPT = [
    r"^(.+/)?api/health(/\w+)?$",
    r"^(.+/)?v2/health/\w+$",
    r"^(.+/)?(?<!/models/)(?<!/versions/)metrics$",
]
SECURE_HSTS_SECONDS = number("HSTS_SECONDS", 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = flag("HSTS_SUBDOMAINS", default=False)
if flag("TRUST_PROXY_TLS", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
MODELHOST_PATH_PREFIX = prefix("MODELHOST_PATH_PREFIX")
MODELHOST_TRUST_PROXY_PREFIX = flag("TRUST_PROXY_PREFIX", default=False)
SILENCED_SYSTEM_CHECKS = [
    "security.W003",  # without cookies and sessions a forged request has nothing to use
]

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "models_api.api.openapi.ModelsAPISchema",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "OAS_VERSION": "3.1.0",
    "DEFAULT_GENERATOR_CLASS": "models_api.api.openapi.ModelsAPISchemaGenerator",
}

_IDS = "%(request_id)s %(trace_id)s" if makes_traces() else "%(request_id)s"
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "with_traceback": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: bool(record.exc_info),
        },
        "request": {"()": "models_api.observability.log_records.RequestFilter"},
    },
    "formatters": {
        "text": {
            "()": "models_api.observability.log_records.TextFormatter",
            "fmt": f"%(asctime)s %(levelname)-7s %(name)s [{_IDS}]: %(message)s",
        },
        "json": {"()": "models_api.observability.log_records.JSONFormatter"},
    },
    "handlers": {
        "console": {
            "class": "models_api.observability.log_handler.BatchingStreamHandler",
            "held_logger": "models_api.access",
            "formatter": log_format(),
            "filters": ["request"],
        },
        "null": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["console"], "level": log_level()},
    "loggers": {
        "django": {"level": "INFO"},
        # Django notes each answer of 4xx and 5xx, which are for the access log: that a model is not
        # ready yet is no error.
        "django.request": {"level": "ERROR", "filters": ["with_traceback"]},
        # The client is told, and the access log has the 400; what else it would tell is the header.
        "django.security.DisallowedHost": {"handlers": ["null"], "propagate": False},
        # The development server's own access log, which shows query strings.
        "django.server": {
            "level": "ERROR",
            "filters": ["with_traceback"],
            "handlers": ["console"],
            "propagate": False,
        },
    },
}

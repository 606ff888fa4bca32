"""Settings of the host project with this app's middleware, so that each request has a line."""

from .settings import *  # noqa: F403
from .settings import MIDDLEWARE

MIDDLEWARE = ["models_api.middleware.RequestMiddleware", *MIDDLEWARE]
MODELS_API_TRUSTED_PROXIES = ["127.0.0.1"]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request": {"()": "models_api.log_records.RequestFilter"}},
    "formatters": {"text": {"format": "%(name)s [%(request_id)s]: %(message)s"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "text", "filters": ["request"]},
    },
    "root": {"handlers": ["console"], "level": "INFO"},
}

"""The service's URLconf: the app's own.

A project of others includes it under a prefix; to do so here would cost each request a look-up.
"""

from models_api.urls import urlpatterns

__all__ = ["urlpatterns"]

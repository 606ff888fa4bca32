"""The documented import path of the middleware for traces; imports OpenTelemetry."""

from models_api.observability.tracing import TracingMiddleware

__all__ = ["TracingMiddleware"]

"""The documented import path of what logging configurations name."""

from models_api.observability.log_records import JSONFormatter, RequestFilter, TextFormatter

__all__ = ["JSONFormatter", "RequestFilter", "TextFormatter"]

"""Fixtures that take back what a test changes in this process."""

import logging
from collections.abc import Iterator

import pytest
from django.apps import apps
from ml_base.utilities import ModelManager

from models_api.apps import ModelsAPIConfig
from models_api.prediction.request_context import RequestContext, current_request


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name what gzip has made by its length: the time is in it, and processes compare names."""
    is_packed = isinstance(val, bytes) and val.startswith(b"\x1f\x8b")
    return f"gzip of {len(val)} bytes" if is_packed else None  # type: ignore[arg-type]


@pytest.fixture
def context() -> Iterator[RequestContext]:
    """The context of a request that the test works for."""
    context = RequestContext("mine")
    token = current_request.set(context)
    yield context
    current_request.reset(token)


@pytest.fixture
def app_config() -> Iterator[ModelsAPIConfig]:
    """The app that Django has set up, free to be given another configuration file."""
    app_config = apps.get_app_config("models_api")
    assert isinstance(app_config, ModelsAPIConfig)
    before = app_config.__dict__.copy()
    app_config.__dict__.pop("service", None)
    yield app_config
    app_config.__dict__.clear()
    app_config.__dict__.update(before)


@pytest.fixture
def model_manager() -> Iterator[ModelManager]:
    """ml_base's ModelManager, empty."""
    manager = ModelManager()
    before, manager._models = manager._models, []
    yield manager
    manager._models = before


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, whose handlers and level may be changed."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield root
    root.setLevel(level)
    root.handlers[:] = handlers

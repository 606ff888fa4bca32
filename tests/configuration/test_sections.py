"""The keys of the configuration: their defaults and descriptions."""

from importlib import import_module
from typing import Any

import pytest

from models_api.configuration.execution import ExecutionConfiguration
from models_api.configuration.sections import (
    BatchingConfiguration,
    ConcurrencyConfiguration,
    DecoratorConfiguration,
    MetricsConfiguration,
    ModelConfiguration,
    ServiceConfiguration,
)


def test_every_key_has_the_documented_default() -> None:
    assert ServiceConfiguration().model_dump() == {
        "service_title": "RESTful Model Service",
        "description": "",
        "version": "0.1.0",
        "models": [],
        "logging": None,
        "metrics": None,
        "open_inference": None,
        "reload": None,
        "request_headers": [],
    }
    assert ModelConfiguration(class_path="a.B").model_dump() == {
        "class_path": "a.B",
        "artefact": None,
        "sha256": None,
        "poll_seconds": None,
        "watch": [],
        "runtime": None,
        "trusted": False,
        "qualified_name": None,
        "version": None,
        "aliases": [],
        "display_name": None,
        "description": None,
        "columns": [],
        "labels": None,
        "output": [],
        "schema": None,
        "create_endpoint": True,
        "required": True,
        "configuration": {},
        "decorators": [],
        "timeout_seconds": None,
        "max_values": None,
        "traffic": None,
        "traffic_key": None,
        "abort": None,
        "allow_schema_change": False,
        "shadow": False,
        "tolerance": None,
        "batching": None,
        "smoke_tests": [],
        "concurrency": None,
        "execution": {
            "kind": "thread",
            "processes": 1,
            "memory_limit_mb": None,
            "nice": 0,
            "python": None,
            "environment": {},
            "retry": False,
            "ray": None,
            "url": None,
            "protocol": "modelhost",
            "model": None,
            "version": None,
            "input_schema": None,
            "output_schema": None,
            "token_env": None,
            "ca_file": None,
            "client_certificate": None,
            "client_key": None,
            "connect_timeout_seconds": 2.0,
            "pool_size": None,
            "health": False,
            "breaker_failures": 5,
            "breaker_seconds": 5.0,
        },
    }
    assert DecoratorConfiguration(class_path="a.B").model_dump() == {
        "class_path": "a.B",
        "configuration": {},
    }
    assert BatchingConfiguration().model_dump() == {
        "max_batch_size": 64,
        "max_wait_seconds": 0.0,
        "max_queue_size": 1024,
    }
    assert ConcurrencyConfiguration().model_dump() == {
        "max_concurrency": None,
        "max_queue_size": None,
    }


def test_metrics_have_the_options_and_defaults_of_rest_model_service() -> None:
    former = import_module("rest_model_service.configuration").MetricsConfiguration()
    assert MetricsConfiguration().model_dump() == former.model_dump()


@pytest.mark.parametrize(
    "section",
    [
        ServiceConfiguration,
        ModelConfiguration,
        DecoratorConfiguration,
        BatchingConfiguration,
        ConcurrencyConfiguration,
        ExecutionConfiguration,
        MetricsConfiguration,
    ],
)
def test_every_key_is_described(section: Any) -> None:
    for field in section.model_fields.values():
        assert field.description.endswith(".")

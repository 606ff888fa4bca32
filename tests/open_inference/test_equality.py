"""Every prediction for tensors is the one for the same row as an object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy
import pytest
from django.test import RequestFactory, override_settings
from django.urls import include, path, resolve

from models_api.configuration.sections import OpenInferenceConfiguration, ServiceConfiguration
from models_api.urls import api_patterns, open_inference_patterns
from tests.in_process import InProcessService

ROWS = 500
CONFIGURATION = {
    "models": [
        {"class_path": "examples.iris.IrisModel"},
        {"class_path": "examples.diabetes.DiabetesModel"},
        {"class_path": "examples.digits.DigitsModel", "configuration": {"trees": 5}},
    ]
}
random = numpy.random.default_rng(0)
COLUMNS: dict[str, dict[str, Any]] = {
    "iris": {
        name: random.uniform(0.1, 9.9, ROWS)
        for name in ("sepal_length", "sepal_width", "petal_length", "petal_width")
    },
    "diabetes": {
        "age": random.integers(0, 121, ROWS),
        "sex": random.integers(1, 3, ROWS),
        "body_mass_index": random.uniform(10, 80, ROWS),
        "blood_pressure": random.uniform(30, 200, ROWS),
        "total_cholesterol": random.uniform(40, 600, ROWS),
        "ldl": random.uniform(10, 500, ROWS),
        "hdl": random.uniform(5, 200, ROWS),
        "cholesterol_ratio": random.uniform(1, 30, ROWS),
        "log_triglycerides": random.uniform(2, 8, ROWS),
        "glucose": random.uniform(20, 600, ROWS),
    },
    "digits": {"image": random.uniform(0, 16, (ROWS, 8, 8))},
}
DATATYPES = {"f": "FP64", "i": "INT64"}


@pytest.fixture(scope="module")
def urlconf() -> Any:
    registry = InProcessService(CONFIGURATION).registry
    enabled = ServiceConfiguration(open_inference=OpenInferenceConfiguration(enabled=True))
    patterns = api_patterns(registry) + open_inference_patterns(registry, enabled)
    urlconf = ModuleType("urlconf")
    urlconf.urlpatterns = [path("", include((patterns, "models_api")))]  # type: ignore[attr-defined]
    return urlconf


@pytest.fixture(autouse=True)
def _urlconf(urlconf: Any) -> Iterator[None]:
    with override_settings(ROOT_URLCONF=urlconf):
        yield


def post(url: str, body: bytes, **headers: Any) -> Any:
    request = RequestFactory().post(url, body, content_type="application/json", **headers)
    response = resolve(url).func(request)
    assert response.status_code == 200, response.content
    return response


def objects(name: str) -> list[dict[str, Any]]:
    columns = {field: values.tolist() for field, values in COLUMNS[name].items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def plain(name: str, rows: int) -> list[dict[str, Any]]:
    """Predictions for each row by itself."""
    url = f"/api/models/{name}/prediction"
    bodies = [json.dumps(row).encode() for row in objects(name)[:rows]]
    return [json.loads(post(url, body).content) for body in bodies]


def plain_batch(name: str) -> list[dict[str, Any]]:
    """Predictions for all rows in one call."""
    body = json.dumps({"inputs": objects(name)}).encode()
    response = post(f"/api/models/{name}/prediction/batch", body)
    predictions: list[dict[str, Any]] = json.loads(response.content)["predictions"]
    return predictions


def by_json(name: str, rows: slice) -> list[dict[str, Any]]:
    inputs = [
        {
            "name": field,
            "shape": list(values[rows].shape),
            "datatype": DATATYPES[values.dtype.kind],
            "data": values[rows].tolist(),
        }
        for field, values in COLUMNS[name].items()
    ]
    response = post(f"/v2/models/{name}/infer", json.dumps({"inputs": inputs}).encode())
    outputs = json.loads(response.content)["outputs"]
    return as_rows({output["name"]: output["data"] for output in outputs})


def by_binary(name: str, rows: slice) -> list[dict[str, Any]]:
    data = [values[rows] for values in COLUMNS[name].values()]
    inputs = [
        {
            "name": field,
            "shape": list(values.shape),
            "datatype": DATATYPES[values.dtype.kind],
            "parameters": {"binary_data_size": values.nbytes},
        }
        for field, values in zip(COLUMNS[name], data, strict=True)
    ]
    header = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    body = b"".join([header, *(values.tobytes() for values in data)])
    length = {"Inference-Header-Content-Length": str(len(header))}
    response = post(f"/v2/models/{name}/infer", body, headers=length)
    return as_rows(read_binary(response))


def read_binary(response: Any) -> dict[str, list[Any]]:
    length = int(response["Inference-Header-Content-Length"])
    position, found = length, {}
    for output in json.loads(response.content[:length])["outputs"]:
        end = position + output["parameters"]["binary_data_size"]
        found[output["name"]] = elements(output["datatype"], response.content[position:end])
        position = end
    assert position == len(response.content)
    return found


def elements(datatype: str, data: bytes) -> list[Any]:
    if datatype != "BYTES":
        kinds = {"FP64": "<f8", "INT64": "<i8"}
        return numpy.frombuffer(data, kinds[datatype]).tolist()
    texts, position = [], 0
    while position < len(data):
        start = position + 4
        position = start + int.from_bytes(data[position:start], "little")
        texts.append(data[start:position].decode())
    return texts


def as_rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("rows", [20, pytest.param(ROWS, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", COLUMNS)
def test_each_row_by_itself_has_the_same_prediction(name: str, rows: int) -> None:
    expected = plain(name, rows)
    for ask in (by_json, by_binary):
        found = [row for index in range(rows) for row in ask(name, slice(index, index + 1))]
        assert found == expected


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_that_come_together_have_the_same_predictions(name: str) -> None:
    expected = plain_batch(name)
    assert len(expected) == ROWS
    for ask in (by_json, by_binary):
        assert ask(name, slice(None)) == expected

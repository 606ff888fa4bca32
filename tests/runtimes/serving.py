"""A service in the test's own process that predicts with artefacts, asked in each of its ways."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from django.test import RequestFactory, override_settings
from django.urls import include, path, resolve

from models_api.configuration.sections import OpenInferenceConfiguration, ServiceConfiguration
from models_api.hosting.hosted_model import LoadState
from models_api.urls import api_patterns, open_inference_patterns
from tests.in_process import InProcessService

Row = Mapping[str, Any]


class ArtefactService:
    """Hosts one artefact as `model`."""

    def __init__(self, artefact: Path, **entry: object) -> None:
        entry = {"artefact": str(artefact), "qualified_name": "model", **entry}
        self.service = InProcessService({"models": [entry]})
        (self.hosted,) = self.service.registry
        assert self.hosted.state is LoadState.READY, self.hosted.failure
        enabled = ServiceConfiguration(open_inference=OpenInferenceConfiguration(enabled=True))
        registry = self.service.registry
        patterns = api_patterns(registry) + open_inference_patterns(registry, enabled)
        self._urlconf = ModuleType("urlconf")
        self._urlconf.urlpatterns = [path("", include((patterns, "models_api")))]  # type: ignore[attr-defined]

    def post(self, url: str, content: object) -> tuple[int, Any]:
        """Return status and JSON of an answer."""
        body = json.dumps(content).encode()
        with override_settings(ROOT_URLCONF=self._urlconf):
            view, args, kwargs = resolve(url)
            request = RequestFactory().post(url, body, content_type="application/json")
            response = view(request, *args, **kwargs)
        return response.status_code, json.loads(response.content)

    def predict(self, row: Row) -> Any:
        """Predict one row, which has to succeed."""
        status, answer = self.post("/api/models/model/prediction", row)
        assert status == 200, answer
        return answer

    def refuse(self, row: Row) -> Any:
        """Ask for a prediction of what is refused with 400."""
        status, answer = self.post("/api/models/model/prediction", row)
        assert status == 400, answer
        return answer

    def predict_batch(self, rows: Sequence[Row]) -> list[Any]:
        """Predict rows in one request."""
        status, answer = self.post("/api/models/model/prediction/batch", {"inputs": list(rows)})
        assert status == 200, answer
        outputs: list[Any] = answer["predictions"]
        return outputs

    def infer(self, rows: Sequence[Row]) -> list[Any]:
        """Predict rows in one request of the Open Inference Protocol."""
        status, answer = self.post("/v2/models/model/infer", {"inputs": tensors_of_rows(rows)})
        assert status == 200, answer
        return predictions_of_tensors(answer["outputs"], len(rows))

    def assert_predicts(self, rows: Sequence[Row], expected: Sequence[Any]) -> None:
        """See that rows are predicted so, in each of the ways."""
        assert_alike([self.predict(row) for row in rows[:20]], expected[:20])
        assert_alike(self.predict_batch(rows), expected)
        assert_alike(self.infer(rows), expected)

    @property
    def input_schema(self) -> dict[str, Any]:
        """JSON Schema of what it takes."""
        return self.hosted.schemas.input.model_json_schema()

    @property
    def output_schema(self) -> dict[str, Any]:
        """JSON Schema of what it gives."""
        return self.hosted.schemas.output.model_json_schema(mode="serialization")


def assert_alike(found: Any, expected: Any) -> None:
    """See that JSON is equal, but for the last digits of floats.

    Linear algebra adds up in another order for one row than for many.
    """
    if isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        assert_alike(list(found.values()), list(expected.values()))
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    else:
        assert type(found) is type(expected)
        assert found == expected


def tensors_of_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows as inputs of the Open Inference Protocol."""
    return [_tensor(name, [row[name] for row in rows]) for name in rows[0]]


def predictions_of_tensors(outputs: Sequence[Mapping[str, Any]], rows: int) -> list[Any]:
    """Return what outputs of the Open Inference Protocol hold, row by row."""
    columns = {each["name"]: _values(each, rows) for each in outputs}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _tensor(name: str, values: list[Any]) -> dict[str, Any]:
    leaf: Any = values
    while isinstance(leaf, list):
        leaf = next((each for each in leaf if each is not None), None)
    datatypes = {bool: "BOOL", int: "INT64", float: "FP64"}
    datatype = datatypes.get(type(leaf), "BYTES")
    shape = list(np.shape(np.array(values, dtype=object)))
    return {"name": name, "shape": shape, "datatype": datatype, "data": values}


def _values(tensor: Mapping[str, Any], rows: int) -> list[Any]:
    data = np.array(tensor["data"], dtype=object).reshape(tensor["shape"]).tolist()
    assert len(data) == rows
    if tensor.get("parameters", {}).get("content_type") in ("json", "pd_json"):
        return [json.loads(each) for each in data]
    return data

"""Through real servers: values of numpy and pandas are what they mean, or an error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.end_to_end.server import STARTERS, Server
from tests.fakes.values import GIVEN

CONFIGURATION = {
    "models": [{"class_path": "tests.fakes.values.ValuesModel"}],
    "open_inference": {"enabled": True},
}
DEFAULTS: dict[str, Any] = {
    "when": None,
    "lasting": "PT0S",
    "amount": 0.0,
    "exact": 0.0,
    "several": [],
    "count": 0,
    "anything": 0,
    "limit": 0.0,
}
EXPECTED: dict[str, dict[str, Any]] = {
    "a duration": {"lasting": "PT5S"},
    "a date": {"when": "2026-01-02T12:00:00"},
    "a missing date": {"when": None},
    "a missing number": {"amount": None},
    "a longdouble": {"amount": 0.5},
    "NaN in a list": {"several": [0.5, None]},
    "an unset default": {"count": 3},
    "the first row": {"when": "2026-01-02T12:00:00", "amount": 1.5, "count": 1},
    "the last row": {"when": None, "amount": None, "count": 2},
    "an object": {"anything": ["PT1M", None]},
}
"""What is not here is an error."""


@pytest.fixture(scope="module", params=sorted(STARTERS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with STARTERS[request.param](CONFIGURATION, environment={"MODELHOST_WORKERS": "1"}) as running:
        yield running


@pytest.fixture(scope="module")
def document(server: Server) -> Any:
    return server.client.get("/openapi.json").json()


def bytes_of(*values: object) -> dict[str, Any]:
    return {"datatype": "BYTES", "shape": [len(values)], "data": list(values)}


@pytest.mark.parametrize("case", GIVEN)
@pytest.mark.parametrize("limit", [0, 1], ids=["as it is", "constructed"])
def test_a_value_is_what_it_means_and_what_the_document_says(
    server: Server, document: Any, case: str, limit: int
) -> None:
    if not isinstance(GIVEN[case], dict):
        limit = 0
    row = {"case": case, "limit": limit}
    single = server.client.post("/api/models/values/prediction", json=row)
    batch = server.client.post("/api/models/values/prediction/batch", json={"inputs": [row] * 2})
    if case not in EXPECTED:
        if case == "a missing field":
            # The default is there again.
            assert (single.status_code, single.json()) == (200, DEFAULTS)
            return
        assert (single.status_code, batch.status_code) == (500, 500)
        return
    expected = {**DEFAULTS, **EXPECTED[case]}
    assert (single.status_code, single.json()) == (200, expected)
    assert batch.json() == {"predictions": [expected] * 2}
    components = {"components": document["components"]}
    schema = {"$ref": "#/components/schemas/Valued", **components}
    Draft202012Validator(schema).validate(single.json())


def test_tensors_are_the_same_values(server: Server) -> None:
    tensors = [
        {"name": "case", **bytes_of(*EXPECTED)},
        {"name": "unknown", **bytes_of(*EXPECTED)},
    ]
    wanted = [{"name": name} for name in ("count", "amount", "when")]
    body = {"inputs": tensors, "outputs": wanted}
    answer = server.client.post("/v2/models/values/infer", json=body)
    outputs = {each["name"]: each for each in answer.json()["outputs"]}
    expected = [{**DEFAULTS, **each} for each in EXPECTED.values()]
    assert outputs["count"]["datatype"] == "INT64"
    assert outputs["count"]["data"] == [each["count"] for each in expected]
    assert outputs["amount"]["datatype"] == "FP64"
    assert outputs["amount"]["data"] == [each["amount"] for each in expected]
    assert outputs["when"]["data"] == [json.dumps(each["when"]) for each in expected]


@pytest.mark.parametrize(
    "tensor",
    [
        {"datatype": "FP64", "shape": [2], "data": [None, 1.5]},
        {"datatype": "FP32", "shape": [2, 1], "data": [None, 1.5]},
        {"datatype": "BYTES", "shape": [2], "data": [None, "1.5"]},
    ],
)
def test_a_column_may_miss_values_where_the_metadata_says_so(server: Server, tensor: Any) -> None:
    described = server.client.get("/v2/models/values").json()
    nullable = {each["name"]: each["parameters"]["nullable"] for each in described["inputs"]}
    assert nullable == {"case": False, "age": False, "limit": True}
    inputs = [{"name": "case", **bytes_of("nothing", "nothing")}, {"name": "limit", **tensor}]
    answer = server.client.post("/v2/models/values/infer", json={"inputs": inputs}).json()
    (limit,) = [each for each in answer["outputs"] if each["name"] == "limit"]
    assert limit["data"] == [None, 1.5]


@pytest.mark.parametrize("name", ["case", "age"])
def test_no_other_column_may(server: Server, name: str) -> None:
    inputs = {
        "case": {"name": "case", **bytes_of("nothing", None if name == "case" else "nothing")},
        "age": {"name": "age", "datatype": "INT64", "shape": [2], "data": [1, None]},
    }
    body = {"inputs": list(inputs.values())}
    answer = server.client.post("/v2/models/values/infer", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].endswith("data[1] is null or NaN, and the field takes neither.")


def test_the_document_is_valid_and_tells_what_is_always_there(document: Any) -> None:
    OpenAPIV31SpecValidator(document).validate()
    schemas = document["components"]["schemas"]
    assert schemas["Asked"]["required"] == ["case"]
    assert schemas["Asked"]["properties"]["age"] == {
        "description": "Not asked for.",
        "title": "Age",
        "type": "integer",
    }
    assert schemas["Valued"]["required"] == list(DEFAULTS)
    assert schemas["Valued"]["properties"]["exact"]["type"] == "number"
    assert {"type": "null"} in schemas["Valued"]["properties"]["amount"]["anyOf"]

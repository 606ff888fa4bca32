"""Whatever a schema looks like, a row as tensors gets the prediction that it gets as an object."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models_api.exceptions import TensorError
from models_api.open_inference.columns import columns
from models_api.open_inference.inference import Payload
from models_api.open_inference.inference import infer as infer_tensors
from tests.api.test_documented_schemas import MANY, MODELS, service
from tests.documented_inputs import documented_inputs

PREDICTION_ID = "prediction_id"
"""Made anew for each prediction that does not bring one."""


def as_tensors(row: Any, name: str) -> list[dict[str, Any]]:
    """Make a tensor of each field, all of them JSON in BYTES, which any field may be."""
    model = service().registry[name]
    taken = columns(model.schemas[0], "validation")
    if taken.is_whole:
        return [a_tensor("input", row)]
    fields = row.items() if isinstance(row, dict) else ()
    known = [(key, value) for key, value in fields if key in taken.by_name or taken.takes_others]
    return [a_tensor(key, value) for key, value in known]


def a_tensor(name: str, value: Any) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"content_type": "json"},
        "data": [json.dumps(value)],
    }


def infer(name: str, inputs: list[dict[str, Any]]) -> Any:
    model = service().registry[name]
    answer, _ = infer_tensors(model, Payload(json.dumps({"inputs": inputs}).encode()))
    return {output["name"]: value_of(output) for output in json.loads(answer.body)["outputs"]}


def value_of(output: Mapping[str, Any]) -> Any:
    """Read the value of the only row."""
    elements = output["data"]
    if output.get("parameters", {}).get("content_type") == "json":
        return json.loads(elements[0])
    shape = output["shape"][1:]
    for length in reversed(shape):
        count = len(elements) // length if length else math.prod(shape[: shape.index(0)])
        elements = [elements[index * length : (index + 1) * length] for index in range(count)]
    return elements[0] if elements else []


def infer_or_refusal(name: str, inputs: list[dict[str, Any]]) -> tuple[Any, str]:
    try:
        return infer(name, inputs), ""
    except TensorError as error:
        return None, str(error)


def assert_same(name: str, body: Any) -> None:
    inputs = as_tensors(body, name)
    # Without any tensors there is nobody to say how many rows there are.
    assume(inputs)
    plain = service().predict(name, json.dumps(body).encode())
    found, refusal = infer_or_refusal(name, inputs)
    if refusal:
        assert plain.status_code == 400 or refusal.startswith('Output "'), refusal
        return
    assert plain.status_code == 200, (plain.content, found)
    given = columns(service().registry[name].schemas[1], "serialization")
    answer = json.loads(plain.content)
    # What the schema does not name has no tensor, and what is left out is null.
    expected = {"output": answer} if given.is_whole else {key: answer.get(key) for key in found}
    if name == "iris" and not isinstance(body.get(PREDICTION_ID), str):
        expected.pop(PREDICTION_ID)
        found.pop(PREDICTION_ID)
    assert found == expected


# Making the inputs takes longer than all else.
@pytest.mark.long
@settings(MANY, max_examples=30)
@given(data=st.data())
@pytest.mark.parametrize("name", MODELS)
def test_a_row_as_tensors_gets_what_it_gets_as_an_object(name: str, data: st.DataObject) -> None:
    schema = service().request_schema(name)
    assert_same(name, data.draw(documented_inputs(schema, service().components)))

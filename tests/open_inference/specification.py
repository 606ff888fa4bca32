"""What the protocol's specification says of each answer, as JSON Schema.

Written from kserve/open-inference-protocol: specification/protocol/open_inference_rest.yaml and
inference_rest.md beside it. Fields that it does not name are allowed there, and so are extensions.
"""

from __future__ import annotations

from typing import Any

import jsonschema

STRING = {"type": "string"}
PARAMETERS = {"type": "object"}
DATATYPES = [
    "BOOL",
    *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
    *("FP16", "FP32", "FP64", "BF16", "BYTES"),
]


def an_object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    properties = {**required, **optional}
    return {"type": "object", "required": list(required), "properties": properties}


def an_array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


SHAPE = an_array({"type": "integer", "minimum": -1})
TENSOR_DATA = {
    "type": "array",
    "items": {
        "anyOf": [{"type": ["number", "string", "boolean", "null"]}, {"$ref": "#/$defs/data"}]
    },
}
METADATA_TENSOR = an_object({"name": STRING, "datatype": {"enum": DATATYPES}, "shape": SHAPE})
RESPONSE_OUTPUT = an_object(
    {
        "name": STRING,
        "shape": an_array({"type": "integer", "minimum": 0}),
        "datatype": {"enum": DATATYPES},
        "data": {"$ref": "#/$defs/data"},
    },
    parameters=PARAMETERS,
)

METADATA_SERVER_RESPONSE = an_object(
    {"name": STRING, "version": STRING, "extensions": an_array(STRING)}
)
METADATA_MODEL_RESPONSE = an_object(
    {
        "name": STRING,
        "platform": STRING,
        "inputs": an_array(METADATA_TENSOR),
        "outputs": an_array(METADATA_TENSOR),
    },
    versions=an_array(STRING),
)
LIVE_SERVER_RESPONSE = an_object({"live": {"type": "boolean"}})
# The text has "live" here too, which clients take for a slip: KServe's own server says "ready".
READY_SERVER_RESPONSE = an_object({"live": {"type": "boolean"}, "ready": {"type": "boolean"}})
READY_MODEL_RESPONSE = an_object({"name": STRING, "ready": {"type": "boolean"}})
INFERENCE_RESPONSE = an_object(
    {"model_name": STRING, "outputs": an_array(RESPONSE_OUTPUT)},
    model_version=STRING,
    id=STRING,
    parameters=PARAMETERS,
)
ERROR_RESPONSE = {
    **an_object({"error": {"type": "string", "minLength": 1}}),
    "additionalProperties": False,
}


def assert_fits(answer: Any, schema: dict[str, Any]) -> None:
    """Assert that an answer is what the specification says."""
    document = {**schema, "$defs": {"data": TENSOR_DATA}}
    jsonschema.Draft202012Validator(document).validate(answer)

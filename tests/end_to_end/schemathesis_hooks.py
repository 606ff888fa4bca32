"""What schemathesis has to know of this service, given to it as SCHEMATHESIS_HOOKS.

Some of what it calls a failure is none, because JSON Schema has no words for it. Pydantic, asked
about the same request, tells that from a fault of the service or its document.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Any

import jsonschema_rs
import schemathesis
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from schemathesis.checks import CheckContext
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.hooks import HookContext
from schemathesis.openapi.checks import RejectedPositiveData

from examples.diabetes import DiabetesModel
from examples.digits import DigitsModel
from examples.iris import IrisModel
from models_api.prediction.rows import batch_schemas
from tests.fakes.awkward import Echo
from tests.fakes.misdocumented import MisdocumentedModel

MAXIMUM_BATCH_ROWS = 1000
"""The service's default."""
_MODELS: list[Any] = [*Echo.all, IrisModel, DiabetesModel, DigitsModel, MisdocumentedModel]
_INPUT_SCHEMAS = {model.qualified_name: model.input_schema for model in _MODELS}
_ASCII = r"^[\x00-\x7F]*$"
_BOUNDS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of"}

# Formats that schemathesis has no values for.
schemathesis.openapi.format("date-time-local", st.datetimes().map(datetime.isoformat))
schemathesis.openapi.format("uuid4", st.uuids(version=4).map(str))


@schemathesis.check
def response_is_as_documented(_context: CheckContext, response: Response, case: Case) -> None:
    """Compare the body with its schema.

    Stands in for response_schema_conformance, which rewrites the schema of a tuple to a form that
    it then finds invalid.
    """
    documented = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    for content in documented.get("content", {}).values():
        # A failure is an AssertionError or one of schemathesis's own.
        error = next(_validator(case, content["schema"]).iter_errors(response.json()), None)
        assert error is None, f"{error.message} at {error.instance_path}"


@schemathesis.hook
def map_path_parameters(
    context: HookContext, path_parameters: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Name a model that there is in half of the paths, where chance would never."""
    if context.operation is None or not path_parameters:
        return path_parameters
    names = _names(context.operation.schema.raw_schema["paths"])
    number = len(str(path_parameters.get("qualified_name", "")))
    if number % 2:
        known = {"qualified_name": names[number % len(names)], "version": "1.0.0"}
        return {name: known.get(name, value) for name, value in path_parameters.items()}
    return path_parameters


@schemathesis.hook
def filter_failure(_context: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """Drop the failures that are none."""
    if case.operation.path.endswith("/infer") and isinstance(failure, RejectedPositiveData):
        # The document says what a tensor is, and metadata which of them the model takes.
        return response.status_code != 400
    schema = _input_schema(case.operation.path)
    if schema is None:
        return True
    body = _sent(response)
    if isinstance(failure, AcceptedNegativeData):
        return not (_is_converted(body, schema) or _is_undescribed(json.loads(body), case))
    if isinstance(failure, RejectedPositiveData):
        return not _is_decimal_out_of_bounds(json.loads(body), response.json())
    return True


def _names(paths: Iterable[str]) -> list[str]:
    return [path.split("/")[3] for path in paths if path.endswith("/prediction")]


def _input_schema(path: str) -> type[BaseModel] | None:
    """The class that a route takes, if it is that of a prediction."""
    match path.strip("/").split("/"):
        case ["api", "models", name, "prediction"]:
            return _INPUT_SCHEMAS[name]
        case ["api", "models", name, "prediction", "batch"]:
            schema = _INPUT_SCHEMAS[name]
            return batch_schemas(schema, schema, MAXIMUM_BATCH_ROWS)[0]
    return None


def _sent(response: Response) -> bytes:
    body = response.request.body
    assert body is None or isinstance(body, bytes | str)
    return body.encode() if isinstance(body, str) else body or b""


def _is_converted(body: bytes, schema: type[BaseModel]) -> bool:
    """Whether pydantic takes it only because it converts values, such as "1" to 1."""
    try:
        schema.model_validate_json(body, strict=True)
    except ValidationError:
        return True
    return False


def _is_undescribed(body: Any, case: Case) -> bool:
    """Whether the document only says less than is taken.

    Sets take an item twice for once, base64 ignores what is none of its digits, and where bytes
    have a greatest length, a string has so many if its characters are those of ASCII.
    """
    content = case.operation.definition.raw["requestBody"]["content"]["application/json"]
    return _validator(case, content["schema"], is_relaxed=True).is_valid(body)


def _is_decimal_out_of_bounds(body: Any, answer: Any) -> bool:
    """Whether all that is wrong is the value of decimals in strings, which no pattern bounds."""
    return all(
        problem["type"] in _BOUNDS and isinstance(_at(body, problem["location"]), str)
        for problem in answer["details"]
    )


def _at(value: Any, location: list[str | int]) -> Any:
    for part in location:
        value = value[part]
    return value


def _validator(case: Case, schema: Any, *, is_relaxed: bool = False) -> Any:
    components = case.operation.schema.raw_schema["components"]
    return _make_validator(json.dumps({**schema, "components": components}), is_relaxed)


@cache
def _make_validator(schema: str, is_relaxed: bool) -> Any:
    described = json.loads(schema, object_hook=_relaxed if is_relaxed else None)
    return jsonschema_rs.Draft202012Validator(described, validate_formats=True)


def _relaxed(schema: dict[str, Any]) -> dict[str, Any]:
    # An item that is there twice counts once.
    dropped = {"uniqueItems", "maxItems"} if schema.get("uniqueItems") else set()
    if schema.get("format") == "base64" or schema.get("pattern") == _ASCII:
        dropped.add("pattern")
    return {key: value for key, value in schema.items() if key not in dropped}

"""What another service says of the tensors of a model, and the JSON that these stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy
from pydantic import BaseModel

from models_api.open_inference.columns import ANY_LENGTH, WHOLE, Column
from models_api.open_inference.datatypes import DATATYPES
from models_api.open_inference.descriptions import PLATFORM
from models_api.prediction.description import ModelSchemas
from models_api.schemas.documented import documented_schema
from models_api.schemas.json_schema import JSONSchema

_FORMATS = {"datetime": "date-time"}
_KNOWN_CONTENT = ("str", "json", "base64", "datetime")
_DATATYPES_OF_JSON = {"BOOL", "INT64", "FP64", "BYTES"}
_KINDS = {"b": "boolean", "i": "integer", "u": "integer", "f": "number", "O": "string"}


class TensorMetadata(BaseModel):
    """One tensor."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None


class Metadata(BaseModel):
    """The metadata of a model."""

    name: str
    versions: list[str] | None = None
    platform: str = ""
    inputs: list[TensorMetadata] = []
    outputs: list[TensorMetadata] = []
    parameters: dict[str, Any] | None = None


class Contract(NamedTuple):
    """How JSON goes into tensors, and tensors into JSON."""

    inputs: Mapping[str, Column]
    outputs: Mapping[str, Column]
    is_batched: bool
    """Whether the first dimension of each tensor counts rows; else a request is for one row."""
    takes_json: bool
    """Whether any field may be JSON in BYTES, as an instance of this service takes it."""
    takes_others: bool
    """Whether it matters what fields a row has besides."""
    wholes: Sequence[str]
    """Which of `input` and `output` the only tensor holds whole, and no field of it."""

    @property
    def has_own_tensors(self) -> bool:
        """Whether the tensors are those that this service finds in the schemas."""
        datatypes = {each.datatype for each in (*self.inputs.values(), *self.outputs.values())}
        return self.takes_json or (self.is_batched and datatypes <= _DATATYPES_OF_JSON)

    @property
    def schemas(self) -> ModelSchemas:
        """Classes for the JSON; the other service validates it."""
        return ModelSchemas(
            documented_schema("Input", self._described(self.inputs, WHOLE["validation"])),
            documented_schema("Output", self._described(self.outputs, WHOLE["serialization"])),
        )

    def _described(self, columns: Mapping[str, Column], whole: str) -> JSONSchema:
        schemas = {name: _schema(column) for name, column in columns.items()}
        if whole in self.wholes:
            (schema,) = schemas.values()
            return schema
        required = [name for name, column in columns.items() if column.is_required]
        return {
            "type": "object",
            "title": whole.title(),
            "properties": schemas,
            **({"required": required} if required else {}),
        }


def contract_of(metadata: Metadata) -> Contract:
    """Return the contract of a model.

    Raises:
        ValueError: its tensors are not told, or have a datatype that is unknown.
    """
    if not metadata.inputs or not metadata.outputs:
        raise ValueError("its metadata do not name the tensors of the model")
    for tensor in (*metadata.inputs, *metadata.outputs):
        if tensor.datatype not in DATATYPES:
            raise ValueError(f'its tensor "{tensor.name}" has the datatype "{tensor.datatype}"')
    is_own = metadata.platform == PLATFORM
    tensors = (*metadata.inputs, *metadata.outputs)
    is_batched = all(each.shape[:1] == [ANY_LENGTH] for each in tensors)
    told = (metadata.parameters or {}) if is_own else {}
    return Contract(
        _columns(metadata.inputs, is_batched=is_batched, holds_nan=False),
        _columns(metadata.outputs, is_batched=is_batched, holds_nan=not is_own),
        is_batched,
        is_own,
        "others" in told,
        told.get("whole", []),
    )


def _columns(
    tensors: Iterable[TensorMetadata], *, is_batched: bool, holds_nan: bool
) -> Mapping[str, Column]:
    return {each.name: _column(each, is_batched, holds_nan) for each in tensors}


def _column(tensor: TensorMetadata, is_batched: bool, holds_nan: bool) -> Column:
    told = tensor.parameters or {}
    content_type = None
    if tensor.datatype == "BYTES":
        content_type = told.get("content_type", "str")
        content_type = content_type if content_type in _KNOWN_CONTENT else "str"
    dimensions = tuple(tensor.shape[1:] if is_batched else tensor.shape)
    is_nullable = told.get("nullable") is True
    has_nan = DATATYPES[tensor.datatype].is_float and (holds_nan or is_nullable)
    return Column(
        tensor.name,
        tensor.datatype,
        dimensions,
        content_type,
        is_nullable=is_nullable or (has_nan and not dimensions),
        is_required=told.get("required") is not False,
        holds_null=has_nan and bool(dimensions),
    )


def _schema(column: Column) -> JSONSchema:
    if column.content_type == "json":
        return {}
    schema = _of_elements(column)
    if column.holds_null or (column.is_nullable and not column.dimensions):
        schema = {"anyOf": [schema, {"type": "null"}]}
    for length in reversed(column.dimensions):
        bounds = {} if length == ANY_LENGTH else {"minItems": length, "maxItems": length}
        schema = {"type": "array", "items": schema, **bounds}
    if column.dimensions and column.is_nullable and not column.holds_null:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema


def _of_elements(column: Column) -> JSONSchema:
    held = DATATYPES[column.datatype].held
    schema: JSONSchema = {"type": _KINDS[held.kind]}
    if column.content_type in _FORMATS:
        schema["format"] = _FORMATS[column.content_type]
    if held.kind in "iu" and column.datatype != "INT64":
        limits = numpy.iinfo(held)
        schema |= {"minimum": int(limits.min), "maximum": int(limits.max)}
    return schema

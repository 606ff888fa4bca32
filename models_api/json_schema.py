"""JSON Schemas of pydantic models: one by one for metadata, as named components for OpenAPI."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import core_schema

from models_api.exceptions import DescriptionError

JSONSchema = dict[str, Any]
Mode = Literal["validation", "serialization"]

REFERENCE_PREFIX = "#/components/schemas/"
SERVICE = ""
"""Owner of the schemas that are the service's own."""

_IDENTITY = "x-modelhost-identity"


@dataclass(frozen=True, slots=True)
class SchemaUse:
    """A pydantic model that a part of the API takes or gives."""

    owner: str
    """Qualified name of the model that uses it, or `SERVICE`."""
    schema: type[BaseModel]
    mode: Mode
    """`validation` for what is taken, `serialization` for what is given."""


def json_schema(schema: type[BaseModel], mode: Mode) -> JSONSchema:
    """Describe a pydantic model as JSON Schema that is valid JSON.

    Raises:
        DescriptionError: some of its types have no JSON Schema.
    """
    try:
        document: JSONSchema = _clean(
            schema.model_json_schema(mode=mode, schema_generator=_Generator)
        )
        return document
    except PydanticUserError as error:
        raise _undocumentable(schema, error) from error


def components(
    uses: Iterable[SchemaUse],
) -> tuple[dict[SchemaUse, JSONSchema], dict[str, JSONSchema]]:
    """Describe pydantic models together: a reference for each use, and the components referred to.

    A component is named after its class, with `-Input` or `-Output` behind it where one model
    both takes and gives the class and the two differ. Where different classes of two owners share a
    name, each gets its owner in front; the service's own keep theirs.

    Raises:
        DescriptionError: some type has no JSON Schema.
    """
    by_owner: dict[str, list[SchemaUse]] = defaultdict(list)
    for use in uses:
        by_owner[use.owner].append(use)
    references: dict[SchemaUse, JSONSchema] = {}
    definitions: dict[tuple[str, str], JSONSchema] = {}
    for owner, owned in by_owner.items():
        mapping, document = _models_json_schema(owned)
        for use in owned:
            references[use] = mapping[use.schema, use.mode]
        for name, definition in document.get("$defs", {}).items():
            definitions[owner, name] = definition
    names = _names(definitions)
    return (
        {use: _renamed(reference, use.owner, names) for use, reference in references.items()},
        dict(sorted(_named(definitions, names).items())),
    )


def referenced(schema: Any, components: Mapping[str, JSONSchema]) -> set[str]:
    """Names of the components that a schema refers to, directly or through others."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        new = _reference_names(waiting.pop()) - found
        found |= new
        waiting.extend(components[name] for name in new)
    return found


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, silent about defaults without JSON, and with a stable order."""

    def emit_warning(self, kind: Any, detail: str) -> None:
        """Say nothing: a default that has no JSON is simply left out."""

    def encode_default(self, dft: Any) -> Any:
        return super().encode_default(_ordered(dft))


class _IdentifyingGenerator(_Generator):
    """Marks each definition with the class that it came from."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JSONSchema:
        return self._identified(super().model_schema(schema), schema["cls"])

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JSONSchema:
        return self._identified(super().dataclass_schema(schema), schema["cls"])

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JSONSchema:
        return self._identified(super().typed_dict_schema(schema), schema.get("cls"))

    def enum_schema(self, schema: core_schema.EnumSchema) -> JSONSchema:
        return self._identified(super().enum_schema(schema), schema["cls"])

    @staticmethod
    def _identified(json_schema: JSONSchema, cls: object) -> JSONSchema:
        return {**json_schema, _IDENTITY: id(cls)} if "$ref" not in json_schema else json_schema


def _models_json_schema(
    uses: list[SchemaUse],
) -> tuple[dict[tuple[type[BaseModel], Mode], JSONSchema], JSONSchema]:
    try:
        mapping, document = models_json_schema(
            [(use.schema, use.mode) for use in uses],
            ref_template=REFERENCE_PREFIX + "{model}",
            schema_generator=_IdentifyingGenerator,
        )
    except PydanticUserError as error:
        raise _undocumentable(uses[0].schema, error) from error
    return mapping, document  # type: ignore[return-value]


def _undocumentable(schema: type[BaseModel], error: PydanticUserError) -> DescriptionError:
    reason = error.message.splitlines()[0]
    hint = "Use types that have a JSON Schema, or give one with pydantic.WithJsonSchema."
    return DescriptionError(f"{schema.__name__} cannot be described as JSON Schema: {reason}", hint)


def _names(definitions: Mapping[tuple[str, str], JSONSchema]) -> dict[tuple[str, str], str]:
    """Choose the component name of each (owner, local name)."""
    names = {key: key[1] for key in definitions}
    while True:
        # A definition that refers to a renamed one is another for each owner: hence the loop.
        variants: dict[str, dict[str, JSONSchema]] = defaultdict(dict)
        for (owner, local), definition in definitions.items():
            variants[names[owner, local]][owner] = _renamed(definition, owner, names)
        clashes = {name for name, by_owner in variants.items() if _differ(by_owner.values())}
        renamed = [key for key, name in names.items() if name in clashes and key[0] != SERVICE]
        if not renamed:
            return names
        for owner, local in renamed:
            names[owner, local] = f"{owner}.{local}"


def _differ(schemas: Iterable[JSONSchema]) -> bool:
    first, *others = schemas
    return any(other != first for other in others)


def _named(
    definitions: Mapping[tuple[str, str], JSONSchema], names: Mapping[tuple[str, str], str]
) -> dict[str, JSONSchema]:
    named = {}
    for (owner, local), definition in definitions.items():
        name = names[owner, local]
        schema = _clean({**_renamed(definition, owner, names), "title": name})
        # Client generators name classes by title, and drop all but one of those that share it.
        named[name] = {key: value for key, value in schema.items() if key != _IDENTITY}
    return named


def _renamed(schema: Any, owner: str, names: Mapping[tuple[str, str], str]) -> Any:
    def rename(reference: str) -> str:
        local = reference.removeprefix(REFERENCE_PREFIX)
        return REFERENCE_PREFIX + names.get((owner, local), local)

    return _with_references(schema, rename)


def _with_references(value: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [_with_references(item, rename) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _with_references(item, rename) for key, item in value.items()}
    if isinstance(value.get("$ref"), str):
        changed["$ref"] = rename(value["$ref"])
    if isinstance(value.get("discriminator"), dict):
        mapping = value["discriminator"].get("mapping", {})
        targets = {key: rename(target) for key, target in mapping.items()}
        changed["discriminator"] = {**value["discriminator"], "mapping": targets}
    return changed


def _reference_names(schema: Any) -> set[str]:
    names: set[str] = set()

    def note(reference: str) -> str:
        names.add(reference.removeprefix(REFERENCE_PREFIX))
        return reference

    _with_references(schema, note)
    return names


def _clean(value: Any) -> Any:
    """Leave out defaults, examples and bounds that no JSON number can express."""
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items() if not _has_non_finite(item, key)}
    return value


def _has_non_finite(value: Any, key: str) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if key in ("default", "const"):
        return any(isinstance(item, float) and not math.isfinite(item) for item in _leaves(value))
    return False


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _ordered(value: Any) -> Any:
    """Sort sets, whose order changes from run to run."""
    if isinstance(value, set | frozenset):
        return sorted(map(_ordered, value), key=repr)
    if isinstance(value, list | tuple):
        return type(value)(map(_ordered, value)) if type(value) in (list, tuple) else value
    if isinstance(value, dict):
        return {key: _ordered(item) for key, item in value.items()}
    return value

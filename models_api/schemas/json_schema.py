"""JSON Schemas of pydantic models: one by one for metadata, as named components for OpenAPI."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from math import inf, isfinite, nan
from typing import Any, ClassVar, Literal, cast
from unicodedata import normalize

from pydantic import BaseModel
from pydantic.errors import PydanticUserError
from pydantic.json_schema import CoreRef, DefsRef, GenerateJsonSchema, models_json_schema
from pydantic_core import (
    CoreConfig,
    PydanticSerializationError,
    SchemaValidator,
    core_schema,
    to_json,
    to_jsonable_python,
)

from models_api.exceptions import DescriptionError
from models_api.schemas.core_nodes import is_undescribed, nodes
from models_api.schemas.documented import DEFINITION_PREFIX, described_by, document_of
from models_api.schemas.json_validator import json_validator

JSONSchema = dict[str, Any]
Mode = Literal["validation", "serialization"]

REFERENCE_PREFIX = "#/components/schemas/"
SERVICE = ""
"""Owner of the schemas that are the service's own."""

_IDENTITY = "x-modelhost-identity"
_SCHEMAS_BY_NAME = {"$defs", "dependentSchemas", "patternProperties", "properties"}
_DATA = {"const", "default", "discriminator", "enum", "example", "examples"}
"""Keywords of a schema whose values hold no schemas."""
_BASE64_DIGITS = {"base64": "A-Za-z0-9+/", "base64url": "A-Za-z0-9_-"}
"""Digits of the formats that pydantic gives to bytes."""
_KEYS = {
    "bool": "^(?:true|false)$",
    "float": r"^-?[0-9]{1,300}(?:\.[0-9]+)?$",
    "int": "^-?[0-9]{1,4000}$",
}
"""Patterns of the keys of mappings, for keys that are no strings in Python."""
_ASCII = r"^[\x00-\x7F]*$"
_SHOWN = r"[^\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
"""Not white space by Unicode, which pydantic strips; the \\s of ECMA-262 is another set."""
_DURATION = (
    r"^-?P(?=.)(?:[0-9]+Y)?(?:[0-9]+D)?"
    r"(?:T(?=.)(?:[0-9]+H)?(?:[0-9]+M)?(?:[0-9]+(?:\.[0-9]+)?S)?)?$"
)
"""Durations as pydantic writes them."""


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
    given = document_of(schema)
    if given is not None:
        return given
    with _problems_of(schema):
        document = schema.model_json_schema(mode=mode, schema_generator=_Generator)
        cleaned = _Cleaning().apply(_as_json(document))
        return _without_false_defaults(cleaned, definitions_of(cleaned))


def definitions_of(document: JSONSchema) -> dict[str, JSONSchema]:
    """Return, by the reference to it, what one model's JSON Schema refers to."""
    return {
        DEFINITION_PREFIX + name: definition
        for name, definition in document.get("$defs", {}).items()
    }


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
    named = dict(sorted(_named(definitions, names).items()))
    by_reference = {REFERENCE_PREFIX + name: schema for name, schema in named.items()}
    return (
        {use: _renamed(reference, use.owner, names) for use, reference in references.items()},
        {name: _without_false_defaults(schema, by_reference) for name, schema in named.items()},
    )


def referenced(schema: JSONSchema, components: Mapping[str, JSONSchema]) -> set[str]:
    """Return the names of the components that a schema refers to, directly or through others."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        gathering = _Gathering()
        gathering.apply(waiting.pop())
        new = gathering.names - found
        found |= new
        waiting.extend(components[name] for name in new)
    return found


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, corrected where its schemas do not fit the JSON, or vary by the run."""

    gives_defaults: ClassVar[bool] = True
    """Whether fields that have a default are always given."""

    _leaves_out = False
    """Whether the model that is being described may leave out fields by code of its own."""

    def emit_warning(self, kind: object, detail: str) -> None:
        """Warn of nothing: a default that has no JSON is simply left out."""

    def encode_default(self, dft: object) -> object:
        if not _is_finite(dft):
            raise PydanticSerializationError("JSON has neither NaN nor infinities")
        return _ordered(super().encode_default(dft), dft)

    def model_schema(self, schema: core_schema.ModelSchema) -> JSONSchema:
        document = document_of(schema["cls"])
        if document is not None:
            return self._documented(schema["ref"], document)
        outer, self._leaves_out = self._leaves_out, is_undescribed(schema)
        try:
            return super().model_schema(schema)
        finally:
            self._leaves_out = outer

    def _documented(self, reference: str, document: JSONSchema) -> JSONSchema:
        """Return what a document says, whose definitions become some of this one."""
        described, definitions = described_by(document), document.get("$defs", {})
        digest = sha256(to_json(definitions)).hexdigest()
        links: dict[str, str] = {}
        places: list[tuple[DefsRef, JSONSchema]] = []
        for name, definition in definitions.items():
            is_itself = definition == described
            own = reference if is_itself else f"{__name__}.{name}:{digest}"
            place, link = self.get_cache_defs_ref_schema(CoreRef(own))
            links[DEFINITION_PREFIX + name] = link["$ref"]
            places += [] if is_itself else [(place, definition)]
        linking = _Linking(links)
        for place, definition in places:
            self.definitions[place] = linking.apply(definition)
        return linking.apply(described)

    def field_is_required(self, field: Any, total: bool) -> bool:
        is_required = super().field_is_required(field, total)
        if is_required or self.mode == "validation" or not self.gives_defaults or self._leaves_out:
            return is_required
        is_always_there = (
            field["type"] != "typed-dict-field" and field.get("serialization_exclude_if") is None
        )
        return is_always_there and all(
            node.get("type") != "missing-sentinel" for node in nodes(field, within_models=False)
        )

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JSONSchema:
        described = super().default_schema(schema)
        is_null = schema.get("default", ...) is None
        if self.mode == "validation" or not self.gives_defaults or not is_null:
            return described
        # Nobody checks a default: a field goes out as null that otherwise may not be.
        return described if _allows_null(described) else {"anyOf": [described, {"type": "null"}]}

    def float_schema(self, schema: core_schema.FloatSchema) -> JSONSchema:
        described = super().float_schema(schema)
        if self.mode == "validation" or not _takes_non_finite(schema, self._config.allow_inf_nan):
            return described
        as_strings = {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}
        in_strings = self._config.ser_json_inf_nan == "strings"
        return {"anyOf": [described, as_strings if in_strings else {"type": "null"}]}

    def dict_schema(self, schema: core_schema.DictSchema) -> JSONSchema:
        described = super().dict_schema(schema)
        keys = schema.get("keys_schema", {}).get("type")
        if self.mode == "validation" and keys in _KEYS:
            # Keys are strings in JSON, whatever they become in Python.
            described["propertyNames"] = {"pattern": _KEYS[keys]}
        if "patternProperties" in described:
            described.setdefault("additionalProperties", False)
        return described

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JSONSchema:
        return _of_one_type(super().literal_schema(schema))

    def enum_schema(self, schema: core_schema.EnumSchema) -> JSONSchema:
        return _of_one_type(super().enum_schema(schema))

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JSONSchema:
        described = super().tagged_union_schema(schema)
        tags = (tag.value if isinstance(tag, Enum) else tag for tag in schema["choices"])
        if not all(isinstance(tag, str) for tag in tags):
            # Its mapping has strings for keys, of which tools would take one for the tag.
            described.pop("discriminator", None)
        return described

    def str_schema(self, schema: core_schema.StringSchema) -> JSONSchema:
        described = super().str_schema(schema)
        strips = schema.get("strip_whitespace", self._config.str_strip_whitespace)
        if strips and self.mode == "validation" and described.get("minLength"):
            # The length is that of what is left.
            length = described["minLength"]
            pattern = _SHOWN if length == 1 else rf"{_SHOWN}[\s\S]{{{length - 2},}}{_SHOWN}"
            described.setdefault("allOf", []).append({"pattern": pattern})
        return described

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JSONSchema:
        # Pydantic gives the format "binary", which is a file, and counts characters as bytes.
        config = self._config
        encoding = config.val_json_bytes if self.mode == "validation" else config.ser_json_bytes
        if encoding == "base64":
            return {"type": "string", "format": "base64url"}
        least, most = schema.get("min_length"), schema.get("max_length")
        described: JSONSchema = {"type": "string"}
        if encoding == "hex":
            described["pattern"] = "^(?:[0-9a-fA-F]{2})*$"
            lengths = {"minLength": least and 2 * least, "maxLength": most and 2 * most}
        elif self.mode == "validation":
            lengths = {"minLength": least, "maxLength": most}
            if most is not None:
                described["pattern"] = _ASCII
        else:
            lengths = {"maxLength": most}
        return described | {key: value for key, value in lengths.items() if value is not None}

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JSONSchema:
        described = super().datetime_schema(schema)
        if schema.get("tz_constraint") == "naive" and described.get("format") == "date-time":
            # A date-time has an offset, which this refuses.
            described["format"] = "date-time-local"
        return described

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JSONSchema:
        described = super().timedelta_schema(schema)
        if self.mode == "serialization" and described.get("format") == "duration":
            # That format has no sign, no fractions, and no days beside years.
            return {"type": "string", "pattern": _DURATION}
        return described

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JSONSchema:
        described = super().decimal_schema(schema)
        if self.mode == "serialization" and schema.get("allow_inf_nan"):
            # They are words.
            described.pop("pattern", None)
        places, digits = schema.get("decimal_places"), schema.get("max_digits")
        if self.mode == "serialization" or (places is None and digits is None):
            return described
        # A number's places can be limited, and what is before the point; the sum of both cannot.
        places = places or 0
        if digits is not None:
            places = min(places, digits)
        number = described["anyOf"][0]
        number.setdefault("multipleOf", float(f"1e-{places}") if places else 1)
        if digits is not None:
            limit = 10 ** (digits - places)
            number.setdefault("exclusiveMinimum", -limit)
            number.setdefault("exclusiveMaximum", limit)
            if limit == 1:
                # For pydantic, 0 has a digit before the point.
                number["not"] = {"const": 0}
        return described

    def get_decimal_pattern(self, schema: core_schema.DecimalSchema) -> str:
        if self.mode == "serialization":
            return self.build_decimal_pattern(schema)
        return _decimal_pattern(schema.get("decimal_places"), schema.get("max_digits"))


def _takes_non_finite(schema: core_schema.FloatSchema, allow_inf_nan: bool) -> bool:
    bare = {key: value for key, value in schema.items() if key not in ("ref", "serialization")}
    config = CoreConfig(allow_inf_nan=allow_inf_nan)
    validator = SchemaValidator(cast(core_schema.FloatSchema, bare), config)
    return any(map(validator.isinstance_python, (nan, inf, -inf)))


def _allows_null(described: JSONSchema) -> bool:
    if described.get("type") == "null":
        return True
    if "enum" in described or "const" in described:
        return None in (*described.get("enum", ()), described.get("const", ...))
    if "anyOf" in described:
        return any(map(_allows_null, described["anyOf"]))
    return not described.keys() & {"type", "$ref", "oneOf", "allOf"}


def _of_one_type(described: JSONSchema) -> JSONSchema:
    """Describe values of several types one by one: tools expect those of an enum to be alike."""
    if "enum" not in described or "type" in described:
        return described
    values = described.pop("enum")
    return {**described, "anyOf": [{"const": value} for value in values]}


def _decimal_pattern(places: int | None, digits: int | None) -> str:
    """Return the pattern of decimals with so many digits."""
    if places is None and digits is None:
        # Python's decimals have no more than 18 digits in their exponents.
        return r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?$"
    # No exponent here: it would add any number of digits.
    start = r"^[+-]?(?=\.?[0-9])0*"
    if digits is None:
        return rf"{start}[0-9]*(?:\.[0-9]{{0,{places}}}0*)?$"
    if places is None:
        return rf"{start}(?!(?:\.?[0-9]){{{digits + 1}}})[0-9]*\.?[0-9]*$"
    whole, places = digits - places, min(places, digits)
    if whole <= 0:
        return rf"{start}\.[0-9]{{1,{places}}}0*$"
    return rf"{start}[0-9]{{0,{whole}}}(?:\.[0-9]{{0,{places}}}0*)?$"


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
    def _identified(json_schema: JSONSchema, cls: type | None) -> JSONSchema:
        if cls is None or "$ref" in json_schema:
            return json_schema
        return {**json_schema, _IDENTITY: f"{cls.__module__}:{id(cls)}"}


class _ServiceGenerator(_IdentifyingGenerator):
    """Describes the service's own bodies, in which nothing is null that may be left out."""

    gives_defaults = False


def _models_json_schema(
    uses: list[SchemaUse],
) -> tuple[dict[tuple[type[BaseModel], Mode], JSONSchema], JSONSchema]:
    with _problems_of(uses[0].schema):
        mapping, document = models_json_schema(
            [(use.schema, use.mode) for use in uses],
            ref_template=REFERENCE_PREFIX + "{model}",
            schema_generator=(
                _ServiceGenerator if uses[0].owner == SERVICE else _IdentifyingGenerator
            ),
        )
        return mapping, _as_json(document)  # type: ignore[return-value] # modes are those asked for


@contextmanager
def _problems_of(schema: type[BaseModel]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Some of what describes a schema is functions that come with it, which can raise anything.
        reason = error.message if isinstance(error, PydanticUserError) else str(error)
        first_line = (reason.splitlines() or [type(error).__name__])[0]
        hint = "Use types that have a JSON Schema, or give one with pydantic.WithJsonSchema."
        message = f"{schema.__name__} cannot be described as JSON Schema: {first_line}"
        raise DescriptionError(message, hint) from error


def _as_json(document: JSONSchema) -> JSONSchema:
    """Turn what a `json_schema_extra` holds into JSON."""
    return cast(JSONSchema, _ordered(to_jsonable_python(document), document))


Names = dict[tuple[str, str], str]
"""From the owner of a definition, and pydantic's name of it, to the component's name."""


def _names(definitions: Mapping[tuple[str, str], JSONSchema]) -> Names:
    names: Names = {}
    for owner in {owner for owner, _ in definitions}:
        names |= _names_of_one_owner(
            {key: definition for key, definition in definitions.items() if key[0] == owner}
        )
    while clashing := [key for key in _clashing(definitions, names) if key[0] != SERVICE]:
        for owner, local in clashing:
            names[owner, local] = f"{_prefix(owner)}.{names[owner, local]}"
    return names


def _prefix(owner: str) -> str:
    """Return what tells an owner apart, of the characters that a component's name may have."""
    if re.fullmatch(r"[A-Za-z0-9._-]+(?<!_[0-9a-f]{8})", owner):
        return owner
    ascii_ = normalize("NFKD", owner).encode("ascii", "ignore").decode()
    simplified = re.sub(r"[^A-Za-z0-9._-]+", "_", ascii_).strip("_") or "model"
    return f"{simplified}_{sha256(owner.encode()).hexdigest()[:8]}"


def _names_of_one_owner(definitions: Mapping[tuple[str, str], JSONSchema]) -> Names:
    """Choose the shortest names that tell the definitions apart."""
    marks = [definition.get(_IDENTITY, "") for definition in definitions.values()]
    modules = {mark.partition(":")[0] for mark in marks}
    choices = {key: _choices(key[1], modules) for key in definitions}
    names = {key: choices[key].pop(0) for key in definitions}
    while clashing := [key for key in _clashing(definitions, names) if choices[key]]:
        for key in clashing:
            names[key] = choices[key].pop(0)
    return names


def _choices(name: str, modules: Iterable[str]) -> list[str]:
    short = name
    for module in sorted(filter(None, modules), key=len, reverse=True):
        prefix = re.escape(module.replace(".", "__"))
        short = re.sub(rf"(?<![A-Za-z0-9]){prefix}__", "", short)
    return [re.sub("-(Input|Output)", "", short), short, name]


def _clashing(
    definitions: Mapping[tuple[str, str], JSONSchema], names: Names
) -> list[tuple[str, str]]:
    """Return the keys of the definitions that share their name with another that differs."""
    groups: dict[str, dict[tuple[str, str], JSONSchema]] = defaultdict(dict)
    for key, definition in definitions.items():
        groups[names[key]][key] = _renamed(definition, key[0], names)
    return [key for group in groups.values() if _differ(group.values()) for key in group]


def _differ(schemas: Iterable[JSONSchema]) -> bool:
    first, *others = schemas
    return any(other != first for other in others)


def _named(
    definitions: Mapping[tuple[str, str], JSONSchema], names: Names
) -> dict[str, JSONSchema]:
    named = {}
    for (owner, local), definition in definitions.items():
        name = names[owner, local]
        schema = _Cleaning().apply({**_renamed(definition, owner, names), "title": name})
        # Client generators name classes by title, and drop all but one of those that share it.
        named[name] = {key: value for key, value in schema.items() if key != _IDENTITY}
    return named


def _renamed(schema: JSONSchema, owner: str, names: Names) -> JSONSchema:
    return _Renaming(owner, names).apply(schema)


class _Rewriting:
    """Rewrites copies of all schemas in a schema: those of its properties first, itself last."""

    def apply(self, schema: JSONSchema) -> JSONSchema:
        return self.rewritten({key: self._within(key, value) for key, value in schema.items()})

    def rewritten(self, schema: JSONSchema) -> JSONSchema:
        """Return a schema in place of this copy, which may be changed."""
        raise NotImplementedError

    def _within(self, keyword: str, value: object) -> object:
        if _holds_data(keyword):
            return value
        if keyword in _SCHEMAS_BY_NAME and isinstance(value, dict):
            # Not keywords but names, which may be those of keywords all the same.
            return {name: self._each(schema) for name, schema in value.items()}
        return self._each(value)

    def _each(self, value: object) -> object:
        if isinstance(value, list):
            return [self._each(item) for item in value]
        return self.apply(value) if isinstance(value, dict) else value


class _References(_Rewriting):
    """Rewrites the references to components."""

    def rewritten(self, schema: JSONSchema) -> JSONSchema:
        if "$ref" in schema:
            schema["$ref"] = self.reference(schema["$ref"])
        if "mapping" in schema.get("discriminator", {}):
            mapping = schema["discriminator"]["mapping"]
            targets = {key: self.reference(target) for key, target in mapping.items()}
            schema["discriminator"] = {**schema["discriminator"], "mapping": targets}
        return schema

    def reference(self, reference: str) -> str:
        """Return a reference in place of this one."""
        raise NotImplementedError


class _Linking(_References):
    """Replaces references by others."""

    def __init__(self, links: Mapping[str, str]) -> None:
        self._links = links

    def reference(self, reference: str) -> str:
        return self._links.get(reference, reference)


class _Renaming(_References):
    """Gives components their names, in the references of one owner's schemas."""

    def __init__(self, owner: str, names: Names) -> None:
        self._owner = owner
        self._names = names

    def reference(self, reference: str) -> str:
        local = reference.removeprefix(REFERENCE_PREFIX)
        return REFERENCE_PREFIX + self._names.get((self._owner, local), local)


class _Gathering(_References):
    """Gathers the names of the components that are referred to."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def reference(self, reference: str) -> str:
        self.names.add(reference.removeprefix(REFERENCE_PREFIX))
        return reference


class _Cleaning(_Rewriting):
    """Leaves out what has no JSON, and adds what pydantic leaves to the name of a format."""

    def rewritten(self, schema: JSONSchema) -> JSONSchema:
        for key in ("enum", "examples"):
            if isinstance(schema.get(key), list):
                schema[key] = [value for value in schema[key] if _is_finite(value)]
        if schema.get("format") in _BASE64_DIGITS:
            schema.setdefault("pattern", _base64_pattern(_BASE64_DIGITS[schema["format"]]))
        return {key: value for key, value in schema.items() if _is_finite_keyword(key, value)}


class _DefaultCheck(_Rewriting):
    """Leaves out defaults that their own schemas refuse."""

    def __init__(self, definitions: Mapping[str, JSONSchema]) -> None:
        self._definitions = definitions

    def rewritten(self, schema: JSONSchema) -> JSONSchema:
        if "default" in schema and not self._fits(schema):
            del schema["default"]
        return schema

    def _fits(self, schema: JSONSchema) -> bool:
        validator = json_validator(schema, self._definitions, with_patterns=True)
        try:
            validator.validate_json(to_json(schema["default"]))
        except ValueError:
            return False
        return True


def _without_false_defaults(
    schema: JSONSchema, definitions: Mapping[str, JSONSchema]
) -> JSONSchema:
    return _DefaultCheck(definitions).apply(schema)


def _base64_pattern(digits: str) -> str:
    # The last digit before the padding is one of those whose unused bits are zero.
    return rf"^(?:[{digits}]{{4}})*(?:[{digits}][AQgw]==|[{digits}]{{2}}[AEIMQUYcgkosw048]=)?$"


def _holds_data(keyword: str) -> bool:
    return keyword in _DATA or keyword.startswith("x-")


def _is_finite_keyword(keyword: str, value: object) -> bool:
    return _is_finite(value) if _holds_data(keyword) or isinstance(value, float) else True


def _is_finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_finite(item) for item in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return all(_is_finite(item) for item in value)
    return not isinstance(value, float) or isfinite(value)


def _ordered(encoded: object, value: object) -> object:
    """Sort what was a set before it was encoded, because its order changes from run to run."""
    if isinstance(encoded, list) and isinstance(value, set | frozenset):
        return sorted(encoded, key=repr)
    if isinstance(encoded, list) and isinstance(value, list | tuple):
        return [_ordered(*pair) for pair in zip(encoded, value, strict=True)]
    if isinstance(encoded, dict) and isinstance(value, dict):
        pairs = zip(encoded.values(), value.values(), strict=True)
        return dict(zip(encoded, (_ordered(*pair) for pair in pairs), strict=True))
    if isinstance(encoded, dict) and isinstance(value, BaseModel):
        fields = {
            field.serialization_alias or name: getattr(value, name)
            for name, field in type(value).model_fields.items()
        }
        return {key: _ordered(item, fields.get(key)) for key, item in encoded.items()}
    return encoded

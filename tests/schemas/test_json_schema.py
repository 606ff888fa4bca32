from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

import jsonschema_rs
import pytest
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NaiveDatetime,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    create_model,
    model_serializer,
)
from pydantic_core import to_jsonable_python
from typing_extensions import TypedDict

from models_api.api.bodies import Error
from models_api.exceptions import DescriptionError
from models_api.prediction.codec import parse
from models_api.schemas.json_schema import (
    SERVICE,
    Mode,
    SchemaUse,
    components,
    json_schema,
    referenced,
)
from tests.fakes import awkward


def takes(owner: str, schema: type[BaseModel]) -> SchemaUse:
    return SchemaUse(owner, schema, "validation")


def gives(owner: str, schema: type[BaseModel]) -> SchemaUse:
    return SchemaUse(owner, schema, "serialization")


def described(*uses: SchemaUse) -> tuple[list[str], dict[str, Any]]:
    """Names that the uses refer to, in their order, and the components."""
    references, schemas = components(uses)
    return [references[use]["$ref"].removeprefix("#/components/schemas/") for use in uses], schemas


def make(name: str, *, module: str = "here", **fields: Any) -> type[BaseModel]:
    return create_model(name, __module__=module, **fields)


def field(schema: type[BaseModel], mode: Mode = "validation") -> Any:
    """What is said of the one field of a schema, but for its title."""
    (said,) = json_schema(schema, mode)["properties"].values()
    return {key: value for key, value in said.items() if key != "title"}


def of_type(annotation: Any, mode: Mode = "validation", config: ConfigDict | None = None) -> Any:
    schema: type[BaseModel] = create_model("Schema", __config__=config, value=(annotation, ...))
    return field(schema, mode)


# Names


def test_a_component_is_named_after_its_class() -> None:
    names, schemas = described(takes("m", awkward.Shared))
    assert names == ["Shared"]
    assert list(schemas) == ["Shared", "Size"]


def test_a_component_is_titled_with_its_name() -> None:
    _, schemas = described(*(takes(model.qualified_name, model.input_schema) for model in EVERY))
    assert {name: schema["title"] for name, schema in schemas.items()} == {
        name: name for name in schemas
    }


def test_a_class_that_two_models_share_is_one_component() -> None:
    names, schemas = described(takes("a", awkward.Shared), takes("b", awkward.Shared))
    assert names == ["Shared", "Shared"]
    assert list(schemas) == ["Shared", "Size"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (awkward.Apples.Output, awkward.Pears.Output),
        (awkward.Twin.Double, awkward.OtherTwin.Double),
    ],
    ids=["other fields", "the same fields"],
)
def test_different_classes_of_one_name_get_the_names_of_their_models_in_front(
    one: type[BaseModel], other: type[BaseModel]
) -> None:
    names, _ = described(takes("a", one), takes("b", other))
    assert names == [f"a.{one.__name__}", f"b.{one.__name__}"]


def test_a_class_that_refers_to_classes_of_another_model_name_refers_to_its_own() -> None:
    _, schemas = described(takes("a", awkward.Apples.Output), takes("b", awkward.Pears.Output))
    assert list(schemas) == ["a.Output", "a.Sub", "b.Output", "b.Sub"]
    assert schemas["a.Output"]["properties"]["sub"] == {"$ref": "#/components/schemas/a.Sub"}
    assert schemas["b.Output"]["properties"]["sub"] == {"$ref": "#/components/schemas/b.Sub"}


def test_a_third_model_without_the_clash_keeps_its_names() -> None:
    names, _ = described(
        takes("a", awkward.Twin.Double),
        takes("b", awkward.OtherTwin.Double),
        takes("c", awkward.Shared),
    )
    assert names[2] == "Shared"


def test_the_service_keeps_its_names() -> None:
    uses = [gives(SERVICE, Error), gives("errors", awkward.ErrorsInput.Error)]
    names, schemas = described(*uses)
    assert names == ["Error", "errors.Error"]
    assert list(schemas) == ["Error", "ErrorDetail", "errors.Error"]
    assert described(*reversed(uses)) == (names[::-1], schemas)


@pytest.mark.parametrize("schema", [awkward.Shared, awkward.Tree, awkward.Folder])
def test_a_class_with_defaults_is_two_components_because_they_are_always_given(
    schema: type[BaseModel],
) -> None:
    names, schemas = described(takes("m", schema), gives("m", schema))
    assert names == [f"{schema.__name__}-Input", f"{schema.__name__}-Output"]
    assert schemas[names[0]].get("required") != schemas[names[1]]["required"]


@pytest.mark.parametrize("schema", [awkward.Left.Part, awkward.Table])
def test_a_class_taken_and_given_is_one_component_if_nothing_differs(
    schema: type[BaseModel],
) -> None:
    names, schemas = described(takes("m", schema), gives("m", schema))
    assert names == [schema.__name__, schema.__name__]
    assert not [name for name in schemas if "put" in name]


def test_a_class_taken_and_given_is_two_components_if_they_differ() -> None:
    names, schemas = described(takes("m", awkward.BothWaysInput), gives("m", awkward.BothWaysInput))
    assert names == ["BothWaysInput-Input", "BothWaysInput-Output"]
    assert list(schemas) == [
        "BothWaysInput-Input",
        "BothWaysInput-Output",
        "ComputedOutput-Input",
        "ComputedOutput-Output",
    ]
    part = schemas["BothWaysInput-Output"]["properties"]["part"]
    assert part == {"$ref": "#/components/schemas/ComputedOutput-Output"}


def test_two_nested_classes_of_one_name_are_named_with_what_they_are_nested_in() -> None:
    _, schemas = described(takes("m", awkward.TwoPartsInput))
    assert list(schemas) == ["Left__Part", "Right__Part", "TwoPartsInput"]


def test_modules_are_named_only_where_nothing_else_differs() -> None:
    one, other = (
        make("Part", module="one.a", x=(int, 0)),
        make("Part", module="other.a", x=(str, "")),
    )
    whole = make("Whole", one=(one, ...), other=(other, ...))
    _, schemas = described(takes("m", whole))
    assert list(schemas) == ["Whole", "one__a__Part", "other__a__Part"]


def test_a_generic_class_is_named_with_its_arguments() -> None:
    _, schemas = described(takes("m", awkward.GenericsInput))
    assert list(schemas) == [
        "GenericsInput",
        "Part",
        "Wrap_Part_",
        "Wrap_int_",
        "Wrap_list_Wrap_int___",
        "Wrap_str_",
    ]


def test_names_are_ones_that_openapi_allows() -> None:
    umlauts = make("Größe", x=(int, 0))
    names, schemas = described(takes("m", umlauts), takes("n", awkward.GenericsInput))
    assert names[0] == "Gr__e"
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in schemas)


# References


EVERY = awkward.Echo.all


def every_use() -> list[SchemaUse]:
    return [
        use
        for model in EVERY
        for use in (
            takes(model.qualified_name, model.input_schema),
            gives(model.qualified_name, model.output_schema),
        )
    ]


def references_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = set().union(*map(references_in, value.values()))
        reference = value.get("$ref")
        mapped = value["mapping"].values() if set(value) == {"mapping", "propertyName"} else ()
        return found | {each for each in (reference, *mapped) if isinstance(each, str)}
    return set().union(*map(references_in, value)) if isinstance(value, list) else set()


def test_every_reference_leads_to_a_component_and_every_component_is_referred_to() -> None:
    references, schemas = components(every_use())
    found = references_in([*references.values(), schemas])
    assert found == {f"#/components/schemas/{name}" for name in schemas}


def test_referenced_names_the_components_that_others_lead_to() -> None:
    references, schemas = components([takes("m", awkward.Folder), takes("m", awkward.Shared)])
    assert referenced(references[takes("m", awkward.Folder)], schemas) == {"Folder", "File"}
    assert referenced({"type": "object"}, schemas) == set()


def test_properties_named_like_keywords_are_properties() -> None:
    part = make("Part", x=(int, 0))
    keywords = ("default", "const", "enum", "examples", "discriminator", "properties")
    fields: dict[str, Any] = dict.fromkeys(keywords, (part | None, None))
    same_name = make("Part", module="elsewhere", y=(int, 0))
    _, schemas = described(
        takes("a", make("Keywords", **fields, ref=(part | None, Field(None, alias="$ref")))),
        takes("b", same_name),
    )
    properties = schemas["Keywords"]["properties"]
    assert {name: said["anyOf"][0] for name, said in properties.items()} == {
        name: {"$ref": "#/components/schemas/a.Part"} for name in [*fields, "$ref"]
    }


def test_data_that_looks_like_a_reference_is_left_alone() -> None:
    reference = {"$ref": "#/components/schemas/Part"}
    schema = make("Holder", value=(dict[str, str], Field(default=reference, examples=[reference])))
    _, schemas = described(takes("a", schema), takes("b", make("Part")), takes("c", make("Part")))
    said = schemas["Holder"]["properties"]["value"]
    assert (said["default"], said["examples"]) == (reference, [reference])


def test_mappings_of_discriminators_are_renamed_with_their_targets() -> None:
    other = make("Cat", kind=(Literal["cat"], "cat"))
    _, schemas = described(takes("a", awkward.Pet), takes("b", other))
    assert schemas["Pet"]["properties"]["pet"]["discriminator"]["mapping"] == {
        "cat": "#/components/schemas/a.Cat",
        "dog": "#/components/schemas/Dog",
        "hound": "#/components/schemas/Dog",
    }


def test_tags_that_are_no_strings_have_no_mapping() -> None:
    schema = json_schema(awkward.DiscriminatedUnionInput, "validation")
    assert schema["properties"]["numbered"] == {
        "oneOf": [{"$ref": "#/$defs/Numbered"}, {"$ref": "#/$defs/AlsoNumbered"}],
        "title": "Numbered",
    }


# Neighbours and order


def test_schemas_do_not_depend_on_the_order_of_the_models() -> None:
    uses = every_use()
    references, schemas = components(uses)
    assert components(uses[::-1]) == (references, schemas)
    assert json.dumps(schemas) == json.dumps(components(uses[::-1])[1])


def test_schemas_without_a_clash_do_not_depend_on_neighbours() -> None:
    uses = every_use()
    all_references, all_schemas = components(uses)
    changed = {}
    for model in EVERY:
        own = [use for use in uses if use.owner == model.qualified_name]
        references, schemas = components(own)
        same = all(all_references[use] == references[use] for use in own)
        same = same and all(all_schemas.get(name) == schemas[name] for name in schemas)
        if not same:
            changed[model.qualified_name] = sorted(schemas)
    # Each has a class whose name another one's class has, too.
    assert list(changed) == ["same_names", "other_same_names", "identical", "other_identical"]


# JSON


def no_constant(text: str) -> Any:
    raise AssertionError(f"{text} is no JSON")


def test_nothing_but_json_is_in_any_schema() -> None:
    for model in EVERY:
        for schema in (
            json_schema(model.input_schema, "validation"),
            json_schema(model.output_schema, "serialization"),
        ):
            assert json.loads(json.dumps(schema), parse_constant=no_constant) == schema
    _, schemas = components(every_use())
    assert json.loads(json.dumps(schemas), parse_constant=no_constant) == schemas
    assert "identity" not in json.dumps(schemas)


def test_what_is_not_finite_is_left_out() -> None:
    properties = json_schema(awkward.SeveralNonFiniteInput, "validation")["properties"]
    number = {"type": "number"}
    assert {name: _untitled(said) for name, said in properties.items()} == {
        "not_a_number": number,
        "infinite": number,
        "optional": {"anyOf": [number, {"type": "null"}]},
        "bounded": {"default": 0, **number},
        "examples": {"default": 1, "examples": [1.5], **number},
        "default": number,
        "const": {"minimum": 0, **number},
        "several": {"items": number, "type": "array"},
        "nested": {
            "additionalProperties": {
                "maxItems": 2,
                "minItems": 2,
                "prefixItems": [number, number],
                "type": "array",
            },
            "type": "object",
        },
    }


def _untitled(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "title"}


def test_values_of_an_enum_that_are_not_finite_are_left_out() -> None:
    schema = make("Schema", value=(float, Field(json_schema_extra={"enum": [1.5, math.nan]})))
    assert field(schema) == {"enum": [1.5], "type": "number"}


def test_a_field_that_is_not_finite_by_default_may_go_out_as_null() -> None:
    schema = make("Schema", value=(float, Field(default=math.nan, ge=0)))
    assert field(schema, "serialization") == {
        "anyOf": [{"minimum": 0, "type": "number"}, {"type": "null"}]
    }
    nullable = make("Schema", value=(float | None, math.inf))
    assert field(nullable, "serialization") == {"anyOf": [{"type": "number"}, {"type": "null"}]}


def test_extensions_become_json() -> None:
    schema = make("Schema")
    schema.model_config["json_schema_extra"] = {
        "x-when": datetime(2026, 1, 2, tzinfo=UTC),  # type: ignore[dict-item]
        "x-words": {"c", "b", "a"},  # type: ignore[dict-item]
        "x-number": math.nan,
    }
    said = json_schema(schema, "validation")
    assert said["x-when"] == "2026-01-02T00:00:00Z"
    assert said["x-words"] == ["a", "b", "c"]
    assert "x-number" not in said


class Inner(BaseModel):
    words: set[str] = Field(default={"d", "e", "f"}, serialization_alias="Words")


NULL = {"type": "null"}


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (float, {"anyOf": [{"type": "number"}, NULL]}),
        (float | None, {"anyOf": [{"type": "number"}, NULL]}),
        (list[float], {"type": "array", "items": {"anyOf": [{"type": "number"}, NULL]}}),
        (
            dict[str, float],
            {"type": "object", "additionalProperties": {"anyOf": [{"type": "number"}, NULL]}},
        ),
        (int | float, {"anyOf": [{"type": "integer"}, {"type": "number"}, NULL]}),
        (Annotated[float, Field(ge=0)], {"anyOf": [{"minimum": 0, "type": "number"}, NULL]}),
        (Annotated[float, Field(ge=0, le=1)], {"maximum": 1, "minimum": 0, "type": "number"}),
        (FiniteFloat, {"type": "number"}),
        (list[FiniteFloat], {"type": "array", "items": {"type": "number"}}),
    ],
    ids=str,
)
def test_what_may_be_nan_is_null_and_what_may_not_is_a_number(annotation: Any, said: Any) -> None:
    assert of_type(annotation, "serialization") == said


def test_a_class_can_say_that_none_of_its_numbers_is_nan() -> None:
    config = ConfigDict(allow_inf_nan=False)
    assert of_type(list[float], "serialization", config)["items"] == {"type": "number"}


def test_nan_is_a_string_where_the_class_says_so() -> None:
    config = ConfigDict(ser_json_inf_nan="strings")
    words = {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}
    said = of_type(float, "serialization", config)
    assert said == {"anyOf": [{"type": "number"}, words]}


class Dropping(BaseModel):
    """Leaves out what is None."""

    x: int | None = None
    y: int = 0

    @model_serializer(mode="wrap")
    def leave_out(self, handler: Any) -> Any:
        return {key: value for key, value in handler(self).items() if value is not None}


class Sometimes(TypedDict, total=False):
    x: int


class Always(BaseModel):
    plain: int = 0
    made: list[int] = Field(default_factory=list)
    hidden: int = Field(default=0, exclude=True)
    maybe: int = Field(default=0, exclude_if=lambda value: value == 0)
    mapping: Sometimes = {}
    dropping: Dropping = Dropping()


def test_fields_that_are_always_given_are_required_whatever_their_default() -> None:
    said = json_schema(Always, "serialization")
    assert said["required"] == ["plain", "made", "mapping", "dropping"]
    assert "required" not in said["$defs"]["Sometimes"]
    assert "required" not in said["$defs"]["Dropping"]
    assert "required" not in json_schema(Always, "validation")


@pytest.mark.parametrize(
    ("annotation", "default", "has_default"),
    [
        (int, None, False),
        (str, None, False),
        (list[int], None, False),
        (Inner, None, False),
        (int, "5", False),
        (Annotated[int, Field(gt=0)], 0, False),
        (Annotated[str, Field(pattern="^a")], "b", False),
        (Literal["a", "b"], "c", False),
        (Annotated[list[int], Field(min_length=1)], [], False),
        (int, 5, True),
        (int | None, None, True),
        (float, 5, True),
        (Any, None, True),
        (date, date(2026, 1, 2), True),
        (dict[str, list[int]], {"a": [1]}, True),
        (Annotated[str, Field(pattern="^a")], "ab", True),
    ],
    ids=str,
)
def test_a_default_is_told_if_the_field_would_take_it(
    annotation: Any, default: object, has_default: bool
) -> None:
    schema = make("Schema", value=(annotation, default))
    assert ("default" in field(schema)) == has_default
    assert "required" not in json_schema(schema, "validation")
    (use,) = [takes("m", schema)]
    _, schemas = components([use])
    assert ("default" in schemas["Schema"]["properties"]["value"]) == has_default


@pytest.mark.parametrize("annotation", [int, list[int], Inner, Literal["a"]])
def test_a_field_that_is_none_by_default_may_go_out_as_null(annotation: Any) -> None:
    said = field(make("Schema", value=(annotation, None)), "serialization")
    assert NULL in said["anyOf"]


@pytest.mark.parametrize("annotation", [int, list[int], Inner, Literal["a"], float])
def test_a_field_that_may_be_none_is_null_but_once(annotation: Any) -> None:
    said = field(make("Schema", value=(annotation | None, None)), "serialization")
    assert said["anyOf"].count(NULL) == 1
    assert not any("anyOf" in choice for choice in said["anyOf"])
    assert said["default"] is None


def test_sets_in_defaults_are_sorted_however_deep() -> None:
    default = {"deep": [Inner(words={"c", "a", "b"})], "empty": []}
    schema = make("Schema", value=(dict[str, list[Inner]], default))
    assert field(schema)["default"] == {"deep": [{"Words": ["a", "b", "c"]}], "empty": []}


# The truth


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (bytes, {"type": "string"}),
        (
            Annotated[bytes, Field(min_length=1, max_length=4)],
            {"maxLength": 4, "minLength": 1, "pattern": r"^[\x00-\x7F]*$", "type": "string"},
        ),
        (NaiveDatetime, {"format": "date-time-local", "type": "string"}),
        (AwareDatetime, {"format": "date-time", "type": "string"}),
        (Literal["a", 1, None], {"anyOf": [{"const": "a"}, {"const": 1}, {"const": None}]}),
        (
            dict[int, str],
            {
                "additionalProperties": {"type": "string"},
                "propertyNames": {"pattern": "^-?[0-9]{1,4000}$"},
                "type": "object",
            },
        ),
        (
            dict[Annotated[str, Field(pattern="^a")], int],
            {
                "additionalProperties": False,
                "patternProperties": {"^a": {"type": "integer"}},
                "type": "object",
            },
        ),
    ],
    ids=str,
)
def test_what_is_taken_is_described_as_it_is(annotation: Any, said: dict[str, Any]) -> None:
    assert of_type(annotation) == said


def test_an_enum_of_several_types_is_described_value_by_value() -> None:
    assert json_schema(make("Schema", value=(awkward.Odd, ...)), "validation")["$defs"]["Odd"] == {
        "anyOf": [{"const": "text"}, {"const": 15}, {"const": None}],
        "description": "Values of several types.",
        "title": "Odd",
    }


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_string_that_is_stripped_is_described_by_what_is_left_of_it(length: int) -> None:
    annotation = Annotated[str, StringConstraints(strip_whitespace=True, min_length=length)]
    described = jsonschema_rs.validator_for(of_type(annotation))
    adapter = TypeAdapter(annotation)
    for character in [*map(chr, range(0x3100)), "\ufeff", "\U0001f600"]:
        for text in (f"{character}a", f"{character * 3}", f"bc{character}", f"b{character}c"):
            try:
                adapter.validate_python(text)
            except ValidationError:
                assert not described.is_valid(text), ascii(text)
            else:
                assert described.is_valid(text), ascii(text)


def test_stripped_strings_go_out_as_they_are() -> None:
    stripped = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    assert of_type(stripped, "serialization") == {"minLength": 1, "type": "string"}


HEXADECIMAL = "^(?:[0-9a-fA-F]{2})*$"


@pytest.mark.parametrize(
    ("encoding", "mode", "said"),
    [
        ("utf8", "validation", {"maxLength": 4, "pattern": r"^[\x00-\x7F]*$", "type": "string"}),
        ("utf8", "serialization", {"maxLength": 4, "type": "string"}),
        ("hex", "validation", {"maxLength": 8, "pattern": HEXADECIMAL, "type": "string"}),
        ("hex", "serialization", {"maxLength": 8, "pattern": HEXADECIMAL, "type": "string"}),
    ],
)
def test_bytes_are_described_as_they_are_encoded(
    encoding: Literal["utf8", "hex"], mode: Mode, said: dict[str, Any]
) -> None:
    short = Annotated[bytes, Field(max_length=4)]
    config = ConfigDict(ser_json_bytes=encoding, val_json_bytes=encoding)
    assert of_type(short, mode, config) == said


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_base64_has_a_pattern(mode: Mode) -> None:
    said = of_type(bytes, mode, ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))
    pattern = re.compile(said["pattern"])
    assert said["format"] == "base64url"
    assert [text for text in ("", "YQ==", "__8=", "____") if not pattern.search(text)] == []
    assert [text for text in ("Y", "YR==", "//8=", "YQ=") if pattern.search(text)] == []


def test_durations_that_go_out_are_described_as_they_are_written() -> None:
    assert of_type(timedelta) == {"format": "duration", "type": "string"}
    pattern = re.compile(of_type(timedelta, "serialization")["pattern"])
    lengths = [
        *(timedelta(days=days) for days in (0, 1, -1, 365, -365, 400, -400)),
        *(timedelta(days=days, seconds=61.5) for days in (0, 1, -1, 365, -365, 400, -400)),
        *(timedelta(0, seconds) for seconds in (1, 60, 3600, 86399, -1)),
        *(timedelta(microseconds=1), timedelta.min, timedelta.max),
    ]
    written = [to_jsonable_python(length) for length in lengths]
    assert [text for text in written if not pattern.search(text)] == []
    assert [
        text for text in ("", "P", "PT", "P1DT", "1D", "P1W", "P-1D") if pattern.search(text)
    ] == []


DECIMALS = ["0", "-0", "+1.5", "5.", ".5", "00012.3400", "99.99", "100", "0.001", "12345", "1e2"]
NO_DECIMALS = ["", "-", ".", "+.", "1.2.3", "abc", "NaN", "1e", "\n1"]


@pytest.mark.parametrize(
    ("constraints", "documented"),
    [
        ({}, DECIMALS),
        (
            {"max_digits": 4, "decimal_places": 2},
            ["0", "-0", "+1.5", "5.", ".5", "00012.3400", "99.99"],
        ),
        ({"decimal_places": 2}, [each for each in DECIMALS if each not in ("0.001", "1e2")]),
        ({"max_digits": 3}, ["0", "-0", "+1.5", "5.", ".5", "100", "0.001"]),
        ({"max_digits": 1, "decimal_places": 2}, [".5"]),
        ({"max_digits": 3, "decimal_places": 3}, [".5", "0.001"]),
    ],
    ids=str,
)
def test_decimals_as_strings_are_described_by_their_digits(
    constraints: dict[str, Any], documented: list[str]
) -> None:
    annotation = Annotated[Decimal, Field(**constraints)]
    pattern = re.compile(of_type(annotation)["anyOf"][1]["pattern"])
    assert [text for text in DECIMALS + NO_DECIMALS if pattern.search(text)] == documented
    schema = make("Schema", value=(annotation, ...))
    for text in documented:
        parse(json.dumps({"value": text}).encode(), schema)


@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        ({}, {"type": "number"}),
        ({"decimal_places": 2}, {"multipleOf": 0.01, "type": "number"}),
        (
            {"max_digits": 4, "decimal_places": 2},
            {
                "exclusiveMaximum": 100,
                "exclusiveMinimum": -100,
                "multipleOf": 0.01,
                "type": "number",
            },
        ),
        (
            {"max_digits": 2, "decimal_places": 2},
            {
                "exclusiveMaximum": 1,
                "exclusiveMinimum": -1,
                "multipleOf": 0.01,
                "not": {"const": 0},
                "type": "number",
            },
        ),
        (
            {"max_digits": 3},
            {
                "exclusiveMaximum": 1000,
                "exclusiveMinimum": -1000,
                "multipleOf": 1,
                "type": "number",
            },
        ),
    ],
    ids=str,
)
def test_decimals_as_numbers_are_described_by_their_digits(
    constraints: dict[str, Any], said: dict[str, Any]
) -> None:
    assert of_type(Annotated[Decimal, Field(**constraints)])["anyOf"][0] == said


def test_decimals_that_go_out_may_have_exponents() -> None:
    pattern = re.compile(of_type(Decimal, "serialization")["pattern"])
    values = [Decimal("1E+5"), Decimal("-1.5E-9"), Decimal("0.10"), Decimal("0E-10")]
    assert [value for value in values if not pattern.search(str(value))] == []


# What cannot be described


class Unknown:
    pass


def _raises(_schema: Any) -> None:
    raise KeyError("extra")


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            create_model(
                "Functions", __config__=ConfigDict(arbitrary_types_allowed=True), x=(Unknown, ...)
            ),
            "Functions cannot be described as JSON Schema: Cannot generate a JsonSchema for "
            "core_schema.IsInstanceSchema "
            "(<class 'tests.schemas.test_json_schema.Unknown'>)",
        ),
        (
            create_model("Raising", __config__=ConfigDict(json_schema_extra=_raises)),
            "Raising cannot be described as JSON Schema: 'extra'",
        ),
        (
            create_model(
                "Holding",
                __config__=ConfigDict(json_schema_extra={"x-object": Unknown}),  # type: ignore[dict-item]
            ),
            "Holding cannot be described as JSON Schema: Unable to serialize unknown type: "
            "<class 'type'>",
        ),
    ],
    ids=["type", "function", "extension"],
)
def test_a_schema_that_cannot_be_described_says_so(schema: type[BaseModel], message: str) -> None:
    hint = "Use types that have a JSON Schema, or give one with pydantic.WithJsonSchema."
    with pytest.raises(DescriptionError) as alone:
        json_schema(schema, "validation")
    assert (str(alone.value), alone.value.hint) == (message, hint)
    with pytest.raises(DescriptionError) as together:
        components([takes("m", schema)])
    assert str(together.value) == message

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any

import pytest
from pydantic import BaseModel, Field, RootModel, create_model

from models_api.open_inference.columns import columns
from models_api.prediction.codec import parse, parse_given
from models_api.prediction.rows import batch_schemas
from models_api.schemas.costs import costs_of
from models_api.schemas.documented import documented_schema
from models_api.schemas.json_schema import Mode, SchemaUse, components, json_schema


class Colour(StrEnum):
    RED = "red"


class Box(BaseModel):
    left: float = Field(ge=0)
    colour: Colour = Colour.RED


class Boxes(BaseModel):
    first: Box
    others: list[Box] = []
    day: date | None = None


class Node(BaseModel):
    children: list[Node] = []


class Tree(BaseModel):
    root: Node
    names: dict[str, Box] = {}


Number = RootModel[float]
MODES: list[Mode] = ["validation", "serialization"]
SCHEMAS = [Box, Boxes, Node, Tree, Number, RootModel[list[Box]], RootModel[Box], RootModel[Node]]


def twin(schema: type[BaseModel], mode: Mode) -> type[BaseModel]:
    return documented_schema(schema.__name__, json_schema(schema, mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("schema", SCHEMAS)
def test_it_is_described_as_the_class_whose_document_it_has(
    schema: type[BaseModel], mode: Mode
) -> None:
    assert json_schema(twin(schema, mode), mode) == json_schema(schema, mode)
    assert columns(twin(schema, mode), mode) == columns(schema, mode)


def described(owner: str, taken: type[BaseModel], given: type[BaseModel]) -> dict[str, Any]:
    """Return the components of a model, those of its batches among them."""
    batch = batch_schemas(taken, given, 10)
    takes = [SchemaUse(owner, each, "validation") for each in (taken, batch.input)]
    gives = [SchemaUse(owner, each, "serialization") for each in (given, batch.output)]
    references, found = components([*takes, *gives])
    return {"references": list(references.values()), "components": found}


@pytest.mark.parametrize(
    ("taken", "given"),
    [*zip(SCHEMAS, SCHEMAS, strict=True), (Boxes, Tree), (Box, RootModel[Box]), (Node, Tree)],
)
def test_its_components_are_those_of_that_class(
    taken: type[BaseModel], given: type[BaseModel]
) -> None:
    twins = described("boxes", twin(taken, "validation"), twin(given, "serialization"))
    assert twins == described("boxes", taken, given)


def test_two_owners_whose_definitions_differ_keep_them_apart() -> None:
    other = create_model("Boxes", first=(create_model("Box", right=(int, ...)), ...))
    uses = [
        SchemaUse("a", twin(Boxes, "validation"), "validation"),
        SchemaUse("b", twin(other, "validation"), "validation"),
    ]
    _, found = components(uses)
    assert {"a.Box", "b.Box", "a.Boxes", "b.Boxes", "Colour"} <= found.keys()


def test_equal_documents_have_the_same_class() -> None:
    first = documented_schema("A", {"type": "object", "properties": {}})
    assert documented_schema("A", {"properties": {}, "type": "object"}) is first
    assert documented_schema("B", {"properties": {}, "type": "object"}) is not first


def test_a_document_that_is_changed_afterwards_changes_nothing() -> None:
    document: dict[str, Any] = {"type": "object", "properties": {}}
    schema = documented_schema("A", document)
    document["properties"]["x"] = {}
    json_schema(schema, "validation")["title"] = "other"
    assert json_schema(schema, "validation") == {"type": "object", "properties": {}}


def test_it_keeps_what_it_is_given() -> None:
    schema = twin(Boxes, "validation")
    given = parse(b'{"first": {"left": -1}, "copy": [1, "2"], "_x": null}', schema)
    assert given.model_dump() == {"first": {"left": -1}, "copy": [1, "2"], "_x": None}
    assert getattr(given, "copy") == [1, "2"]  # noqa: B009 (mypy knows a method of that name)
    assert parse_given(given, schema) == given
    assert given.model_copy(deep=True) == given


def test_objects_in_an_object_have_attributes_too() -> None:
    schema = twin(Boxes, "serialization")
    value = {"first": {"left": 1.0}, "others": [{"left": 2, "colour": "red"}], "x": {"y": 1}}
    with_colour = {**value, "first": {"left": 1.0, "colour": "red"}}
    made: Any = schema.model_validate(with_colour)
    assert (made.first.left, made.others[0].colour, made.x) == (1.0, "red", {"y": 1})
    assert made.model_dump() == with_colour
    # It does not fit the class, and is kept all the same.
    assert schema.model_validate(value).model_dump() == value


def test_so_have_those_in_lists_mappings_and_themselves() -> None:
    node: Any = {"children": [{"children": [{"children": []}]}]}
    tree: Any = twin(Tree, "validation")(root=node, names={"a": {"left": 1}})
    assert tree.root.children[0].children[0].children == []
    assert tree.names["a"].left == 1
    boxes: Any = twin(RootModel[list[Box]], "validation")([{"left": 3}])  # type: ignore[call-arg]
    assert boxes.root[0].left == 3
    box: Any = twin(RootModel[Box], "validation").model_validate({"left": 4})
    assert box.root.left == 4
    maybe = create_model("Maybe", box=(Box | None, None), either=(int | Box, 1))
    for value, read in (({"left": 5}, 5), (None, None)):
        made: Any = twin(maybe, "validation")(box=value, either={"left": 6})
        assert getattr(made.box, "left", None) == read
        assert made.either.left == 6


@pytest.mark.parametrize("value", [1.5, None, [1, {"a": 2}], "text", True])
def test_what_is_no_object_is_the_root(value: object) -> None:
    schema = twin(Number, "validation")
    assert schema.model_validate(value).root == value  # type: ignore[attr-defined]
    assert schema.model_validate(value).model_dump() == value


def test_its_values_cost_as_much_as_plain_ones() -> None:
    assert costs_of(twin(Boxes, "validation")).dearest.other == 1.0


@pytest.mark.parametrize("reference", ["#/$defs/A", "#/$defs/B", "#/elsewhere/C", "http://x/y"])
def test_a_document_that_refers_to_nothing_does_no_harm(reference: str) -> None:
    document = {"$ref": reference, "$defs": {"A": {"$ref": "#/$defs/A"}}}
    schema = documented_schema("Odd", document)
    assert json_schema(schema, "validation") == document
    assert schema.model_validate(3) == schema(3)  # type: ignore[call-arg]

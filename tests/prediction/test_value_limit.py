"""How much one request may hold, counted before any of it is made."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, Json

from models_api.exceptions import PayloadTooLarge
from models_api.prediction.value_limit import DEFAULT_MAXIMUM_VALUES, ValueLimit
from models_api.schemas.costs import PLAIN, costs_of
from tests.fakes.costly import MODELS


class Numbers(BaseModel):
    values: list[Any] = []


class Text(BaseModel):
    text: Json[list[int]] | None = None


def nested(rows: int, columns: int) -> bytes:
    row = b"[%b]" % b",".join([b"255"] * columns)
    return b'{"values": [%b]}' % b",".join([row] * rows)


def deep(levels: int) -> bytes:
    formula = '{"terms": [' * levels + "{}" + "]}" * levels
    return b'{"formula": %b}' % formula.encode()


def limit_of(field: str, maximum: int | None = DEFAULT_MAXIMUM_VALUES) -> ValueLimit:
    schema = MODELS[field].input_schema
    assert isinstance(schema, type)
    return ValueLimit(costs_of(schema), maximum)


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b"[1, 2, 3]", 3),
        (b'{"a": 1, "b": 2}', 2),
        (b"[[], {}, [1]]", 6),
        (b'["a,b[c{d", "\\",", 1]', 3),
        (b'{"[": "\\\\", ",,": 1}', 2),
        (b'["%b", "%b"]' % (b",,," * 30_000, b"[" * 60_000), 2),
    ],
)
def test_json_may_hold_as_many_values_as_the_limit_and_no_more(body: bytes, values: int) -> None:
    ValueLimit(PLAIN, values).check(body)
    with pytest.raises(PayloadTooLarge):
        ValueLimit(PLAIN, values - 1).check(body)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(nested(1000, 1000), id="an image of 1000 by 1000 points"),
        pytest.param(nested(10_000, 30), id="10 000 rows of 30 numbers"),
        pytest.param(b'{"values": ["%b"]}' % (b"1," * 2_000_000), id="a text full of commas"),
    ],
)
def test_what_is_large_for_a_reason_passes_by_default(body: bytes) -> None:
    ValueLimit(costs_of(Numbers), DEFAULT_MAXIMUM_VALUES).check(body)


def test_the_refusal_says_the_limit_what_was_sent_and_what_raises_it() -> None:
    body = json.dumps({"points": [{}] * 1000}).encode()
    with pytest.raises(PayloadTooLarge) as caught:
        limit_of("points", 1000).check(body)
    assert str(caught.value) == (
        "The body holds 1001 objects and 1000 other values, which count 6206 by the model's input "
        "schema; the limit is 1000. Send less at a time, or have the model's max_values raised, or "
        "MODELHOST_MAX_JSON_VALUES."
    )


@pytest.mark.parametrize("field", ["points", "defaults", "lists", "long", "loose", "shapes"])
def test_an_object_counts_for_as_much_as_its_schema_costs(field: str) -> None:
    body = json.dumps({field: [{}] * 400_000}).encode()
    with pytest.raises(PayloadTooLarge):
        limit_of(field).check(body)
    ValueLimit(PLAIN, DEFAULT_MAXIMUM_VALUES).check(body)


def test_a_union_that_holds_itself_may_be_nested_as_deep_as_it_can_be_validated() -> None:
    limit = limit_of("formula")
    for levels in (0, 1, 5, 10):
        limit.check(deep(levels))
    for levels in (20, 30, 100):
        with pytest.raises(PayloadTooLarge):
            limit.check(deep(levels))
    limit.check(json.dumps({"formula": {"terms": [{}] * 20_000}}).encode())


def test_json_in_strings_counts_where_the_schema_reads_it() -> None:
    limit = ValueLimit(costs_of(Text), 1000)
    for text in (b"[" + b"0," * 2000 + b"0]", b"[" + rb"0\u002c" * 2000 + b"0]"):
        with pytest.raises(PayloadTooLarge):
            limit.check(b'{"text": "%b"}' % text)
    ValueLimit(costs_of(Numbers), 1000).check(b'{"values": ["%b"]}' % (b"0," * 2000))


def test_without_a_limit_everything_passes() -> None:
    assert limit_of("points", None).check(json.dumps({"points": [{}] * 1000}).encode())


@pytest.mark.parametrize("field", MODELS)
def test_what_is_too_short_to_harm_passes_whatever_it_is(field: str) -> None:
    limit = limit_of(field)
    for piece in (b"{},", b"[],", b"0,", b'{"":0},', b"[[[[]]]]"):
        assert limit.check(piece * (limit.harmless_bytes // len(piece)))


def test_elements_of_tensors_count_by_what_their_field_takes() -> None:
    limit_of("numbers").check_elements(1_500_000, 2)
    for field, count in (("numbers", 1_500_001), ("scalars", 400_000), ("formula", 1_500_001)):
        with pytest.raises(PayloadTooLarge) as caught:
            limit_of(field).check_elements(count, 2)
        assert str(caught.value).startswith(f"The tensors hold {count} elements, which count ")


def test_only_what_can_have_few_problems_has_all_of_them_collected() -> None:
    limit = limit_of("numbers")
    assert limit.check(json.dumps({"numbers": [None] * 90_000}).encode())
    assert not limit.check(json.dumps({"numbers": [None] * 110_000}).encode())
    assert not limit_of("many_shapes").check(json.dumps({"many_shapes": [{}] * 1000}).encode())

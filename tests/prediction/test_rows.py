"""The rows of a request, made anew where they were taken before."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from models_api.exceptions import InvalidInput, ModelsAPIError, PredictionFailed
from models_api.prediction.description import ModelSchemas
from models_api.prediction.instruments import Instruments
from models_api.prediction.rows import (
    ColumnPredictions,
    JSONRows,
    Predictions,
    Rows,
    SingleRow,
    batch_schemas,
)


class Row(BaseModel):
    values: list[int]


class Unequal(BaseModel):
    """Cannot be compared, as rows that hold arrays cannot."""

    value: int

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


class Out(BaseModel):
    value: int


class Maker:
    """Knows what predictions should be."""

    instruments = Instruments()
    schemas = ModelSchemas(Row, Out)

    def failure(
        self, error: BaseException, where: str, *, method: str, returned: object
    ) -> ModelsAPIError:
        return PredictionFailed("model", f"{where}{type(error).__name__}")


class CountingRows(JSONRows):
    """Counts how often they are made."""

    made = 0

    def make(self) -> list[object | None]:
        self.made += 1
        return super().make()


BODY = json.dumps({"inputs": [{"values": [number]} for number in range(4)]}).encode()


@pytest.fixture
def rows() -> CountingRows:
    return CountingRows(BODY, batch_schemas(Row, Out, 10).input)


def values(taken: Any) -> list[list[int]]:
    return [row.values for row in taken]


def test_rows_that_nobody_has_had_are_made_once(rows: CountingRows) -> None:
    assert len(rows) == 4
    assert values(rows.take(slice(0, 2))) == [[0], [1]]
    assert values(rows.take(slice(2, 4))) == [[2], [3]]
    assert rows.made == 1


def test_rows_that_somebody_has_changed_are_made_anew(rows: CountingRows) -> None:
    for row in rows.take(slice(0, 2)):
        row.values[0] = -1  # type: ignore[attr-defined]
    assert values(rows.take(slice(1, 2))) == [[1]]
    assert values(rows.take(slice(0, 2))) == [[0], [1]]
    assert rows.made == 3
    assert values(rows.take(slice(2, 4))) == [[2], [3]]
    assert rows.made == 3


def test_nobody_gets_the_row_of_another(rows: CountingRows) -> None:
    first, again = rows.take(slice(0, 4)), rows.take(slice(0, 4))
    assert not {id(row) for row in first} & {id(row) for row in again}


def test_no_rows_are_made_only_once() -> None:
    rows = CountingRows(b'{"inputs": []}', batch_schemas(Row, Out, 10).input)
    assert (len(rows), list(rows.take(slice(0, 0))), rows.made) == (0, [], 1)
    assert rows.columns() is None


def test_rows_need_not_be_comparable() -> None:
    schema = batch_schemas(Unequal, Out, 10).input
    rows = JSONRows(b'{"inputs": [{"value": 1}, {"value": 2}]}', schema)
    assert [row.value for row in rows.take(slice(0, 2))] == [1, 2]  # type: ignore[attr-defined]
    assert [row.value for row in rows.take(slice(0, 2))] == [1, 2]  # type: ignore[attr-defined]


def test_a_body_that_does_not_fit_makes_no_rows() -> None:
    with pytest.raises(InvalidInput):
        JSONRows(b'{"inputs": [{"values": ["a"]}]}', batch_schemas(Row, Out, 10).input)
    with pytest.raises(InvalidInput):
        JSONRows(BODY, batch_schemas(Row, Out, 3).input)


class Crates(BaseModel):
    """Has a list of the name that a batch has for its rows."""

    inputs: Annotated[list[int], Field(max_length=1)]


@pytest.mark.parametrize(
    ("rows", "is_told_the_setting"),
    [
        ([{"inputs": [1]}] * 3, True),
        ([{"inputs": ["a"]}] * 3, True),
        ([{"inputs": [1, 2]}] * 3, True),
        ([{"inputs": [1, 2]}], False),
        ([{"inputs": "a"}], False),
        ("a", False),
    ],
)
def test_too_many_rows_and_nothing_else_is_told_their_setting(
    rows: object, is_told_the_setting: bool
) -> None:
    body = json.dumps({"inputs": rows}).encode()
    with pytest.raises(InvalidInput) as caught:
        JSONRows(body, batch_schemas(Crates, Out, 2).input)
    (problem,) = caught.value.problems
    assert problem.message.endswith("raised.") is is_told_the_setting


def test_a_single_row_is_made_from_the_body_each_time() -> None:
    rows = SingleRow(b'{"values": [7]}', Row)
    (first,), (second,) = rows.take(slice(0, 1)), rows.take(slice(0, 1))
    assert (len(rows), first, first is second) == (1, second, False)
    assert first == Row(values=[7])


def test_messages_name_rows_as_the_request_has_them(rows: CountingRows) -> None:
    assert rows.where.format(3) == "inputs[3]: "
    assert SingleRow(b"", Row).where.format(0) == ""


# Predictions


def predictions_of(rows: Rows, *predictions: object, start: int = 0) -> Predictions:
    return Predictions(predictions, rows, start, Maker())


@pytest.mark.parametrize(
    ("predictions", "written"),
    [
        ((), b"[]"),
        ((Out(value=1), Out(value=2)), b'[{"value":1},{"value":2}]'),
        ((Out(value=1), {"value": 2}), b'[{"value":1},{"value":2}]'),
    ],
)
def test_predictions_become_a_json_array(
    rows: CountingRows, predictions: tuple[object, ...], written: bytes
) -> None:
    assert predictions_of(rows, *predictions).to_json() == written


def test_the_prediction_that_does_not_fit_is_named(rows: CountingRows) -> None:
    found = predictions_of(rows, {"value": 1}, {"value": "a"}, start=2)
    with pytest.raises(PredictionFailed, match=r"^inputs\[3\]: ValidationError$") as caught:
        found.to_json()
    assert type(caught.value.__cause__).__name__ == "ValidationError"


def test_predictions_of_the_schemas_class_have_columns_and_others_have_not(
    rows: CountingRows,
) -> None:
    assert predictions_of(rows, Out(value=1), Out(value=2)).to_columns() == {"value": [1, 2]}
    assert predictions_of(rows, {"value": 1}).to_columns() is None
    columns = ColumnPredictions({"value": [1, 2]}, rows, slice(0, 2), Maker())
    assert columns.to_columns() == {"value": [1, 2]}
    assert columns.to_json() == b'[{"value":1},{"value":2}]'


# Schemas


def test_models_that_share_a_schema_share_that_of_its_batch() -> None:
    taken, given = batch_schemas(Row, Out, 10)
    assert batch_schemas(Row, Row, 10).input is taken
    assert batch_schemas(Unequal, Out, 10).output is given
    assert batch_schemas(Row, Out, 11).input is not taken
    assert (taken.__name__, given.__name__) == ("RowBatch", "OutBatch")

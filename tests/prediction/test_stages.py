"""The stages of a prediction."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from ml_base import MLModelDecorator

from models_api.exceptions import DeadlineExceeded, Overloaded
from models_api.prediction.request_context import RequestContext
from models_api.prediction.stages import Stages, takes_columns
from tests.fakes.batching import BatchingModel, RowInput, ShortModel
from tests.fakes.columns import (
    ColumnsDecorator,
    ColumnsModel,
    ForwardingDecorator,
    RowsModel,
)
from tests.fakes.models import DoublingModel, Number

ROWS = [RowInput(value=1), RowInput(value=2)]


def test_rows_are_predicted_together_where_the_model_can_do_that(context: RequestContext) -> None:
    predictions = Stages().predict_together(BatchingModel(), list(ROWS))
    assert predictions is not None
    assert [(row.value, row.batch_size) for row in predictions] == [(2, 2), (4, 2)]
    assert context.batch_size == 2


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        (DoublingModel(), [Number(value=1), Number(value=2)]),
        (MLModelDecorator(BatchingModel()), ROWS),
        (ShortModel(), ROWS),
        (BatchingModel(), [RowInput(value=1), RowInput(value=-2)]),
    ],
    ids=["cannot", "a decorator around it cannot", "loses a row", "raises"],
)
def test_where_that_fails_there_are_no_predictions(model: Any, rows: list[Any]) -> None:
    assert Stages().predict_together(model, rows) is None


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        (RowsModel(), False),
        (ColumnsModel(), True),
        (ForwardingDecorator(ColumnsModel()), False),
        (ColumnsDecorator(ColumnsModel()), True),
        (MLModelDecorator(ColumnsDecorator(ColumnsModel())), False),
    ],
)
def test_columns_are_for_those_whose_class_says_so(model: Any, takes: bool) -> None:
    assert takes_columns(model) is takes


COLUMNS = {
    "height": numpy.array([1.0, 2.0]),
    "leaves": numpy.array([1, 2]),
    "alive": numpy.array([True, False]),
    "name": numpy.array(["oak", "ash"], dtype=object),
    "species": numpy.array(["setosa", "setosa"], dtype=object),
}


def test_columns_are_predicted_in_one_call(context: RequestContext) -> None:
    found = Stages().predict_columns(ColumnsModel(), COLUMNS, 2)
    assert list(found["height"]) == [2.0, 4.0]
    assert context.batch_size == 2


@pytest.mark.parametrize("name", ["raises", "exits"])
def test_where_columns_raise_there_is_nothing(context: RequestContext, name: str) -> None:
    columns = {**COLUMNS, "name": numpy.array(["oak", name], dtype=object)}
    assert Stages().predict_columns(ColumnsModel(), columns, 2) is None
    assert context.batch_size is None


@pytest.mark.parametrize("error", [Overloaded("busy"), DeadlineExceeded(1.0)])
def test_a_model_that_is_too_busy_is_not_asked_row_by_row(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(ColumnsModel, "predict_batch", refuse)
    monkeypatch.setattr(ColumnsModel, "predict_columns", refuse)
    with pytest.raises(type(error)):
        Stages().predict_together(ColumnsModel(), ROWS)
    with pytest.raises(type(error)):
        Stages().predict_columns(ColumnsModel(), COLUMNS, 2)

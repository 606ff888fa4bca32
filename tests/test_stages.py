"""The stages of a prediction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ml_base import MLModelDecorator

from models_api.request_context import RequestContext, current_request
from models_api.stages import Stages
from tests.fakes.batching import BatchingModel, RowInput, ShortModel
from tests.fakes.models import DoublingModel, Number


@pytest.fixture
def context() -> Iterator[RequestContext]:
    """The context of a request that the test works for."""
    context = RequestContext("mine")
    token = current_request.set(context)
    yield context
    current_request.reset(token)


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

"""The context of a request: its id, and what is noted in it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from models_api.prediction.instruments import Instruments
from models_api.prediction.request_context import (
    RequestContext,
    current_request,
    note_batch,
    note_model,
    note_received,
    note_rows,
    request_id,
)


@pytest.fixture
def context() -> Iterator[RequestContext]:
    """The context of a request that the test works for."""
    context = RequestContext("id")
    token = current_request.set(context)
    yield context
    current_request.reset(token)


@pytest.mark.parametrize("given", ["a", "Request-1._", "0" * 128])
def test_a_well_formed_id_is_kept(given: str) -> None:
    assert request_id(given) == given


@pytest.mark.parametrize("given", [None, "", "a b", "a\r\nb", "a\n", "é", "٣", "a" * 129, "<a>"])
def test_anything_else_is_replaced_by_an_id_of_its_own(given: str | None) -> None:
    ids = {request_id(given) for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)


def test_what_is_noted_is_in_the_context_of_the_request(context: RequestContext) -> None:
    note_model("iris", "1.0.0")
    note_rows(7)
    assert (context.model, context.version, context.rows) == ("iris", "1.0.0", 7)


def test_the_largest_call_counts_as_the_batch(context: RequestContext) -> None:
    note_rows(7)
    assert context.batch_size == 1
    sizes = []
    for size in (3, 5, 2):
        note_batch(size)
        sizes.append(context.batch_size)
    assert sizes == [3, 5, 5]


def test_a_request_has_come_when_its_body_has(context: RequestContext) -> None:
    assert context.received == context.arrived
    note_received()
    assert context.received > context.arrived


def test_a_request_adds_up_how_long_it_waits(context: RequestContext) -> None:
    assert context.queue_seconds == 0
    for seconds in (0.25, 0.5):
        Instruments().waited(0.0, seconds)
    assert context.queue_seconds == 0.75


def test_outside_of_requests_nothing_is_noted() -> None:
    assert current_request.get() is None
    note_received()
    Instruments().waited(0.0, 1.0)
    note_model("iris", "1.0.0")
    note_rows(7)
    note_batch(3)
    assert current_request.get() is None

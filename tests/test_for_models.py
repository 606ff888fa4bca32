"""What models and decorators ask of the service."""

from __future__ import annotations

import pytest

from models_api.for_models import CurrentRequest, Headers, current_request, current_requests
from models_api.prediction.request_context import (
    RequestContext,
    note_headers,
    note_principal,
    shared_context,
)
from models_api.prediction.request_context import current_request as variable


def test_outside_of_requests_everything_is_empty() -> None:
    request = current_request()
    assert request == CurrentRequest()
    assert (request.id, dict(request.headers), request.principal) == ("", {}, None)
    assert (request.deadline, request.seconds_left) == (None, None)
    assert list(current_requests(2)) == [request, request]


def test_a_request_has_what_was_noted_of_it(context: RequestContext) -> None:
    note_principal("ada", "token")
    note_headers({"x-tenant": "a"})
    context.deadline = 0.0
    request = current_request()
    assert (request.id, request.headers["X-Tenant"]) == (context.id, "a")
    assert (request.principal, request.auth) == ("ada", "token")
    assert request.seconds_left is not None
    assert request.seconds_left < 0


def test_headers_have_names_in_any_case_and_show_no_values() -> None:
    headers = Headers({"x-tenant": "secret"})
    assert headers["X-TENANT"] == headers.get("x-tenant") == "secret"
    assert "X-Tenant" in headers
    assert (list(headers), len(headers)) == (["x-tenant"], 1)
    assert "secret" not in repr(headers)
    with pytest.raises(KeyError):
        _ = headers["X-Other"]


def test_a_call_for_rows_of_several_requests_has_one_for_each_row(context: RequestContext) -> None:
    other = RequestContext("other")
    token = variable.set(shared_context([context, other, context]))
    try:
        assert [each.id for each in current_requests(3)] == [context.id, "other", context.id]
        with pytest.raises(ValueError, match="made for 3 rows, not for 2"):
            current_requests(2)
        with pytest.raises(RuntimeError, match=r"ask current_requests\(len\(data\)\)"):
            current_request()
    finally:
        variable.reset(token)

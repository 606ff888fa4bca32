"""Headers that are set without Django's look at them."""

from __future__ import annotations

from django.http import HttpResponse

from models_api.api.header_store import header_store


def test_what_is_put_in_is_a_header_like_any_other() -> None:
    response, usual = HttpResponse(), HttpResponse()
    header_store(response)["x-name"] = ("X-Name", "value")
    usual.headers["X-Name"] = "value"
    assert response.serialize_headers() == usual.serialize_headers()
    assert response.headers["x-NAME"] == "value"


def test_what_was_set_the_usual_way_is_found_and_replaced() -> None:
    response = HttpResponse(headers={"X-Name": "before"})
    assert header_store(response)["x-name"] == ("X-Name", "before")
    header_store(response)["x-name"] = ("X-Name", "after")
    assert response.headers["X-Name"] == "after"

from __future__ import annotations

from typing import ClassVar

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import (
    NoReverseMatch,
    Resolver404,
    URLPattern,
    URLResolver,
    include,
    path,
    resolve,
    reverse,
)

from models_api.api.literal_routes import LiteralRoutes


def view(_request: HttpRequest) -> HttpResponse:
    return HttpResponse()


class URLconf:
    """A project's URLconf that includes routes under a prefix and a namespace."""

    routes: ClassVar[list[URLPattern | URLResolver]] = [
        LiteralRoutes([path("a/b", view, name="b"), path("a.b/c", view, name="c")]),
        path("a/<str:rest>", view, name="rest"),
    ]
    urlpatterns: ClassVar[list[URLPattern | URLResolver]] = [
        path("prefix/", include((routes, "app"))),
        path("a/b", view, name="outside"),
    ]


@pytest.fixture(autouse=True)
def _urlconf():
    with override_settings(ROOT_URLCONF=URLconf):
        yield


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/prefix/a/b", "app:b"),
        ("/prefix/a.b/c", "app:c"),
        ("/prefix/a/other", "app:rest"),
        ("/a/b", "outside"),
    ],
)
def test_a_literal_route_is_resolved_and_reversed_as_any_other(url: str, name: str) -> None:
    match = resolve(url)
    assert match.view_name == name
    assert match.func is view
    assert reverse(name, kwargs=match.kwargs) == url


def test_the_match_knows_its_whole_route() -> None:
    assert resolve("/prefix/a/b").route == "prefix/a/b"


@pytest.mark.parametrize("url", ["/prefix/axb/c", "/prefix/a/b/", "/prefix/A/B", "/prefix/"])
def test_what_is_not_a_route_to_the_letter_is_not_found(url: str) -> None:
    with pytest.raises(Resolver404):
        resolve(url)


def test_an_unknown_name_is_not_reversed() -> None:
    with pytest.raises(NoReverseMatch):
        reverse("app:none")

"""Where the documentation pages lead those who may not read the document."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpRequest
from django.test import RequestFactory
from django.urls import set_script_prefix
from rest_framework.authentication import (
    BaseAuthentication,
    BasicAuthentication,
    SessionAuthentication,
    TokenAuthentication,
)

from models_api.api.documentation import OpenAPIView, login_url


class ByCookie(BaseAuthentication):
    """Something of the project's own."""


class OtherWord(TokenAuthentication):
    """Tokens, with another word before them."""

    keyword = "Bearer"


def url_for(
    monkeypatch: pytest.MonkeyPatch, settings: Any, login: str, *kinds: type[BaseAuthentication]
) -> str:
    monkeypatch.setattr(OpenAPIView, "authentication_classes", kinds)
    settings.LOGIN_URL = login
    request: HttpRequest = RequestFactory().get("/docs", {"a": "b&c"})
    return login_url(request)


NEXT = "next=%2Fdocs%3Fa%3Db%2526c"


@pytest.mark.parametrize(
    ("login", "found"),
    [
        ("/api/models", f"/api/models?{NEXT}"),  # any page of the project would do
        ("models", f"/api/models?{NEXT}"),
        ("/api/models?by=mail", f"/api/models?by=mail&{NEXT}"),
        ("https://login.example.com/a", f"https://login.example.com/a?{NEXT}"),
        ("/accounts/login/", ""),
        ("no-such-name", ""),
    ],
)
@pytest.mark.parametrize("kinds", [(SessionAuthentication,), (TokenAuthentication, ByCookie)])
def test_it_is_that_of_the_project_if_there_is_such_a_page(
    monkeypatch: pytest.MonkeyPatch, settings: Any, login: str, found: str, kinds: Any
) -> None:
    assert url_for(monkeypatch, settings, login, *kinds) == found


@pytest.mark.parametrize("kinds", [(), (TokenAuthentication,), (BasicAuthentication, OtherWord)])
def test_there_is_none_where_logging_in_helps_nobody(
    monkeypatch: pytest.MonkeyPatch, settings: Any, kinds: Any
) -> None:
    assert url_for(monkeypatch, settings, "/api/models", *kinds) == ""


def test_it_is_found_under_a_script_name(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    set_script_prefix("/outer/")
    try:
        assert url_for(monkeypatch, settings, "models", SessionAuthentication).startswith(
            "/outer/api/models?next="
        )
    finally:
        set_script_prefix("/")

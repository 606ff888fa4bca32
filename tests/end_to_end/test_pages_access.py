"""The documentation pages of a project that lets not everybody read the document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.end_to_end.server import Server
from tests.end_to_end.test_embedding import TOKENS, Database, database, serve
from tests.end_to_end.test_pages import OpenPage, Scheme, context, open_page

__all__ = ["context", "database", "open_page"]

pytestmark = [pytest.mark.browser, pytest.mark.long]

PAGES = ["docs", "redoc"]
REFUSED = "error: Failed to load resource: the server responded with a status of {}"
NOT_LOGGED_IN = "Authentication credentials were not provided."


@pytest.fixture(scope="module")
def tokens(database: Database) -> Iterator[Server]:
    """A project that knows people by tokens."""
    with serve(
        database,
        HOST_APPS=TOKENS,
        HOST_AUTHENTICATION="rest_framework.authentication.TokenAuthentication",
    ) as server:
        yield server


@pytest.fixture(scope="module")
def sessions(database: Database) -> Iterator[Server]:
    """A project whose people log in."""
    with serve(
        database,
        HOST_AUTHENTICATION="rest_framework.authentication.SessionAuthentication",
        HOST_LOGIN_URL="enter",
    ) as server:
        yield server


def refusal(server: Server, status: int, text: str, times: int = 1) -> list[str]:
    """What the browser says of a document that is refused."""
    url = f"{server.url}/ml/openapi.json"
    return [f"{status}: {url}", REFUSED.format(f"{status} ({text})")] * times


def expect_document(page: Page) -> None:
    expect(page.get_by_text("Doubling", exact=True).first).to_be_visible()
    expect(page.locator("#access")).to_be_hidden()


def expect_refusal(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", name="This page is not for everybody")).to_be_visible()
    expect(page.get_by_text(text)).to_be_visible()
    expect(page.locator("[data-document]")).to_be_hidden()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_for_the_token_and_sends_it(
    tokens: Server, database: Database, open_page: OpenPage, name: str
) -> None:
    with open_page(f"{tokens.url}/ml/{name}", refusal(tokens, 401, "Unauthorized")) as page:
        expect_refusal(page, NOT_LOGGED_IN)
        expect(page.get_by_role("link", name="Log in")).to_have_count(0)
        page.get_by_label("Token").fill(database.token)
        page.get_by_role("button", name="Show the page").click()
        expect_document(page)
        assert database.token not in page.url
        assert page.evaluate("[document.cookie, localStorage.length]") == ["", 0]
        if name == "docs":
            expect_prediction(page)
        with page.expect_download() as saved:
            page.get_by_role("link", name="openapi.yaml").click()
        assert Path(saved.value.path()).read_text("utf-8").startswith("openapi: 3.1.0")
        # Another page in this tab knows it too.
        page.goto(f"{tokens.url}/ml/{'redoc' if name == 'docs' else 'docs'}")
        expect_document(page)


def expect_prediction(page: Page) -> None:
    operation = page.locator("#operations-doubling-predict_doubling")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.locator("textarea").fill('{"number": 21}')
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table")).to_contain_text('"doubled": 42')


@pytest.mark.parametrize("name", PAGES)
def test_a_token_can_be_forgotten(
    tokens: Server, database: Database, open_page: OpenPage, name: str
) -> None:
    with open_page(
        f"{tokens.url}/ml/{name}", refusal(tokens, 401, "Unauthorized", times=2)
    ) as page:
        page.get_by_label("Token").fill(f"Token {database.token}")
        page.get_by_label("Token").press("Enter")
        expect_document(page)
        page.get_by_role("button", name="Forget the token").click()
        expect_refusal(page, NOT_LOGGED_IN)
        assert page.evaluate("sessionStorage.length") == 0


@pytest.mark.parametrize("name", PAGES)
def test_a_wrong_token_is_said_to_be_wrong_and_asked_for_again(
    tokens: Server, database: Database, open_page: OpenPage, name: str
) -> None:
    with open_page(
        f"{tokens.url}/ml/{name}", refusal(tokens, 401, "Unauthorized", times=2)
    ) as page:
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Show the page").click()
        expect_refusal(page, "Invalid token.")
        expect(page.get_by_text("it is forgotten")).to_be_visible()
        page.get_by_label("Token").fill(database.token)
        page.get_by_role("button", name="Show the page").click()
        expect_document(page)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_leads_to_the_login_of_the_site_and_back(
    sessions: Server, open_page: OpenPage, name: str
) -> None:
    with open_page(f"{sessions.url}/ml/{name}", refusal(sessions, 403, "Forbidden")) as page:
        expect_refusal(page, NOT_LOGGED_IN)
        page.get_by_role("link", name="Log in").click()
        expect_document(page)
        assert page.url == f"{sessions.url}/ml/{name}"
        page.context.clear_cookies()


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 390), ("dark", 1440)])
def test_the_question_fits_a_phone_and_either_colours(
    tokens: Server, open_page: OpenPage, scheme: Scheme, width: int
) -> None:
    url, expected = f"{tokens.url}/ml/docs", refusal(tokens, 401, "Unauthorized")
    with open_page(url, expected, scheme=scheme, width=width) as page:
        expect_refusal(page, NOT_LOGGED_IN)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        box = page.get_by_label("Token").bounding_box()
        assert box is not None
        assert 0 < box["x"] < box["x"] + box["width"] < width


@pytest.mark.parametrize("name", PAGES)
def test_a_document_that_is_not_there_yet_can_be_asked_for_again(
    database: Database, tmp_path: Path, open_page: OpenPage, name: str
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("models: [{class_path: host.hosted.Missing}]", encoding="utf-8")
    variables = {
        "REST_CONFIG": str(broken),
        "HOST_AUTHENTICATION": "host.policies.Everybody",
    }
    with serve(database, "/page", **variables) as server:
        expected = refusal(server, 503, "Service Unavailable", times=2)
        with open_page(f"{server.url}/ml/{name}", expected) as page:
            expect(page.get_by_text("The configuration of the models has problems")).to_be_visible()
            with page.expect_response("**/openapi.json"):
                page.get_by_role("button", name="Try again").click()
            expect(page.get_by_role("button", name="Try again")).to_be_visible()

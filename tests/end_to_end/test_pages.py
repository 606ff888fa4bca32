"""The documentation pages in a browser that can reach nothing but the service."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import quote

import pytest
from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Error,
    Locator,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from tests.end_to_end.contrast import hard_to_read
from tests.end_to_end.nginx import Nginx, with_example
from tests.end_to_end.server import REPOSITORY, Server
from tests.fakes.named import CLASS_PATHS, NAMES
from tests.test_docs import Walkthrough, is_torch_wanted, recipes

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # What leads anywhere else fails; unlike playwright's routes, this leaves the browser its cache.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
EXAMPLES = REPOSITORY / "rest_config.yaml"
MODELS = {"iris": "Iris", "diabetes": "Diabetes", "digits": "Digits"}
REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => {
  console.error("securitypolicyviolation", event.effectiveDirective, event.blockedURI);
});
"""
# A project that has the service under a prefix, and other names than Django's for CSRF's.
SITE = {
    "site_settings.py": """
from modelhost.settings import *

ROOT_URLCONF = "site_urls"
WSGI_APPLICATION = "site_wsgi.application"
CSRF_COOKIE_NAME = "ticket"
CSRF_HEADER_NAME = "HTTP_X_TICKET"
""",
    "site_urls.py": """
from django.urls import include, path

urlpatterns = [path("machine/learning/", include("models_api.urls"))]
""",
    "site_wsgi.py": """
import os

os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
""",
}

# Swagger UI says so of every link to an id that has an underscore.
UNDERSCORE = (
    "error: Deprecated: escaping deep link whitespace with `_` is unsupported and will be removed "
    "in a future 5.x release. Use `%20` instead."
)


Scheme = Literal["light", "dark"]
GROUNDS = {"light": "rgb(255, 255, 255)", "dark": "rgb(28, 32, 34)"}
WIDTHS = [390, 768, 1440]
WIDTH = "element => element.offsetWidth"


class OpenPage(Protocol):
    def __call__(
        self, url: str, expected: Sequence[str] = (), *, scheme: Scheme = "light", width: int = 1280
    ) -> AbstractContextManager[Page]: ...


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("there is no chromium on the path, and CI tests the pages")
        pytest.skip("there is no chromium on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1280, "height": 1000})
        context.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)  # of what is expected to come, which is 5 s otherwise
        context.add_init_script(REPORT_VIOLATIONS)
        yield context
        browser.close()


@pytest.fixture
def open_page(context: BrowserContext) -> OpenPage:
    """Open a page; at the end of the block it must have had no trouble but that expected."""

    @contextmanager
    def open_(
        url: str, expected: Sequence[str] = (), *, scheme: Scheme = "light", width: int = 1280
    ) -> Iterator[Page]:
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 1000})
        page.emulate_media(color_scheme=scheme)
        trouble = _note_trouble(page, "/".join(url.split("/")[:3]))
        page.goto(url)
        yield page
        # What a script does a moment later counts too.
        page.wait_for_load_state("networkidle")
        page.close()
        assert sorted(trouble) == sorted(expected)

    return open_


def _note_trouble(page: Page, origin: str) -> list[str]:
    trouble: list[str] = []

    def note_request(request: Request) -> None:
        if not request.url.startswith((f"{origin}/", f"blob:{origin}/", "data:")):
            trouble.append(f"asked for {request.url}")

    def note_response(response: Response) -> None:
        if response.status >= 400:
            trouble.append(f"{response.status}: {response.url}")

    def note_message(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            trouble.append(f"{message.type}: {message.text}")

    page.on("request", note_request)
    page.on("response", note_response)
    page.on("requestfailed", lambda request: trouble.append(f"failed: {request.url}"))
    page.on("console", note_message)
    page.on("pageerror", lambda error: trouble.append(f"exception: {error}"))
    return trouble


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(EXAMPLES) as server:
        yield server


@pytest.fixture(
    scope="module",
    params=[
        "at the root",
        pytest.param("under a prefix", marks=pytest.mark.long),
        pytest.param("behind a SCRIPT_NAME", marks=pytest.mark.long),
        pytest.param("behind a proxy", marks=pytest.mark.long),
    ],
)
def base_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where the service is, in each of the ways that it can be mounted."""
    if request.param == "at the root":
        yield request.getfixturevalue("server").url
        return
    if request.param == "behind a proxy":
        yield from behind_a_proxy()
        return
    if request.param == "behind a SCRIPT_NAME":
        prefix = "/outer/inner"
        application, environment = "modelhost.wsgi", {"SCRIPT_NAME": prefix}
    else:
        prefix = "/machine/learning"
        folder = write_site(tmp_path_factory.mktemp("site"))
        application = "site_wsgi"
        environment = {"PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY)])}
    with Server(
        EXAMPLES,
        application=application,
        environment=environment,
        ready_path=f"{prefix}/api/health/ready",
    ) as server:
        yield server.url + prefix


def behind_a_proxy() -> Iterator[str]:
    """Where the service is if nginx takes a prefix away and says so."""
    with (
        Server(EXAMPLES, environment={"MODELHOST_TRUST_PROXY_PREFIX": "1"}) as server,
        Nginx(server.port, text=with_example("path_taken.conf")) as proxy,
    ):
        yield f"{proxy.url}/ml"


def write_site(folder: Path) -> Path:
    for name, text in SITE.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def iris_body() -> dict[str, float]:
    names = ("sepal_length", "sepal_width", "petal_length", "petal_width")
    return dict(zip(names, load_iris().data[0].tolist(), strict=True))


def iris_prediction() -> dict[str, object]:
    """What scikit-learn itself says of the row that the pages offer as an example."""
    data = load_iris()
    classifier = LogisticRegression(max_iter=1000).fit(data.data, data.target)
    row = [list(iris_body().values())]
    species = str(data.target_names[classifier.predict(row)[0]])
    return {"species": species, "probability": pytest.approx(classifier.predict_proba(row).max())}


def wait_for_height(page: Page, below: int) -> None:
    """Wait until all that is on the page is that high; it grows and shrinks while it is made."""
    page.wait_for_function("below => document.documentElement.scrollHeight < below", arg=below)


def wait_for_width(page: Page, width: int) -> None:
    """Wait until nothing on the page is wider than the window."""
    page.wait_for_function("width => document.documentElement.scrollWidth === width", arg=width)


def ground(part: Page | Locator) -> str:
    """The colour behind a page or a part of it."""
    element = part.locator("body") if isinstance(part, Page) else part
    return str(element.evaluate("element => getComputedStyle(element).backgroundColor"))


def operation(page: Page, operation_id: str) -> Locator:
    return page.locator(f'[id$="-{operation_id}"]')


def try_out(page: Page, operation_id: str, body: str | None = None) -> Locator:
    """Fill in the body, the offered one by default, and execute; returns the live response."""
    block = operation(page, operation_id)
    if block.get_by_role("button", name="Try it out").count() == 0:
        block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    if body is not None:
        block.locator("textarea.body-param__text").fill(body)
    block.get_by_role("button", name="Execute").click()
    response = block.locator(".live-responses-table .response")
    expect(response).to_be_visible()
    return response


# Swagger UI


@pytest.mark.long
def test_the_docs_page_shows_every_operation_the_models_first(
    server: Server, open_page: OpenPage
) -> None:
    document = server.client.get("/openapi.json").json()
    operations = [
        (method.upper(), path, details["summary"])
        for path, methods in document["paths"].items()
        for method, details in methods.items()
    ]
    with open_page(f"{server.url}/docs") as page:
        expect(page).to_have_title("Example models")
        expect(page.locator(".opblock")).to_have_count(len(operations))
        shown = [
            tuple(
                # The page puts invisible breaks into long paths.
                block.locator(part).inner_text().replace("\u200b", "")
                for part in (
                    ".opblock-summary-method",
                    ".opblock-summary-path",
                    ".opblock-summary-description",
                )
            )
            for block in page.locator(".opblock").all()
        ]
        assert sorted(shown) == sorted(operations)
        tags = [tag.get_attribute("data-tag") for tag in page.locator(".opblock-tag").all()]
        assert tags == [*MODELS, "models", "status"]
        expect(page.locator(".info .title")).to_contain_text("Example models")
        expect(page.locator(".info")).to_contain_text(
            "Three models on scikit-learn's bundled data sets."
        )
        expect(page.locator("#operations-tag-iris")).to_contain_text(
            "Predicts the species of an iris flower from the size of its sepals and petals."
        )


def test_trying_out_the_iris_model_shows_what_scikit_learn_predicts(
    base_url: str, open_page: OpenPage
) -> None:
    with open_page(f"{base_url}/docs") as page:
        response = try_out(page, "predict_iris")
        sent = page.locator("textarea.body-param__text").input_value()
        assert json.loads(sent) == iris_body()
        expect(response.locator(".response-col_status")).to_have_text("200")
        shown = response.locator(".response-col_description pre").first.inner_text()
        assert json.loads(shown) == iris_prediction()
        expect(page.locator(".request-url")).to_contain_text(
            f"{base_url}/api/models/iris/prediction"
        )


@pytest.mark.long
def test_trying_out_nonsense_shows_what_is_wrong_with_it(
    server: Server, open_page: OpenPage
) -> None:
    body = json.dumps({**iris_body(), "petal_width": -1})
    # The browser itself reports the status; there is nothing else to report.
    status = "Failed to load resource: the server responded with a status of 400 (Bad Request)"
    expected = [f"400: {server.url}/api/models/iris/prediction", f"error: {status}"]
    with open_page(f"{server.url}/docs", expected) as page:
        response = try_out(page, "predict_iris", body)
        expect(response.locator(".response-col_status")).to_contain_text("400")
        expect(response.locator(".response-col_description pre").first).to_contain_text(
            "petal_width: Input should be greater than 0"
        )


@pytest.mark.long
@pytest.mark.parametrize("name", ["diabetes", "digits"])
def test_the_offered_example_of_each_model_is_predicted(
    name: str, server: Server, open_page: OpenPage
) -> None:
    with open_page(f"{server.url}/docs") as page:
        response = try_out(page, f"predict_{name}")
        expect(response.locator(".response-col_status")).to_have_text("200")


@pytest.mark.long
def test_the_picture_that_the_cookbook_offers_is_read(tmp_path: Path, open_page: OpenPage) -> None:
    if not is_torch_wanted():
        pytest.skip("there is no PyTorch; requirements/cookbook.txt has it")
    with ExitStack() as servers:
        walkthrough = Walkthrough(tmp_path, servers)
        walkthrough.run(*recipes()["A picture for PyTorch"])
        assert walkthrough.server is not None
        with open_page(f"{walkthrough.server.url}/docs") as page:
            response = try_out(page, "predict_digits")
            expect(response.locator(".response-col_status")).to_have_text("200")
            shown = response.locator(".response-col_description pre").first
            assert json.loads(shown.inner_text())["digit"] == 3


@pytest.mark.long
def test_the_metadata_of_a_model_can_be_tried_out_by_its_name(
    server: Server, open_page: OpenPage
) -> None:
    with open_page(f"{server.url}/docs") as page:
        block = operation(page, "get_model_metadata")
        block.locator(".opblock-summary-control").click()
        block.get_by_role("button", name="Try it out").click()
        block.get_by_placeholder("qualified_name").fill("digits")
        block.get_by_role("button", name="Execute").click()
        response = block.locator(".live-responses-table .response")
        expect(response.locator(".response-col_status")).to_have_text("200")
        shown = json.loads(response.locator(".response-col_description pre").first.inner_text())
        assert shown == server.client.get("/api/models/digits/metadata").json()


@pytest.mark.long
def test_the_schemas_are_shown_and_unfold(server: Server, open_page: OpenPage) -> None:
    names = server.client.get("/openapi.json").json()["components"]["schemas"]
    with open_page(f"{server.url}/docs") as page:
        schemas = page.locator("section.models")
        schemas.get_by_role("button", name="Schemas").click()
        expect(schemas.locator("article")).to_have_count(len(names))
        titles = [each.inner_text() for each in schemas.locator("article strong:first-child").all()]
        assert {title for title in titles if title[0].isupper()} == set(names)
        schemas.get_by_role("button", name="IrisModelInput", exact=True).click()
        schemas.get_by_role("button", name="petal_length").click()
        expect(schemas).to_contain_text("Length of the petal in cm.")


@pytest.mark.long
def test_a_deep_link_opens_its_operation(server: Server, open_page: OpenPage) -> None:
    url = f"{server.url}/docs#/digits/predict_digits"
    with open_page(url, [UNDERSCORE]) as page:
        block = operation(page, "predict_digits")
        expect(block.get_by_role("button", name="Try it out")).to_be_visible()
        expect(page.get_by_role("button", name="Try it out")).to_have_count(1)
        expect(block).to_be_in_viewport()


@pytest.mark.long
def test_opening_an_operation_makes_a_link_to_it(server: Server, open_page: OpenPage) -> None:
    with open_page(f"{server.url}/docs") as page:
        operation(page, "get_health").locator(".opblock-summary-control").click()
        expect(page).to_have_url(f"{server.url}/docs#/status/get_health")


@pytest.mark.long
def test_the_root_leads_to_the_docs_page_and_that_to_the_others(
    server: Server, open_page: OpenPage
) -> None:
    with open_page(f"{server.url}/") as page:
        expect(page).to_have_url(f"{server.url}/docs")
        links = page.get_by_role("navigation").get_by_role("link").all()
        addresses = [link.evaluate("link => link.href") for link in links]
        assert addresses == [f"{server.url}/redoc", f"{server.url}/openapi.yaml"]
        links[0].click()
        expect(page.locator(".api-content h1").first).to_contain_text("Example models")


@pytest.mark.long
def test_headings_are_the_display_names_of_the_models(server: Server, open_page: OpenPage) -> None:
    with open_page(f"{server.url}/docs") as page:
        headings = page.locator(".opblock-tag > a").all()
        assert [each.inner_text() for each in headings] == [*MODELS.values(), "Models", "Status"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("DIAB", ["diabetes"]),  # of a display name
        ("flower", ["iris"]),  # of a description
        ("8 handwritten", ["digits"]),  # two words in any order
        ("predicts", ["iris", "diabetes"]),
        ("nothing", []),
    ],
)
def test_models_are_found_by_what_they_are_called_and_do(
    server: Server, open_page: OpenPage, wanted: str, found: list[str]
) -> None:
    with open_page(f"{server.url}/docs") as page:
        page.get_by_role("textbox", name="Find a model").fill(wanted)
        expect(page.locator(".opblock-tag")).to_have_count(len(found))
        tags = [tag.get_attribute("data-tag") for tag in page.locator(".opblock-tag").all()]
        assert tags == found


@pytest.mark.long
def test_errors_are_a_line_each_until_one_is_to_be_seen(
    server: Server, open_page: OpenPage
) -> None:
    with open_page(f"{server.url}/docs") as page:
        block = operation(page, "predict_iris")
        block.locator(".opblock-summary-control").click()
        expect(block.get_by_role("button", name="Try it out")).to_be_visible()
        responses = block.locator(".responses-wrapper tr.response")
        codes = [each.get_attribute("data-code") for each in responses.all()]
        assert codes == ["200", "400", "411", "413", "415", "500", "503", "504"]
        expect(responses.first).to_contain_text("setosa")
        bad = block.locator('tr[data-code="400"]')
        expect(bad).to_contain_text("does not fit the model's input schema")
        expect(bad.locator("pre")).to_have_count(0)
        height = block.bounding_box()
        assert height is not None
        assert height["height"] < 1300
        bad.get_by_role("button", name="Show").click()
        expect(bad.locator("pre")).to_contain_text("ValidationError")
        expect(block.locator('tr[data-code="504"] pre')).to_have_count(0)
        bad.get_by_role("button", name="Hide").click()
        expect(bad.locator("pre")).to_have_count(0)


MANY = 60
TOPICS = ["Churn of customers", "Demand for bread", "Fraud", "Delays of flights", "Rents"]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service of sixty models."""
    folder = tmp_path_factory.mktemp("many")
    classes = "".join(
        f"class Model{number}(IrisModel):\n"
        f"    qualified_name = 'model_{number}'\n"
        f"    display_name = '{TOPICS[number % len(TOPICS)]} in region {number}'\n\n"
        "    def __init__(self): pass\n\n"
        for number in range(MANY)
    )
    (folder / "many.py").write_text(f"from examples.iris import IrisModel\n\n{classes}")
    configuration = {
        "service_title": "Sixty models",
        "models": [{"class_path": f"many.Model{number}"} for number in range(MANY)],
    }
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    with Server(configuration, environment={"PYTHONPATH": path}) as server:
        yield server


@pytest.mark.long
def test_many_models_are_a_list_in_which_one_is_found(many: Server, open_page: OpenPage) -> None:
    with open_page(f"{many.url}/docs", width=390) as page:
        expect(page.locator(".opblock-tag")).to_have_count(MANY + 2)
        expect(page.locator(".opblock")).to_have_count(0)
        wait_for_height(page, below=7000)
        page.get_by_role("textbox", name="Find a model").fill("fraud 42")
        heading = page.locator(".opblock-tag")
        expect(heading).to_have_count(1)
        heading.click()
        expect(page.locator(".opblock")).to_have_count(2)


@pytest.mark.long
def test_redoc_lists_many_models_and_has_a_page_for_each(many: Server, open_page: OpenPage) -> None:
    with open_page(f"{many.url}/redoc", width=390) as page:
        expect(page.get_by_role("heading", name="Fraud in region 42")).to_be_attached()
        expect(page.get_by_text("Predict with")).to_have_count(0)
        wait_for_height(page, below=10_000)
        wait_for_width(page, 390)
        # What is under way when a page is left counts as failed.
        page.wait_for_load_state("networkidle")
        page.get_by_role("link", name="Operations of Fraud in region 42").click()
        expect(page).to_have_url(f"{many.url}/redoc?group=model_42")
        expect(page.get_by_role("heading", name="Predict with Fraud in region 42")).to_be_visible()
        expect(page).to_have_title("Fraud in region 42 - Sixty models")
        expect(page.locator("h2", has_text="region 41")).to_have_count(0)
        wait_for_height(page, below=8000)
        page.wait_for_load_state("networkidle")
        page.get_by_role("link", name="All models").click()
        expect(page).to_have_url(f"{many.url}/redoc")
        expect(page.get_by_role("heading", name="Fraud in region 42")).to_be_attached()


@pytest.mark.long
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (768, "light"), (1440, "dark")])
@pytest.mark.parametrize("name", ["docs", "redoc"])
def test_the_lists_of_many_models_can_be_read_at_every_width(
    many: Server, open_page: OpenPage, name: str, width: int, scheme: Scheme
) -> None:
    with open_page(f"{many.url}/{name}", scheme=scheme, width=width) as page:
        expect(page.get_by_role("heading", name="Fraud in region 42")).to_be_attached()
        assert hard_to_read(page) == []
        wait_for_width(page, width)


@pytest.mark.long
def test_redoc_finds_one_of_many_models(many: Server, open_page: OpenPage) -> None:
    with open_page(f"{many.url}/redoc") as page:
        page.get_by_placeholder("Search...").fill("rents in region 44")
        result = page.locator('[data-role="search:results"]').get_by_role("menuitem").first
        expect(result).to_have_text("Rents in region 44")
        result.click()
        expect(
            page.get_by_role("link", name="Operations of Rents in region 44")
        ).to_be_in_viewport()


@pytest.mark.long
@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("#operation/predict_batch_model_3", "Predict a batch with Delays of flights in region 3"),
        ("#tag/model_3/operation/predict_model_3", "Predict with Delays of flights in region 3"),
        ("?group=status", "Check readiness"),
        ("?group=nobody", "Delays of flights in region 33"),  # the list
    ],
)
def test_a_link_into_redoc_leads_to_one_of_many_models(
    many: Server, open_page: OpenPage, address: str, shown: str
) -> None:
    with open_page(f"{many.url}/redoc{address}") as page:
        expect(page.get_by_role("heading", name=shown)).to_be_attached()
        wait_for_height(page, below=10_000)


@pytest.mark.long
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_docs_page_can_be_read_in_either_scheme_at_every_width(
    server: Server, open_page: OpenPage, scheme: Scheme, width: int
) -> None:
    with open_page(f"{server.url}/docs", scheme=scheme, width=width) as page:
        try_out(page, "predict_iris")
        block = operation(page, "predict_iris")
        block.locator('tr[data-code="400"]').get_by_role("button", name="Show").click()
        operation(page, "get_model_metadata").locator(".opblock-summary-control").click()
        page.get_by_role("button", name="Schemas").click()
        expect(page.locator("section.models article").first).to_be_visible()
        assert hard_to_read(page) == []
        assert ground(page) == GROUNDS[scheme]
        wait_for_width(page, width)
        field, rest = page.locator(".operation-filter-input, #operations-tag-iris").all()
        assert field.evaluate("each => each.offsetWidth") == rest.evaluate(
            "each => each.offsetWidth"
        )


@pytest.mark.long
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_redoc_can_be_read_in_either_scheme_at_every_width(
    server: Server, open_page: OpenPage, scheme: Scheme, width: int
) -> None:
    with open_page(f"{server.url}/redoc", scheme=scheme, width=width) as page:
        page.get_by_role("button", name="400").first.click()
        expect(page.get_by_text("Predict with Iris").first).to_be_attached()
        assert hard_to_read(page) == []
        assert ground(page) == GROUNDS[scheme]
        wait_for_width(page, width)
        # They lie over ReDoc's panels, of which one is dark in either scheme.
        links = page.get_by_role("navigation", name="Other forms of this page")
        assert ground(links) == GROUNDS[scheme]


@pytest.mark.long
def test_long_words_make_no_page_wider_than_its_window(open_page: OpenPage) -> None:
    configuration = {
        "service_title": "AnUnbreakableTitleOfAServiceThatHasNoSpacesInItAtAll",
        "models": [{"class_path": "tests.fakes.wordy.WordyModel"}],
    }
    with Server(configuration) as server:
        for width in WIDTHS:
            with open_page(f"{server.url}/docs", width=width) as page:
                page.locator(".opblock-summary-control").first.click()
                page.get_by_role("button", name="Try it out").click()
                page.get_by_role("button", name="Execute").click()
                expect(page.locator(".live-responses-table .response")).to_be_visible()
                wait_for_width(page, width)
            with open_page(f"{server.url}/redoc", width=width) as page:
                field = page.get_by_text("a_field_whose_name_is_long").first
                expect(field).to_be_visible()
                end = field.evaluate("each => each.getBoundingClientRect().right")
                assert end <= width
                wait_for_width(page, width)


# By the keyboard

FOCUSED = """() => {
  const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
  const name = document.activeElement.ariaLabel || document.activeElement.innerText;
  return [name, outlineStyle !== "none" && parseInt(outlineWidth) >= 2];
}"""


def tab_to(page: Page, name: str) -> None:
    """Press the tabulator until an element of this name has the focus, which every one shows."""
    for _ in range(60):
        page.keyboard.press("Tab")
        label, is_outlined = page.evaluate(FOCUSED)
        assert is_outlined, label
        if name in label:
            # Not there for the pointer alone.
            expect(page.locator(":focus")).to_be_visible()
            return
    raise AssertionError(f"{name} cannot be reached")


@pytest.mark.long
def test_the_docs_page_needs_no_pointer(server: Server, open_page: OpenPage) -> None:
    with open_page(f"{server.url}/docs") as page:
        expect(page.locator(".opblock").first).to_be_visible()
        tab_to(page, "Find a model")
        page.keyboard.type("flower")
        expect(page.locator(".opblock-tag")).to_have_count(1)
        tab_to(page, "Predict with Iris")
        page.keyboard.press("Enter")
        tab_to(page, "Copy path to clipboard")
        tab_to(page, "Try it out")
        page.keyboard.press("Enter")
        tab_to(page, "Execute")
        page.keyboard.press("Enter")
        expect(page.locator(".live-responses-table .response")).to_contain_text("setosa")
        tab_to(page, "Show the body of 400")
        page.keyboard.press("Enter")
        bad = operation(page, "predict_iris").locator('tr[data-code="400"] pre')
        expect(bad).to_contain_text("ValidationError")
        page.keyboard.press("Space")  # which is where it was
        expect(bad).to_have_count(0)


@pytest.mark.long
def test_redocs_menu_lies_over_all_else_on_a_telephone(server: Server, open_page: OpenPage) -> None:
    with open_page(f"{server.url}/redoc", width=390) as page:
        expect(page.get_by_role("heading", name="Predict with Iris")).to_be_visible()
        page.mouse.click(340, 930)
        page.get_by_placeholder("Search...").click(position={"x": 300, "y": 10})
        page.get_by_role("menuitem", name="Digits", exact=True).click()
        page.get_by_role("menuitem", name="Predict with Digits", exact=True).click()
        expect(page.get_by_role("heading", name="Predict with Digits")).to_be_in_viewport()
        page.evaluate("scrollTo(0, 0)")
        # What is under way when a page is left counts as failed.
        page.wait_for_load_state("networkidle")
        page.get_by_role("link", name="Try it out").click()
        expect(page).to_have_url(f"{server.url}/docs")


@pytest.mark.long
def test_redoc_needs_no_pointer(server: Server, open_page: OpenPage) -> None:
    with open_page(f"{server.url}/redoc") as page:
        expect(page.get_by_role("menuitem", name="Digits", exact=True)).to_be_visible()
        tab_to(page, "Try it out")
        tab_to(page, "Search")
        tab_to(page, "Digits")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="tag/digits Digits")).to_be_in_viewport()
        tab_to(page, "/api/models/iris/prediction")
        tab_to(page, "Copy")


@pytest.mark.long
def test_redoc_shows_one_model_alone_where_it_is_asked_to(
    server: Server, open_page: OpenPage
) -> None:
    with open_page(f"{server.url}/redoc?group=digits") as page:
        expect(page.get_by_role("heading", name="Predict with Digits")).to_be_visible()
        expect(page.get_by_text("Predict with Iris")).to_have_count(0)
        page.get_by_role("link", name="All models").click()
        expect(page.get_by_role("heading", name="Predict with Iris")).to_be_visible()


@pytest.mark.long
def test_redoc_leads_back_to_the_page_where_requests_are_tried_out(
    server: Server, open_page: OpenPage
) -> None:
    with open_page(f"{server.url}/redoc") as page:
        # What is under way when a page is left counts as failed.
        page.wait_for_load_state("networkidle")
        page.get_by_role("link", name="Try it out").click()
        expect(page).to_have_url(f"{server.url}/docs")
        expect(page.locator(".opblock").first).to_be_visible()


@pytest.mark.long
def test_the_docs_page_fits_a_telephone(server: Server, open_page: OpenPage) -> None:
    with open_page(f"{server.url}/docs") as page:
        page.set_viewport_size({"width": 390, "height": 800})
        expect(operation(page, "predict_iris")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("base_url", ["under a prefix"], indirect=True)
@pytest.mark.parametrize("has_token", [True, False])
@pytest.mark.long
def test_requests_carry_the_csrf_token_if_the_project_gave_one(
    has_token: bool, base_url: str, open_page: OpenPage
) -> None:
    with open_page(f"{base_url}/docs") as page:
        if has_token:
            page.context.add_cookies([{"name": "ticket", "value": "a%3Db", "url": base_url}])
        with page.expect_request("**/prediction") as request:
            try_out(page, "predict_iris")
        page.context.clear_cookies()
        assert request.value.headers.get("x-ticket") == ("a=b" if has_token else None)


@pytest.mark.long
def test_the_root_leads_to_the_docs_page_wherever_it_is(base_url: str, open_page: OpenPage) -> None:
    with open_page(f"{base_url}/") as page:
        expect(page).to_have_url(f"{base_url}/docs")
        expect(operation(page, "predict_iris")).to_be_visible()


# ReDoc


def test_redoc_shows_the_models_and_finds_what_one_searches(
    base_url: str, open_page: OpenPage
) -> None:
    with open_page(f"{base_url}/redoc") as page:
        expect(page).to_have_title("Example models")
        for display_name in MODELS.values():
            heading = page.get_by_role("heading", name=f"Predict with {display_name}")
            expect(heading.first).to_be_visible()
            expect(page.get_by_role("menu").get_by_text(display_name, exact=True)).to_be_visible()
        expect(page.get_by_text("Length of the petal in cm.").first).to_be_visible()
        expect(page.get_by_text(f"{base_url}/api/models/iris/prediction").first).to_be_attached()

        page.get_by_placeholder("Search...").fill("handwritten")
        results = page.locator('[data-role="search:results"]')
        expect(results).to_contain_text("Predict with Digits")
        expect(results).not_to_contain_text("Predict with Iris")
        assert len(page.workers) == 1


@pytest.mark.long
def test_redoc_shows_no_logo_of_its_maker(server: Server, open_page: OpenPage) -> None:
    with open_page(f"{server.url}/redoc") as page:
        expect(page.get_by_text("API docs by Redocly")).to_be_visible()
        expect(page.locator('img[alt="redocly logo"]')).to_have_count(0)


@pytest.mark.long
def test_a_deep_link_into_redoc_scrolls_to_its_operation(
    server: Server, open_page: OpenPage
) -> None:
    with open_page(f"{server.url}/redoc#operation/predict_digits") as page:
        expect(page.get_by_role("heading", name="Predict with Digits")).to_be_in_viewport()


# Content that could do harm


HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture(scope="module")
def hostile_server() -> Iterator[Server]:
    configuration = {
        "service_title": f"</title>{HOSTILE}",
        "description": HOSTILE,
        "models": [{"class_path": "examples.iris.IrisModel"}],
    }
    with Server(configuration) as server:
        yield server


@pytest.mark.parametrize("path", ["docs", "redoc"])
@pytest.mark.long
def test_no_text_of_the_configuration_runs_as_a_script(
    path: str, hostile_server: Server, context: BrowserContext
) -> None:
    dialogs: list[Dialog] = []
    page = context.new_page()
    page.on("dialog", lambda dialog: dialogs.append(dialog))  # noqa: PLW0108 (playwright marks it)
    page.goto(f"{hostile_server.url}/{path}")
    expect(page.locator("#swagger-ui, #redoc")).to_contain_text("Predict with Iris")
    expect(page.locator("#swagger-ui img[src=x], #redoc img[src=x]")).to_have_count(1)
    expect(page.locator("[onerror], #swagger-ui script, #redoc script")).to_have_count(0)
    assert page.title() == f"</title>{HOSTILE}"
    page.close()
    assert dialogs == []


# Pages of other sites


FETCH = """async (url) => {
  const headers = { "Content-Type": "application/json", "X-Request-ID": "mine-1" };
  const response = await fetch(url, { method: "POST", headers, body: '{"number": "one"}' });
  const body = await response.json();
  return [response.status, response.headers.get("X-Request-ID"), body.type];
}"""


def test_the_page_of_another_origin_may_ask_where_it_is_allowed(
    server: Server, context: BrowserContext
) -> None:
    page = context.new_page()
    models = {"models": [{"class_path": "tests.fakes.deadly.DeadlyModel"}]}
    with Server(models, environment={"MODELHOST_CORS_ORIGINS": server.url}) as allowing:
        page.goto(f"{server.url}/api/models")  # no page of ours, whose policy would forbid it
        url = f"{allowing.url}/api/models/deadly/prediction"
        assert page.evaluate(FETCH, url) == [400, "mine-1", "ValidationError"]
        page.goto(f"{allowing.url}/api/models")
        with pytest.raises(Error, match="Failed to fetch"):
            page.evaluate(FETCH, f"{server.url}/api/models/iris/prediction")
    page.close()


@pytest.mark.long
def test_models_whose_names_are_quoted_in_urls_can_be_tried_out(open_page: OpenPage) -> None:
    configuration = {"models": [{"class_path": path} for path in CLASS_PATHS]}
    with Server(configuration) as server, open_page(f"{server.url}/docs", []) as page:
        for name in NAMES:
            path = f"/api/models/{quote(name, safe='')}/prediction"
            block = page.locator(".opblock").filter(
                has=page.locator(f'.opblock-summary-path[data-path="{path}"]')
            )
            block.locator(".opblock-summary-control").click()
            block.get_by_role("button", name="Try it out").click()
            block.locator("textarea.body-param__text").fill('{"value": 3}')
            block.get_by_role("button", name="Execute").click()
            response = block.locator(".live-responses-table .response")
            expect(response.locator(".response-col_status")).to_have_text("200")
            shown = response.locator(".response-col_description pre").first.inner_text()
            assert json.loads(shown) == {"name": name, "value": 3}


@pytest.mark.long
def test_redoc_shows_models_whose_names_are_quoted_in_urls(open_page: OpenPage) -> None:
    configuration = {"models": [{"class_path": path} for path in CLASS_PATHS]}
    with Server(configuration) as server, open_page(f"{server.url}/redoc") as page:
        for name in NAMES:
            path = f"/api/models/{quote(name, safe='')}/prediction"
            expect(page.get_by_text(path, exact=True).first).to_be_attached()

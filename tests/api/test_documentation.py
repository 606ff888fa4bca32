"""The documentation's pages and the files that they load."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from django.test import Client
from django.utils.http import http_date, parse_http_date

from models_api.api.documentation import ReDocView, SwaggerUIView

ASSETS = {
    "swagger-ui/swagger-ui-bundle.js": "text/javascript",
    "swagger-ui/swagger-ui.css": "text/css",
    "redoc/redoc.standalone.js": "text/javascript",
    "modelhost/swagger_ui.js": "text/javascript",
    "modelhost/redoc.js": "text/javascript",
    "modelhost/redoc_groups.js": "text/javascript",
    "modelhost/pages.css": "text/css",
    "modelhost/favicon.svg": "image/svg+xml",
}
SWAGGER_UI = "/docs/assets/swagger-ui/swagger-ui.css"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def error(self) -> tuple[int, str]:
        assert self.headers["Content-Type"] == "application/json"
        return self.status, json.loads(self.body)["type"]


def ask(method: str, path: str, **headers: str) -> Answer:
    client = Client(headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = client.generic(method, path)
    body = b"".join(response) if response.streaming else response.content
    # Django's client leaves it to the garbage collector to close files.
    response.close()
    return Answer(response.status_code, response.headers, body)


def get(path: str, **headers: str) -> Answer:
    return ask("GET", path, **headers)


# Pages


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_a_page_is_html_with_the_services_title(path: str) -> None:
    response = get(path)
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<title>Example models</title>" in response.text


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_a_page_holds_no_script_or_style_and_refers_to_nothing_elsewhere(path: str) -> None:
    text = get(path).text
    assert re.findall(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", text) == []
    addresses = re.findall(r'(?:src|href|data-document)="([^"]*)"', text)
    assert len(addresses) >= 5
    assert [address for address in addresses if re.match(r"[a-z]+:|/", address)] == []


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_all_that_a_page_refers_to_is_there(path: str) -> None:
    for address in re.findall(r'(?:src|href|data-document)="([^"]*)"', get(path).text):
        assert get(f"/{address}").status == 200, address


def test_the_docs_page_may_run_and_load_nothing_but_the_services_own() -> None:
    assert SwaggerUIView.content_security_policy == (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; img-src 'self' data:"
    )


def test_redoc_may_also_set_styles_and_start_its_worker() -> None:
    assert ReDocView.content_security_policy == (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "img-src 'self' data:; worker-src blob:"
    )


@pytest.mark.parametrize("view", [SwaggerUIView, ReDocView])
def test_a_page_sends_its_policy(view: type[SwaggerUIView]) -> None:
    path = {SwaggerUIView: "/docs", ReDocView: "/redoc"}[view]
    response = get(path)
    assert response.headers["Content-Security-Policy"] == view.content_security_policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"


def test_the_root_redirects_to_the_docs_page() -> None:
    response = get("/")
    assert response.status == 302
    assert response.headers["Location"] == "/docs"


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/redoc", "/openapi.json", "/openapi.yaml", SWAGGER_UI]
)
def test_a_route_of_the_documentation_is_for_reading_only(path: str) -> None:
    response = ask("POST", path)
    assert response.error == (405, "MethodNotAllowed")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", SWAGGER_UI])
def test_head_gives_the_headers_of_get_and_no_body(path: str) -> None:
    response, expected = ask("HEAD", path), get(path)
    assert response.status == 200
    assert response.body == b""
    for name in ("Content-Type", "Content-Length", "Content-Security-Policy", "Last-Modified"):
        if name in expected.headers:
            assert response.headers[name] == expected.headers[name]
    assert int(response.headers["Content-Length"]) == len(expected.body)


@pytest.mark.parametrize("path", ["/docs/", "/redoc/", "/docs/assets", "/docs/assets/swagger-ui"])
def test_nothing_is_at_a_route_with_a_slash_or_above_the_assets(path: str) -> None:
    assert get(path).error == (404, "NotFound")


# The OpenAPI document


def test_json_and_yaml_are_the_same_document() -> None:
    as_json, as_yaml = get("/openapi.json"), get("/openapi.yaml")
    assert as_json.headers["Content-Type"] == "application/json"
    assert as_yaml.headers["Content-Type"] == "application/yaml"
    assert json.loads(as_json.body) == yaml.safe_load(as_yaml.body)
    assert json.loads(as_json.body)["info"]["title"] == "Example models"


def test_tags_are_the_models_by_their_display_names_then_the_service() -> None:
    tags = json.loads(get("/openapi.json").body)["tags"]
    assert tags == [
        {
            "name": "iris",
            "x-displayName": "Iris",
            "description": "Predicts the species of an iris flower from the size of its sepals "
            "and petals.",
        },
        {
            "name": "diabetes",
            "x-displayName": "Diabetes",
            "description": "Predicts the progression of diabetes one year after an examination.",
        },
        {
            "name": "digits",
            "x-displayName": "Digits",
            "description": "Recognises a handwritten digit on an image of 8 by 8 pixels.",
        },
        {
            "name": "models",
            "x-displayName": "Models",
            "description": "The models that this service hosts.",
        },
        {
            "name": "status",
            "x-displayName": "Status",
            "description": "Whether the service works and may get traffic.",
        },
    ]


def test_each_error_is_documented_with_an_example_of_its_kind() -> None:
    paths = json.loads(get("/openapi.json").body)["paths"]
    contents = {
        status: response["content"]["application/json"]
        for status, response in paths["/api/models/iris/prediction"]["post"]["responses"].items()
    }
    kinds = {
        status: [example["value"]["type"] for example in content["examples"].values()]
        for status, content in contents.items()
        if "examples" in content
    }
    assert kinds == {
        "400": ["ValidationError", "SchemaValidationError"],
        "411": ["LengthRequired"],
        "413": ["PayloadTooLarge"],
        "415": ["UnsupportedMediaType"],
        "500": ["ServiceError"],
        "503": ["ModelNotReady", "Overloaded"],
        "504": ["DeadlineExceeded"],
    }


def test_operations_that_anyone_may_ask_for_state_no_requirement() -> None:
    for methods in json.loads(get("/openapi.json").body)["paths"].values():
        for operation in methods.values():
            assert "security" not in operation


# Assets


@pytest.mark.parametrize(("path", "media_type"), ASSETS.items())
def test_an_asset_has_the_type_that_nosniff_asks_for(path: str, media_type: str) -> None:
    response = get(f"/docs/assets/{path}")
    assert response.status == 200
    assert response.headers["Content-Type"].partition(";")[0] == media_type
    assert int(response.headers["Content-Length"]) == len(response.body) > 0


def test_an_asset_may_be_cached_for_an_hour_and_then_asked_for_again() -> None:
    response = get(SWAGGER_UI)
    assert response.headers["Cache-Control"] == "public, max-age=3600"
    again = get(SWAGGER_UI, if_modified_since=response.headers["Last-Modified"])
    assert again.status == 304
    assert again.body == b""
    assert again.headers["Cache-Control"] == "public, max-age=3600"


@pytest.mark.parametrize("since", ["", "yesterday", "Thu, 01 Jan 1970 00:00:00 GMT", "9" * 99])
def test_an_asset_newer_than_asked_for_is_given_whole(since: str) -> None:
    assert get(SWAGGER_UI, if_modified_since=since).status == 200


def test_an_asset_changed_a_second_later_is_given_whole() -> None:
    modified = parse_http_date(get(SWAGGER_UI).headers["Last-Modified"])
    assert get(SWAGGER_UI, if_modified_since=http_date(modified - 1)).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "nowhere/redoc.standalone.js",
        "redoc/missing.js",
        "swagger-ui/",
        "swagger-ui//",
        "swagger-ui/.",
        "swagger-ui/..",
        "swagger-ui/../redoc/bundles/redoc.standalone.js",
        "modelhost/../../documentation.py",
        "modelhost/%2e%2e/%2e%2e/documentation.py",
        "modelhost/..%2f..%2fdocumentation.py",
        "modelhost/..\\..\\documentation.py",
        "modelhost//etc/passwd",
        "modelhost/%2fetc/passwd",
        "modelhost/%00",
        "modelhost/pages.css%00.js",
        "modelhost/" + "a" * 5000,
        "../documentation.py",
        "%2e%2e/swagger-ui/swagger-ui.css",
    ],
)
def test_nothing_but_assets_can_be_had(path: str) -> None:
    assert get(f"/docs/assets/{path}").error == (404, "NotFound")


def test_each_own_static_file_is_used_by_a_page() -> None:
    static = Path("models_api/static/models_api")
    pages = get("/docs").text + get("/redoc").text
    for file in static.iterdir():
        assert f"docs/assets/modelhost/{file.name}" in pages

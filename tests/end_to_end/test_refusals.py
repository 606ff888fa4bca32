"""Answers of the models' own: 404, 409, 422 and 429, with text and Retry-After."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from tests.end_to_end.scraped import samples, value
from tests.end_to_end.server import STARTERS, Server

FAKES = "tests.fakes.refusing"
CONFIGURATION: dict[str, Any] = {
    "models": [
        {"class_path": f"{FAKES}.RefusingModel"},
        {"class_path": f"{FAKES}.RefusingBatchModel", "batching": {}, "timeout_seconds": 20},
        {
            "class_path": f"{FAKES}.QuietModel",
            "decorators": [
                {"class_path": "tests.fakes.decorators.Plain"},
                {"class_path": f"{FAKES}.QuotaDecorator"},
            ],
        },
        {"class_path": f"{FAKES}.RefusingTensorsModel"},
    ],
    "open_inference": {"enabled": True},
    "metrics": {"enabled": True},
}
CASES = [
    ("not found", 404, "ResourceNotFound", "No such customer.", None),
    ("conflict", 409, "Conflict", "The account is closed: größer, \ud800", None),
    ("unprocessable", 422, "Unprocessable", "Nothing to go by.", None),
    ("too many", 429, "TooManyRequests", "The quota is used up.", "3"),
    ("conflict for now", 409, "Conflict", "Try again.", "0"),
    ("of its own", 404, "ResourceNotFound", "There is no customer 7.", None),
    ("without a word", 429, "TooManyRequests", "There were too many requests.", None),
    ("chained", 409, "Conflict", "outer", None),
]


@pytest.fixture(scope="module", params=STARTERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with STARTERS[request.param](CONFIGURATION, environment={"MODELHOST_WORKERS": "1"}) as server:
        yield server


def ask(server: Server, model: str, **row: object) -> httpx.Response:
    return server.client.post(f"/api/models/{model}/prediction", json=row)


def told(response: httpx.Response) -> tuple[int, str, list[str], str | None]:
    body = response.json()
    return response.status_code, body["type"], body["messages"], response.headers.get("Retry-After")


@pytest.mark.parametrize("model", ["refusing", "refusing_batch", "quiet"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_a_client_is_told_status_text_and_time(server: Server, model: str, case: Any) -> None:
    wish, status, type_, text, seconds = case
    response = ask(server, model, wish=wish)
    assert told(response) == (status, type_, [text], seconds)
    assert response.headers["X-Request-ID"]


@pytest.mark.parametrize("model", ["refusing", "refusing_batch"])
def test_the_row_of_a_batch_that_was_refused_is_named(server: Server, model: str) -> None:
    rows = [{"customer": 1}, {"wish": "too many"}, {"wish": "conflict"}]
    response = server.client.post(f"/api/models/{model}/prediction/batch", json={"inputs": rows})
    assert told(response) == (429, "TooManyRequests", ["inputs[1]: The quota is used up."], "3")
    response = server.client.post(
        f"/api/models/{model}/prediction/batch", json={"inputs": [{"wish": "of its own"}]}
    )
    assert told(response)[:3] == (
        404,
        "ResourceNotFound",
        ["inputs[0]: There is no customer 7."],
    )


def test_a_decorator_refuses_before_the_model_is_asked(server: Server) -> None:
    response = ask(server, "quiet", customer=429)
    assert told(response) == (429, "TooManyRequests", ["Enough for today."], "3600")


def test_a_validator_of_the_schema_refuses_too(server: Server) -> None:
    assert told(ask(server, "refusing", customer=404))[:3] == (
        404,
        "ResourceNotFound",
        ["There is no customer 404."],
    )


@pytest.mark.parametrize("wish", ["unlisted", "soon"])
def test_what_has_no_status_or_no_time_is_a_failure(server: Server, wish: str) -> None:
    assert told(ask(server, "refusing", wish=wish))[:2] == (500, "ServiceError")


def test_only_the_client_that_is_refused_is_told_of_a_shared_call(server: Server) -> None:
    wishes = ["", "conflict", "", "", "too many", ""] * 6
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda wish: ask(server, "refusing_batch", wish=wish), wishes))
    statuses = {"": 200, "conflict": 409, "too many": 429}
    assert [answer.status_code for answer in answers] == [statuses[wish] for wish in wishes]
    found = samples(server)
    calls, rows = (
        value(found, f"model_batch_size_{end}", model="refusing_batch") for end in ("count", "sum")
    )
    assert rows > calls


@pytest.mark.parametrize("model", ["refusing_tensors", "refusing"])
def test_the_open_inference_protocol_has_the_same_status_in_its_own_form(
    server: Server, model: str
) -> None:
    def infer(*wishes: str) -> httpx.Response:
        count = len(wishes)
        inputs = [
            {"name": "wish", "shape": [count], "datatype": "BYTES", "data": list(wishes)},
            {"name": "customer", "shape": [count], "datatype": "INT64", "data": [1] * count},
        ]
        return server.client.post(f"/v2/models/{model}/infer", json={"inputs": inputs})

    refused = infer("", "too many")
    assert (refused.status_code, refused.json(), refused.headers["Retry-After"]) == (
        429,
        {"error": "Row 1: The quota is used up."},
        "3",
    )
    assert infer("not found").json() == {"error": "Row 0: No such customer."}
    assert infer("").status_code == 200


def test_refusals_are_an_outcome_of_their_own_in_the_metrics(server: Server) -> None:
    ask(server, "refusing", wish="of its own")
    labels = {"model": "refusing", "version": "1.0.0", "outcome": "refused"}
    assert value(samples(server), "model_predictions_total", **labels)


def test_refusals_are_no_errors_of_the_service_in_the_log(server: Server) -> None:
    id_ = ask(server, "quiet", wish="conflict").headers["X-Request-ID"]

    def lines_of_request() -> list[str] | None:
        return [line for line in server.log.splitlines() if id_ in line] or None

    lines = server.wait_until(lines_of_request, "one that logs the request")
    assert not [line for line in lines if "ERROR" in line or "failed" in line]


def test_the_document_has_the_refusals_of_the_models_that_list_them(server: Server) -> None:
    document = server.client.get("/openapi.json").json()
    validate(document)

    def statuses(path: str) -> set[str]:
        return set(document["paths"][path]["post"]["responses"]) & {"404", "409", "422", "429"}

    for end in ("prediction", "prediction/batch"):
        assert statuses(f"/api/models/refusing/{end}") == {"404", "409", "422", "429"}
        assert statuses(f"/api/models/refusing_batch/{end}") == {"409"}
        assert statuses(f"/api/models/quiet/{end}") == {"429"}
    assert statuses("/v2/models/refusing/infer") == {"404", "409", "422", "429"}
    response = document["paths"]["/api/models/quiet/prediction"]["post"]["responses"]["429"]
    assert list(response["headers"]) == ["Retry-After"]
    assert list(response["content"]["application/json"]["examples"]) == ["TooManyRequests"]

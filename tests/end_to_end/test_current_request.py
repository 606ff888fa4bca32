"""What models and decorators can know of the request that they work for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.end_to_end.server import STARTERS, Server

FAKES = "tests.fakes.asking"
CONFIGURATION: dict[str, Any] = {
    "request_headers": ["X-Tenant", "Content-Type", "accept-language"],
    "models": [
        {
            "class_path": f"{FAKES}.AskingModel",
            "decorators": [{"class_path": f"{FAKES}.TenantDecorator"}],
        },
        {"class_path": f"{FAKES}.AskingBatchModel", "batching": {}, "timeout_seconds": 20},
        {"class_path": f"{FAKES}.CarelessBatchModel", "batching": {}},
        {"class_path": f"{FAKES}.ColumnsModel"},
        {"class_path": f"{FAKES}.ThreadingModel", "timeout_seconds": 20},
    ],
    "open_inference": {"enabled": True},
}


@pytest.fixture(scope="module", params=STARTERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with STARTERS[request.param](CONFIGURATION, environment={"MODELHOST_WORKERS": "1"}) as server:
        yield server


def ask(server: Server, model: str, tenant: str, value: int = 0, end: str = "") -> httpx.Response:
    row = {"value": value}
    return server.client.post(
        f"/api/models/{model}/prediction{end}",
        json={"inputs": [row, row]} if end else row,
        headers={"X-Tenant": tenant, "X-Request-ID": f"id-{tenant}", "X-Secret": "not listed"},
    )


def test_a_model_and_its_decorator_read_the_headers_that_are_listed(server: Server) -> None:
    assert ask(server, "asking", "a", 3).json() == {
        "value": 3,
        "id": "id-a",
        "tenant": "a",
        "names": "content-type,x-tenant",
        "principal": "None",
        "deadline": False,
        "rows": 1,
        "decorated": "a",
    }


@pytest.mark.parametrize("model", ["asking_batch", "threading"])
def test_a_model_with_a_timeout_knows_its_deadline(server: Server, model: str) -> None:
    found = ask(server, model, "a").json()
    assert (found["id"], found["tenant"], found["deadline"]) == ("id-a", "a", True)


def test_each_row_of_a_shared_call_has_the_request_of_its_own(server: Server) -> None:
    numbers = list(range(60))
    most_rows = 1
    deadline = time.monotonic() + 60
    with ThreadPoolExecutor(20) as pool:
        while most_rows == 1:  # chance decides which requests meet in a call
            assert time.monotonic() < deadline
            answers = pool.map(lambda each: ask(server, "asking_batch", f"t{each}", each), numbers)
            found = [answer.json() for answer in answers]
            assert [(each["value"], each["id"], each["tenant"]) for each in found] == [
                (number, f"id-t{number}", f"t{number}") for number in numbers
            ]
            assert all(each["deadline"] for each in found)
            most_rows = max(each["rows"] for each in found)


@pytest.mark.parametrize("model", ["asking_batch", "careless"])
def test_rows_that_are_predicted_again_alone_have_their_own_request(
    server: Server, model: str
) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(
            pool.map(
                lambda number: ask(server, model, f"t{number}", -1 if number % 3 else number),
                range(36),
            )
        )
    assert [answer.json()["tenant"] for answer in answers] == [f"t{number}" for number in range(36)]


@pytest.mark.parametrize(
    ("model", "rows"), [("asking", 1), ("asking_batch", 2), ("careless", 2), ("threading", 1)]
)
def test_the_rows_of_one_batch_have_its_request(server: Server, model: str, rows: int) -> None:
    predictions = ask(server, model, "b", end="/batch").json()["predictions"]
    assert [(each["tenant"], each["rows"]) for each in predictions] == [("b", rows)] * 2


@pytest.mark.parametrize("model", ["asking_columns", "asking_batch"])
def test_the_rows_of_tensors_have_their_request(server: Server, model: str) -> None:
    tensor = {"name": "value", "shape": [3], "datatype": "INT64", "data": [1, 2, 3]}
    response = server.client.post(
        f"/v2/models/{model}/infer", json={"inputs": [tensor]}, headers={"X-Tenant": "c"}
    )
    outputs = {each["name"]: each["data"] for each in response.json()["outputs"]}
    assert (outputs["tenant"], outputs["rows"]) == (["c"] * 3, [3] * 3)


def test_a_header_that_was_not_sent_is_not_there(server: Server) -> None:
    found = server.client.post("/api/models/asking_batch/prediction", json={}).json()
    assert (found["tenant"], found["names"]) == ("-", "content-type")
    failed = server.client.post("/api/models/asking/prediction", json={})
    assert failed.status_code == 500


def test_without_a_list_no_header_can_be_read() -> None:
    configuration = {"models": [{"class_path": f"{FAKES}.AskingBatchModel"}]}
    with Server(configuration) as server:
        found = ask(server, "asking_batch", "a").json()
    assert (found["id"], found["tenant"], found["names"]) == ("id-a", "-", "")

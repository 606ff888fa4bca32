"""Batches through the real server: those that clients send, and those that concurrency makes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.end_to_end.server import Server

ROW = "/api/models/{}/prediction"
BATCH = "/api/models/{}/prediction/batch"
MODELS = "tests.fakes.batching."
CONFIGURATION: dict[str, Any] = {
    "models": [
        {
            "class_path": MODELS + "BatchingModel",
            "batching": {"max_batch_size": 4, "max_queue_size": 64},
        },
        {"class_path": MODELS + "ShortModel", "batching": {}},
        {
            "class_path": MODELS + "SlowModel",
            "batching": {"max_queue_size": 1},
            "concurrency": {"max_concurrency": 1},
            "timeout_seconds": 0.2,
        },
        {"class_path": "examples.iris.IrisModel"},
    ]
}
DECORATED: dict[str, Any] = {
    "models": [
        {
            "class_path": MODELS + "BatchingModel",
            "batching": {},
            "decorators": [{"class_path": MODELS + "AddOneDecorator"}],
        }
    ]
}
THREADS = ("--worker-class", "gthread", "--threads", "24")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    environment = {"MODELHOST_MAX_BATCH_ROWS": "50"}
    with Server(CONFIGURATION, *THREADS, environment=environment) as running:
        yield running


@pytest.fixture(scope="module")
def decorated() -> Iterator[Server]:
    with Server(DECORATED, *THREADS) as running:
        yield running


@pytest.fixture(scope="module")
def processes() -> Iterator[Server]:
    (batching, *_) = CONFIGURATION["models"]
    models = [{**batching, "execution": {"kind": "process"}}]
    with Server({"models": models}, *THREADS, "--workers", "2") as running:
        yield running


@pytest.fixture(scope="module")
def remote(server: Server) -> Iterator[Server]:
    execution = {"kind": "remote", "url": server.url}
    models = [{"qualified_name": "batching", "execution": execution}]
    with Server({"models": models}, *THREADS) as running:
        yield running


def post_batch(server: Server, name: str, *values: object) -> httpx.Response:
    return server.client.post(
        BATCH.format(name), json={"inputs": [{"value": value} for value in values]}
    )


def test_a_batch_is_answered_in_order_and_in_chunks_of_max_batch_size(server: Server) -> None:
    response = post_batch(server, "batching", *range(10))
    assert response.status_code == 200
    predictions = response.json()["predictions"]
    assert [prediction["value"] for prediction in predictions] == [2 * row for row in range(10)]
    assert [prediction["batch_size"] for prediction in predictions] == [4] * 8 + [2] * 2


def test_an_empty_batch_has_no_predictions(server: Server) -> None:
    response = post_batch(server, "iris")
    assert (response.status_code, response.json()) == (200, {"predictions": []})


def test_a_batch_of_iris_rows_gets_what_each_row_gets_alone(server: Server) -> None:
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    values = [[5.1, 3.5, 1.4, 0.2], [6.0, 3.0, 4.8, 1.8], [7.7, 2.6, 6.5, 2.3]]
    rows = [dict(zip(names, row, strict=True)) for row in values]
    alone = [server.client.post(ROW.format("iris"), json=row).json() for row in rows]
    batch = server.client.post(BATCH.format("iris"), json={"inputs": rows})
    for together, single in zip(batch.json()["predictions"], alone, strict=True):
        assert together["species"] == single["species"]
        assert together["probability"] == pytest.approx(single["probability"], rel=1e-12)


def test_every_wrong_row_of_a_batch_is_named(server: Server) -> None:
    response = post_batch(server, "batching", 1, 2000, 3, "x")
    assert response.status_code == 400
    no_integer = "Input should be a valid integer, unable to parse string as an integer"
    assert response.json() == {
        "type": "ValidationError",
        "messages": [
            "inputs[1].value: Input should be less than or equal to 1000",
            f"inputs[3].value: {no_integer}",
        ],
        "details": [
            {
                "location": ["inputs", 1, "value"],
                "type": "less_than_equal",
                "message": "Input should be less than or equal to 1000",
            },
            {
                "location": ["inputs", 3, "value"],
                "type": "int_parsing",
                "message": no_integer,
            },
        ],
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "inputs: Field required"),
        (b'{"inputs": {}}', "inputs: Input should be a valid array"),
        (b"[]", "Input should be an object; send an object with the field inputs"),
    ],
)
def test_what_is_no_batch_is_a_validation_error(server: Server, body: bytes, message: str) -> None:
    headers = {"Content-Type": "application/json"}
    response = server.client.post(BATCH.format("iris"), content=body, headers=headers)
    assert response.status_code == 400
    assert response.json()["messages"] == [message]


def test_a_batch_with_too_many_rows_names_the_limit(server: Server) -> None:
    assert post_batch(server, "batching", *range(50)).status_code == 200
    response = post_batch(server, "batching", *range(51))
    assert response.status_code == 400
    expected = (
        "inputs: List should have at most 50 items after validation, not 51. Send fewer at a time, "
        "or have MODELHOST_MAX_BATCH_ROWS raised."
    )
    assert response.json()["messages"] == [expected]
    document = server.client.get("/openapi.json").json()
    schema = document["components"]["schemas"]["RowInputBatch"]
    assert schema["properties"]["inputs"]["maxItems"] == 50


def test_the_row_that_the_model_refuses_is_named(server: Server) -> None:
    response = post_batch(server, "batching", 1, 2, -1, 4)
    assert response.status_code == 400
    assert response.json() == {
        "type": "SchemaValidationError",
        "messages": ["inputs[2]: minus one is not for doubling"],
    }


@pytest.mark.parametrize("value", [-2, -3])
def test_the_row_that_the_model_fails_at_is_named_and_the_reason_is_not(
    server: Server, value: int
) -> None:
    response = post_batch(server, "batching", 1, 2, 3, 4, 5, value)
    assert response.status_code == 500
    (message,) = response.json()["messages"]
    assert message.startswith("inputs[5]: The model batching failed to make a prediction.")
    assert "secret" not in response.text
    assert response.headers["X-Request-ID"] in server.log


def test_a_model_that_loses_results_predicts_row_by_row(server: Server) -> None:
    predictions = post_batch(server, "short", 1, 2, 3).json()["predictions"]
    assert [prediction["value"] for prediction in predictions] == [2, 4, 6]
    assert [prediction["batch_size"] for prediction in predictions] == [1, 1, 1]


def test_a_decorator_sees_each_row_of_a_batch(decorated: Server) -> None:
    predictions = post_batch(decorated, "batching", 1, 2, 3).json()["predictions"]
    assert [prediction["value"] for prediction in predictions] == [3, 5, 7]


@pytest.mark.parametrize(
    ("name", "added"),
    [
        ("server", 0),
        ("decorated", 1),
        pytest.param("processes", 0, marks=pytest.mark.long),
        pytest.param("remote", 0, marks=pytest.mark.long),
    ],
)
def test_concurrent_requests_share_calls_and_get_their_own_results(
    request: pytest.FixtureRequest, name: str, added: int
) -> None:
    running: Server = request.getfixturevalue(name)

    def predict(value: int) -> httpx.Response:
        return running.client.post(ROW.format("batching"), json={"value": value})

    values = [*range(100), -1, -2, -3]
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(predict, values))
    assert [response.status_code for response in responses] == [200] * 100 + [400, 500, 500]
    bodies = [response.json() for response in responses[:100]]
    assert [body["value"] for body in bodies] == [2 * value + added for value in range(100)]
    assert max(body["batch_size"] for body in bodies) > 1


def test_beyond_the_queue_requests_are_refused_and_those_in_it_give_up_in_time(
    server: Server,
) -> None:
    def predict(value: int) -> httpx.Response:
        return server.client.post(ROW.format("slow"), json={"value": value})

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(predict, [1] * 8))
    outcomes = {response.status_code: response for response in responses}
    assert set(outcomes) == {503, 504}
    assert outcomes[503].json()["type"] == "Overloaded"
    assert outcomes[503].json()["messages"] == [
        "The model is busy, and 1 requests are waiting for it already."
    ]
    assert int(outcomes[503].headers["Retry-After"]) >= 1
    assert outcomes[504].json() == {
        "type": "DeadlineExceeded",
        "messages": ["The model was busy for more than 0.2 s."],
    }
    deadline = time.monotonic() + 30
    while (response := predict(4)).status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.1)  # nobody can stop the model before its second is over
    assert response.json()["value"] == 8


def test_a_batch_for_an_unknown_model_is_not_found(server: Server) -> None:
    response = post_batch(server, "nobody", 1)
    assert response.status_code == 404
    assert response.json()["type"] == "NotFound"

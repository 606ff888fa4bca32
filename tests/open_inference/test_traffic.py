"""Inference requests whose rows several versions of a model predict."""

import io
import json
from typing import Any

import pytest

from models_api.api.answers import Answer
from models_api.observability.server_directory import server_directory
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.open_inference.endpoint import InferEndpoint
from models_api.open_inference.statistics import InferenceStatistics
from models_api.open_inference.tensors import read_infer_response
from models_api.prediction.request_context import ensured_context
from tests.api.test_traffic import entry, halves, serve, single
from tests.in_process import InProcessService


def values(datatype: str, data: list[Any], name: str = "value") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}


STATISTICS = InferenceStatistics(SharedMemoryMetrics(server_directory().join))


def infer(service: InProcessService, body: object, **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    endpoint = InferEndpoint(service.registry, "orders", statistics=STATISTICS)
    environ = {
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(content)),
        **{f"HTTP_{name}": value for name, value in headers.items()},
    }
    with ensured_context(None):
        return endpoint.answer(environ, io.BytesIO(content))


def outputs(answer: Answer) -> dict[str, list[Any]]:
    assert answer.status == 200, answer.body
    length = answer.headers.get("Inference-Header-Content-Length")
    response = read_infer_response(answer.body, None if length is None else int(length))
    return {tensor.name: tensor.data.tolist() for tensor in response.outputs}


def test_rows_are_split_and_their_predictions_keep_the_order() -> None:
    service = halves()

    answer = infer(service, {"id": "a", "inputs": [values("FP64", [*range(100)])]})

    found = outputs(answer)
    assert found["value"] == [*range(100)]
    assert set(found["by"]) == {b"1", b"2"}
    body = json.loads(answer.body)
    assert (body["model_name"], body["model_version"], body["id"]) == ("orders", "1, 2", "a")
    assert {output["datatype"] for output in body["outputs"]} == {"BYTES", "FP64", "INT64"}


@pytest.mark.parametrize("outputs_", [None, [{"name": "by", "parameters": {"binary_data": True}}]])
def test_outputs_come_as_they_were_asked_for(outputs_: Any) -> None:
    body = {"inputs": [values("FP64", [1.0] * 60)], "parameters": {"binary_data_output": True}}

    answer = infer(halves(), body if outputs_ is None else {**body, "outputs": outputs_})

    found = outputs(answer)
    assert set(found["by"]) == {b"1", b"2"}
    assert set(found) == ({"by", "value", "worker"} if outputs_ is None else {"by"})
    assert answer.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize("size", [1, 40])
def test_a_field_keeps_its_rows_with_the_version_that_has_them_in_json(size: int) -> None:
    service = halves(traffic_key="field:customer_id")
    users = [f"user-{number}" for number in range(40)]
    takers = [single(service, {"value": 1, "customer_id": user}) for user in users]

    found: list[bytes] = []
    for start in range(0, 40, size):
        names = users[start : start + size]
        inputs = [values("FP64", [1.0] * size), values("BYTES", names, "customer_id")]
        found += outputs(infer(service, {"inputs": inputs}))["by"]

    assert [taker.decode() for taker in found] == takers


def test_a_field_in_an_object_is_a_key_too() -> None:
    service = halves(traffic_key="field:customer.id")
    customers = [json.dumps({"id": number}) for number in range(40)]

    body = {"inputs": [values("FP64", [1.0] * 40), values("BYTES", customers, "customer")]}

    found = [each.decode() for each in outputs(infer(service, body))["by"]]
    assert found == [
        single(service, {"value": 1, "customer": {"id": number}}) for number in range(40)
    ]


def test_a_request_goes_as_one_with_its_header() -> None:
    service = halves(traffic_key="header:X-User")

    for user in map(str, range(10)):
        found = outputs(infer(service, {"inputs": [values("FP64", [1.0] * 20)]}, X_USER=user))
        assert {each.decode() for each in found["by"]} == {
            single(service, {"value": 1}, {"X-User": user})
        }


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        {"inputs": []},
        {"inputs": [values("FP64", [1.0] * 2000)]},
        {"inputs": [values("FP64", [1.0, 2.0]), values("BYTES", ["1"], "customer_id")]},
        {"inputs": [values("FP64", [1.0] * 20, "unknown")]},
        {"inputs": [values("BYTES", ["a"] * 20)]},
    ],
)
def test_what_is_wrong_with_a_request_is_told_as_by_one_version_alone(body: Any) -> None:
    expected = infer(serve(entry("1")), body)

    found = infer(halves(), body)

    assert (found.status, found.body) == (expected.status, expected.body)
    assert found.status >= 400


@pytest.mark.parametrize("value", [13, -1, 1001])
def test_an_error_says_which_row_of_the_request_it_was(value: float) -> None:
    service = serve(
        entry("1", traffic=50, configuration={"fails": 13}),
        entry("2", traffic=50, configuration={"fails": 13}),
    )
    data = [1.0] * 40
    data[33] = value

    answer = infer(service, {"inputs": [values("FP64", data)]})

    assert answer.status >= 400
    assert "row 33" in json.loads(answer.body)["error"].lower()


def test_a_shadow_gets_inference_requests_too() -> None:
    service = serve(entry("1"), entry("2", shadow=True))

    answer = infer(service, {"inputs": [values("FP64", [1.0] * 20)]})

    assert set(outputs(answer)["by"]) == {b"1"}
    (shadow,) = service.registry.release("orders").shadows
    shadow.close(seconds=30)

"""Requests whose versions are chosen by shares and keys: single ones, and batches row by row."""

import io
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from models_api.api.answers import Answer
from models_api.api.predictions import BatchEndpoint, PredictionEndpoint
from models_api.exceptions import ConfigurationError
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.traffic import Traffic
from models_api.hosting.traffic_keys import TrafficKey, key_of
from models_api.prediction.request_context import current_request, ensured_context
from tests.in_process import InProcessService


def entry(version: str, kind: str = "OrderModel", **keys: Any) -> dict[str, object]:
    arguments = {"by": version, **keys.pop("configuration", {})}
    return {
        "class_path": f"tests.fakes.versions.{kind}",
        "version": version,
        "configuration": arguments if kind != "FailingOrderModel" else {},
        **keys,
    }


def serve(*entries: dict[str, object]) -> InProcessService:
    return InProcessService({"models": list(entries)})


def halves(**keys: Any) -> InProcessService:
    return serve(entry("1", traffic=50, **keys), entry("2", traffic=50))


def traffic_of(service: InProcessService) -> Traffic:
    traffic = service.registry.release("orders").traffic
    assert traffic is not None
    return traffic


def ask(endpoint: PredictionEndpoint, body: object, headers: Mapping[str, str] = {}) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(content)),
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()},
    }
    with ensured_context(None):
        return endpoint.answer(environ, io.BytesIO(content))


def single(service: InProcessService, body: object, headers: Mapping[str, str] = {}) -> str:
    answer = ask(PredictionEndpoint(service.registry, "orders"), body, headers)
    assert answer.status == 200, answer.body
    taker: str = json.loads(answer.body)["by"]
    return taker


def batch(
    service: InProcessService, rows: object, headers: Mapping[str, str] = {}
) -> tuple[int, Any]:
    body = rows if isinstance(rows, bytes) else {"inputs": rows}
    answer = ask(BatchEndpoint(service.registry, "orders"), body, headers)
    return answer.status, json.loads(answer.body)


def test_requests_without_a_key_are_split_by_chance() -> None:
    service = serve(entry("1"), entry("2", traffic=20))

    found = Counter(single(service, {"value": 1}) for _ in range(2000))

    assert 300 < found["2"] < 500


def test_a_header_keeps_its_requests_with_one_version_whatever_their_bodies() -> None:
    service = halves(traffic_key="header:X-User")
    users = [f"user {number}" for number in range(40)]

    takers = {
        user: {single(service, {"value": 1}, {"X-User": user}) for _ in range(3)} for user in users
    }

    assert all(len(taker) == 1 for taker in takers.values())
    assert {taker for each in takers.values() for taker in each} == {"1", "2"}


@pytest.mark.parametrize("headers", [{}, {"X-User": ""}], ids=str)
def test_requests_without_the_header_are_split_by_chance(headers: dict[str, str]) -> None:
    service = halves(traffic_key="header:X-User")

    assert {single(service, {"value": 1}, headers) for _ in range(60)} == {"1", "2"}


def test_a_header_need_not_be_among_those_that_models_may_read() -> None:
    service = halves(traffic_key="header:X-User")

    assert service.registry.request_headers == ()
    assert len({single(service, {"value": 1}, {"X-User": "a"}) for _ in range(20)}) == 1


@pytest.mark.parametrize(
    ("key", "row"),
    [
        ("field:customer_id", lambda user: {"value": 1, "customer_id": user}),
        ("field:customer.id", lambda user: {"value": 1, "customer": {"id": user}}),
        ("field:customer", lambda user: {"value": 1, "customer": {"id": user}}),
    ],
)
def test_a_field_keeps_its_requests_and_rows_with_one_version(key: str, row: Any) -> None:
    service = halves(traffic_key=key)
    rows = [row(number) for number in range(40)]

    takers = [single(service, each) for each in rows]
    status, body = batch(service, rows)

    assert status == 200
    assert [each["by"] for each in body["predictions"]] == takers
    assert set(takers) == {"1", "2"}
    assert takers == [single(service, {**each, "value": 2}) for each in rows]


@pytest.mark.parametrize(
    "row",
    [{"value": 1}, {"value": 1, "customer_id": None}, {"value": 1, "customer_id": ""}],
    ids=str,
)
def test_rows_without_the_field_are_split_by_chance(row: dict[str, object]) -> None:
    service = halves(traffic_key="field:customer_id")

    assert {single(service, row) for _ in range(60)} == {"1", "2"}
    _, body = batch(service, [row] * 60)
    assert {each["by"] for each in body["predictions"]} == {"1", "2"}


def test_a_key_in_a_header_and_the_same_in_a_field_are_one() -> None:
    assert key_of("é7") == "é7".encode()
    assert key_of(7) == key_of("7") == key_of(7.0) == b"7"
    assert key_of(7.5) == key_of("7.5")
    assert key_of(True) == b"true"
    assert key_of({"b": 1, "a": [2]}) == key_of({"a": [2], "b": 1})
    assert key_of(None) is key_of("") is None


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b'{"a": {}}', b'{"a": 7}', b'{"a": {"b": null}}', b'{"a"', b"\xff"]
)
def test_a_body_without_the_field_has_no_key(body: bytes) -> None:
    assert TrafficKey("field:a.b", 1000).of_request({}, body) is None


def test_a_body_that_holds_too_much_is_not_read_for_its_key() -> None:
    body = b'{"value": 1, "customer_id": 7, "more": [' + b"1," * 999 + b"1]}"

    assert TrafficKey("field:customer_id", 100).of_request({}, body) is None
    assert TrafficKey("field:customer_id", None).of_request({}, body) == b"7"


def test_a_batch_goes_as_one_with_its_header() -> None:
    service = halves(traffic_key="header:X-User")

    for user in map(str, range(10)):
        _, body = batch(service, [{"value": 1}] * 20, {"X-User": user})
        assert {each["by"] for each in body["predictions"]} == {
            single(service, {"value": 1}, {"X-User": user})
        }


@pytest.mark.parametrize("kind", ["OrderModel", "BatchOrderModel"])
def test_the_rows_of_a_batch_are_split_and_their_predictions_keep_the_order(kind: str) -> None:
    service = serve(
        *(entry(str(number), kind, traffic=percent) for number, percent in enumerate([60, 30, 10]))
    )

    status, body = batch(service, [{"value": number} for number in range(500)])

    assert status == 200
    assert [each["value"] for each in body["predictions"]] == list(range(500))
    found = Counter(each["by"] for each in body["predictions"])
    assert 240 < found["0"] < 360
    assert 90 < found["1"] < 210
    assert 20 < found["2"] < 90


def test_rows_are_handed_on_as_they_were_written() -> None:
    service = halves()
    rows = (
        b'{"more": {"inputs": [1]}, "inputs" : [ '
        + b", ".join(
            b'{"value":1.00e0 , "customer_id": "\\u00e9]}\\" %d"}' % number for number in range(40)
        )
        + b"]\n}"
    )

    status, body = batch(service, rows)

    assert status == 200
    assert {each["by"] for each in body["predictions"]} == {"1", "2"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": []}',
        b'{"inputs": 7}',
        b"{}",
        b"[]",
        b"",
        b'{"inputs": [{"value": 1}]',
        b'{"inputs": [{"value": 1}]} x',
        b'{"inputs": [{"value": 1}], "inputs": [{"value": 2}]}',
        b'{"inputs": [NaN]}',
        b'{"inputs": ["\xff"]}',
        b'{"inputs": ' + b"[" * 5000,
        b'{"inputs": [' + b'{"value": 1},' * 1000 + b'{"value": 1}]}',
        b'{"inputs": [{"value": 1}, {"value": "a"}, {}, {"value": 1}, {"value": 1001}]}',
    ],
)
def test_what_is_wrong_with_a_batch_is_told_as_by_one_version_alone(body: bytes) -> None:
    whole, split = serve(entry("1")), halves()

    expected = ask(BatchEndpoint(whole.registry, "orders"), body)

    for _ in range(5):
        found = ask(BatchEndpoint(split.registry, "orders"), body)
        assert found.status == expected.status
        if expected.status != 200:
            assert found.body == expected.body


@pytest.mark.parametrize(
    ("value", "status", "message"),
    [(13, 500, "inputs[{}]: The model"), (-1, 422, "inputs[{}]: Nothing is ordered.")],
)
@pytest.mark.parametrize("index", [0, 17, 39])
def test_an_error_says_which_row_of_the_request_it_was_and_there_are_no_predictions(
    value: float, status: int, message: str, index: int
) -> None:
    service = serve(
        entry("1", traffic=50, configuration={"fails": 13}),
        entry("2", traffic=50, configuration={"fails": 13}),
    )
    rows = [{"value": value if number == index else 1} for number in range(40)]

    found, body = batch(service, rows)

    assert found == status
    assert body["messages"][0].startswith(message.format(index))
    assert "predictions" not in body


def test_the_log_says_of_a_batch_its_rows_and_all_its_versions() -> None:
    endpoint = BatchEndpoint(halves().registry, "orders")
    content = json.dumps({"inputs": [{"value": 1}] * 50}).encode()
    environ = {"CONTENT_LENGTH": str(len(content)), "CONTENT_TYPE": "application/json"}

    with ensured_context(None):
        endpoint.answer(environ, io.BytesIO(content))
        context = current_request.get()
        assert context is not None
        assert (context.model, context.version, context.rows) == ("orders", "1, 2", 50)


def test_an_observer_hears_of_each_prediction_of_a_split() -> None:
    service = serve(entry("1", traffic=100, configuration={"fails": 13}), entry("2", traffic=0))
    heard: list[tuple[str | None, str, int]] = []

    def hear(model: HostedModel, outcome: str, seconds: float, rows: int) -> None:
        assert seconds > 0
        heard.append((model.version, outcome, rows))

    traffic_of(service).observe = hear

    single(service, {"value": 1})
    ask(PredictionEndpoint(service.registry, "orders"), {"value": 13})
    ask(PredictionEndpoint(service.registry, "orders"), {"value": "a"})
    batch(service, [{"value": 1}] * 7)

    assert heard == [
        ("1", "success", 1),
        ("1", "failure", 1),
        ("1", "invalid_input", 1),
        ("1", "success", 7),
    ]


def test_a_request_that_names_its_version_is_not_split() -> None:
    service = halves()

    answers = [
        ask(PredictionEndpoint(service.registry, "orders", "2"), {"value": 1}) for _ in range(30)
    ]

    assert {json.loads(answer.body)["by"] for answer in answers} == {"2"}


def test_what_is_taken_back_gets_no_request_any_more() -> None:
    service = halves()

    traffic_of(service).take_back({"2": "worse"})

    assert {single(service, {"value": 1}) for _ in range(30)} == {"1"}


def test_input_schemas_that_say_the_same_in_other_words_are_the_same() -> None:
    service = serve(entry("1", traffic=50), entry("2", "PlainOrderModel", traffic=50))

    assert {single(service, {"value": 1}) for _ in range(40)} == {"1", "2"}


def test_traffic_is_not_split_between_versions_that_take_other_input() -> None:
    with pytest.raises(ConfigurationError) as caught:
        serve(entry("1", traffic=95), entry("2", "LargerOrderModel", traffic=5))

    (problem,) = caught.value.problems
    assert problem.key_path == "models[1].traffic"
    assert problem.message == (
        "it takes other input than version 1: value: maximum is 2000, there 1000"
    )
    assert "allow_schema_change: true" in problem.hint


def test_versions_may_take_other_input_where_that_is_allowed() -> None:
    larger = entry("2", "LargerOrderModel", traffic=50, allow_schema_change=True)

    assert {single(serve(entry("1"), larger), {"value": 1}) for _ in range(40)} == {"1", "2"}


def test_a_version_without_traffic_may_take_other_input() -> None:
    service = serve(entry("1", traffic=100), entry("2", "LargerOrderModel", traffic=0))

    assert single(service, {"value": 1}) == "1"


def test_a_version_whose_input_is_known_only_once_it_is_loaded_gets_no_traffic_if_it_is_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = serve(entry("1", traffic=50), entry("2", "LateLargerOrderModel", traffic=50))

    assert traffic_of(service).unfit == {
        "2": "it takes other input than version 1: value: maximum is 2000, there 1000"
    }
    assert {single(service, {"value": 1}) for _ in range(40)} == {"1"}
    assert "orders 2 gets no traffic: it takes other input" in caplog.text


def test_a_version_that_failed_to_load_gets_no_traffic(caplog: pytest.LogCaptureFixture) -> None:
    service = serve(
        entry("1", traffic=50), entry("2", "FailingOrderModel", traffic=50, required=False)
    )

    assert {single(service, {"value": 1}) for _ in range(40)} == {"1"}
    assert "orders 2 gets no traffic: it failed to load" in caplog.text
    assert traffic_of(service).percents() == [100, 0]

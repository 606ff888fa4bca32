"""Rows that a model of this project predicts in another service, which may fail in many ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from models_api.configuration.sections import ModelConfiguration
from models_api.hosting.hosted_model import HostedModel, Resources
from models_api.hosting.remote_model import remote_stack
from models_api.scoring import patience
from models_api.scoring.elsewhere import OF_PROCESSES, OF_SERVICE, BackendPredictor, Temper
from models_api.scoring.errors import JobStopped, RowError
from models_api.scoring.model_name import ModelName
from tests.scoring.test_remote import Reply, Service, rows

JSON = {"Content-Type": "application/json"}


def error(status: int, type_: str, *messages: str, **headers: str) -> Reply:
    return status, {**JSON, **headers}, {"type": type_, "messages": [*messages]}


def doubled(path: str, body: Any) -> Reply:
    """Answer as such a service does: -1 does not fit, 500 fails, 409 is refused."""
    if path.endswith("/metadata"):
        return 200, JSON, {**dict.fromkeys(NAMES, "m"), "input_schema": {}, "output_schema": {}}
    is_batch = path.endswith("/batch")
    inputs = body["inputs"] if is_batch else [body]
    for index, row in enumerate(inputs):
        if row["x"] == 500:
            return error(500, "ServiceError", "id 7")
        if row["x"] == 409:
            return error(409, "Conflict", f"inputs[{index}]: closed" if is_batch else "closed")
    wrong = [
        (["inputs", index, "x"] if is_batch else ["x"])
        for index, row in enumerate(inputs)
        if row["x"] < 0
    ]
    if wrong:
        kind = {"type": "greater_than", "message": "Input should be greater"}
        details = [{"location": each, **kind} for each in wrong]
        body = {"type": "ValidationError", "messages": ["no"] * len(wrong), "details": details}
        return 400, JSON, body
    found = [{"y": 2 * row["x"]} for row in inputs]
    return 200, JSON, {"predictions": found} if is_batch else found[0]


NAMES = ("display_name", "qualified_name", "description", "version")


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.02)
    service = Service()
    service.answer = doubled
    yield service
    service.stop()


def asking(service: Service, temper: Temper = OF_SERVICE, seconds: float = 20) -> BackendPredictor:
    execution = {"kind": "remote", "url": service.url, "breaker_seconds": 0.05}
    given: Mapping[str, object] = {"qualified_name": "m", "execution": execution}
    configuration = ModelConfiguration.model_validate(given)
    model = HostedModel(configuration, remote_stack(configuration), Resources(maximum_values=None))
    model.load_apart()
    name, end = ModelName("m", "m"), model.leave
    return BackendPredictor(model.backend, name, temper=temper, patience=seconds, end=end)


def test_rows_go_together(service: Service) -> None:
    assert asking(service).predict(rows(1, 2), are_json=True) == [b'{"y":2}', b'{"y":4}']
    assert asking(service).predict([], are_json=True) == []
    posted = [path for path, _, _ in service.requests if not path.endswith("/metadata")]
    assert posted == ["/api/models/m/prediction/batch"]


def test_rows_that_fail_cost_the_others_nothing(service: Service) -> None:
    found = asking(service).predict(rows(1, -1, 2, 500, 3, 409, -2), are_json=True)
    assert [each for each in found if isinstance(each, bytes)] == [
        *(b'{"y":2}', b'{"y":4}', b'{"y":6}')
    ]
    failed = [each for each in found if isinstance(each, RowError)]
    assert [each.type for each in failed] == [
        *("ValidationError", "ServiceError", "Conflict", "ValidationError")
    ]
    assert failed[0].messages == ["x: Input should be greater"] == failed[3].messages
    assert failed[2].messages == ["closed"]


@pytest.mark.parametrize(
    "reply",
    [
        None,
        error(503, "ModelNotReady", "loading", **{"Retry-After": "0"}),
        error(429, "TooManyRequests", "used up", **{"Retry-After": "0"}),
        (502, {"Content-Type": "text/html"}, "<html>"),
        (503, {}, ""),
    ],
)
@pytest.mark.parametrize("values", [(1,), (1, 2, 3)])
def test_a_service_that_cannot_now_is_asked_again(
    service: Service, reply: Reply | None, values: tuple[int, ...]
) -> None:
    predictor = asking(service)
    service.first = [reply] * 3
    found = predictor.predict(rows(*values), are_json=True)
    assert found == [b'{"y":%d}' % (2 * value) for value in values]
    assert not service.first


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (error(403, "PermissionDenied", "not you"), "it answers 403 PermissionDenied: not you"),
        (error(401, "NotAuthenticated", "who?"), "it answers 401 NotAuthenticated: who?"),
        ((302, {"Location": "/"}, ""), "it answers 302"),
        ((404, {}, ""), "it answers 404"),
        (error(404, "NotFound", "gone"), "does not have it: gone"),
    ],
)
def test_a_service_that_answers_no_rows_stops_the_job(
    service: Service, reply: Reply, message: str
) -> None:
    predictor = asking(service)
    service.answer = lambda _path, _body: reply
    with pytest.raises(JobStopped, match=message):
        predictor.predict(rows(1, 2), are_json=True)


def test_patience_ends(service: Service) -> None:
    predictor = asking(service, seconds=0.2)
    service.answer = lambda _path, _body: error(503, "Overloaded", "too much")
    with pytest.raises(JobStopped, match="too much, again and again for 0 s"):
        predictor.predict(rows(1, 2), are_json=True)


def test_one_that_is_stopped_asks_no_more(service: Service) -> None:
    predictor = asking(service)
    predictor.stop()
    asked = len(service.requests)
    with pytest.raises(JobStopped):
        predictor.predict(rows(1, 2), are_json=True)
    assert len(service.requests) == asked


def test_a_refusal_for_want_of_a_quota_is_that_of_a_row_where_a_process_computes(
    service: Service,
) -> None:
    predictor = asking(service, OF_PROCESSES)
    service.answer = lambda _path, _body: error(429, "TooManyRequests", "used up")
    assert predictor.predict(rows(1), are_json=True) == [
        RowError("TooManyRequests", ["used up"]),
    ]

"""The line that each request has in the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from models_api.observability.access_log import AccessLog
from models_api.observability.client_address import ClientAddresses
from models_api.observability.log_records import JSONFormatter
from models_api.observability.requests import FinishedRequest
from models_api.prediction.request_context import RequestContext


def finished(
    route: str | None = "api/models",
    status: int = 200,
    context: RequestContext | None = None,
    *,
    is_routine: bool = False,
    method: str = "POST",
) -> FinishedRequest:
    return FinishedRequest(
        method=method,
        route=route,
        path="/api/models/a-secret",
        status=status,
        seconds=0.0123456,
        request_length="6",
        response_length="6",
        is_routine=is_routine,
        context=context or RequestContext("mine"),
    )


def line(caplog: pytest.LogCaptureFixture, request: FinishedRequest) -> logging.LogRecord:
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "models_api.access"):
        AccessLog(ClientAddresses(["10.0.0.0/8"]))(request)
    (record,) = caplog.records
    return record


def fields(record: Any) -> dict[str, Any]:
    names = (
        *("method", "route", "status", "milliseconds", "client", "user"),
        *("model", "version", "rows", "batch_size", "queue_ms"),
    )
    return {name: value for name, value in vars(record).items() if name in names}


def test_a_request_has_its_method_route_status_and_milliseconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    record = line(caplog, finished())
    assert record.getMessage() == "POST /api/models 200 12.3 ms"
    assert fields(record) == {
        "method": "POST",
        "route": "/api/models",
        "status": 200,
        "milliseconds": 12.346,
    }


def test_a_prediction_has_its_model_version_rows_batch_size_and_wait(
    caplog: pytest.LogCaptureFixture, context: RequestContext
) -> None:
    context.model, context.version = "iris", "1.0.0"
    context.rows, context.batch_size, context.queue_seconds = 3, 1, 0.0045678
    record = line(caplog, finished("api/models/iris/prediction", 500, context))
    assert record.getMessage() == (
        "POST /api/models/iris/prediction 500 12.3 ms model=iris version=1.0.0"
        " rows=3 batch_size=1 queue_ms=4.6"
    )
    assert fields(record) == {
        "method": "POST",
        "route": "/api/models/iris/prediction",
        "status": 500,
        "milliseconds": 12.346,
        "model": "iris",
        "version": "1.0.0",
        "rows": 3,
        "batch_size": 1,
        "queue_ms": 4.568,
    }


def test_a_prediction_that_did_not_wait_says_so(
    caplog: pytest.LogCaptureFixture, context: RequestContext
) -> None:
    context.rows = 1
    assert line(caplog, finished(context=context)).getMessage().endswith(" queue_ms=0.0")


def test_one_that_waited_in_vain_says_for_how_long(
    caplog: pytest.LogCaptureFixture, context: RequestContext
) -> None:
    context.queue_seconds = 2.0
    message = line(caplog, finished(status=504, context=context)).getMessage()
    assert message == "POST /api/models 504 12.3 ms queue_ms=2000.0"


def test_what_is_not_known_is_left_out(
    caplog: pytest.LogCaptureFixture, context: RequestContext
) -> None:
    context.model = "late"
    record = line(caplog, finished("api/models/late/prediction", 503, context))
    assert record.getMessage() == "POST /api/models/late/prediction 503 12.3 ms model=late"


def test_who_asked_stands_at_the_end_of_the_line(caplog: pytest.LogCaptureFixture) -> None:
    by_proxy = finished()._replace(
        remote_address="10.0.0.1", forwarded_for="1.1.1.1, 203.0.113.7", user="ada"
    )
    record = line(caplog, by_proxy)
    assert record.getMessage() == "POST /api/models 200 12.3 ms client=203.0.113.7 user=ada"
    assert (fields(record)["client"], fields(record)["user"]) == ("203.0.113.7", "ada")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ada@example.com", "ada@example.com"),
        ("Zoë", "Zoë"),
        ("ada lovelace", "ada%20lovelace"),
        ("ada\nERROR forged", "ada%0AERROR%20forged"),
        ("a\u2028b\u202ec", "a%E2%80%A8b%E2%80%AEc"),
        ('x" status=200', "x%22%20status=200"),
        ("100%", "100%25"),
        ("\ud800", "%3F"),
        ("a\x1b[31m", "a%1B[31m"),
    ],
)
def test_a_name_cannot_make_more_than_a_word_of_the_line(
    caplog: pytest.LogCaptureFixture, name: str, shown: str
) -> None:
    class User:
        def get_username(self) -> str:
            return name

    record = line(caplog, finished()._replace(user=User()))
    assert record.getMessage() == f"POST /api/models 200 12.3 ms user={shown}"
    text = JSONFormatter().format(record)
    assert "\n" not in text
    assert json.loads(text)["user"] == name


@pytest.mark.parametrize("forwarded", ["1.1.1.1\nINFO forged", 'x" user=root', "%0a", "\x1b[2J"])
def test_a_header_that_is_no_address_is_not_in_the_line(
    caplog: pytest.LogCaptureFixture, forwarded: str
) -> None:
    hostile = finished()._replace(remote_address="10.0.0.1", forwarded_for=forwarded)
    assert line(caplog, hostile).getMessage() == "POST /api/models 200 12.3 ms client=10.0.0.1"


def test_where_no_route_matches_the_path_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    record = line(caplog, finished(None, 404, method="GET"))
    assert record.getMessage() == "GET - 404 12.3 ms"


@pytest.mark.parametrize(
    ("is_routine", "status", "level"),
    [
        (True, 200, logging.DEBUG),
        (True, 503, logging.INFO),
        (False, 200, logging.INFO),
        (False, 404, logging.INFO),
    ],
)
def test_a_probe_that_finds_all_well_is_for_debugging(
    caplog: pytest.LogCaptureFixture, is_routine: bool, status: int, level: int
) -> None:
    assert line(caplog, finished(status=status, is_routine=is_routine)).levelno == level


def levels(log: AccessLog, caplog: pytest.LogCaptureFixture, *asked: FinishedRequest) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "models_api.access"):
        for request in asked:
            log(request)
    return [record.levelname for record in caplog.records]


def probes(*statuses: int, route: str = "api/health/ready") -> list[FinishedRequest]:
    return [finished(route, status, is_routine=True, method="GET") for status in statuses]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((200, 200, 200), "D D D"),
        ((503, 503, 503), "I D D"),
        ((200, 503, 503, 200, 200, 503), "D I D I D I"),
        ((503, 500, 503), "I I I"),
        ((304, 200, 304), "D D D"),
    ],
)
def test_a_probe_is_told_of_where_its_answer_changes(
    caplog: pytest.LogCaptureFixture, statuses: tuple[int, ...], expected: str
) -> None:
    found = levels(AccessLog(), caplog, *probes(*statuses))
    assert " ".join(level[0] for level in found) == expected


def test_each_probe_is_told_of_by_itself_and_that_of_each_model(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = AccessLog()
    assert levels(log, caplog, *probes(503), *probes(200, route="api/health/startup")) == [
        "INFO",
        "DEBUG",
    ]
    a, b = RequestContext("a"), RequestContext("b")
    a.model, b.model = "a", "b"
    route = "api/models/<str:qualified_name>/ready"
    asked = [finished(route, 503, each, is_routine=True) for each in (a, b, a, b)]
    assert levels(log, caplog, *asked) == ["INFO", "INFO", "DEBUG", "DEBUG"]


def test_every_probe_is_told_of_where_that_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog(logs_probes=True)
    assert levels(log, caplog, *probes(200, 200, 503, 503)) == ["INFO"] * 4


@pytest.mark.parametrize(
    ("route", "shown"),
    [
        ("api/models/<str:qualified_name>/prediction", "/api/models/{qualified_name}/prediction"),
        ("v2/models/<str:a>/versions/<str:b>/infer", "/v2/models/{a}/versions/{b}/infer"),
        ("docs/assets/<str:folder>/<path:path>", "/docs/assets/{folder}/{path}"),
        ("ml/<slug>/api/models", "/ml/{slug}/api/models"),
        (r"^ml/(?P<team>\w+)/<int:n>", r"/^ml/(?P{team}\w+)/{n}"),
    ],
)
def test_a_route_has_its_parameters_as_documents_do(
    caplog: pytest.LogCaptureFixture, route: str, shown: str
) -> None:
    record = line(caplog, finished(route, 404))
    assert record.getMessage() == f"POST {shown} 404 12.3 ms"
    assert fields(record)["route"] == shown


def test_a_reason_is_told(caplog: pytest.LogCaptureFixture, context: RequestContext) -> None:
    context.reason = "host_not_allowed"
    record = line(caplog, finished(None, 400, context, method="GET"))
    assert record.getMessage() == "GET - 400 12.3 ms reason=host_not_allowed"
    assert vars(record)["reason"] == "host_not_allowed"


def test_a_log_that_is_switched_off_by_its_level_gets_no_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "models_api.access"):
        AccessLog()(finished())
    assert caplog.records == []


def test_a_record_has_all_that_those_of_loggers_have(caplog: pytest.LogCaptureFixture) -> None:
    record = line(caplog, finished())
    expected = logging.getLogger("models_api.access").makeRecord("", 0, "", 0, "", (), None)
    assert vars(expected).keys() <= vars(record).keys()
    assert abs(record.created - expected.created) < 10
    assert (record.name, record.levelname) == ("models_api.access", "INFO")


@pytest.fixture
def factory() -> Iterator[list[logging.LogRecord]]:
    """The records that a factory of somebody's has made."""
    made: list[logging.LogRecord] = []

    def make(*args: Any, **more: Any) -> logging.LogRecord:
        made.append(logging.LogRecord(*args, **more))
        return made[-1]

    logging.setLogRecordFactory(make)
    yield made
    logging.setLogRecordFactory(logging.LogRecord)


def test_a_factory_of_records_that_somebody_has_set_is_used(
    caplog: pytest.LogCaptureFixture, factory: list[logging.LogRecord]
) -> None:
    record = line(caplog, finished())
    assert record is factory[-1]
    assert record.getMessage() == "POST /api/models 200 12.3 ms"
    assert fields(record)["route"] == "/api/models"

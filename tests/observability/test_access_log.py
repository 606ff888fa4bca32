"""The line that each request has in the log."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models_api.observability import access_log as module
from models_api.observability.access_log import AccessLog
from models_api.observability.log_handler import BatchingStreamHandler
from models_api.observability.log_records import JSONFormatter, RequestFilter, TextFormatter
from models_api.observability.requests import FinishedRequest
from models_api.prediction.request_context import RequestContext


def finished(
    route: str | None = "api/models",
    status: int = 200,
    context: RequestContext | None = None,
    *,
    is_probe: bool = False,
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
        is_probe=is_probe,
        context=context or RequestContext("mine"),
    )


def line(caplog: pytest.LogCaptureFixture, request: FinishedRequest) -> logging.LogRecord:
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "models_api.access"):
        AccessLog()(request)
    (record,) = caplog.records
    return record


def fields(record: Any) -> dict[str, Any]:
    names = (
        *("method", "route", "status", "milliseconds"),
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


def test_where_no_route_matches_the_path_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    record = line(caplog, finished(None, 404, method="GET"))
    assert record.getMessage() == "GET - 404 12.3 ms"


@pytest.mark.parametrize(
    ("is_probe", "status", "level"),
    [
        (True, 200, logging.DEBUG),
        (True, 503, logging.INFO),
        (False, 200, logging.INFO),
        (False, 404, logging.INFO),
    ],
)
def test_a_probe_that_finds_all_well_is_for_debugging(
    caplog: pytest.LogCaptureFixture, is_probe: bool, status: int, level: int
) -> None:
    assert line(caplog, finished(status=status, is_probe=is_probe)).levelno == level


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


class Output:
    """Keeps what its logger's handler writes, as the service has it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.fails = 0

    def write(self, text: str) -> None:
        if self.fails:
            self.fails -= 1
            raise OSError("no space left on device")
        self.lines += text.splitlines()

    def flush(self) -> None:
        """Do nothing: all is written."""


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Iterator[Output]:
    output, logger = Output(), module.logger
    handler = BatchingStreamHandler(output)  # type: ignore[call-overload]
    handler.addFilter(RequestFilter())
    handler.setFormatter(TextFormatter("%(request_id)s"))
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    yield output
    logger.manager._clear_cache()  # type: ignore[attr-defined]


def request(id_: str) -> FinishedRequest:
    return finished(context=RequestContext(id_))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


TEXT = "%(asctime)s %(levelname)-7s %(name)s [%(request_id)s %(trace_id)s]: %(message)s"


@pytest.mark.parametrize(
    "formatter", [TextFormatter(TEXT), TextFormatter("100 %% %(message)s"), JSONFormatter()]
)
@pytest.mark.parametrize("route", ["api/models/iris/prediction", '50%/%s/<str:"a">', None])
@pytest.mark.parametrize("trace_id", [None, "f" * 32])
@pytest.mark.parametrize("rows", [None, 3])
def test_a_line_is_what_the_formatter_makes_of_the_record(
    output: Output,
    formatter: logging.Formatter,
    route: str | None,
    trace_id: str | None,
    rows: int | None,
) -> None:
    context = RequestContext("mine-1")
    context.trace_id, context.rows, context.others = trace_id, rows, ("other",)
    context.model, context.version, context.queue_seconds = "iris", "1.0%", 0.0123456
    logged, access_log = finished(route, 200, context), AccessLog()
    let_nobody_else_listen()
    module.logger.handlers[0].setFormatter(formatter)
    access_log(logged)
    lines, output.lines = output.lines, []
    listening = Listening()
    module.logger.addHandler(listening)
    access_log._due = 0.0
    access_log(logged)
    assert without_time(lines) == without_time(output.lines)
    assert len(lines) == len(listening.records) == 1


def let_nobody_else_listen() -> None:
    # pytest does, to every logger that hands nothing on.
    del module.logger.handlers[1:]


class Listening(logging.Handler):
    """Because it listens, records have to be made."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record."""
        self.records.append(record)


def without_time(lines: list[str]) -> list[str]:
    return [re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "<time>", line) for line in lines]


def test_where_nobody_would_notice_no_record_is_made(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_nobody_else_listen()
    AccessLog()(request("first"))
    monkeypatch.setattr(module.logger, "makeRecord", pytest.fail)
    AccessLog()(request("second"))
    assert output.lines == ["first", "second"]


def test_a_filter_of_the_logger_or_of_the_handler_gets_records(output: Output) -> None:
    names: list[str] = []
    for filtered in (module.logger, module.logger.handlers[0]):
        access_log, keep = AccessLog(), names.append
        filtered.addFilter(lambda record, keep=keep: keep(record.getMessage()) or True)  # type: ignore[misc]
        access_log(request("a"))
    module.logger.filters.clear()
    assert names == ["POST /api/models 200 12.3 ms"] * 3
    assert output.lines == ["a", "a"]


def test_what_is_written_later_has_the_time_when_it_ended(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 1000.0)
    module.logger.handlers[0].setFormatter(TextFormatter("%(asctime)s"))
    access_log = AccessLog()
    access_log(request("a"))
    begun = datetime.now(UTC)
    access_log(request("b"))
    ended = datetime.now(UTC)
    time.sleep(0.002)
    access_log.flush()
    said = datetime.fromisoformat(output.lines[1])
    assert begun - timedelta(milliseconds=1) <= said <= ended


def test_lines_close_to_another_are_written_a_little_later_with_the_id_of_their_request(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 1.0)
    access_log = AccessLog()
    for name in "abc":
        access_log(request(name))
    assert output.lines == ["a"]
    wait_until(lambda: output.lines == ["a", "b", "c"])


def test_the_next_line_brings_those_that_wait(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 1000.0)
    access_log = AccessLog()
    for name in "abc":
        access_log(request(name))
    access_log._due = 0.0
    for name in "de":
        access_log(request(name))
    assert output.lines == ["a", "b", "c", "d"]
    access_log.flush()
    assert output.lines == ["a", "b", "c", "d", "e"]


def test_lines_of_many_threads_are_all_written_and_each_once(output: Output) -> None:
    access_log = AccessLog()
    names = [[f"{thread}.{number}" for number in range(500)] for thread in range(8)]

    def log(ids: list[str]) -> None:
        for id_ in ids:
            access_log(request(id_))

    threads = [threading.Thread(target=log, args=(some,)) for some in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    access_log.flush()
    assert sorted(output.lines) == sorted(id_ for some in names for id_ in some)
    assert [line for line in output.lines if line.startswith("3.")] == names[3]


def test_an_output_that_fails_costs_neither_the_request_nor_later_lines(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    access_log = AccessLog()
    output.fails = 1
    for name in "ab":
        access_log(request(name))
    assert output.lines == ["b"]


def test_a_handler_that_raises_costs_nobody_his_line(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = logging.NullHandler()
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(handler, "handle", lambda _record: 1 / 0)
    module.logger.addHandler(handler)
    access_log = AccessLog()
    for name in "ab":
        access_log(request(name))
    assert output.lines == ["a", "b"]


def test_without_room_for_a_thread_each_line_is_written_at_once(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "_PAUSE_SECONDS", 1000.0)
    monkeypatch.setattr(threading.Thread, "start", fail)
    access_log = AccessLog()
    for name in "abcd":
        access_log(request(name))
    assert output.lines == ["a", "b", "c", "d"]


def test_a_handler_that_takes_no_more_holds_up_one_thread_until_too_much_waits(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_HELD", 20)
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    access_log, names = AccessLog(), [str(number) for number in range(40)]
    handler = module.logger.handlers[0]

    def log(*ids: str) -> None:
        for id_ in ids:
            access_log(request(id_))

    with handler.lock:  # type: ignore[union-attr]
        stuck = threading.Thread(target=log, args=("stuck",))
        stuck.start()
        wait_until(lambda: access_log._writing.locked() and not access_log._held)
        log(*names[:20])
        waiting = threading.Thread(target=log, args=names[20:])
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
    stuck.join(10)
    waiting.join(10)
    access_log.flush()
    assert output.lines == ["stuck", *names]


PROGRAM = """
import logging, os, sys
from models_api.observability import access_log
from models_api.observability.log_handler import BatchingStreamHandler
from models_api.observability.log_records import RequestFilter, TextFormatter
from models_api.observability.requests import FinishedRequest
from models_api.prediction.request_context import RequestContext
access_log._PAUSE_SECONDS = 1000.0
handler = BatchingStreamHandler(sys.stdout)
handler.addFilter(RequestFilter())
handler.setFormatter(TextFormatter("%(message)s"))
logging.basicConfig(level=logging.INFO, handlers=[handler])
log = access_log.AccessLog()

def write(method):
    context = RequestContext("mine")
    log(FinishedRequest(method, "a", "/a", 200, 0.1, None, None, False, context))
"""


def methods_of(code: str) -> list[str]:
    """Return those of the lines that the program writes, in the order of the alphabet."""
    command = [sys.executable, "-c", PROGRAM + code]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return sorted(line.split()[0] for line in done.stdout.splitlines())


def test_what_waits_is_written_at_the_end_of_the_process_and_what_comes_then_at_once() -> None:
    code = """
import atexit
atexit.register(lambda: [write(word) for word in ("late", "later")])
for word in ("a", "b", "c"):
    write(word)
"""
    # Registered after multiprocessing's own, it runs before that.
    assert methods_of(code) == ["a", "b", "c", "late", "later"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_writes_its_own_lines_alone() -> None:
    code = """
write("first")
write("second")
if os.fork() == 0:
    for word in ("mine", "too"):
        write(word)
else:
    os.wait()
"""
    assert methods_of(code) == ["first", "mine", "second", "too"]

"""Records with the ids of their requests, and records as JSON."""

from __future__ import annotations

import io
import itertools
import json
import logging
import math
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import RequestFactory
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from models_api.log_records import JSONFormatter, LineWriter, RequestFilter, TextFormatter
from models_api.request_context import RequestContext, current_request, shared_context


@pytest.fixture
def context() -> Iterator[RequestContext]:
    """The context of a request that the test works for."""
    context = RequestContext("mine")
    token = current_request.set(context)
    yield context
    current_request.reset(token)


def make_record(message: str = "Hello %s", *arguments: Any, **given: Any) -> logging.LogRecord:
    extra = given.pop("extra", None)
    level = given.pop("level", logging.INFO)
    logger = logging.getLogger("a.logger")
    information = given.pop("exc_info", None)
    return logger.makeRecord(
        "a.logger", level, "file.py", 1, message, arguments, information, extra=extra, **given
    )


def filtered(record: logging.LogRecord) -> logging.LogRecord:
    assert RequestFilter().filter(record)
    return record


def failure(error: BaseException) -> Any:
    try:
        raise error
    except type(error):
        return sys.exc_info()


def as_json(record: logging.LogRecord) -> Any:
    text = JSONFormatter().format(record)
    assert "\n" not in text
    assert text.isascii()
    return json.loads(text, parse_constant=pytest.fail)


def test_outside_of_requests_a_record_has_no_ids() -> None:
    record = filtered(make_record())
    assert logging.Formatter("%(request_id)s %(trace_id)s").format(record) == "- -"


def test_a_record_has_the_ids_of_its_request(context: RequestContext) -> None:
    context.trace_id = "0" * 31 + "1"
    record = filtered(make_record())
    text = logging.Formatter("%(request_id)s %(trace_id)s").format(record)
    assert text == f"mine {'0' * 31}1"


def test_a_record_of_several_requests_has_the_ids_of_all(context: RequestContext) -> None:
    token = current_request.set(shared_context([context, RequestContext("b"), RequestContext("c")]))
    try:
        record = filtered(make_record())
    finally:
        current_request.reset(token)
    assert logging.Formatter("%(request_id)s").format(record) == "mine,b,c"


def test_a_model_may_write_an_id_of_its_own_which_does_not_count(context: RequestContext) -> None:
    record = filtered(make_record(extra={"request_id": "of the model"}))
    assert as_json(record)["request_id"] == context.id


class Schema(BaseModel):
    x: int
    y: str = ""


class Unquotable:
    def __repr__(self) -> str:
        return f"<{SECRET}\n{SECRET}>"


def misfit(**values: Any) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Schema.model_validate(values)
    return caught.value


SECRET = "secret"


@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        f"a\n{SECRET}",
        f"a, input_type=str]\n{SECRET}",
        f"a, input_type=str] {SECRET}",
        [SECRET],
        {SECRET: SECRET},
        Unquotable(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("is_json", [False, True])
def test_a_traceback_does_not_quote_the_values_that_do_not_fit(value: Any, is_json: bool) -> None:
    try:
        raise RuntimeError("failed") from misfit(x=value, y=[SECRET])
    except RuntimeError:
        record = filtered(make_record(exc_info=sys.exc_info()))
    formatter = JSONFormatter() if is_json else logging.Formatter()
    text = formatter.format(record)
    assert SECRET not in text
    assert "2 validation errors for Schema" in text
    assert "RuntimeError: failed" in text
    assert "[type=string_type, input_type=list]" in text


def test_the_values_in_a_group_of_exceptions_are_not_quoted_either() -> None:
    group = ExceptionGroup("several", [misfit(x=SECRET), KeyError("key")])
    text = logging.Formatter().format(filtered(make_record(exc_info=failure(group))))
    assert SECRET not in text
    assert "[type=int_parsing, input_type=str]" in text
    assert "KeyError: 'key'" in text


def test_a_record_is_one_line_of_json() -> None:
    record = make_record("Hello %s", "w\xf6rld\n\ud800", level=logging.WARNING)
    record.created, record.msecs = 1e9 + 0.0625, 62.5
    assert as_json(record) == {
        "time": "2001-09-09T01:46:40.062Z",
        "level": "WARNING",
        "logger": "a.logger",
        "message": "Hello w\xf6rld\n\ud800",
    }


def test_text_has_the_time_of_utc() -> None:
    formatter = TextFormatter("%(asctime)s %(message)s")
    record = make_record("Hello")
    record.created, record.msecs = 1e9 + 0.0625, 62.5
    assert formatter.format(record) == "2001-09-09T01:46:40.062Z Hello"
    formatter.datefmt = "at %Y"
    assert formatter.format(record) == "at 2001 Hello"


def test_json_has_the_ids_of_the_request(context: RequestContext) -> None:
    entry = as_json(filtered(make_record()))
    assert (entry["request_id"], "trace_id" in entry) == ("mine", False)
    context.trace_id = "f" * 32
    assert as_json(filtered(make_record()))["trace_id"] == "f" * 32


def test_json_has_the_traceback_with_or_without_the_filter() -> None:
    information = failure(ZeroDivisionError("reason"))
    for record in (make_record(exc_info=information), filtered(make_record(exc_info=information))):
        traceback = as_json(record)["traceback"]
        assert traceback.startswith("Traceback (most recent call last):\n")
        assert traceback.endswith("ZeroDivisionError: reason")


def test_json_has_the_stack_if_it_is_asked_for() -> None:
    assert as_json(make_record(sinfo="Stack (most recent call last):"))["stack"].startswith("Stack")


def test_what_is_given_as_extra_is_in_the_json_but_replaces_nothing() -> None:
    extra = {"count": 3, "share": 0.5, "names": ["a"], "level": "mine", "what": {1, 2}.__class__}
    entry = as_json(make_record("Hello", extra=extra))
    assert (entry["count"], entry["share"], entry["names"]) == (3, 0.5, ["a"])
    assert (entry["level"], entry["what"]) == ("INFO", "<class 'set'>")


def test_the_request_that_django_gives_is_left_out() -> None:
    request = RequestFactory().get("/", {"token": "secret"})
    assert "request" not in as_json(make_record("Hello", extra={"request": request}))


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def test_a_number_that_json_does_not_know_is_written_as_text() -> None:
    entry = as_json(make_record("Hello", extra={"value": math.nan, "count": 3}))
    assert (entry["value"], entry["count"]) == ("NaN", 3)


@pytest.mark.parametrize("value", [[math.inf], {(1, 2): 3}, endless()], ids=repr)
def test_what_has_no_json_is_written_as_text(value: Any) -> None:
    entry = as_json(make_record("Hello", extra={"value": value, "count": 3}))
    assert (entry["message"], entry["value"], entry["count"]) == ("Hello", str(value), "3")


def test_a_value_that_pydantic_will_not_write_is_not_quoted_either() -> None:
    values: dict[str, Any] = {"x": SECRET}
    unfit = Schema.model_construct(**values)
    with pytest.raises(PydanticSerializationError) as caught:
        unfit.model_dump_json(warnings="error")
    assert SECRET in str(caught.value)
    information = (caught.type, caught.value, None)
    text = logging.Formatter().format(filtered(make_record(exc_info=information)))
    assert SECRET not in text
    assert "[field_name='x', input_type=str])" in text


class Console:
    """A logger of its own, with one handler as the service has it."""

    numbers = itertools.count()

    def __init__(self, formatter: logging.Formatter | None = None) -> None:
        self.logger = logging.getLogger(f"test{next(self.numbers)}.console")
        self.logger.setLevel(logging.INFO)
        self.logger.propagate = False
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.addFilter(RequestFilter())
        self.handler.setFormatter(formatter or TextFormatter(TEXT))
        self.logger.addHandler(self.handler)
        self.records: list[logging.LogRecord] = []

    def write(self, message: str, **fields: Any) -> str:
        LineWriter(self.logger).write(message, fields)
        return self.written()

    def log(self, message: str, **fields: Any) -> str:
        self.logger.info(message, extra=fields)
        return self.written()

    def written(self) -> str:
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return TIME.sub("<time>", text).replace(self.logger.name, "<logger>")

    def keep(self, record: logging.LogRecord) -> bool:
        """Serve as a filter that hears of records."""
        self.records.append(record)
        return True


TEXT = "%(asctime)s %(levelname)-7s %(name)s [%(request_id)s %(trace_id)s]: %(message)s"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
FORMATTERS = [
    TextFormatter(TEXT),
    TextFormatter("%(message)s"),
    JSONFormatter(),
    TextFormatter(f"{TEXT} %(process)d %(threadName)s"),
    TextFormatter("%(levelno)d %(message)s"),
    TextFormatter("%(status)s %(message)s"),
    TextFormatter("%(asctime)s %(message)s", "%Y"),
    TextFormatter("{asctime} {message}", style="{"),
    TextFormatter("%(message)s %(a)s", defaults={"a": "b"}),
    TextFormatter(),
    logging.Formatter(TEXT.replace("%(asctime)s", "")),
]
FIELDS = [
    {"status": 200, "milliseconds": 1.25, "model": "iris", "version": None},
    {"status": 200, "model": "w\xf6rld\n", "route": '"\ud800'},
    {"status": 200, "milliseconds": math.nan, "rows": [1, {2}], "time": "later", "level": 1},
]


@pytest.mark.parametrize("formatter", FORMATTERS, ids=range(len(FORMATTERS)))
@pytest.mark.parametrize("fields", FIELDS, ids=range(len(FIELDS)))
def test_a_line_is_what_the_logger_would_write(
    context: RequestContext, formatter: logging.Formatter, fields: dict[str, Any]
) -> None:
    console = Console(formatter)
    for trace_id in (None, "f" * 32):
        context.trace_id = trace_id
        line = console.write("Hello w\xf6rld 100 %", **fields)
        assert line == console.log("Hello w\xf6rld 100 %", **fields)
        assert line.count("\n") == 1


def test_a_line_outside_of_requests_is_what_the_logger_would_write() -> None:
    for formatter in FORMATTERS[:3]:
        console = Console(formatter)
        assert console.write("Hello", status=1) == console.log("Hello", status=1) != ""


def test_where_nobody_would_notice_no_record_is_made() -> None:
    console = Console()
    console.logger.makeRecord = pytest.fail  # type: ignore[method-assign,assignment]
    assert console.write("Hello") == "<time> INFO    <logger> [- -]: Hello\n"


def add_a_filter_to_the_logger(console: Console) -> None:
    console.logger.addFilter(console.keep)


def add_a_filter_to_the_handler(console: Console) -> None:
    console.handler.addFilter(console.keep)


def add_a_handler(console: Console) -> None:
    console.logger.addHandler(handler := logging.NullHandler())
    handler.handle = console.keep  # type: ignore[method-assign]


def add_a_handler_above(console: Console) -> None:
    above = logging.getLogger(console.logger.name.partition(".")[0])
    above.propagate = False
    above.addHandler(handler := logging.NullHandler())
    handler.handle = console.keep  # type: ignore[method-assign]
    console.logger.propagate = True


@pytest.mark.parametrize(
    "change",
    [
        add_a_filter_to_the_logger,
        add_a_filter_to_the_handler,
        add_a_handler,
        add_a_handler_above,
    ],
)
def test_whoever_else_listens_gets_records(change: Callable[[Console], None]) -> None:
    console = Console()
    change(console)
    line = console.write("Hello", status=200)
    assert line == "<time> INFO    <logger> [- -]: Hello\n"
    (record,) = console.records
    assert (record.getMessage(), vars(record)["status"]) == ("Hello", 200)


def test_a_handler_for_warnings_gets_no_lines() -> None:
    console = Console()
    console.handler.setLevel(logging.WARNING)
    assert console.write("Hello") == ""


def test_a_line_goes_up_to_the_handler_of_a_logger_above() -> None:
    console = Console()
    below = console.logger.getChild("below")
    LineWriter(below).write("Hello", {})
    assert console.written() == "<time> INFO    <logger>.below [- -]: Hello\n"
    below.propagate = False
    LineWriter(below).write("Hello", {})
    assert console.written() == ""


def test_a_stream_that_fails_is_dealt_with_as_loggers_do() -> None:
    console = Console()
    console.stream.close()
    seen: list[logging.LogRecord] = []
    console.handler.handleError = seen.append  # type: ignore[method-assign,assignment]
    LineWriter(console.logger).write("Hello", {})
    assert [record.getMessage() for record in seen] == ["Hello"]

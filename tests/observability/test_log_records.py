"""Records with the ids of their requests, and records as JSON."""

from __future__ import annotations

import json
import logging
import math
import sys
from typing import Any

import pytest
from django.test import RequestFactory
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from models_api.observability.log_records import JSONFormatter, RequestFilter, TextFormatter
from models_api.prediction.request_context import RequestContext, current_request, shared_context


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


@pytest.mark.parametrize("value", [math.nan, [math.inf], {(1, 2): 3}, endless()], ids=repr)
def test_what_has_no_json_is_written_as_text(value: Any) -> None:
    entry = as_json(make_record("Hello", extra={"value": value, "count": 3}))
    assert (entry["message"], entry["value"], entry["count"]) == ("Hello", str(value), 3)


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

"""Lines that are written without records, and several together."""

from __future__ import annotations

import io
import itertools
import logging
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from models_api.observability.line_writer import LineWriter

from models_api.observability import line_writer as module
from models_api.observability.log_records import (
    JSONFormatter,
    RequestFilter,
    Template,
    TextFormatter,
)
from models_api.prediction.request_context import RequestContext, current_request


def line(message: str, **fields: Any) -> tuple[Template, tuple[()]]:
    """Make what a line tells that has no numbers."""
    return Template(message.replace("%", "%%"), fields, ()), ()


class Console:
    """A logger of its own, with one handler as the service has it."""

    numbers = itertools.count()

    def __init__(self, formatter: logging.Formatter | None = None) -> None:
        self.logger = logging.getLogger(f"test{next(self.numbers)}.console")
        self.logger.setLevel(logging.INFO)
        self.logger.propagate = False
        self.stream = io.StringIO()
        self.handler: logging.StreamHandler[Any] = logging.StreamHandler(self.stream)
        self.handler.addFilter(RequestFilter())
        self.handler.setFormatter(formatter or TextFormatter(TEXT))
        self.logger.addHandler(self.handler)
        self.records: list[logging.LogRecord] = []

    def write(self, message: str, **fields: Any) -> str:
        lines = LineWriter(self.logger)
        lines.write(*line(message, **fields))
        lines.flush()
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
    TextFormatter("100 %% %%(name)s (%(name).4s %(levelname)6s) %(request_id)-40s %(message)s!"),
    TextFormatter("%(trace_id)s"),
    TextFormatter("%(name)s"),
    TextFormatter("%(message)-60s|"),
    TextFormatter("%(message)s, or %(message)s"),
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
    for id_, trace_id in (("mine", None), ("mine", "f" * 32), ("-", "f" * 32)):
        context.id, context.trace_id = id_, trace_id
        written = console.write("Hello w\xf6rld 100 %", **fields)
        assert written == console.log("Hello w\xf6rld 100 %", **fields)
        assert written.count("\n") == 1


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("formatter", FORMATTERS, ids=range(len(FORMATTERS)))
def test_numbers_are_told_as_the_logger_would(formatter: logging.Formatter) -> None:
    console = Console(formatter)
    message = "%(milliseconds).1f ms, 100 %%, %(rows)d"
    template = Template(message, {"status": 200}, ("milliseconds", "rows"))
    lines = LineWriter(console.logger)
    for milliseconds, rows in ((0.001, 1), (1.25, 20), (12345678.9, 3000)):
        lines.write(template, (milliseconds, rows))
        lines.flush()
        written = console.written()
        told = f"{milliseconds:.1f} ms, 100 %, {rows}"
        assert written == console.log(told, status=200, milliseconds=milliseconds, rows=rows)


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
    lines = LineWriter(below)
    lines.write(*line("Hello"))
    lines.flush()
    assert console.written() == "<time> INFO    <logger>.below [- -]: Hello\n"
    below.propagate = False
    lines.write(*line("Hello"))
    lines.flush()
    assert console.written() == ""


def test_a_stream_that_fails_is_dealt_with_as_loggers_do() -> None:
    console = Console()
    console.stream.close()
    seen: list[logging.LogRecord] = []
    console.handler.handleError = seen.append  # type: ignore[method-assign,assignment]
    lines = LineWriter(console.logger)
    lines.write(*line("Hello"))
    lines.flush()
    assert [record.getMessage() for record in seen] == ["Hello"]


def test_a_line_that_cannot_be_written_keeps_none_of_the_others_back() -> None:
    console = Console()
    written = io.BytesIO()
    console.handler.setStream(io.TextIOWrapper(written, encoding="ascii"))
    seen: list[logging.LogRecord] = []
    console.handler.handleError = seen.append  # type: ignore[method-assign,assignment]
    lines = LineWriter(console.logger)
    long = "x" * 5000
    for message in ("before", long, "w\xf6rld", "after"):
        lines._held.append((0.0, "-", "-", *line(message)))
    lines.flush()
    assert [record.getMessage() for record in seen] == ["w\xf6rld"]
    ends = [line.rpartition(" ")[2] for line in written.getvalue().decode().splitlines()]
    assert ends == ["before", long, "after"]


class Crowd:
    """Lines of a console that come close to each other."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lines = LineWriter(console.logger)

    def add(self, *messages: str) -> None:
        for message in messages:
            self.lines.write(*line(message))

    def written(self) -> list[str]:
        """Return all that was written so far: the ids and the messages."""
        pattern = r"\[(\S+) -\]: (.*)"
        return [" ".join(found) for found in re.findall(pattern, self.console.stream.getvalue())]

    def wait_for(self, *expected: str) -> None:
        wait_until(lambda: self.written() == [*expected])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines come close to each other however slow the machine is."""
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 1000.0)


def test_lines_close_to_another_are_written_a_little_later_with_the_id_of_their_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 1.0)
    crowd = Crowd(Console())
    for name in "abc":
        token = current_request.set(RequestContext(name))
        crowd.add(f"Hello {name}")
        current_request.reset(token)
    assert crowd.written() == ["a Hello a"]
    crowd.wait_for("a Hello a", "b Hello b", "c Hello c")
    crowd.add("again")
    crowd.wait_for("a Hello a", "b Hello b", "c Hello c", "- again")


def test_a_line_long_after_another_is_written_at_once_without_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    crowd = Crowd(Console())
    for name in "abc":
        crowd.add(name)
        assert crowd.written()[-1] == f"- {name}"
    assert crowd.lines._thread is None


@pytest.mark.usefixtures("close")
def test_the_next_line_brings_those_that_are_held() -> None:
    crowd = Crowd(Console())
    crowd.add("first", "second", "third")
    assert crowd.written() == ["- first"]
    crowd.lines._due = 0.0
    crowd.add("fourth", "fifth")
    assert crowd.written() == ["- first", "- second", "- third", "- fourth"]


@pytest.mark.usefixtures("close")
def test_what_is_written_later_has_the_time_when_it_was_said() -> None:
    crowd = Crowd(Console(TextFormatter("%(asctime)s")))
    crowd.add("first")
    begun = datetime.now(UTC)
    crowd.add("second")
    ended = datetime.now(UTC)
    time.sleep(0.002)
    crowd.lines.flush()
    said = datetime.fromisoformat(crowd.console.stream.getvalue().split()[1])
    assert begun - timedelta(milliseconds=1) <= said <= ended


def test_what_is_held_goes_to_handlers_that_were_added_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.5)
    crowd = Crowd(Console())
    crowd.add("at once")
    token = current_request.set(RequestContext("mine"))
    crowd.add("first")
    current_request.reset(token)
    add_a_handler(crowd.console)
    crowd.wait_for("- at once", "mine first")
    assert [record.getMessage() for record in crowd.console.records] == ["first"]
    crowd.add("second")
    assert crowd.written() == ["- at once", "mine first", "- second"]


def test_lines_of_many_threads_are_all_written_and_each_once() -> None:
    crowd = Crowd(Console())
    names = [[f"{thread}.{number}" for number in range(500)] for thread in range(8)]
    threads = [threading.Thread(target=crowd.add, args=some) for some in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    crowd.lines.flush()
    written = [line.removeprefix("- ") for line in crowd.written()]
    assert sorted(written) == sorted(itertools.chain(*names))
    assert [line for line in written if line.startswith("3.")] == names[3]


def test_a_stream_that_takes_no_more_holds_up_one_thread_until_too_much_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MOST_HELD", 20)
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    crowd = Crowd(Console())
    names = [str(number) for number in range(40)]
    crowd.console.handler.acquire()
    try:
        stuck = threading.Thread(target=crowd.add, args=["stuck"])
        stuck.start()
        wait_until(lambda: crowd.lines._writing.locked() and not crowd.lines._held)
        crowd.add(*names[:20])
        waiting = threading.Thread(target=crowd.add, args=names[20:])
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
    finally:
        crowd.console.handler.release()
    stuck.join(10)
    waiting.join(10)
    crowd.wait_for(*(f"- {name}" for name in ("stuck", *names)))


@pytest.mark.usefixtures("close")
def test_without_room_for_a_thread_each_line_is_written_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crowd = Crowd(Console())

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    crowd.add("first", "second", "third", "fourth")
    assert crowd.written() == ["- first", "- second", "- third", "- fourth"]


AT_THE_END = """
import logging, os, sys
from models_api.observability import line_writer
from models_api.observability.log_records import RequestFilter, Template, TextFormatter
line_writer._PAUSE_SECONDS = 1000.0
handler = logging.StreamHandler(sys.stdout)
handler.addFilter(RequestFilter())
handler.setFormatter(TextFormatter("%(message)s"))
logger = logging.getLogger("lines")
logger.setLevel(logging.INFO)
logger.addHandler(handler)
lines = line_writer.LineWriter(logger)

def write(message):
    lines.write(Template(message, {}, ()), ())
"""


def test_lines_of_processes_that_share_a_pipe_do_not_mix() -> None:
    code = """
for number in range(5000):
    write(f"<{sys.argv[1]} {number} {'x' * 300}>")
"""
    command = [sys.executable, "-c", AT_THE_END + code]
    read_end, write_end = os.pipe()
    writers = [subprocess.Popen([*command, name], stdout=write_end) for name in ("one", "two")]
    os.close(write_end)
    time.sleep(1)  # for both to have more to write than the pipe takes
    with os.fdopen(read_end, encoding="utf-8") as pipe:
        written = pipe.read().splitlines()
    assert [writer.wait() for writer in writers] == [0, 0]
    pattern = re.compile("<(one|two) [0-9]+ x{300}>")
    assert [line for line in written if not pattern.fullmatch(line)] == []
    assert len(set(written)) == len(written) == 10000


def output_of(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", AT_THE_END + code], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def test_what_is_held_is_written_at_the_end_of_the_process_and_what_comes_then_at_once() -> None:
    code = """
import atexit
atexit.register(lambda: [write(word) for word in ("late", "later")])
for word in ("a", "b", "c"):
    write(word)
"""
    # Registered after multiprocessing's own, it runs before that.
    assert sorted(output_of(code).split()) == ["a", "b", "c", "late", "later"]


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
    assert sorted(output_of(code).split()) == ["first", "mine", "second", "too"]

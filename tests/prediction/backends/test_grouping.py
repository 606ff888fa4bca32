"""Requests of a worker go alone while few are on their way, and together when more wait."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from models_api.prediction.backends.grouping import GroupingSender
from models_api.prediction.backends.messages import Message
from tests.prediction.test_batcher import wait_until


class Process:
    """Answers each request with its own body, and notes what came together; `gate` holds it up."""

    def __init__(self) -> None:
        self.groups: list[list[bytes]] = []
        self.heads: list[dict[str, object]] = []
        self.gate = threading.Event()
        self.error: Exception | None = None

    def send(self, message: Message, began: float) -> Message:
        assert began <= time.monotonic()
        parts = message.parts() if message.is_joined else [message]
        self.groups.append([each.body for each in parts])
        self.heads += [each.head for each in parts]
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        answers = [Message({}, b"<" + each.body + b">") for each in parts]
        return Message.joined(answers) if message.is_joined else answers[0]


@pytest.fixture
def process() -> Process:
    return Process()


Ask = Callable[[bytes], Future[Message]]


def asking(sender: GroupingSender, clients: ThreadPoolExecutor) -> Ask:
    """Return what asks on another thread, and returns once the request waits or is on its way."""
    asked = 0

    def ask(body: bytes) -> Future[Message]:
        nonlocal asked
        asked += 1
        found = clients.submit(sender.ask, Message({"operation": "predict"}, body))
        wait_until(lambda: len(sender._waiting) + sender._lines - sender._free >= asked)
        return found

    return ask


def test_a_request_that_finds_a_line_goes_alone_and_at_once(process: Process) -> None:
    process.gate.set()
    sender = GroupingSender(process.send, 2, 64)
    assert [sender.ask(Message({}, each)).body for each in (b"a", b"b")] == [b"<a>", b"<b>"]
    assert process.groups == [[b"a"], [b"b"]]
    assert process.heads == [{}, {}]


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_as_many_are_on_their_way_as_there_are_lines(process: Process, lines: int) -> None:
    sender = GroupingSender(process.send, lines, 64)
    with ThreadPoolExecutor() as clients:
        ask = asking(sender, clients)
        asked = [ask(each) for each in (b"a", b"b", b"c", b"d", b"e")]
        assert sorted(process.groups) == [[b"a"], [b"b"], [b"c"]][:lines]
        process.gate.set()
        answers = [each.result(10).body for each in asked]
    assert answers == [b"<a>", b"<b>", b"<c>", b"<d>", b"<e>"]


def test_those_that_find_no_line_go_together_in_their_order(process: Process) -> None:
    sender = GroupingSender(process.send, 1, 64)
    with ThreadPoolExecutor() as clients:
        ask = asking(sender, clients)
        asked = [ask(each) for each in (b"a", b"b", b"c", b"d")]
        process.gate.set()
        answers = [each.result(10).body for each in asked]
    assert answers == [b"<a>", b"<b>", b"<c>", b"<d>"]
    assert process.groups == [[b"a"], [b"b", b"c", b"d"]]
    # The process counts the time that they have waited here.
    assert [("queued" in head) for head in process.heads] == [False, True, True, True]


@pytest.mark.parametrize(
    ("rows", "bodies", "groups"),
    [
        (2, [b"b", b"c", b"d"], [[b"b", b"c"], [b"d"]]),
        (64, [b"b", b"c" * 600_000, b"d" * 600_000], None),
        (64, [b"b" * 3_000_000, b"c"], None),
    ],
    ids=["rows", "bytes", "one that is larger"],
)
def test_no_group_is_larger_than_it_may_be(
    process: Process, rows: int, bodies: list[bytes], groups: list[list[bytes]] | None
) -> None:
    sender = GroupingSender(process.send, 1, rows)
    with ThreadPoolExecutor() as clients:
        ask = asking(sender, clients)
        asked = [ask(each) for each in (b"a", *bodies)]
        process.gate.set()
        assert [each.result(10).body[1:-1] for each in asked] == [b"a", *bodies]
    found = process.groups[1:]
    assert found == groups if groups else all(sum(map(len, each)) <= 3_000_000 for each in found)
    assert len(found) == 2
    assert ["queued" in head for head in process.heads] == [False] + [True] * len(bodies)


def test_an_error_is_that_of_those_on_their_way_and_of_nobody_else(process: Process) -> None:
    sender = GroupingSender(process.send, 1, 2)
    process.error = ConnectionResetError("gone")
    with ThreadPoolExecutor() as clients:
        ask = asking(sender, clients)
        asked = [ask(each) for each in (b"a", b"b", b"c", b"d")]
        process.gate.set()
        for each in asked[:3]:
            assert isinstance(each.exception(10), ConnectionResetError)
        assert isinstance(asked[3].exception(10), ConnectionResetError)
        process.error = None
        assert ask_again(sender) == b"<e>"
    assert process.groups == [[b"a"], [b"b", b"c"], [b"d"], [b"e"]]


def ask_again(sender: GroupingSender) -> bytes:
    return sender.ask(Message({}, b"e")).body


def test_a_forked_child_begins_with_all_lines_free(process: Process) -> None:
    sender = GroupingSender(process.send, 1, 64)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def predict() -> None:
        process.gate = threading.Event()
        process.gate.set()
        answers.put(ask_again(sender))

    with ThreadPoolExecutor() as clients:
        asked = asking(sender, clients)(b"a")
        child = context.Process(target=predict)
        child.start()
        child.join(20)
        process.gate.set()
        assert asked.result(10).body == b"<a>"
    assert child.exitcode == 0
    assert answers.get() == b"<e>"


def test_under_stress_each_gets_its_own_answer(process: Process) -> None:
    process.gate.set()
    sender = GroupingSender(process.send, 2, 8)
    numbers = [str(random.random()).encode() for _ in range(2000)]  # noqa: S311
    with ThreadPoolExecutor(32) as clients:
        answers = clients.map(lambda body: sender.ask(Message({}, body)).body, numbers)
        assert [*answers] == [b"<" + each + b">" for each in numbers]
    assert (sender._free, len(sender._waiting)) == (2, 0)

"""What a process answers to one request, it answers to the same among others."""

from __future__ import annotations

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from models_api.configuration.sections import BatchingConfiguration, ModelConfiguration
from models_api.model_processes.heart import Heart
from models_api.model_processes.process import ModelProcess
from models_api.prediction.backends.messages import Message
from models_api.prediction.backends.process_group import Limits
from models_api.prediction.limiter import WorkerLimiter

BATCHING = "tests.fakes.batching.BatchingModel"
SCALING = "tests.fakes.changing.ScalingModel"
OF_THE_CALL = {"traceback", "batches", "stages", "queued", "queue_seconds", "batch_size"}


class StillHeart(Heart):
    """Does not look for a supervisor, which this process has not."""

    def start(self, limiter: WorkerLimiter) -> None:
        """Do nothing."""


def process_of(class_path: str, **keys: Any) -> ModelProcess:
    """Return one that has loaded a model with batching."""
    keys.setdefault("batching", BatchingConfiguration(max_batch_size=8))
    configuration = ModelConfiguration(class_path=class_path, **keys)
    process = ModelProcess(configuration, Limits(1000, None), StillHeart())
    with TemporaryDirectory() as folder:
        process.load(Path(folder, "loaded"))
    return process


def request(number: int, body: object, **fields: object) -> Message:
    """Return a request as a worker sends it."""
    head = {"operation": "predict", "id": f"request-{number}", "tells": False, **fields}
    return Message(head, body if isinstance(body, bytes) else json.dumps(body).encode())


def lasting(answer: Message) -> Any:
    """Return what of an answer is the same whoever shares the call."""
    body = json.loads(answer.body) if answer.body else None
    if isinstance(body, dict):
        body.pop("batch_size", None)
    head = {name: each for name, each in answer.head.items() if name not in OF_THE_CALL}
    head["reason"] = head.get("reason", "").replace("predict_batch of", "predict of")
    return head, body


def answers(process: ModelProcess, messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """Return the answers to messages one by one, and all in one."""
    alone = [process.answer(Message.unpack(message.pack())) for message in messages]
    together = process.answer(Message.unpack(Message.joined(messages).pack()))
    return alone, Message.unpack(together.pack()).parts()


ROWS: list[object] = [
    *({"value": value} for value in (1, -1, 2, -2, 3, -3, 4)),
    *({"value": 1001}, {"valeu": 1}, {}, b"", b'{"value": ', b'{"value": 1e999}', [1]),
]


def test_each_of_many_gets_the_answer_that_it_would_get_alone() -> None:
    process = process_of(BATCHING)
    told = [request(at, row, tells=at % 2 == 0) for at, row in enumerate(ROWS)]
    alone, together = answers(process, told)
    as_sent = [Message.unpack(each.pack()) for each in alone]
    assert [*map(lasting, together)] == [*map(lasting, as_sent)]
    kinds = [each.head.get("error") for each in together[:8]]
    assert kinds[:2] == [None, "SchemaRejected"]
    assert kinds[3] == kinds[5] == "PredictionFailed"
    assert "secret reason" in together[3].head["traceback"]


def test_a_call_for_many_that_spoils_its_rows_is_made_anew_from_their_bodies() -> None:
    process = process_of(SCALING)
    rows: list[object] = [{"values": [255.0 / size] * size} for size in range(1, 6)]
    rows.append({"values": [51.0], "failure": "RuntimeError"})
    alone, together = answers(process, [request(at, row) for at, row in enumerate(rows)])
    assert [each.body for each in together] == [each.body for each in alone]
    assert [each.head["batch_size"] for each in alone] == [1] * 6


def test_what_was_measured_is_told_to_each() -> None:
    process, began = process_of(BATCHING), time.monotonic()
    messages = [request(at, {"value": at}, queued=began - 5) for at in range(10)]
    _, together = answers(process, messages)
    heads = [each.head for each in together]
    assert [head["batches"] for head in heads if head["batches"]] == [[8], [2]]
    assert [head["batch_size"] for head in heads] == [8] * 8 + [2] * 2
    assert [[name for name, _, _ in head["stages"]] for head in heads] == [
        ["parse", "predict", "serialise"]
    ] * 10
    # Two calls of 20 ms, after five seconds in the worker.
    assert all(began - 5 == head["queued"] and head["queue_seconds"] > 5 for head in heads)
    assert all(head["stages"][1][2] >= 0.02 for head in heads)


def test_one_for_which_nobody_waits_any_more_is_not_predicted() -> None:
    now = time.monotonic()
    late = {"received": now - 2, "deadline": now - 1}
    messages = [request(at, {"value": at}, **(late if at == 1 else {})) for at in range(3)]
    (_, together) = answers(process_of(BATCHING), messages)
    assert [each.head.get("error") for each in together] == [None, "DeadlineExceeded", None]
    assert json.loads(together[0].body)["batch_size"] == 2


def test_one_whose_turn_comes_too_late_after_a_call_has_failed_is_not_predicted() -> None:
    process = process_of(BATCHING)
    # The call for all takes 20 ms, and then each alone.
    due = {"received": time.monotonic(), "deadline": time.monotonic() + 0.06}
    rows: list[object] = [{"value": value} for value in (-2, 1, 2, 3, 4, 5, 6, 7)]
    messages = [request(at, row, **due) for at, row in enumerate(rows)]
    together = process.answer(Message.joined(messages)).parts()
    assert together[-1].head["error"] == "DeadlineExceeded"
    assert together[-1].head["timeout_seconds"] == pytest.approx(0.06, abs=0.01)


@pytest.mark.parametrize(
    ("keys", "rows"),
    [
        ({}, 8),
        ({"batching": None}, 1),
        ({"batching": BatchingConfiguration(max_wait_seconds=0.01)}, 1),
        ({"decorators": [{"class_path": "tests.fakes.batching.AddOneDecorator"}]}, 1),
        ({"batching": BatchingConfiguration(max_batch_size=1)}, 1),
    ],
    ids=["batching", "none", "waiting", "decorated", "batches of one"],
)
def test_it_says_how_many_requests_one_message_may_have(keys: dict[str, Any], rows: int) -> None:
    status = process_of(BATCHING, **keys).answer(
        Message({"operation": "status", "describes": False})
    )
    assert status.head["rows_per_message"] == rows

"""The signal that a team keeps a record by: sent for each row for which a model has predicted."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel, RootModel

from models_api.api.predictions import BatchEndpoint, PredictionEndpoint
from models_api.api.request_body import BoundedStream
from models_api.apps import current_service
from models_api.hosting.hosted_model import Resources
from models_api.open_inference.endpoint import InferEndpoint
from models_api.open_inference.statistics import InferenceStatistics
from models_api.prediction.request_context import RequestContext, note_principal
from models_api.signals import SignalSender, prediction_made
from tests.fakes.models import DoublingModel
from tests.in_process import InProcessService
from tests.modelhost.corpus import asked


class Wheel(BaseModel):
    spokes: int
    marks: list[str] = []


class ChangingModel(DoublingModel):
    """Changes what it is given, and gives it back."""

    qualified_name, version = "changing", "2.1"
    input_schema: Any = Wheel
    output_schema: Any = Wheel

    def predict(self, data: Any) -> Any:
        data.spokes *= 2
        data.marks.append("seen")
        return data


class Numbers(RootModel[list[float]]):
    """A list with a name."""


class WholeModel(ChangingModel):
    qualified_name = "whole"
    input_schema = output_schema = Numbers

    def predict(self, data: Any) -> Any:
        return Numbers([each + 1 for each in data.root])


class Nothing(BaseModel):
    """An object without fields."""


class NothingModel(ChangingModel):
    qualified_name = "nothing"
    input_schema = output_schema = Nothing

    def predict(self, data: Any) -> Any:
        return data


class WrongModel(DoublingModel):
    qualified_name = "failing"

    def predict(self, data: Any) -> Any:
        raise ValueError("wrong")


MODELS: list[dict[str, Any]] = [
    {"class_path": f"tests.test_signals.{name}"}
    for name in ("ChangingModel", "WholeModel", "NothingModel", "WrongModel")
]
MODELS += [
    {"class_path": "tests.fakes.models.DoublingModel", "timeout_seconds": 30},
    {"class_path": "tests.fakes.batching.BatchingModel", "batching": {"max_batch_size": 2}},
    {"class_path": "tests.fakes.columns.RowsModel"},
    {"class_path": "tests.fakes.columns.ColumnsModel"},
]
Heard = list[dict[str, Any]]
Connect = Callable[..., Heard]


@pytest.fixture(scope="module")
def service() -> InProcessService:
    return InProcessService({"models": MODELS}, Resources(listener=SignalSender))


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects a receiver, and gives what it hears."""
    receivers: list[Any] = []

    def connect(sender: Any = None, then: Callable[[], object] = lambda: None) -> Heard:
        heard: Heard = []

        def hear(**given: Any) -> None:
            heard.append({name: each for name, each in given.items() if name != "signal"})
            then()

        receivers.append(hear)
        prediction_made.connect(hear, sender=sender, weak=False)
        return heard

    yield connect
    for each in receivers:
        for sender in (None, DoublingModel, ChangingModel):
            prediction_made.disconnect(each, sender=sender)


def ask(service: InProcessService, kind: str, model: str, body: Any) -> tuple[int, Any]:
    endpoints: dict[str, Callable[..., PredictionEndpoint]] = {
        "one": PredictionEndpoint,
        "rows": BatchEndpoint,
        "infer": lambda *given: InferEndpoint(
            *given, statistics=InferenceStatistics(current_service().shared)
        ),
    }
    endpoint = endpoints[kind](service.registry, model)
    environ = asked("", "/", json.dumps(body).encode()).environ()
    answer = endpoint.answer(environ, BoundedStream(environ))
    return answer.status, json.loads(answer.body)


def pairs(heard: Heard) -> list[tuple[Any, Any]]:
    return [(each["input"], each["output"]) for each in heard]


def test_a_receiver_hears_all_that_a_record_needs(
    service: InProcessService, connect: Connect, context: RequestContext
) -> None:
    heard = connect()
    note_principal("ada", None)
    assert ask(service, "one", "doubling", {"value": 2})[0] == 200
    (one,) = heard
    assert 0 < one.pop("seconds") < 30
    assert one == {
        "sender": DoublingModel,
        "model": "doubling",
        "version": "1.0.0",
        "request_id": "mine",
        "user": "ada",
        "input": {"value": 2},
        "output": {"value": 4.0},
        "row": 0,
        "rows": 1,
    }


TENSOR = {"name": "value", "shape": [2], "datatype": "FP64", "data": [1, 2]}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("rows", {"inputs": [{"value": 1}, {"value": 2}]}),
        ("infer", {"inputs": [TENSOR]}),
    ],
)
def test_each_row_of_many_is_a_prediction(
    service: InProcessService, connect: Connect, context: RequestContext, kind: str, body: Any
) -> None:
    heard = connect()
    assert ask(service, kind, "doubling", body)[0] == 200
    assert pairs(heard) == [({"value": 1}, {"value": 2}), ({"value": 2}, {"value": 4})]
    assert [(each["row"], each["rows"], each["request_id"]) for each in heard] == [
        (0, 2, "mine"),
        (1, 2, "mine"),
    ]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("one", {"spokes": 3, "marks": ["a"], "more": 1}),
        ("rows", {"inputs": [{"spokes": 3, "marks": ["a"], "more": 1}]}),
    ],
)
def test_the_input_is_what_was_sent_whatever_the_model_has_made_of_it(
    service: InProcessService, connect: Connect, kind: str, body: Any
) -> None:
    heard = connect(sender=ChangingModel)
    assert ask(service, kind, "changing", body)[0] == 200
    assert pairs(heard) == [
        ({"spokes": 3, "marks": ["a"], "more": 1}, {"spokes": 6, "marks": ["a", "seen"]})
    ]
    assert heard[0]["version"] == "2.1"


PLANTS = [
    {"height": 1.5, "leaves": each, "alive": True, "plantName": "Ö", "species": "setosa"}
    for each in (1, 2, 3)
]
COLUMNS = [
    {"name": "height", "shape": [3], "datatype": "FP64", "data": [1.5, 1.5, 1.5]},
    {"name": "leaves", "shape": [3], "datatype": "INT64", "data": [1, 2, 3]},
    {"name": "alive", "shape": [3], "datatype": "BOOL", "data": [True, True, True]},
    {"name": "plantName", "shape": [3], "datatype": "BYTES", "data": ["Ö", "Ö", "Ö"]},
    {"name": "species", "shape": [3], "datatype": "BYTES", "data": ["setosa"] * 3},
]


@pytest.mark.parametrize("model", ["rows", "columns"])
def test_rows_of_every_protocol_are_heard_in_the_same_form(
    service: InProcessService, connect: Connect, model: str
) -> None:
    heard = connect()
    status, answer = ask(service, "rows", model, {"inputs": PLANTS})
    assert status == 200
    by_json, by_tensors = pairs(heard), connect()
    assert ask(service, "infer", model, {"inputs": COLUMNS})[0] == 200
    assert by_json == list(zip(PLANTS, answer["predictions"], strict=True))
    assert pairs(by_tensors) == by_json


@pytest.mark.parametrize(
    ("model", "sent", "predicted"),
    [("whole", [1.0, 2.0], [2.0, 3.0]), ("nothing", {}, {})],
)
def test_what_is_no_object_or_has_no_fields_is_heard_too(
    service: InProcessService, connect: Connect, model: str, sent: Any, predicted: Any
) -> None:
    heard = connect()
    assert ask(service, "one", model, sent)[0] == 200
    assert ask(service, "rows", model, {"inputs": [sent, sent]})[0] == 200
    if model == "whole":
        tensor = {"name": "input", "shape": [1, 2], "datatype": "FP64", "data": sent}
        assert ask(service, "infer", model, {"inputs": [tensor]})[0] == 200
    assert {json.dumps(pair) for pair in pairs(heard)} == {json.dumps([sent, predicted])}
    assert len(heard) == (4 if model == "whole" else 3)


def test_batches_of_several_requests_are_heard_as_what_each_asked(
    service: InProcessService, connect: Connect
) -> None:
    heard = connect()
    bodies = [{"inputs": [{"value": each}] * 3} for each in (1, 2, 3)]
    threads = [
        threading.Thread(target=ask, args=(service, "rows", "batching", body)) for body in bodies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard) == 9
    assert {each["rows"] for each in heard} == {3}
    assert sorted(each["input"]["value"] for each in heard) == [1] * 3 + [2] * 3 + [3] * 3


@pytest.mark.parametrize(
    ("asked_for", "status"),
    [
        (("one", "doubling", {"value": "x"}), 400),
        (("rows", "doubling", {"inputs": [{"value": 1}, {}]}), 400),
        (("one", "failing", {"value": 1}), 500),
        (("rows", "failing", {"inputs": [{"value": 1}]}), 500),
        (("infer", "failing", {"inputs": [TENSOR]}), 500),
        (("infer", "doubling", {"inputs": [{**TENSOR, "name": "x"}]}), 400),
        (("one", "nobody", {}), 404),
    ],
)
def test_nothing_is_heard_of_what_did_not_succeed(
    connect: Connect, asked_for: tuple[str, str, Any], status: int, service: InProcessService
) -> None:
    kind, model, body = asked_for
    heard = connect()
    assert ask(service, kind, model, body)[0] == status
    assert heard == []


@pytest.mark.parametrize("error", [ValueError("full"), SystemExit(3), KeyError("x")])
def test_a_receiver_that_fails_costs_no_answer_and_is_logged(
    service: InProcessService,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    def fail() -> None:
        raise error

    first, failing, last = connect(), connect(then=fail), connect()
    with caplog.at_level(logging.ERROR):
        assert ask(service, "one", "doubling", {"value": 2}) == (200, {"value": 4.0})
    assert len(first) == len(failing) == 1
    assert len(last) == (1 if isinstance(error, Exception) else 0)
    assert [type(record.exc_info[1]) for record in caplog.records if record.exc_info] == [
        type(error)
    ]


def test_receivers_of_a_class_hear_of_its_models_alone(
    service: InProcessService, connect: Connect
) -> None:
    heard = connect(sender=DoublingModel)
    ask(service, "one", "changing", {"spokes": 3})
    ask(service, "one", "doubling", {"value": 2})
    assert [each["model"] for each in heard] == ["doubling"]


def test_nothing_is_made_for_nobody(service: InProcessService) -> None:
    assert not prediction_made.receivers
    assert not service.registry["doubling"].predictor.audience.receivers

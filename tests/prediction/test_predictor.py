"""What one request for predictions goes through, without any protocol."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy
import pytest
from ml_base import MLModel, MLModelDecorator
from ml_base.ml_model import MLModelSchemaValidationException
from pydantic import BaseModel, ValidationError, field_validator

from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import (
    DeadlineExceeded,
    InvalidInput,
    ModelNotReady,
    ModelsAPIError,
    Overloaded,
    PredictionFailed,
    SchemaRejected,
)
from models_api.hosting.hosted_model import HostedModel, Resources
from models_api.hosting.model_stack import ModelStack
from models_api.prediction.description import ModelSchemas
from models_api.prediction.instruments import Instruments, Stage
from models_api.prediction.limiter import WorkerLimiter
from models_api.prediction.predictor import Predictor
from models_api.prediction.request_context import RequestContext, current_request
from models_api.prediction.rows import Rows
from models_api.prediction.watchdog import Watchdog
from tests.fakes.batching import BatchingModel
from tests.fakes.changing import ERRORS, WRONG_RESULTS
from tests.fakes.columns import ColumnsDecorator, ColumnsModel, ForwardingDecorator, RowsModel

CHANGING = "tests.fakes.changing"
SCALING = f"{CHANGING}.ScalingModel"
BATCHING = "tests.fakes.batching.BatchingModel"


class Everything(BaseModel):
    text: str
    x: float = 0.0


class Out(BaseModel):
    x: float
    label: str
    anything: Any = None


class EchoModel(MLModel):
    """Does what its input says."""

    display_name = "Echo"
    qualified_name = "echo"
    description = "Does what its input says."
    version = "1.0.0"
    input_schema = Everything
    output_schema = Out

    def __init__(self) -> None:
        self.held = threading.Event()
        self.begun = threading.Semaphore(0)
        self.rows = 0

    def predict(self, data: Everything) -> Any:
        self.rows += 1
        self.begun.release()
        if data.text == "hold":
            assert self.held.wait(60)
        if data.text == "reject":
            raise MLModelSchemaValidationException("Out of season.")
        if data.text == "fail":
            raise ZeroDivisionError("division by zero in the model")
        if data.text == "nonsense":
            return "nonsense"
        if data.text == "validation":
            raise InvalidInput([])
        if data.text in ERRORS:
            raise ERRORS[data.text]("secret")
        return {"x": data.x, "label": data.text}


class Recorder(Instruments):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @contextmanager
    def _surround(self, what: str) -> Iterator[None]:
        self.heard.append(what)
        try:
            yield
        except BaseException as error:
            self.heard.append(f"{what} raised {type(error).__name__}")
            raise
        self.heard.append(f"{what} ended")

    def prediction(self) -> Any:
        return self._surround("prediction")

    def stage(self, name: Stage) -> Any:
        return self._surround(name)

    def batch(self, rows: int) -> None:
        self.heard.append(f"batch of {rows}")

    def queue(self, change: int) -> None:
        self.heard.append(f"queue {change:+}")

    def waited(self, began: float, seconds: float) -> None:
        super().waited(began, seconds)
        self.heard.append("waited")


class Recorded:
    """Gives every model the same recorder."""

    def __init__(self) -> None:
        self.recorder = Recorder()

    def instruments(self, model: HostedModel) -> Instruments:
        return self.recorder


def host(class_path: str = f"{__name__}.EchoModel", **keys: Any) -> HostedModel:
    resources = Resources(WorkerLimiter(), factory=Recorded(), maximum_rows=50)
    configuration = ModelConfiguration(class_path=class_path, **keys)
    stack = ModelStack.from_configuration(configuration)
    return HostedModel(configuration, stack, resources)


def loaded(class_path: str = f"{__name__}.EchoModel", **keys: Any) -> HostedModel:
    model = host(class_path, **keys)
    model.load()
    assert model.failure is None
    return model


def heard_of(model: HostedModel) -> list[str]:
    assert isinstance(model.instruments, Recorder)
    return model.instruments.heard


@pytest.fixture
def hosted_model() -> HostedModel:
    return host()


@pytest.fixture
def predictor(hosted_model: HostedModel) -> Predictor:
    hosted_model.load()
    return hosted_model.predictor


def body(text: str, x: float = 0.0) -> bytes:
    return json.dumps({"text": text, "x": x}).encode()


def inputs(*rows: object) -> bytes:
    return json.dumps({"inputs": rows}).encode()


def texts(*given: str) -> bytes:
    return inputs(*({"text": text} for text in given))


class Caller(threading.Thread):
    """Predicts in a thread of its own, for a request of its own."""

    def __init__(self, predict: Callable[[bytes], bytes], given: bytes) -> None:
        super().__init__(daemon=True)
        self._predict, self._given = predict, given
        self.context = RequestContext("caller")
        self.outcome: Any = None
        self.start()

    def run(self) -> None:
        current_request.set(self.context)
        try:
            self.outcome = json.loads(self._predict(self._given))
        except BaseException as error:  # noqa: BLE001 (whatever comes is the outcome)
            self.outcome = error


def outcomes(*callers: Caller) -> list[Any]:
    for caller in callers:
        caller.join(30)
        assert not caller.is_alive()
    return [caller.outcome for caller in callers]


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_prediction_is_json_in_and_json_out(predictor: Predictor) -> None:
    assert predictor.predict(b'{"x": 2, "text": "a"}') == b'{"x":2.0,"label":"a","anything":null}'


def test_many_predictions_are_json_in_and_json_out(predictor: Predictor) -> None:
    assert predictor.predict_batch(texts("a", "b")) == (
        b'{"predictions":['
        b'{"x":0.0,"label":"a","anything":null},{"x":0.0,"label":"b","anything":null}]}'
    )
    assert predictor.predict_batch(inputs()) == b'{"predictions":[]}'


def test_a_model_that_is_not_loaded_takes_no_predictions(hosted_model: HostedModel) -> None:
    with pytest.raises(ModelNotReady, match=r"^The model echo is not loaded yet\.$"):
        hosted_model.predictor.predict(b"no JSON either")
    assert heard_of(hosted_model) == ["prediction", "prediction raised ModelNotReady"]


@pytest.mark.parametrize("given", [b"", b"{", b'{"x": "a", "text": "fail"}', b'{"text": 1}'])
def test_input_that_does_not_fit_never_reaches_the_model(
    hosted_model: HostedModel, predictor: Predictor, given: bytes
) -> None:
    with pytest.raises(InvalidInput):
        predictor.predict(given)
    with pytest.raises(InvalidInput):
        predictor.predict_batch(b'{"inputs":[{"text":"a"},%b]}' % given)
    assert hosted_model.ready_model().rows == 0


def test_a_model_that_refuses_the_data_says_why(predictor: Predictor) -> None:
    with pytest.raises(SchemaRejected, match=r"^Out of season\.$") as caught:
        predictor.predict(b'{"text": "reject"}')
    assert caught.value.qualified_name == "echo"


CAUSES: list[tuple[str, type[BaseException]]] = [
    ("fail", ZeroDivisionError),
    ("nonsense", ValidationError),
    ("validation", InvalidInput),
    *ERRORS.items(),
]


@pytest.mark.parametrize("timeout_seconds", [None, 60])
@pytest.mark.parametrize(("text", "cause"), CAUSES)
def test_whatever_goes_wrong_in_a_model_is_its_own_failure(
    text: str, cause: type[BaseException], timeout_seconds: float | None
) -> None:
    predictor = loaded(timeout_seconds=timeout_seconds).predictor
    with pytest.raises(
        PredictionFailed, match=r"^The model echo failed to make a prediction\.$"
    ) as caught:
        predictor.predict(body(text))
    assert isinstance(caught.value.__cause__, cause)
    assert json.loads(predictor.predict(body("fine")))["label"] == "fine"


@pytest.mark.parametrize(("text", "cause"), CAUSES)
def test_the_message_says_which_row_of_a_request_it_was(
    predictor: Predictor, text: str, cause: type[BaseException]
) -> None:
    with pytest.raises(
        PredictionFailed, match=r"^inputs\[2\]: The model echo failed to make a prediction\.$"
    ) as caught:
        predictor.predict_batch(texts("a", "b", text, "c"))
    assert isinstance(caught.value.__cause__, cause)
    with pytest.raises(SchemaRejected, match=r"^inputs\[1\]: Out of season\.$"):
        predictor.predict_batch(texts("a", "reject"))


def test_a_request_may_have_so_many_rows_and_no_more(predictor: Predictor) -> None:
    assert len(json.loads(predictor.predict_batch(texts(*"a" * 50)))["predictions"]) == 50
    with pytest.raises(InvalidInput) as caught:
        predictor.predict_batch(texts(*"a" * 51))
    (problem,) = caught.value.problems
    assert (problem.location, problem.type) == (("inputs",), "too_long")
    assert problem.message.endswith(
        "not 51. Send fewer at a time, or have MODELHOST_MAX_BATCH_ROWS raised."
    )


# What instruments hear

SINGLE = [
    *("prediction", "parse", "parse ended", "predict", "predict ended"),
    *("serialise", "serialise ended", "prediction ended"),
]


@pytest.mark.parametrize("keys", [{}, {"timeout_seconds": 60}])
def test_each_stage_of_a_prediction_is_heard_of_in_its_order(keys: dict[str, Any]) -> None:
    model = loaded(**keys)
    model.predictor.predict(body("a"))
    assert heard_of(model) == SINGLE


@pytest.mark.parametrize(
    ("given", "heard"),
    [
        (b"{", [*SINGLE[:2], "parse raised InvalidInput", "prediction raised InvalidInput"]),
        (
            body("reject"),
            [
                *SINGLE[:4],
                "predict raised MLModelSchemaValidationException",
                "prediction raised SchemaRejected",
            ],
        ),
        (
            body("SystemExit"),
            [*SINGLE[:4], "predict raised SystemExit", "prediction raised PredictionFailed"],
        ),
        (
            body("nonsense"),
            [*SINGLE[:6], "serialise raised ValidationError", "prediction raised PredictionFailed"],
        ),
    ],
)
def test_the_stage_that_fails_is_heard_of(given: bytes, heard: list[str]) -> None:
    model = loaded()
    with pytest.raises(ModelsAPIError):
        model.predictor.predict(given)
    assert heard_of(model) == heard


EACH = ["predict", "predict ended"]
SERIALISED = ["serialise", "serialise ended"]


@pytest.mark.parametrize(
    ("class_path", "given", "keys", "heard"),
    [
        (f"{__name__}.EchoModel", texts("a", "b"), {}, ["batch of 2", *EACH, *EACH]),
        (f"{__name__}.EchoModel", texts("a"), {}, EACH),
        (BATCHING, inputs({"value": 1}, {"value": 2}), {}, ["batch of 2", *EACH]),
        (BATCHING, inputs({"value": 1}), {}, EACH),
        (
            BATCHING,
            inputs(*({"value": value} for value in range(5))),
            {"batching": {"max_batch_size": 2}},
            [
                *("batch of 2", *EACH, *SERIALISED, "batch of 2", *EACH, *SERIALISED),
                *("predict", "batch of 1", "predict ended"),
            ],
        ),
    ],
)
def test_each_call_of_a_request_for_many_rows_is_heard_of(
    class_path: str, given: bytes, keys: dict[str, Any], heard: list[str]
) -> None:
    model = loaded(class_path, **keys)
    model.predictor.predict_batch(given)
    assert heard_of(model)[3 : 3 + len(heard)] == heard
    assert heard_of(model)[-2:] == ["serialise ended", "prediction ended"]


def test_a_request_knows_its_rows_and_its_largest_batch(context: RequestContext) -> None:
    model = loaded(BATCHING, batching={"max_batch_size": 4})
    model.predictor.predict_batch(inputs(*({"value": value} for value in range(6))))
    assert (context.rows, context.batch_size) == (6, 4)
    model.predictor.predict(b'{"value": 1}')
    assert (context.rows, context.batch_size) == (1, 1)


# Calls for several rows


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        (RowsModel(), False),
        (ColumnsModel(), True),
        (ForwardingDecorator(ColumnsModel()), False),
        (ColumnsDecorator(ColumnsModel()), True),
        (MLModelDecorator(ColumnsDecorator(ColumnsModel())), False),
    ],
)
def test_columns_are_for_those_whose_class_says_so(model: MLModel, takes: bool) -> None:
    means = loaded()._means(loaded().details)
    schemas = ModelSchemas(ColumnsModel().input_schema, ColumnsModel().output_schema)
    assert Predictor(model, schemas, "columns", means).takes_columns is takes


def sizes(predictor: Predictor, *values: int) -> list[tuple[int, int]]:
    """Return, for each row, what the model predicts, and how many rows that call had."""
    written = predictor.predict_batch(inputs(*({"value": value} for value in values)))
    return [(each["value"], each["batch_size"]) for each in json.loads(written)["predictions"]]


@pytest.mark.parametrize(
    ("class_path", "keys", "values", "expected"),
    [
        (BATCHING, {}, (1, 2), [(2, 2), (4, 2)]),
        (BATCHING, {"batching": {"max_batch_size": 2}}, (1, 2, 3), [(2, 2), (4, 2), (6, 1)]),
        ("tests.fakes.batching.ShortModel", {}, (1, 2), [(2, 1), (4, 1)]),
        (
            BATCHING,
            {"decorators": [{"class_path": "tests.fakes.batching.AddOneDecorator"}]},
            (1, 2),
            [(3, 1), (5, 1)],
        ),
    ],
    ids=["together", "in chunks", "a model that loses a row", "a decorator that cannot"],
)
def test_rows_are_predicted_together_where_the_model_can_do_that(
    class_path: str, keys: dict[str, Any], values: tuple[int, ...], expected: list[tuple[int, int]]
) -> None:
    assert sizes(loaded(class_path, **keys).predictor, *values) == expected


@pytest.mark.parametrize("keys", [{}, {"batching": {"max_batch_size": 4}}])
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (-1, SchemaRejected, "inputs[1]: minus one is not for doubling"),
        (-2, PredictionFailed, "inputs[1]: The model batching failed to make a prediction."),
        (-3, PredictionFailed, "inputs[1]: The model batching failed to make a prediction."),
    ],
)
def test_a_row_that_fails_among_many_is_named(
    keys: dict[str, Any], wrong: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        sizes(loaded(BATCHING, **keys).predictor, 1, wrong, 3)
    assert str(caught.value) == message


@pytest.mark.parametrize("error", [Overloaded("busy"), DeadlineExceeded(1.0)])
def test_a_model_that_is_too_busy_is_not_asked_row_by_row(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: Any) -> Any:
        raise error

    predictor = loaded(BATCHING).predictor
    monkeypatch.setattr(BatchingModel, "predict_batch", refuse)
    with pytest.raises(type(error)) as caught:
        sizes(predictor, 1, 2)
    assert caught.value is error
    assert error.__cause__ is None


class ArrayRows(Rows):
    """Rows that have columns."""

    def __init__(self, **columns: Any) -> None:
        super().__init__([])
        self._columns = {name: numpy.array(values) for name, values in columns.items()}

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def make(self) -> list[object | None]:
        names = list(self._columns)
        return [
            ColumnsModel.input_schema(**dict(zip(names, row, strict=True)))
            for row in zip(*self._columns.values(), strict=True)
        ]

    def columns(self) -> Any:
        return {**self._columns, "name": self._columns["plantName"]}


def plants(*names: str) -> ArrayRows:
    count = len(names)
    return ArrayRows(
        height=[1.0] * count,
        leaves=[1] * count,
        alive=[True] * count,
        plantName=numpy.array(names, dtype=object),
        species=["setosa"] * count,
    )


@pytest.mark.parametrize(
    ("names", "calls"),
    [
        (["oak", "ash"], ["predict_columns"]),
        (["oak"], ["predict"]),
        (["oak", "exits"], ["predict_columns", "predict_batch"]),
    ],
)
def test_columns_are_predicted_in_one_call_and_rows_where_that_fails(
    context: RequestContext, names: list[str], calls: list[str]
) -> None:
    model = loaded("tests.fakes.columns.ColumnsModel")
    rows = plants(*names)
    (found,) = list(model.predictor.predict_rows(rows))
    columns = found.to_columns()
    # Predictions by rows are not of the schema's class here, so that only their JSON tells.
    heights = (
        [each["height"] for each in json.loads(found.to_json())]
        if columns is None
        else columns["height"]
    )
    assert heights == [2.0] * len(names)
    assert model.ready_model().calls == calls
    assert (context.rows, context.batch_size) == (len(names), len(names))


# Rows that a failed call has changed

FAILURES = [*ERRORS, *WRONG_RESULTS]


def pixels(value: float, failure: str = "", alone: str = "") -> dict[str, Any]:
    return {"values": [value, value], "failure": failure, "alone": alone}


@pytest.mark.parametrize("keys", [{}, {"batching": {"max_batch_size": 2}}])
@pytest.mark.parametrize("failure", ["", *FAILURES])
@pytest.mark.parametrize("class_path", [SCALING, f"{CHANGING}.ElementwiseScalingModel"])
def test_rows_of_a_call_that_failed_are_predicted_from_the_requests_own_bytes(
    class_path: str, keys: dict[str, Any], failure: str
) -> None:
    predictor = loaded(class_path, **keys).predictor
    rows = [pixels(value, failure) for value in (255, 51, 102, 0, 25.5)]
    found = json.loads(predictor.predict_batch(inputs(*rows)))["predictions"]
    assert [each["mean"] for each in found] == [1.0, 0.2, 0.4, 0.0, 0.1]


@contextmanager
def held(model: HostedModel) -> Iterator[Any]:
    """Hold the only call of a batching model up, so that what comes meanwhile forms a batch."""
    innermost = model.ready_model()
    innermost.gate.clear()
    first = Caller(model.predictor.predict, json.dumps(pixels(1)).encode())
    assert innermost.entered.wait(30)
    yield innermost
    innermost.gate.set()
    outcomes(first)


def _has_queued(innermost: Any, rows: int) -> bool:
    return innermost.batcher.queue_depth == rows


def call_together(model: HostedModel, rows: list[dict[str, Any]]) -> list[Any]:
    """Ask for single predictions that share a batch."""
    callers = []
    with held(model) as innermost:
        for count, row in enumerate(rows, start=1):
            callers.append(Caller(model.predictor.predict, json.dumps(row).encode()))
            wait_until(partial(_has_queued, innermost, count))
    return outcomes(*callers)


@pytest.mark.parametrize("timeout_seconds", [None, 60])
@pytest.mark.parametrize("failure", ["", *FAILURES])
@pytest.mark.parametrize("class_path", [SCALING, f"{CHANGING}.ElementwiseScalingModel"])
def test_single_predictions_whose_batch_failed_start_from_their_own_bytes(
    class_path: str, failure: str, timeout_seconds: float | None
) -> None:
    model = loaded(class_path, batching={"max_batch_size": 8}, timeout_seconds=timeout_seconds)
    rows = [pixels(value, failure) for value in (255, 51, 102)]
    assert call_together(model, rows) == [{"mean": 1.0}, {"mean": 0.2}, {"mean": 0.4}]
    assert model.ready_model().calls[1] == [255, 51, 102]


@pytest.mark.parametrize("failure", ["RuntimeError", "too few"])
def test_decorators_that_change_rows_in_place_get_new_ones_too(failure: str) -> None:
    decorators = [{"class_path": f"{CHANGING}.ShiftingDecorator"}]
    model = loaded(SCALING, batching={"max_batch_size": 8}, decorators=decorators)
    rows = [pixels(value, failure) for value in (255, 51, 102)]
    assert call_together(model, rows) == [{"mean": 0.8}, {"mean": 0.0}, {"mean": 0.2}]
    batch = json.loads(model.predictor.predict_batch(inputs(*rows)))["predictions"]
    assert batch == [{"mean": 0.8}, {"mean": 0.0}, {"mean": 0.2}]


@pytest.mark.parametrize("failure", FAILURES)
def test_rows_of_decorators_with_threads_of_their_own_are_not_predicted_as_they_were_left(
    failure: str,
) -> None:
    decorators = [{"class_path": f"{CHANGING}.ThreadDecorator"}]
    scaling = f"{CHANGING}.ElementwiseScalingModel"
    model = loaded(scaling, batching={"max_batch_size": 8}, decorators=decorators)
    rows = [pixels(value, failure) for value in (255, 51, 102)]
    assert call_together(model, rows) == [{"mean": 1.0}, {"mean": 0.2}, {"mean": 0.4}]
    assert model.ready_model().calls[1] == [255, 51, 102]


@pytest.mark.parametrize("alone", ERRORS)
def test_whatever_a_row_of_a_shared_batch_raises_the_others_are_answered(alone: str) -> None:
    model = loaded(SCALING, batching={"max_batch_size": 8})
    rows = [pixels(255, alone), pixels(51, alone, alone), pixels(102, alone)]
    one, two, three = call_together(model, rows)
    assert (one, three) == ({"mean": 1.0}, {"mean": 0.4})
    assert isinstance(two, PredictionFailed)
    assert str(two) == "The model scaling failed to make a prediction."
    assert type(two.__cause__) is ERRORS[alone]
    assert model.ready_model().batcher.queue_depth == 0


def test_a_prediction_that_panics_when_it_is_written_is_the_failure_of_its_row() -> None:
    predictor = loaded(f"{CHANGING}.PanickingOutputModel").predictor
    good, bad = {"value": 1, "failure": ""}, {"value": -1, "failure": ""}
    with pytest.raises(
        PredictionFailed, match=r"^inputs\[1\]: The model in_place failed"
    ) as caught:
        predictor.predict_batch(inputs(good, bad, good))
    assert "Panic: negative" in str(caught.value.__cause__)
    with pytest.raises(PredictionFailed):
        predictor.predict(json.dumps(bad).encode())
    assert json.loads(predictor.predict_batch(inputs(good)))["predictions"][0]["twice"] == 2


class CountedInput(BaseModel):
    value: int

    @field_validator("value")
    @classmethod
    def count(cls, value: int) -> int:
        CountingModel.parsed += 1
        return value


class CountingModel(MLModel):
    """Counts how often a row was parsed."""

    display_name = "Counting"
    qualified_name = "counting"
    description = "Counts."
    version = "1.0.0"
    input_schema = CountedInput
    output_schema = CountedInput
    parsed = 0

    def __init__(self) -> None:
        pass

    def predict(self, data: CountedInput) -> Any:
        return {"value": data.value}


def test_a_body_is_parsed_once_where_no_call_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CountingModel, "parsed", 0)
    written = {"value": 1}
    # Predictions are parsed too, as the model gives no instances of its schema.
    loaded(f"{__name__}.CountingModel").predictor.predict_batch(inputs(written, written, written))
    assert CountingModel.parsed == 6


# Limits


def test_a_full_queue_is_told_before_the_body_is_looked_at() -> None:
    model = loaded(concurrency={"max_concurrency": 1, "max_queue_size": 1})
    running = Caller(model.predictor.predict, body("hold"))
    assert model.ready_model().begun.acquire(timeout=30)
    waiting = Caller(model.predictor.predict, body("b"))
    wait_until(lambda: "queue +1" in heard_of(model))
    for given in (body("a"), b"no JSON"):
        began = time.monotonic()
        with pytest.raises(Overloaded, match="busy, and 1 requests are waiting for it already"):
            model.predictor.predict(given)
        assert time.monotonic() - began < 1
    model.ready_model().held.set()
    assert [each["label"] for each in outcomes(running, waiting)] == ["hold", "b"]
    assert waiting.context.queue_seconds > 0
    assert running.context.queue_seconds == 0
    # The surplus too, for a moment.
    assert heard_of(model).count("waited") == 3
    assert heard_of(model).count("prediction raised Overloaded") == 2


def test_a_full_batcher_is_told_at_once_too() -> None:
    model = loaded(SCALING, batching={"max_batch_size": 2, "max_queue_size": 1})
    with held(model):
        callers = [
            Caller(model.predictor.predict, json.dumps(pixels(51)).encode()) for _ in range(2)
        ]
        wait_until(lambda: model.ready_model().batcher.queue_depth == 2)
        with pytest.raises(Overloaded, match="busy, and 1 requests are waiting for it already"):
            model.predictor.predict(json.dumps(pixels(51)).encode())
    assert outcomes(*callers) == [{"mean": 0.2}] * 2


def test_a_late_prediction_is_not_waited_for_and_keeps_its_place_until_it_has_ended() -> None:
    concurrency = {"max_concurrency": 1, "max_queue_size": 0}
    model = loaded(timeout_seconds=0.05, concurrency=concurrency)
    with pytest.raises(DeadlineExceeded, match=r"^The model was busy for more than 0\.05 s\.$"):
        model.predictor.predict(body("hold"))
    for _ in range(3):
        with pytest.raises(Overloaded):
            model.predictor.predict(body("a"))
    model.ready_model().held.set()
    limiter = model._resources.limiter
    wait_until(lambda: not limiter.slots)
    assert json.loads(model.predictor.predict(body("a")))["label"] == "a"


def test_waiting_counts_towards_the_timeout() -> None:
    concurrency = {"max_concurrency": 1, "max_queue_size": 4}
    model = loaded(timeout_seconds=0.3, concurrency=concurrency)
    began = time.monotonic()
    callers = [Caller(model.predictor.predict, body("hold")) for _ in range(5)]
    assert [type(each) for each in outcomes(*callers)] == [DeadlineExceeded] * 5
    assert time.monotonic() - began < 5
    assert model.ready_model().rows == 1
    model.ready_model().held.set()


def test_what_came_too_long_ago_is_not_predicted(context: RequestContext) -> None:
    model = loaded(timeout_seconds=5)
    context.received -= 6
    with pytest.raises(DeadlineExceeded):
        model.predictor.predict(body("a"))
    assert model.ready_model().rows == 0
    assert not model._resources.limiter.slots


def test_a_row_whose_client_has_its_answer_is_not_predicted_in_a_batch() -> None:
    model = loaded(SCALING, batching={"max_batch_size": 8}, timeout_seconds=0.2)
    innermost = model.ready_model()
    innermost.gate.clear()
    callers = [Caller(model.predictor.predict, json.dumps(pixels(1)).encode())]
    assert innermost.entered.wait(30)
    callers += [
        Caller(model.predictor.predict, json.dumps(pixels(value)).encode()) for value in (51, 102)
    ]
    assert [type(each) for each in outcomes(*callers)] == [DeadlineExceeded] * 3
    innermost.gate.set()
    wait_until(lambda: not model._resources.limiter.slots)
    assert innermost.calls == [[1]]
    assert json.loads(model.predictor.predict(json.dumps(pixels(255)).encode())) == {"mean": 1.0}


def test_the_watchdog_begins_with_the_first_prediction() -> None:
    limiter = WorkerLimiter()
    watchdog = Watchdog(limiter, 1000)
    configuration = ModelConfiguration(class_path=f"{__name__}.EchoModel")
    stack = ModelStack.from_configuration(configuration)
    model = HostedModel(configuration, stack, Resources(limiter, watchdog))
    model.load()
    assert not watchdog.is_watching
    model.predictor.predict(body("a"))
    assert watchdog.is_watching

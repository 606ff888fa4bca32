"""What a worker and the process of a model say to each other arrives as it was meant."""

from __future__ import annotations

import pytest

from models_api import exceptions
from models_api.exceptions import InputProblem, ModelsAPIError
from models_api.prediction.backends.messages import Message, error_fields, error_from

ERRORS: list[ModelsAPIError] = [
    exceptions.InvalidInput(
        [
            InputProblem(("rows", 3, "x"), "missing", "Field required", "did you mean y?"),
            InputProblem((), "json_invalid", "Invalid JSON \ud800"),
        ]
    ),
    exceptions.TensorError('Input "x": bad'),
    exceptions.PayloadTooLarge.of_values("It holds 2 values", 2, 1),
    exceptions.SchemaRejected("m", "no"),
    exceptions.PredictionFailed("m", "failed", "predict of m returned None"),
    exceptions.ModelNotReady("m", "failed to load", "no weights", retry_after_seconds=None),
    exceptions.ModelNotReady("m", "soon", retry_after_seconds=5),
    exceptions.Overloaded.of_model(3),
    exceptions.DeadlineExceeded(0.5),
    exceptions.ResourceNotFound("no customer 42", retry_after_seconds=0.2),
    exceptions.Conflict(),
    exceptions.Unprocessable("no road"),
    exceptions.TooManyRequests(retry_after_seconds=9),
]


def sent(error: BaseException) -> ModelsAPIError:
    """Return an error as the worker has it."""
    return error_from(Message.unpack(Message(error_fields(error)).pack()).head, "m")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_at_the_other_end(error: ModelsAPIError) -> None:
    found = sent(error)
    assert type(found) is type(error)
    for name in ("problems", "retry_after_seconds", "reason", "qualified_name", "timeout_seconds"):
        assert getattr(found, name, None) == getattr(error, name, None), name
    assert str(found) == str(error)
    hints = [[each.hint for each in getattr(one, "problems", ())] for one in (error, found)]
    assert hints[0] == hints[1]


def test_a_models_own_refusal_is_that_which_it_derives_from() -> None:
    class Gone(exceptions.ResourceNotFound):
        default_message = "It is gone."

    assert (type(sent(Gone())), str(sent(Gone()))) == (exceptions.ResourceNotFound, "It is gone.")


def test_whatever_else_is_raised_is_a_failure_with_its_traceback() -> None:
    try:
        raise KeyError("weights")
    except KeyError as error:
        found = sent(error)
    assert type(found) is exceptions.PredictionFailed
    assert "KeyError: 'weights'" in str(found.__cause__)


def test_the_traceback_of_a_failure_is_that_of_the_model() -> None:
    failure = exceptions.PredictionFailed("m", "failed")
    failure.__cause__ = ZeroDivisionError("by zero")
    assert "ZeroDivisionError: by zero" in str(sent(failure).__cause__)


@pytest.mark.parametrize("body", [b"", b"{}", bytes(range(256)) * 1000])
def test_a_body_comes_as_it_is(body: bytes) -> None:
    message = Message({"operation": "predict", "headers": {"x-ä": "\ud800"}, "n": 1.5}, body)
    assert Message.unpack(message.pack()) == message


def nested(levels: int) -> list[object]:
    """Return a list of a list, and so on."""
    found: list[object] = []
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    "value",
    [
        *("\ud800", {"\udfff": "ä"}, "\x00\u2028\U0001f600", nested(100), nested(300)),
        *(0.1 + 0.2, 5e-324, 1.7976931348623157e308, 41339.372383676, 2**63, -(10**40)),
        *(None, True, "", {}, [[], {}]),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_a_value_of_a_head_comes_as_it_is(value: object) -> None:
    assert Message.unpack(Message({"told": [value]}, b"x").pack()) == ({"told": [value]}, b"x")


@pytest.mark.parametrize("number", [float("inf"), float("-inf")])
def test_a_number_of_a_head_that_is_not_finite_comes_as_it_is(number: float) -> None:
    assert Message.unpack(Message({"n": number}).pack()).head == {"n": number}


@pytest.mark.parametrize("bodies", [[b"a"], [b"", b"{}", b""], [b"x" * size for size in range(64)]])
def test_messages_that_go_together_arrive_each_as_it_was(bodies: list[bytes]) -> None:
    messages = [Message({"id": str(at), "x": "\ud800"}, body) for at, body in enumerate(bodies)]
    received = Message.unpack(Message.joined(messages).pack())
    assert received.is_joined
    assert received.parts() == messages
    assert not messages[0].is_joined

"""What each error is: one line for each, which everything that tells of errors reads."""

from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
from http import HTTPStatus
from typing import Any

import pytest

from models_api import exceptions
from models_api.api.answers import describe_error
from models_api.error_table import ERROR_KINDS, FAILURE, ErrorKind, error_kind, outcome_of
from models_api.exceptions import InputProblem, ModelsAPIError
from models_api.prediction import batcher
from tests.fakes.refusing import CustomerUnknown, Unlisted

# They end the start of a service, or are bases of others.
NOT_FOR_CLIENTS = {
    "ModelLoadFailed",
    "ArtefactError",
    "ClassPathError",
    "ConfigurationError",
    "DescriptionError",
    "DescriptionFailed",
    "TrafficError",
}
BASES = {"ModelsAPIError", "ModelError", "NotPredicted", "Refusal"}
# Clients are told what these derive from.
SHADES = {"BackendSilent", "BackendRefused"}


def _refusal(kind: type[exceptions.Refusal]) -> exceptions.Refusal:
    return kind("no", retry_after_seconds=1)


PROBLEM = InputProblem(("a",), "missing", "Field required")
EXAMPLES: list[tuple[ModelsAPIError, int, str, str]] = [
    (exceptions.InvalidInput([PROBLEM]), 400, "ValidationError", "invalid_input"),
    (exceptions.TensorError("bad"), 400, "ValidationError", "invalid_input"),
    (exceptions.UnreadableBody(), 400, "ValidationError", "invalid_input"),
    (exceptions.SchemaRejected("m", "bad"), 400, "SchemaValidationError", "invalid_input"),
    (exceptions.ModelNotFound("m", "none"), 404, "NotFound", "failure"),
    (exceptions.LengthRequired(), 411, "LengthRequired", "failure"),
    (exceptions.PayloadTooLarge.of_bytes(1), 413, "PayloadTooLarge", "invalid_input"),
    (
        exceptions.PayloadTooLarge.of_values("It holds 2 values", 2, 1),
        413,
        "PayloadTooLarge",
        "invalid_input",
    ),
    (exceptions.UnsupportedMediaType("bad"), 415, "UnsupportedMediaType", "failure"),
    (exceptions.UnsupportedEncoding("br"), 415, "UnsupportedMediaType", "failure"),
    (exceptions.PredictionFailed("m", "bad"), 500, "ServiceError", "failure"),
    (exceptions.BackendFailed("m", "died"), 502, "BackendFailed", "failure"),
    (
        exceptions.ModelNotReady("m", "soon", retry_after_seconds=5),
        503,
        "ModelNotReady",
        "not_ready",
    ),
    (exceptions.Overloaded.of_worker(), 503, "Overloaded", "overloaded"),
    (exceptions.Overloaded.of_model(3), 503, "Overloaded", "overloaded"),
    (exceptions.DeadlineExceeded(1), 504, "DeadlineExceeded", "deadline_exceeded"),
    (_refusal(exceptions.ResourceNotFound), 404, "ResourceNotFound", "refused"),
    (_refusal(exceptions.Conflict), 409, "Conflict", "refused"),
    (_refusal(exceptions.Unprocessable), 422, "Unprocessable", "refused"),
    (_refusal(exceptions.TooManyRequests), 429, "TooManyRequests", "refused"),
]


def names_of_errors() -> set[str]:
    found = vars(exceptions).items()
    return {
        name for name, each in found if inspect.isclass(each) and issubclass(each, BaseException)
    }


def test_every_error_that_can_reach_a_client_is_in_the_table_and_tried_here() -> None:
    wanted = names_of_errors() - NOT_FOR_CLIENTS - BASES - SHADES
    assert {kind.exception.__name__ for kind in ERROR_KINDS if kind.exception} == wanted
    assert {type(error).__name__ for error, *_ in EXAMPLES} == wanted


@pytest.mark.parametrize("name", sorted(SHADES))
def test_why_a_service_gave_no_answer_is_none_of_the_clients_affair(name: str) -> None:
    error = getattr(exceptions, name)("m", "died")
    assert error_kind(error) is error_kind(exceptions.BackendFailed("m", "died"))


def test_no_error_is_in_the_table_twice() -> None:
    known = [kind.exception for kind in ERROR_KINDS if kind.exception is not None]
    assert len(known) == len(set(known))


@pytest.mark.parametrize(("error", "status", "type_", "ends_as"), EXAMPLES)
def test_an_error_is_told_as_the_table_has_it(
    error: ModelsAPIError, status: int, type_: str, ends_as: str
) -> None:
    kind = error_kind(error)
    assert kind is not None
    assert (kind.status, kind.type, kind.outcome, outcome_of(type(error))) == (
        status,
        type_,
        ends_as,
        ends_as,
    )
    answer = describe_error(error, {"REQUEST_METHOD": "POST", "PATH_INFO": "/x"}).to_answer()
    body: dict[str, Any] = json.loads(answer.body)
    assert (answer.status, body["type"]) == (status, type_)
    assert body["messages"]
    headers = {
        each.header
        for each in ERROR_KINDS
        if each.status == status and each.is_refusal == kind.is_refusal and each.header
    }
    if isinstance(error, exceptions.UnsupportedMediaType):
        headers = set()  # by which clients tell it from the other kind of 415
    assert headers <= set(answer.headers)


@pytest.mark.parametrize(
    "error", [ValueError(), SystemExit(), KeyboardInterrupt(), batcher.BatchFailed()]
)
def test_what_nobody_foresaw_is_a_failure(error: BaseException) -> None:
    assert error_kind(error) is None
    assert outcome_of(type(error)) == FAILURE


@pytest.mark.parametrize("is_refusal", [False, True])
@pytest.mark.parametrize("status", sorted({kind.status for kind in ERROR_KINDS}))
def test_each_status_has_one_text_and_an_example_for_each_type(
    status: int, is_refusal: bool
) -> None:
    kinds = [kind for kind in ERROR_KINDS if (kind.status, kind.is_refusal) == (status, is_refusal)]
    if not kinds:
        return
    HTTPStatus(status)
    assert len([kind for kind in kinds if kind.text]) == 1
    assert len([kind for kind in kinds if kind.header]) <= 1
    types = [kind.type for kind in kinds]
    with_example = [kind.type for kind in kinds if kind.example]
    assert sorted(with_example) == sorted(set(types))


def test_what_a_team_derives_from_a_refusal_is_told_as_the_refusal() -> None:
    kind = error_kind(CustomerUnknown(7))
    assert kind is not None
    assert (kind.status, outcome_of(CustomerUnknown)) == (404, "refused")
    assert error_kind(Unlisted("no status")) is None


@pytest.mark.parametrize(
    ("given", "told"), [(None, None), (0, 0), (2, 2), (2.0001, 3), (-5, 0), (True, 1)]
)
def test_a_time_to_wait_is_told_in_whole_seconds(given: float | None, told: int | None) -> None:
    assert exceptions.Conflict("no", retry_after_seconds=given).retry_after_seconds == told


def test_a_refusal_survives_a_process_of_the_models_own() -> None:
    written = pickle.dumps(exceptions.Conflict("no", retry_after_seconds=3))
    again = pickle.loads(written)  # noqa: S301
    assert (str(again), again.retry_after_seconds) == ("no", 3)


def test_refusals_can_be_imported_without_django() -> None:
    program = (
        "import sys\n"
        "sys.modules['django'] = sys.modules['rest_framework'] = None\n"
        "from models_api.for_models import *\n"
        "print(Conflict('closed'), TooManyRequests())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("closed There were too many requests.\n", "")


def test_kinds_that_only_policies_answer_are_no_exceptions_of_this_package() -> None:
    of_policies = [kind for kind in ERROR_KINDS if kind.exception is None]
    assert [(kind.status, kind.type) for kind in of_policies] == [
        (401, "NotAuthenticated"),
        (403, "PermissionDenied"),
        (429, "Throttled"),
    ]
    assert all(isinstance(kind, ErrorKind) for kind in of_policies)

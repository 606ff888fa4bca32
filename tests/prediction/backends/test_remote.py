"""A model in another instance of this service, which a script stands for."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import BaseModel

from models_api.configuration.execution import ExecutionConfiguration
from models_api.exceptions import (
    BackendFailed,
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    ModelsAPIError,
    Overloaded,
    PayloadTooLarge,
    PredictionFailed,
    ResourceNotFound,
    SchemaRejected,
    TooManyRequests,
    Unprocessable,
)
from models_api.prediction.backends.http_pool import NoAnswer
from models_api.prediction.backends.modelhost_protocol import ModelhostProtocol
from models_api.prediction.backends.remote import RemotePredictor
from models_api.prediction.backends.remote_service import RemoteService
from models_api.prediction.base import PredictionMeans
from models_api.prediction.description import ModelSchemas
from models_api.prediction.instruments import Instruments
from models_api.prediction.limiter import Bounds, WorkerLimiter
from models_api.prediction.request_context import Caller, RequestContext, current_request
from models_api.schemas.documented import documented_schema
from tests.prediction.backends.scripted_service import Asked, Script, ScriptedService, answer

pytestmark = pytest.mark.timeout(30)

OBJECT = {"type": "object", "properties": {"value": {"type": "number"}}, "required": ["value"]}
DOCUMENTED = ModelSchemas(documented_schema("In", OBJECT), documented_schema("Out", OBJECT))
BODY = b'{"value":1}'
Ask = Callable[[], bytes]


class Number(BaseModel):
    """A class of this process."""

    value: int


def predictor(
    url: str,
    schemas: ModelSchemas = DOCUMENTED,
    timeout_seconds: float | None = None,
    **execution: Any,
) -> RemotePredictor:
    service = RemoteService(
        ExecutionConfiguration(kind="remote", url=url, **execution),
        "double",
        pool_size=2,
        timeout_seconds=timeout_seconds,
        instruments=Instruments(),
        on_change=lambda: None,
    )
    bounds = Bounds(8, 8, timeout_seconds)
    means = PredictionMeans(
        WorkerLimiter().add_model("double", bounds, Instruments()), Instruments(), 5
    )
    return RemotePredictor(
        ModelhostProtocol(service, "double/it"),
        "double",
        schemas,
        means,
        validates=schemas is not DOCUMENTED,
    )


@contextmanager
def asked(script: Script, **given: Any) -> Iterator[tuple[RemotePredictor, ScriptedService]]:
    with ScriptedService(script) as service:
        yield predictor(service.url, **given), service


def failure(told: bytes, *, batch: bool = False, **given: Any) -> ModelsAPIError:
    with asked(lambda _: told, **given) as (remote, _):
        ask = remote.predict_batch if batch else remote.predict
        with pytest.raises(ModelsAPIError) as raised:
            ask(b'{"inputs":[{"value":1},{"value":2}]}' if batch else BODY)
    return raised.value


@contextmanager
def request(**attributes: Any) -> Iterator[RequestContext]:
    context = RequestContext("id-of-the-request")
    for name, value in attributes.items():
        setattr(context, name, value)
    token = current_request.set(context)
    try:
        yield context
    finally:
        current_request.reset(token)


def error(status: int, type_: str, *messages: str, headers: tuple[str, ...] = (), **more: Any):
    return answer({"type": type_, "messages": messages, **more}, status, *headers)


def test_bytes_go_there_and_come_back_as_they_are() -> None:
    odd = b' {"value" :1.50, "z":"\xc3\xa4"}\n'
    with asked(lambda _: answer(odd)) as (remote, service):
        assert remote.predict(b' {"value":   1e0} ') == odd
    (seen,) = service.asked
    assert (seen.method, seen.path) == ("POST", "/api/models/double%2Fit/prediction")
    assert seen.body == b' {"value":   1e0} '
    assert seen.headers["content-type"] == "application/json"


def test_a_batch_is_one_request() -> None:
    told = b'{"predictions":[{"value":2}, {"value":4}]}'
    with asked(lambda _: answer(told)) as (remote, service), request() as context:
        body = b'{"inputs":[{"value":1},{"value":2}]}'
        assert remote.predict_batch(body) == told
    assert [each.path for each in service.asked] == ["/api/models/double%2Fit/prediction/batch"]
    assert (context.rows, context.batch_size) == (2, 2)


def test_the_id_of_the_request_and_what_models_may_read_go_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOUBLE_TOKEN", "secret-1")
    headers = {"x-tenant": "a", "authorization": "Basic client", "host": "elsewhere"}
    with (
        asked(lambda _: answer({"value": 2}), token_env="DOUBLE_TOKEN") as (remote, service),
        request(caller=Caller(headers)),
    ):
        remote.predict(BODY)
    seen = service.asked[0].headers
    assert seen["x-request-id"] == "id-of-the-request"
    assert seen["x-tenant"] == "a"
    assert seen["authorization"] == "Bearer secret-1"
    assert seen["host"] == service.url.removeprefix("http://")


def test_connections_are_kept() -> None:
    with asked(lambda _: answer({"value": 2})) as (remote, service):
        for _ in range(5):
            remote.predict(BODY)
    assert service.connections == 1


def test_one_that_the_other_side_has_closed_costs_no_request() -> None:
    with ScriptedService(lambda _: answer({"value": 2}), closes=True) as service:
        remote = predictor(service.url)
        for _ in range(5):
            assert remote.predict(BODY) == b'{"value": 2}'
            time.sleep(0.01)  # the other side ends the connection meanwhile
    assert service.connections == 5


DETAIL = {"location": ["value"], "type": "missing", "message": "Field required"}
ERRORS: dict[str, tuple[bytes, type[ModelsAPIError], str]] = {
    "invalid": (
        error(400, "ValidationError", "value: Field required; did you mean it?", details=[DETAIL]),
        *(InvalidInput, "value: Field required; did you mean it?"),
    ),
    "half a pair": (error(400, "SchemaValidationError", "\ud800"), SchemaRejected, "\ud800"),
    "rejected": (error(400, "SchemaValidationError", "too odd"), SchemaRejected, "too odd"),
    "no such model": (error(404, "NotFound", "none"), ModelNotFound, "There is no model double"),
    "nothing found": (error(404, "ResourceNotFound", "no 42"), ResourceNotFound, "no 42"),
    "conflict": (error(409, "Conflict", "closed"), Conflict, "closed"),
    "too large": (error(413, "PayloadTooLarge", "5 MB"), PayloadTooLarge, "5 MB"),
    "unprocessable": (error(422, "Unprocessable", "no road"), Unprocessable, "no road"),
    "quota": (error(429, "TooManyRequests", "used up"), TooManyRequests, "used up"),
    "throttled": (error(429, "Throttled", "wait"), Overloaded, "wait"),
    "failed": (
        error(500, "ServiceError", "The model x failed. The log has it.", "ValueError: secret"),
        *(PredictionFailed, "The model double failed to make a prediction."),
    ),
    "backend failed": (error(502, "BackendFailed", "died"), BackendFailed, "gave no answer"),
    "not ready": (error(503, "ModelNotReady", "loads"), ModelNotReady, "loads"),
    "overloaded": (error(503, "Overloaded", "busy"), Overloaded, "busy"),
    "late": (
        error(504, "DeadlineExceeded", "The model was busy for more than 2.5 s."),
        *(DeadlineExceeded, "The model was busy for more than 2.5 s."),
    ),
}


@pytest.mark.parametrize(("told", "kind", "text"), ERRORS.values(), ids=ERRORS)
def test_its_errors_are_the_same_here(told: bytes, kind: type[Exception], text: str) -> None:
    raised = failure(told)
    assert type(raised) is kind
    assert text in str(raised)
    assert "secret" not in str(raised)


def test_problems_of_the_input_keep_their_places_and_hints() -> None:
    raised = failure(ERRORS["invalid"][0])
    assert isinstance(raised, InvalidInput)
    (problem,) = raised.problems
    assert (problem.location, problem.type, problem.message, problem.hint) == (
        ("value",),
        "missing",
        "Field required",
        "did you mean it?",
    )


@pytest.mark.parametrize(
    ("type_", "kind"),
    [("ModelNotReady", ModelNotReady), ("Overloaded", Overloaded)],
)
def test_how_long_to_wait_is_said_here_too(type_: str, kind: type[Any]) -> None:
    raised: Any = failure(error(503, type_, "wait", headers=("Retry-After: 17",)))
    assert isinstance(raised, kind)
    assert raised.retry_after_seconds == 17


def test_which_row_has_failed_there_is_said_here() -> None:
    told = error(500, "ServiceError", "inputs[1]: The model x failed. The log has it.")
    raised = failure(told, batch=True)
    assert str(raised) == "inputs[1]: The model double failed to make a prediction."


def test_the_log_of_a_failure_there_can_be_found() -> None:
    told = error(500, "ServiceError", "x", headers=("X-Request-ID: over-there",))
    raised = failure(told)
    assert isinstance(raised, PredictionFailed)
    assert "answered 500; its log has the reason under the request id over-there" in raised.reason


BROKEN: dict[str, bytes | None] = {
    "no answer": None,
    "garbage": b"\x16\x03\x01 nonsense\r\n\r\n",
    "half a body": answer({"value": 2})[:-3],
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no length": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + BODY,
    "half a chunk": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n5\r\n1234",
    "no last chunk": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n12\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n12",
    "no JSON": answer(b"{'value': 2}"),
    "not a number": answer(b'{"value": NaN}'),
    "JSON that goes on": answer(b'{"value": 2} {"value": 3}'),
    "nothing": answer(b""),
    "a page": answer(b"<html></html>", kind="text/html"),
    "JSON under another type": answer(b'{"value": 2}', kind="text/plain"),
    "compressed": answer(b"\x1f\x8b\x08\x00", 200, "Content-Encoding: gzip"),
    "a redirect": answer(b"", 302, "Location: http://127.0.0.1:1/"),
    "nothing at all": answer(b"", 204),
    "another success": answer({"value": 2}, 201),
    "a proxy's page": answer(b"<html>", 503, kind="text/html"),
    "an error of no such service": answer({"detail": "x"}, 400),
    "an unknown type": error(400, "Surprise", "x"),
    "no such method": error(405, "MethodNotAllowed", "x"),
    "a token that is refused": error(401, "NotAuthenticated", "x"),
}


@pytest.mark.parametrize("told", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_used_is_a_failure_of_the_backend(
    told: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        ScriptedService(lambda _: told, closes=True) as service,
        request(),
        pytest.raises(BackendFailed) as raised,
    ):
        predictor(service.url).predict(BODY)
    assert service.url not in str(raised.value)
    (record,) = [each for each in caplog.records if each.name.startswith("models_api")]
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert message.startswith(f"{service.url} failed double (request id-of-the-request): ")


@pytest.mark.parametrize(
    "predictions", [[], [{"value": 1}], [{"value": 1}] * 3, None, {"a": 1, "b": 2}]
)
def test_a_batch_has_a_prediction_for_each_row(predictions: object) -> None:
    raised = failure(answer({"predictions": predictions}), batch=True)
    assert isinstance(raised, BackendFailed)


def test_nobody_listens() -> None:
    with ScriptedService(lambda _: None) as service:
        pass
    with pytest.raises(BackendFailed):
        predictor(service.url).predict(BODY)


def test_one_that_is_slow_is_late_and_bounded() -> None:
    release = threading.Event()

    def wait(_: Asked) -> bytes:
        release.wait(10)
        return answer({"value": 2})

    with (
        asked(wait, timeout_seconds=0.2) as (remote, _),
        request(),
        pytest.raises(DeadlineExceeded),
    ):
        remote.predict(BODY)
    release.set()


def test_retry_sends_a_request_once_more_where_the_connection_breaks() -> None:
    answers = iter([None, answer({"value": 2})])
    with asked(lambda _: next(answers), retry=True) as (remote, service):
        assert remote.predict(BODY) == b'{"value": 2}'
    assert len(service.asked) == 2


@pytest.mark.parametrize(
    "told",
    [
        answer(b"Internal Server Error", 500, kind="text/plain"),
        answer({"type": "BadGateway", "messages": ["no"]}, 502),
        answer(b"<html>", 503, kind="text/html"),
    ],
)
@pytest.mark.parametrize("retry", [True, False])
def test_retry_asks_once_more_past_what_stands_before_the_service(told: bytes, retry: bool) -> None:
    answers = iter([told, answer({"value": 2})])
    with asked(lambda _: next(answers), retry=retry) as (remote, service):
        if retry:
            assert remote.predict(BODY) == b'{"value": 2}'
        else:
            with pytest.raises(BackendFailed):
                remote.predict(BODY)
    assert len(service.asked) == 1 + retry


def test_retry_does_it_once() -> None:
    with asked(lambda _: None, retry=True) as (remote, service), pytest.raises(BackendFailed):
        remote.predict(BODY)
    assert len(service.asked) == 2


def test_without_retry_nothing_is_sent_twice() -> None:
    with asked(lambda _: None) as (remote, service), pytest.raises(BackendFailed):
        remote.predict(BODY)
    assert len(service.asked) == 1


def test_an_error_that_it_answers_is_not_retried() -> None:
    told = error(500, "ServiceError", "x")
    with asked(lambda _: told, retry=True) as (remote, service), pytest.raises(PredictionFailed):
        remote.predict(BODY)
    assert len(service.asked) == 1


def test_after_several_failures_it_is_left_alone() -> None:
    with ScriptedService(lambda _: None) as service:
        remote = predictor(service.url, breaker_failures=2, breaker_seconds=30)
        for _ in range(2):
            with pytest.raises(BackendFailed):
                remote.predict(BODY)
        with pytest.raises(ModelNotReady) as refused:
            remote.predict(BODY)
    assert len(service.asked) == 2
    assert refused.value.retry_after_seconds == 30


def test_bad_input_is_not_the_fault_of_the_service() -> None:
    with asked(lambda _: ERRORS["invalid"][0], breaker_failures=1) as (remote, service):
        for _ in range(3):
            with pytest.raises(InvalidInput):
                remote.predict(BODY)
    assert len(service.asked) == 3


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"inputs": 5}', b'{"inputs": [1,2,3,4,5,6]}', b'{"input": []}']
)
def test_no_batch_is_refused_here(body: bytes) -> None:
    with asked(lambda _: answer({})) as (remote, service), pytest.raises(InvalidInput):
        remote.predict_batch(body)
    assert service.asked == []


CLASSES = ModelSchemas(Number, Number)


def test_classes_of_this_process_validate_before_anything_is_sent() -> None:
    with asked(lambda _: answer({"value": 2}), schemas=CLASSES) as (remote, service):
        assert remote.predict(BODY) == b'{"value": 2}'
        for ask in (
            lambda: remote.predict(b'{"value":"x"}'),
            lambda: remote.predict_batch(b'{"inputs":[{"value":"x"}]}'),
        ):
            with pytest.raises(InvalidInput, match="value"):
                ask()
    assert len(service.asked) == 1


@pytest.mark.parametrize("value", ["x", 1.5, None])
def test_they_validate_answers_too(value: object) -> None:
    told = {"value": value}
    raised = failure(answer(told), schemas=CLASSES)
    assert isinstance(raised, PredictionFailed)
    assert "does not fit Number" in raised.reason
    many = failure(answer({"predictions": [{"value": 1}, told]}), batch=True, schemas=CLASSES)
    assert isinstance(many, PredictionFailed)


def test_code_of_this_process_can_ask_it() -> None:
    def double(seen: Asked) -> bytes:
        body = seen.json()
        if "inputs" in body:
            return answer(
                {"predictions": [{"value": 2 * each["value"]} for each in body["inputs"]]}
            )
        return answer({"value": 2 * body["value"]})

    with asked(double, schemas=CLASSES) as (remote, _):
        assert remote.predict_given([{"value": 4}]) == [Number(value=8)]
        given = [{"value": 1}, Number(value=2)]
        assert remote.predict_given(given, "rows[{}]: ") == [Number(value=2), Number(value=4)]
    with asked(double) as (remote, _):
        (found,) = remote.predict_given([{"value": 4}])
        assert found.value == 8  # type: ignore[attr-defined]


def test_its_errors_name_the_rows_as_they_were_given() -> None:
    detail = {**DETAIL, "location": ["inputs", 1, "value"]}
    told = error(400, "ValidationError", "inputs[1].value: Field required", details=[detail])
    with asked(lambda _: told) as (remote, _), pytest.raises(InvalidInput) as raised:
        remote.predict_given([{}, {}], "rows[{}]: ")
    assert str(raised.value) == "rows[1].value: Field required"


METADATA = {
    "display_name": "Double",
    "qualified_name": "double/it",
    "description": "Doubles.",
    "version": "3",
    "input_schema": OBJECT,
    "output_schema": OBJECT,
}


def test_it_says_what_it_is() -> None:
    with asked(lambda _: answer(METADATA)) as (remote, service):
        found = remote.protocol.describe(1)
    assert service.asked[0].path == "/api/models/double%2Fit/metadata"
    assert found.names.version == "3"
    assert set(found.schemas.input.model_validate({"value": 1}).model_dump()) == {"value"}


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (None, "Remote end closed connection"),
        (answer(b"<html>", 200, kind="text/html"), "its metadata of the model are no such thing"),
        (answer({**METADATA, "input_schema": None}), "no such thing"),
        (error(404, "NotFound", "x"), 'it has no model "double/it"'),
        (error(403, "PermissionDenied", "x"), "does not take the token"),
        (error(503, "ModelNotReady", "It loads."), "it answers 503 about double/it: It loads."),
    ],
)
def test_why_it_does_not_say_it_is_told(told: bytes | None, reason: str) -> None:
    with asked(lambda _: told) as (remote, _), pytest.raises(NoAnswer) as raised:
        remote.protocol.describe(1)
    assert reason in str(raised.value)


def test_its_readiness_is_that_of_the_model_there() -> None:
    told = {"ready": answer({}), "metadata": answer(METADATA)}

    def script(seen: Asked) -> bytes:
        return told[seen.path.rpartition("/")[2]]

    with asked(script) as (remote, _):
        assert remote.protocol.fault(1) is None
        told["ready"] = answer({}, 503)
        assert remote.protocol.fault(1) == "it answers 503 about double/it"
        told["ready"] = error(404, "NotFound", "there is no such route")
        assert remote.protocol.fault(1) is None
        told["metadata"] = error(404, "NotFound", "there is no such model")
        assert "has no model" in str(remote.protocol.fault(1))


def test_no_secret_is_in_what_it_looks_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_TOKEN", "secret-1")
    execution = ExecutionConfiguration(
        kind="remote", url="http://127.0.0.1:1", token_env="DOUBLE_TOKEN"
    )
    remote = predictor("http://127.0.0.1:1", token_env="DOUBLE_TOKEN")
    assert "secret-1" not in repr(execution) + repr(remote) + json.dumps(execution.model_dump())

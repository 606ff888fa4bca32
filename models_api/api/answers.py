"""Answers to requests, errors among them, as every server can give them: no framework here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from models_api.api.request_body import Environ
from models_api.conf import shows_reasons
from models_api.error_table import error_kind
from models_api.exceptions import InputProblem, InvalidInput, PredictionFailed, UnsupportedEncoding
from models_api.logs import SafeLogger, one_line
from models_api.prediction.request_context import current_request, request_id

logger = SafeLogger(__name__)

_JSON = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    """What a request is answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def json_answer(body: bytes) -> Answer:
    """Return a body of JSON with status 200."""
    return Answer(200, _JSON, body)


class ErrorBody(NamedTuple):
    """The body of every error."""

    type: str
    messages: Sequence[str]
    details: Sequence[Mapping[str, object]] | None = None

    def to_json(self) -> bytes:
        """Return the body."""
        body: dict[str, object] = {"type": self.type, "messages": self.messages}
        if self.details is not None:
            body["details"] = self.details
        # Text from a model can hold lone surrogates, which become JSON's escapes.
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        return content.encode("utf-8", "backslashreplace")


class Error(NamedTuple):
    """An error on its way to an answer."""

    status: int
    body: ErrorBody
    headers: Mapping[str, str]

    def with_sentence(self, sentence: str) -> Error:
        """Return the error with a sentence behind its first message."""
        first, *others = self.body.messages
        return self._replace(body=self.body._replace(messages=[f"{first} {sentence}", *others]))

    def to_answer(self) -> Answer:
        """Return the answer."""
        return Answer(self.status, {**_JSON, **self.headers}, self.body.to_json())


def describe_error(exception: BaseException, environ: Environ) -> Error:
    """Return what is told of an exception.

    What nobody foresaw is logged with its traceback; the client only gets the request's id.
    """
    kind = error_kind(exception)
    if kind is None or kind.status == 500:
        return _internal_error(exception, environ)
    if isinstance(exception, InvalidInput):
        return Error(kind.status, _input_body(kind.type, exception.problems), {})
    seconds = getattr(exception, "retry_after_seconds", None)
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    if isinstance(exception, UnsupportedEncoding):
        headers["Accept-Encoding"] = exception.accepted
    reason = getattr(exception, "reason", "")
    messages = [str(exception), *([reason] if reason and shows_reasons() else [])]
    return Error(kind.status, ErrorBody(kind.type, messages), headers)


def _input_body(type_: str, problems: Sequence[InputProblem]) -> ErrorBody:
    details = [
        {"location": problem.location, "type": problem.type, "message": problem.message}
        for problem in problems
    ]
    return ErrorBody(type_, [problem.text for problem in problems], details)


def _internal_error(exception: BaseException, environ: Environ) -> Error:
    id_ = _request_id(environ)
    path = request_path(environ)
    method = environ.get("REQUEST_METHOD")
    is_models = isinstance(exception, PredictionFailed)
    reason = exception.reason if isinstance(exception, PredictionFailed) else ""
    summary = f": {reason}" if reason else ""
    logger.error("%s %s failed (request %s)%s", method, path, id_, summary, exc_info=exception)
    message = str(exception) if is_models else "The service failed to answer this request."
    messages = [f"{message} The log has the reason under the request id {id_}."]
    if shows_reasons():
        messages.append(
            reason
            or one_line(exception.__cause__ if is_models and exception.__cause__ else exception)
        )
    return Error(500, ErrorBody("ServiceError", messages), {"X-Request-ID": id_})


def _request_id(environ: Environ) -> str:
    context = current_request.get()
    # A project that hosts the app may do without RequestMiddleware.
    given = environ.get("HTTP_X_REQUEST_ID")
    return context.id if context else request_id(None if given is None else str(given))


def request_path(environ: Environ) -> str:
    """Return the path of a request, escaped as lines of a log need it."""
    path = f"{str(environ.get('SCRIPT_NAME', '')).rstrip('/')}{environ.get('PATH_INFO', '')}"
    # WSGI has the bytes as Latin-1; a server for ASGI has decoded them.
    encoding = "latin-1" if "wsgi.input" in environ else "utf-8"
    return quote(path.encode(encoding, "replace"), safe="/:@&+$,-_.!~*'()")

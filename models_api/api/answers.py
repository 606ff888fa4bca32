"""Answers to requests, errors among them, as every server can give them: no framework here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from models_api.api.request_body import Environ
from models_api.conf import shows_reasons
from models_api.error_table import error_kind
from models_api.exceptions import InputProblem, InvalidInput, PredictionFailed, UnsupportedEncoding
from models_api.logs import SafeLogger, one_line
from models_api.prediction.request_context import current_request, request_id

logger = SafeLogger(__name__)

VERSION_HEADER = "X-Model-Version"
_JSON = {"Content-Type": "application/json"}
_CARRIED = "!\"#$&'()*+-./:;<=>?@[\\]^_`{|}~"
"""What of a version stands in its header as it is, besides letters and digits."""


class Answer(NamedTuple):
    """What a request is answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def of_version(self, version: str | None) -> Answer:
        """Return the answer with the version of the model that made it, if that is known."""
        if not version:
            return self
        if self.headers is _JSON:
            return Answer(self.status, _json_headers(version), self.body)
        headers = {**self.headers, VERSION_HEADER: version_header(version)}
        return Answer(self.status, headers, self.body)

    def of_versions(self, versions: Iterable[str]) -> Answer:
        """Return the answer with the versions that made it, which all are known."""
        header = ", ".join(map(version_header, versions))
        return self._replace(headers={**self.headers, VERSION_HEADER: header})


@lru_cache(maxsize=1000)
def version_header(version: str) -> str:
    """Return a version as a header can carry it: percent-encoded where it is not plain ASCII.

    So are blanks, which the ends of headers lose, percent signs, and the commas between versions.
    """
    return quote(version.encode("utf-8", "surrogatepass"), safe=_CARRIED)


@lru_cache(maxsize=1000)
def _json_headers(version: str) -> Mapping[str, str]:
    return {**_JSON, VERSION_HEADER: version_header(version)}


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
    raw = path.encode(errors="replace")
    if "wsgi.input" in environ:
        # WSGI has the bytes as Latin-1, until Django has decoded them in this very place.
        with suppress(UnicodeError):
            raw = path.encode("latin-1").decode().encode()
    return quote(raw, safe="/:@&+$,-_.!~*'()")

"""Requests for predictions, from WSGI's environ to an answer, whether or not Django is between.

The views call `PredictionEndpoint.answer`, and so does a WSGI application where no policy applies.
"""

from __future__ import annotations

import time
from functools import cache

from pydantic_core import from_json

from models_api.api.answers import Answer, Error, describe_error, json_answer
from models_api.api.request_body import (
    Environ,
    MutableEnviron,
    Stream,
    discard_body,
    peek_body,
    read_json_body,
)
from models_api.api.split_rows import Part, predict_parts, split_rows, versions_of
from models_api.configuration.header_names import environ_key
from models_api.error_table import outcome_of
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.registry import ModelRegistry
from models_api.hosting.release import Release
from models_api.hosting.traffic import SUCCESS, Traffic
from models_api.prediction.request_context import (
    copied_context,
    current_request,
    note_headers,
    note_model,
    note_received,
    noted_rows,
    noted_version,
)
from models_api.prediction.rows import told_inputs


class PredictionEndpoint:
    """Answers requests for single predictions with one model. Safe to use from many threads."""

    unknown_hint = "; GET api/models lists them."
    copied_keys: tuple[str, ...] = ()
    """Of the environ, what `predict` needs."""

    def __init__(
        self, registry: ModelRegistry, qualified_name: str, version: str | None = None
    ) -> None:
        self.registry = registry
        self.qualified_name = qualified_name
        self.version = version

    def answer(self, environ: Environ, stream: Stream) -> Answer:
        """Return the answer to a request; errors are answers too.

        Args:
            environ: The request.
            stream: Its body, unless that is chunked and so has to be read from the environ.
        """
        model: HostedModel | None = None
        try:
            release = self.registry.release(self.qualified_name, hint=self.unknown_hint)
            if self.registry.request_headers:
                note_headers(headers_of(environ, self.registry.request_headers))
            if self.version is None and (release.traffic is not None or release.shadows):
                return self.predict_release(release, environ, self.read(environ, stream))
            model = self.registry.resolve_in(release, self.version)
            note_model(model.known_name, model.version)
            answer = self.predict(model, environ, self.read(environ, stream))
        except BaseException as error:  # noqa: BLE001 (whatever a model raises is an answer)
            self.registry.start_loading()
            discard_body(environ, stream)
            answer = self.to_answer(describe_error(error, environ))
            # Of several versions that which was asked last, if any was.
            return answer.of_version(noted_version() if model is None else model.version)
        return answer.of_version(model.version)

    def resolve(self) -> HostedModel:
        """Return the model that takes the request.

        Raises:
            ModelNotFound: there is none.
            ModelNotReady: nobody knows yet.
        """
        return self.registry.resolve(self.qualified_name, self.version, hint=self.unknown_hint)

    def predict(self, model: HostedModel, environ: Environ, body: bytes) -> Answer:
        """Return the model's prediction for what is in the body of the request."""
        return json_answer(model.backend.predict(body))

    def predict_release(self, release: Release, environ: Environ, body: bytes) -> Answer:
        """Return the prediction of whoever of several versions is asked, and copy the request."""
        if release.traffic is None:
            model = self.registry.resolve_in(release)
            note_model(model.known_name, model.version)
            answer = self.predict(model, environ, body).of_version(model.version)
        else:
            answer = self.predict_split(release.traffic, environ, body)
        for shadow in release.shadows:
            size = len(body) + len(answer.body)
            shadow.offer(size, lambda: CopiedRequest(self, environ, body, answer))
        return answer

    def comparable(self, answer: Answer) -> object:
        """Return of an answer what that of another version is compared with."""
        return from_json(answer.body)

    def predict_split(self, traffic: Traffic, environ: Environ, body: bytes) -> Answer:
        """Return the prediction of the version that the request falls to."""
        model = traffic.choose(traffic.key.of_request(environ, body))
        return self.predict_observed(traffic, model, environ, body)

    def predict_observed(
        self, traffic: Traffic, model: HostedModel, environ: Environ, body: bytes
    ) -> Answer:
        """Return the predictions of a version of several, and tell what came of them."""
        if self.registry.loads_on_demand:
            model.load()
        version = model.version
        note_model(self.qualified_name, version)
        if traffic.observe is None:
            return self.predict(model, environ, body).of_version(version)
        began, outcome = time.monotonic(), SUCCESS
        try:
            return self.predict(model, environ, body).of_version(version)
        except BaseException as error:
            outcome = outcome_of(type(error))
            raise
        finally:
            traffic.observe(model, outcome, time.monotonic() - began, noted_rows())

    def read(self, environ: Environ, stream: Stream) -> bytes:
        """Return the body of the request.

        Raises:
            ModelsAPIError: it is unusable.
        """
        body = read_json_body(environ, stream)
        note_received()
        return body

    def count_rows(self, model: HostedModel, environ: MutableEnviron, stream: Stream) -> int:
        """Return for how many rows a request asks, which has yet to be answered."""
        return 1

    def to_answer(self, error: Error) -> Answer:
        """Return the answer that clients of this endpoint get for an error."""
        return error.to_answer()


class CopiedRequest:
    """A request that was answered, and goes to a shadow, too."""

    __slots__ = ("_answer", "_body", "_context", "_endpoint", "_environ")

    def __init__(
        self, endpoint: PredictionEndpoint, environ: Environ, body: bytes, answer: Answer
    ) -> None:
        self._answer = answer
        self._body = body
        self._context = current_request.get()
        self._endpoint = endpoint
        # Without the connection.
        self._environ = {key: environ[key] for key in endpoint.copied_keys if key in environ}

    def ask(self, model: HostedModel) -> object:
        """Return what a model answers; its log has the request's id."""
        with copied_context(self._context) as context:
            context.model, context.version = model.known_name, model.version
            return self._endpoint.comparable(
                self._endpoint.predict(model, self._environ, self._body)
            )

    def answered(self) -> object:
        """Return what was answered."""
        return self._endpoint.comparable(self._answer)


def headers_of(environ: Environ, names: tuple[str, ...]) -> dict[str, str]:
    """Return those of some headers that a request has, by their names."""
    return {name: str(environ[key]) for key, name in _environ_keys(names) if key in environ}


@cache
def _environ_keys(names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(environ_key(name), name) for name in names]


class BatchEndpoint(PredictionEndpoint):
    """Answers requests for the predictions of many rows."""

    def predict(self, model: HostedModel, environ: Environ, body: bytes) -> Answer:
        """Return the model's predictions for the rows in the body of the request."""
        return json_answer(model.backend.predict_batch(body))

    def predict_split(self, traffic: Traffic, environ: Environ, body: bytes) -> Answer:
        """Return the predictions of the versions that the rows fall to, in the rows' order."""
        key = traffic.key.of_header(environ)
        rows = None if key is not None else split_rows(traffic, body)
        if rows is None or len(rows.parts) == 1:
            model = traffic.choose(key) if rows is None else rows.parts[0].model
            return self.predict_observed(traffic, model, environ, body)

        def predict(part: Part) -> bytes:
            body = rows.body_of(part)
            return self.predict_observed(traffic, part.model, environ, body).body

        written = predict_parts(traffic, rows.parts, predict, rows.validate_all)
        return json_answer(rows.together([*written])).of_versions(versions_of(traffic, rows.parts))

    def count_rows(self, model: HostedModel, environ: MutableEnviron, stream: Stream) -> int:
        """Return the number of inputs; 1 where the body does not have them.

        Raises:
            ModelsAPIError: the body cannot be read, or holds more than the model takes.
        """
        body = peek_body(environ, stream)
        limit = model.backend.batch_limit
        if len(body) > limit.harmless_bytes:
            limit.check(body)
        return told_inputs(body) or 1

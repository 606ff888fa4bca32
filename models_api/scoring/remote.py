"""Predictions of a service that runs elsewhere, over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast
from urllib.parse import quote

import urllib3
from pydantic_core import from_json

from models_api.scoring.errors import JobRefused, JobStopped, RowError
from models_api.scoring.model_name import ModelName
from models_api.scoring.patience import Patience
from models_api.scoring.portions import (
    Wrong,
    is_json,
    predict_portions,
    prediction_of,
    predictions_of,
)
from models_api.scoring.results import Result

_TIMEOUT = urllib3.Timeout(connect=10, read=300)
_SHORTEST_PAUSE = 0.05
_FIRST_PATIENCE = 10.0
"""Seconds for which a service may be silent to the first request: the URL may be wrong."""
_MOVED, _UNKNOWN = (301, 302, 307, 308), (401, 403)
_FINAL = {*_MOVED, *_UNKNOWN, 404, 405}
"""What no other row would be answered better than; models have a 404 of their own."""


class RemoteModel(NamedTuple):
    """What a service says of a model."""

    version: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> RowError:
        """What the body says went wrong."""
        told = self._told()
        messages = told.get("messages")
        if isinstance(messages, list) and isinstance(told.get("type"), str):
            return RowError(told["type"], list(map(str, messages)))
        return RowError("ServiceError", [f"The service answered {self.status}."])

    def wrong_rows(self, rows: int) -> dict[int, RowError]:
        """Return what the body says of rows that do not fit the schema, by their indexes."""
        told, found = self._told(), dict[int, list[str]]()
        messages = told.get("messages", [])
        for detail, message in zip(told.get("details") or [], messages, strict=False):
            location = detail.get("location") or [None]
            if location[0] == "inputs" and len(location) > 1 and location[1] in range(rows):
                own = str(message).removeprefix(f"inputs[{location[1]}]").lstrip(".: ")
                found.setdefault(location[1], []).append(own)
        return {index: RowError("ValidationError", each) for index, each in found.items()}

    def _told(self) -> dict[str, Any]:
        try:
            told = from_json(self.body)
        except ValueError:
            return {}
        return told if isinstance(told, dict) else {}


class RemotePredictor:
    """Asks one model of a service. Safe to use from many threads."""

    def __init__(
        self, url: str, name: ModelName, *, key: str | None, patience: float, connections: int
    ) -> None:
        """Make it.

        Args:
            url: Of the service, without the path of a route.
            name: Of the model.
            key: Sent as bearer; None for none.
            patience: Seconds for which one request is sent again and again.
            connections: At a time.
        """
        self._pool = urllib3.PoolManager(maxsize=connections, retries=False, timeout=_TIMEOUT)
        self._url = f"{url.rstrip('/')}/api/models/{quote(name.model, safe='')}"
        if name.version is not None:
            self._url += f"/versions/{quote(name.version, safe='')}"
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._patience = patience
        self._stopped = threading.Event()

    def describe(self) -> RemoteModel:
        """Return what the service says of the model.

        Raises:
            JobRefused: it does not answer, knows no such model, or does not let us ask.
        """
        try:
            patience = min(self._patience, _FIRST_PATIENCE)
            answer = self._send("GET", "/metadata", None, patience)
        except JobStopped as error:
            raise JobRefused(str(error)) from None
        if answer.status != 200:
            raise JobRefused(self._refusal(answer))
        try:
            told = from_json(answer.body)
            return RemoteModel(told["version"], told["input_schema"], told["output_schema"])
        except (ValueError, KeyError, TypeError):
            message = f"{self._url}/metadata says nothing of a model; --url is that of a service."
            raise JobRefused(message) from None

    def predict(self, bodies: Sequence[bytes], are_json: bool) -> list[Result]:
        """Return a prediction for each row, or why there is none.

        Raises:
            JobStopped: the service does not answer, or refuses whoever asks.
        """
        if are_json:
            return predict_portions(bodies, self._ask)
        fitting = list(map(is_json, bodies))
        sent = [body for body, fits in zip(bodies, fitting, strict=True) if fits]
        found = iter(predict_portions(sent, self._ask))
        wrong = RowError("ValidationError", ["The row is no JSON."])
        return [next(found) if fits else wrong for fits in fitting]

    def stop(self) -> None:
        """Wait for no further answers."""
        self._stopped.set()

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _ask(self, bodies: Sequence[bytes]) -> list[Result] | Wrong:
        if len(bodies) == 1:
            return [self._predict_one(bodies[0])]
        body = b'{"inputs":[' + b",".join(bodies) + b"]}"
        answer = self._send("POST", "/prediction/batch", body)
        if answer.status == 200:
            return predictions_of(answer.body, len(bodies))
        return answer.wrong_rows(len(bodies)) if answer.status == 400 else {}

    def _predict_one(self, body: bytes) -> Result:
        answer = self._send("POST", "/prediction", body)
        if answer.status != 200:
            return answer.error
        return prediction_of(answer.body)

    def _send(
        self, method: str, path: str, body: bytes | None, patience: float | None = None
    ) -> _Answer:
        """Return the answer to a request, which is sent again where waiting may help.

        Raises:
            JobStopped: it did not help, or the service refuses whoever asks.
        """
        tries = Patience(self._patience if patience is None else patience, self._stopped)
        while True:
            answer, problem = self._try(method, path, body)
            if answer is not None and not _may_heal(answer):
                if answer.status in _FINAL and answer.error.type != "ResourceNotFound":
                    raise JobStopped(self._refusal(answer))
                return answer
            tries.wait(f"{self._url}{path}: {problem}", _retry_after(answer))

    def _try(self, method: str, path: str, body: bytes | None) -> tuple[_Answer | None, str]:
        try:
            response = self._pool.request(
                method, f"{self._url}{path}", body=body, headers=self._headers, redirect=False
            )
        except urllib3.exceptions.LocationParseError as error:
            raise JobStopped(f"--url: {error}") from None
        except urllib3.exceptions.HTTPError as error:
            return None, f"the service did not answer ({_reason(error)})"
        answer = _Answer(response.status, cast(Mapping[str, str], response.headers), response.data)
        return answer, f"the service answered {answer.status}, {'; '.join(answer.error.messages)},"

    def _refusal(self, answer: _Answer) -> str:
        told = "; ".join(answer.error.messages)
        hint = ""
        if answer.status in _UNKNOWN:
            hint = " The key is that of the environment variable MODELHOST_API_KEY."
        if answer.status in _MOVED:
            told = f"It has moved to {answer.headers.get('Location')}."
        return f"{self._url} answers {answer.status}: {told}{hint}"


def _may_heal(answer: _Answer) -> bool:
    """Return whether the same request may have a better answer later."""
    is_gateway = answer.status == 502 and answer.error.type != "BackendFailed"
    return answer.status in (429, 503) or is_gateway


def _retry_after(answer: _Answer | None) -> float | None:
    given = answer.headers.get("Retry-After") if answer is not None else None
    return max(_SHORTEST_PAUSE, float(given)) if given and given.isdecimal() else None


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    return str(getattr(error, "reason", None) or error)

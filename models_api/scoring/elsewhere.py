"""Predictions of a model of this project that computes in processes or a service of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from models_api.exceptions import (
    BackendFailed,
    BackendRefused,
    BackendSilent,
    InvalidInput,
    ModelError,
    ModelNotFound,
    ModelNotReady,
    ModelsAPIError,
    Overloaded,
    TooManyRequests,
)
from models_api.prediction.backend import Backend
from models_api.prediction.request_context import nested_context, note_model
from models_api.scoring.errors import JobStopped, RowError
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


class Temper(NamedTuple):
    """What errors say of more than the rows that were asked for."""

    heals: tuple[type[ModelsAPIError], ...]
    """The same rows may be predicted later."""
    ends: tuple[type[ModelsAPIError], ...]
    """No rows will be, or nobody knows which of those in hand were the cause."""


OF_PROCESSES = Temper((ModelNotReady, Overloaded), (BackendFailed,))
OF_SERVICE = Temper(
    (ModelNotReady, Overloaded, TooManyRequests, BackendSilent), (BackendRefused, ModelNotFound)
)


class BackendPredictor:
    """Has a backend predict for rows. Safe to use from many threads."""

    def __init__(
        self,
        backend: Backend,
        name: ModelName,
        *,
        temper: Temper,
        patience: float,
        end: Callable[[], object],
    ) -> None:
        """Make it.

        Args:
            backend: What predicts, without limits of its own.
            name: Of the model, with its version.
            temper: What the errors of the backend mean.
            patience: Seconds for which rows are sent again and again.
            end: Gives the backend up.
        """
        self._backend = backend
        self._name = name
        self._temper = temper
        self._patience = patience
        self._end = end
        self._stopped = threading.Event()

    def predict(self, bodies: Sequence[bytes], are_json: bool) -> list[Result]:
        """Return a prediction for each row, or why there is none.

        Raises:
            JobStopped: the backend is gone, or takes no rows.
        """
        with nested_context():
            note_model(self._name.model, self._name.version)
            if are_json:
                return predict_portions(bodies, self._ask)
            # What is none alone could be some between two others.
            fitting = list(map(is_json, bodies))
            sent = [body for body, fits in zip(bodies, fitting, strict=True) if fits]
            found = iter(predict_portions(sent, self._ask))
            return [
                next(found) if fits else self._predict_one(body)
                for body, fits in zip(bodies, fitting, strict=True)
            ]

    def stop(self) -> None:
        """Give the backend up."""
        self._stopped.set()
        self._end()

    def _ask(self, bodies: Sequence[bytes]) -> list[Result] | Wrong:
        if len(bodies) == 1:
            return [self._predict_one(bodies[0])]
        body = b'{"inputs":[' + b",".join(bodies) + b"]}"
        try:
            written = self._patiently(self._backend.predict_batch, body)
        except InvalidInput as error:
            return _wrong_rows(error)
        except ModelsAPIError as error:
            self._require_going_on(error)
            return {}
        return predictions_of(written, len(bodies))

    def _predict_one(self, body: bytes) -> Result:
        try:
            return prediction_of(self._patiently(self._backend.predict, body))
        except ModelsAPIError as error:
            self._require_going_on(error)
            return RowError.of(error)

    def _patiently(self, predict: Callable[[bytes], bytes], body: bytes) -> bytes:
        tries = Patience(self._patience, self._stopped)
        while not self._stopped.is_set():
            try:
                return predict(body)
            except self._temper.heals as error:
                told = getattr(error, "retry_after_seconds", None)
                tries.wait(f"{_reason(error)}, again and again", told)
        raise JobStopped("The job was stopped.")

    def _require_going_on(self, error: ModelsAPIError) -> None:
        """Raise JobStopped if no other rows would fare better."""
        if isinstance(error, JobStopped):
            raise error
        if self._stopped.is_set() or isinstance(error, self._temper.ends):
            raise JobStopped(f"{_reason(error)}.") from None


def _wrong_rows(error: InvalidInput) -> Wrong:
    """Return what an error says of rows that do not fit the schema, by their indexes."""
    found: dict[int, list[str]] = {}
    for problem in error.problems:
        inputs, row = (*problem.location, None, None)[:2]
        if inputs == "inputs" and isinstance(row, int):
            own = replace(problem, location=problem.location[2:])
            found.setdefault(row, []).append(own.text)
    return {row: RowError("ValidationError", messages) for row, messages in found.items()}


def _reason(error: ModelsAPIError) -> str:
    told = error.reason if isinstance(error, ModelError) else ""
    return (told or str(error)).rstrip(".")

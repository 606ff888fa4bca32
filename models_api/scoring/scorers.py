"""What predicts for batches: the model of this process, or one of another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from models_api.exceptions import InvalidInput, ModelsAPIError
from models_api.prediction import codec
from models_api.prediction.columns import arrays_of_rows
from models_api.prediction.predictor import Predictor
from models_api.prediction.request_context import nested_context, note_model
from models_api.prediction.rows import Rows, Sliceable
from models_api.scoring.errors import RowError
from models_api.scoring.json_arrays import split_array
from models_api.scoring.results import FailedRow, Result, ResultFormat
from models_api.scoring.rows import Batch, RowFormat, as_json
from models_api.threads import cleanup


class Scored(NamedTuple):
    """What has come of a batch."""

    written: bytes
    failed: list[FailedRow]
    rows: int
    lines: int


class BatchPredictor(Protocol):
    """Predicts for rows of JSON."""

    def predict(self, bodies: Sequence[bytes], are_json: bool) -> list[Result]:
        """Return a prediction for each, or why there is none; they may be no JSON."""

    def stop(self) -> None:
        """End what predicts; a prediction that is being made raises JobStopped."""


class Scorer(Protocol):
    """Predicts for batches, one call at a time."""

    def score(self, batches: Sequence[Batch]) -> tuple[list[Scored], float]:
        """Return what has come of each, and the seconds that it took.

        Raises:
            JobStopped: nothing more can be predicted.
        """

    def stop(self) -> None:
        """End what predicts; a batch in hand may raise JobStopped."""


class BatchScorer:
    """Reads the rows of batches, has them predicted, and writes the predictions."""

    def __init__(
        self, row_format: RowFormat, predictor: BatchPredictor, result_format: ResultFormat
    ) -> None:
        self._row_format = row_format
        self._predictor = predictor
        self._result_format = result_format

    def score(self, batches: Sequence[Batch]) -> tuple[list[Scored], float]:
        """Return what has come of each, and the seconds that it took."""
        began = time.perf_counter()
        return list(map(self._score, batches)), time.perf_counter() - began

    def stop(self) -> None:
        """End what predicts."""
        self._predictor.stop()

    def _score(self, batch: Batch) -> Scored:
        rows, lines = self._row_format.read(batch)
        bodies = [row.body for row in rows if row.error is None]
        predicted = iter(self._predictor.predict(bodies, self._row_format.makes_json))
        results: list[Result] = [row.error or next(predicted) for row in rows]
        failed = [
            FailedRow(index, row.line, result, as_json(row.body))
            for index, (row, result) in enumerate(zip(rows, results, strict=True))
            if isinstance(result, RowError)
        ]
        written = self._result_format.write(results) if results else b""
        return Scored(written, failed, len(rows), lines)


class _ParsedRows(Rows):
    """Rows of JSON, each of which fits the schema."""

    def __init__(
        self, bodies: Sequence[bytes], parsed: Sequence[object], predictor: Predictor
    ) -> None:
        self._bodies = bodies
        self._predictor = predictor
        super().__init__([*parsed])

    def __len__(self) -> int:
        return len(self._bodies)

    def make(self) -> list[object | None]:
        """Parse them."""
        return [codec.parse(body, self._predictor.schemas.input) for body in self._bodies]

    def columns(self) -> dict[str, Sliceable] | None:
        """Return the arrays that the model takes; None if it takes none."""
        if not self._predictor.takes_columns or len(self) <= 1:
            return None
        found = arrays_of_rows(self.take(slice(None)), self._predictor.schemas.input)
        return None if found is None else {**found}


class LocalPredictor:
    """Predicts with a model of this process, without limits of concurrency and time."""

    def __init__(self, predictor: Predictor, name: str, version: str | None) -> None:
        self._predictor = predictor
        self._name = name
        self._version = version

    def predict(self, bodies: Sequence[bytes], are_json: bool) -> list[Result]:
        """Return a prediction for each row, or why there is none."""
        cleanup().between_requests()
        try:
            with nested_context():
                note_model(self._name, self._version)
                return self._predict(bodies, are_json)
        finally:
            cleanup().between_requests()

    def stop(self) -> None:
        """Do nothing: it ends with the process."""

    def _predict(self, bodies: Sequence[bytes], are_json: bool) -> list[Result]:
        parsed = self._parse_together(bodies) if are_json else None
        if parsed is not None:
            return self._predict_together(bodies, parsed)
        each = list(map(self._parse, bodies))
        fitting = [i for i, row in enumerate(each) if not isinstance(row, RowError)]
        predicted = iter(
            self._predict_together([bodies[i] for i in fitting], [each[i] for i in fitting])
        )
        return [row if isinstance(row, RowError) else next(predicted) for row in each]

    def _parse_together(self, bodies: Sequence[bytes]) -> list[object] | None:
        """Return what the schema makes of the rows; None if one of them does not fit."""
        body = b'{"inputs":[' + b",".join(bodies) + b"]}"
        try:
            inputs: list[object] = codec.parse(body, self._predictor.batch_schema).inputs  # type: ignore[attr-defined]
        except InvalidInput:
            return None
        return inputs

    def _parse(self, body: bytes) -> object:
        try:
            return codec.parse(body, self._predictor.schemas.input)
        except InvalidInput as error:
            return RowError.of(error)

    def _predict_together(self, bodies: Sequence[bytes], parsed: Sequence[object]) -> list[Result]:
        try:
            rows = _ParsedRows(bodies, parsed, self._predictor)
            return self._written(rows)
        except ModelsAPIError as error:
            if len(bodies) == 1:
                return [RowError.of(error)]
        # Each alone tells which row it was.
        return [result for body in bodies for result in self._predict([body], are_json=False)]

    def _written(self, rows: _ParsedRows) -> list[Result]:
        if not len(rows):
            return []
        parts = [each.to_json()[1:-1] for each in self._predictor.predict_rows(rows)]
        return [*split_array(b"[" + b",".join(parts) + b"]", len(rows))]

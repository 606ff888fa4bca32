"""Rows that are predicted elsewhere together, and in portions where some of them fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pydantic_core import from_json, to_json

from models_api.scoring.errors import JobStopped, RowError
from models_api.scoring.json_arrays import split_array
from models_api.scoring.results import Result

_BEGIN, _END = b'{"predictions":[', b"]}"

Wrong = Mapping[int, RowError]
"""Rows that do not fit, by their indexes; none where nobody says which rows of many fail."""


def predict_portions(
    bodies: Sequence[bytes], ask: Callable[[Sequence[bytes]], list[Result] | Wrong]
) -> list[Result]:
    """Return a prediction for each row of JSON, or why there is none.

    Args:
        bodies: The rows.
        ask: Has rows predicted together. For one alone it returns a result in any case.
    """
    if not bodies:
        return []
    found = ask(bodies)
    if isinstance(found, list):
        return found
    if found:
        others = [body for index, body in enumerate(bodies) if index not in found]
        predicted = iter(predict_portions(others, ask))
        return [found.get(index) or next(predicted) for index in range(len(bodies))]
    # Too much at once, or one row of them fails: which one, the halves will tell.
    half = len(bodies) // 2
    return [*predict_portions(bodies[:half], ask), *predict_portions(bodies[half:], ask)]


def predictions_of(body: bytes, rows: int) -> list[Result]:
    """Return the predictions of an answer to a request for a batch.

    Raises:
        JobStopped: it has not one for each row.
    """
    try:
        if body.startswith(_BEGIN) and body.endswith(_END) and b"\n" not in body:
            found = split_array(body[len(_BEGIN) - 1 : -1], rows)
        else:
            found = list(map(to_json, from_json(body)["predictions"]))
    except (ValueError, KeyError, TypeError):
        raise JobStopped("The service answered 200 with something else than predictions.") from None
    if len(found) != rows:
        raise JobStopped(f"The service answered {len(found)} predictions for {rows} rows.")
    return [*found]


def prediction_of(body: bytes) -> Result:
    """Return the prediction of an answer to a request for one row.

    Raises:
        JobStopped: it has none.
    """
    (prediction,) = predictions_of(_BEGIN + body + _END, 1)
    return prediction


def is_json(body: bytes) -> bool:
    """Return whether a row can stand among others in a body of JSON."""
    try:
        from_json(body)
    except ValueError:
        return False
    return True

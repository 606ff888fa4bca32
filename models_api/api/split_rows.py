"""The rows of one batch request, of which several versions of a model predict some each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from models_api.api.json_arrays import Item, array_items, in_order, write_array
from models_api.exceptions import (
    InputProblem,
    InvalidInput,
    ModelsAPIError,
    PayloadTooLarge,
    TensorError,
)
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.traffic import Traffic
from models_api.hosting.traffic_keys import plain_limit
from models_api.prediction.request_context import current_request, note_model, note_rows
from models_api.prediction.rows import JSONRows, batch_schemas

T = TypeVar("T")

_ROW = re.compile(r"(inputs\[|Row |row )(\d+)(\]?: )")


class Part(NamedTuple):
    """Those rows of a request that fall to one version."""

    model: HostedModel
    indexes: Sequence[int]
    """Of its rows in the request."""


def parts_of(chosen: Iterable[HostedModel]) -> list[Part]:
    """Return the parts of a request, in the order of their first rows, by who takes each row."""
    indexes: dict[int, tuple[HostedModel, list[int]]] = {}
    for index, model in enumerate(chosen):
        indexes.setdefault(id(model), (model, []))[1].append(index)
    return [Part(*each) for each in indexes.values()]


def versions_of(traffic: Traffic, parts: Sequence[Part]) -> list[str]:
    """Return which versions take the parts, in the order of the configuration."""
    takers = {id(part.model) for part in parts}
    models = [share.model for share in traffic.shares if id(share.model) in takers]
    return [model.version or "" for model in models]


def predict_parts(
    traffic: Traffic,
    parts: Sequence[Part],
    predict: Callable[[Part], T],
    validate_all: Callable[[HostedModel], None],
) -> Iterator[T]:
    """Yield what comes of each part; an error says which row of the request it was.

    Args:
        traffic: By which the request was split.
        parts: Those of the request.
        predict: Predicts for one part.
        validate_all: Raises the error of the whole request, where a part does not fit.

    Raises:
        ModelsAPIError: that of the first part that has one; there are no predictions then.
    """
    context = current_request.get()
    waited, largest = 0.0, 0
    for part in parts:
        try:
            yield predict(part)
        except ModelsAPIError as error:
            if isinstance(error, InvalidInput | TensorError):
                if context is not None:
                    # As of a request that goes to one version, whose rows nobody has counted then.
                    context.rows = context.batch_size = None
                validate_all(part.model)
            raise renumbered(error, part.indexes) from error.__cause__
        if context is not None:
            # Each version is told what its own part waited.
            waited, context.queue_seconds = waited + context.queue_seconds, 0.0
            largest = max(largest, context.batch_size or 0)
    note_rows(sum(len(part.indexes) for part in parts))
    note_model(parts[0].model.known_name, ", ".join(versions_of(traffic, parts)))
    if context is not None:
        context.queue_seconds, context.batch_size = waited, largest


class SplitRows:
    """The rows of a request in JSON: `{"inputs": [...]}`."""

    def __init__(self, body: bytes, rows: Sequence[Item], parts: Sequence[Part]) -> None:
        self.parts = parts
        self._body = body
        self._rows = rows

    def body_of(self, part: Part) -> bytes:
        """Return the body of a request for a part alone."""
        return write_array("inputs", [self._rows[index].text for index in part.indexes])

    def together(self, written: Iterable[bytes]) -> bytes:
        """Return the answer, from those for the parts."""
        texts = [[item.text for item in array_items(each, "predictions") or ()] for each in written]
        indexes = [part.indexes for part in self.parts]
        predictions = in_order(zip(indexes, texts, strict=True), len(self._rows))
        return write_array("predictions", predictions)

    def validate_all(self, model: HostedModel) -> None:
        """Validate all rows as one version does: clients hear of every row, not of one part's.

        Raises:
            InvalidInput: some row does not fit.
        """
        JSONRows(self._body, batch_schemas(*model.schemas, model.maximum_rows).input)


def split_rows(traffic: Traffic, body: bytes) -> SplitRows | None:
    """Split the rows of a batch request; None where one version has to say what is wrong with it.

    By the field that is the key, or by chance.
    """
    model = traffic.shares[0].model
    limits = plain_limit(model.maximum_values), model.backend.batch_limit
    try:
        for limit in limits:
            if len(body) > limit.harmless_bytes:
                limit.check(body)
    except PayloadTooLarge:
        return None
    rows = array_items(body, "inputs")
    if not rows or len(rows) > model.maximum_rows:
        return None
    keys = [traffic.key.of_row(row.value) for row in rows]
    return SplitRows(body, rows, parts_of(map(traffic.choose, keys)))


def renumbered(error: ModelsAPIError, indexes: Sequence[int]) -> ModelsAPIError:
    """Return the error of a part with the numbers that its rows have in the request."""
    if isinstance(error, InvalidInput):
        return InvalidInput([_relocated(each, indexes) for each in error.problems])
    count = 0 if isinstance(error, TensorError) else 1

    def number(found: re.Match[str]) -> str:
        index = int(found[2])
        return f"{found[1]}{indexes[index] if index < len(indexes) else index}{found[3]}"

    # In its message, and where its author is told the reason.
    error.args = tuple(
        _ROW.sub(number, each, count) if isinstance(each, str) else each for each in error.args
    )
    reason = getattr(error, "reason", None)
    if isinstance(reason, str):
        error.reason = _ROW.sub(number, reason, count)  # type: ignore[attr-defined]
    return error


def _relocated(problem: InputProblem, indexes: Sequence[int]) -> InputProblem:
    match problem.location:
        case ("inputs", int(index), *rest) if index < len(indexes):
            return replace(problem, location=("inputs", indexes[index], *rest))
    return problem

"""Rows that go elsewhere as the JSON of a batch, and the predictions that come back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from models_api.exceptions import (
    InputProblem,
    InvalidInput,
    PredictionFailed,
    Refusal,
    SchemaRejected,
)
from models_api.prediction.backend import Backend
from models_api.prediction.rows import GivenRows, Predictions

_ROW = re.compile(r"^inputs\[(\d+)\]: ")


class WrittenPredictions(Predictions):
    """What a model has predicted in another process or service, as JSON."""

    def __init__(self, written: bytes, schema: type[BaseModel]) -> None:
        """Make it of the body of an answer to a request for a batch, and the output schema."""
        self._written = written
        self._schema = schema

    def to_json(self) -> bytes:
        """Return the predictions as a JSON array, in their order."""
        return to_json(self.values())

    def to_instances(self) -> list[BaseModel]:
        """Return the predictions as instances of the output schema, in their order."""
        return [*map(self._schema.model_validate, self.values())]

    def to_columns(self) -> dict[str, list[object]] | None:
        """Return nothing: the JSON must tell."""
        return None

    def values(self) -> Sequence[object]:
        """Return the predictions as what their JSON is parsed to."""
        found: list[object] = from_json(self._written)["predictions"]
        return found


def predict_given(
    backend: Backend, name: str, given: Sequence[object], where: str
) -> list[BaseModel]:
    """Return predictions for rows of this process's own code; see `Backend.predict_given`.

    Args:
        backend: What predicts elsewhere.
        name: The model's qualified name, for messages.
        given: As for `Backend.predict_given`.
        where: Likewise.
    """
    schemas = backend.schemas
    values = GivenRows(given, schemas.input, where).values()
    if where:
        with named_rows(where):
            body = backend.predict_batch(to_json({"inputs": values}))
        written = WrittenPredictions(body, schemas.output).values()
    else:
        written = [from_json(backend.predict(to_json(values[0])))]
    try:
        return [schemas.output.model_validate(each) for each in written]
    except ValidationError as error:
        text = f"The prediction of {name} cannot be read back by its output schema."
        raise PredictionFailed(name, text) from error


@contextmanager
def named_rows(where: str) -> Iterator[None]:
    """Name the rows of what goes wrong with a batch as their sender does.

    Args:
        where: Begins the message of an error; `{}` in it stands for the index of the row.
    """
    try:
        yield
    except InvalidInput as error:
        root = where.partition("[")[0]
        raise InvalidInput([_relocated(each, root) for each in error.problems]) from None
    except (SchemaRejected, Refusal, PredictionFailed) as error:
        error.args = (_renamed(str(error), where),)
        if not isinstance(error, Refusal):
            error.reason = _renamed(error.reason, where)
        raise


def _renamed(text: str, where: str) -> str:
    return _ROW.sub(lambda found: where.format(found[1]), text)


def _relocated(problem: InputProblem, root: str) -> InputProblem:
    if problem.location[:1] != ("inputs",) or len(problem.location) == 1:
        return problem
    return replace(problem, location=(root, *problem.location[1:]))

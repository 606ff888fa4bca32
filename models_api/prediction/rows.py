"""The rows of one request, and what a model predicts for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Protocol, TypeVar

from pydantic import BaseModel, Field, create_model
from pydantic_core import (
    SchemaValidator,
    core_schema,
    from_json,
    to_json,
    to_jsonable_python,
)

from models_api.exceptions import InputProblem, InvalidInput, ModelsAPIError
from models_api.prediction import codec, plain_rows
from models_api.prediction.columns import arrays_of_rows
from models_api.prediction.description import ModelSchemas
from models_api.prediction.instruments import Instruments
from models_api.prediction.plain_columns import written_columns
from models_api.prediction.plain_values import plain, validated_together
from models_api.prediction.value_limit import ValueLimit

T = TypeVar("T")


class Sliceable(Protocol):
    """An array, rows first."""

    def __getitem__(self, chunk: slice, /) -> object:
        """Return some of the rows."""


class PredictionMaker(Protocol):
    """What made predictions, and knows what they should be."""

    instruments: Instruments
    schemas: ModelSchemas

    def failure(
        self, error: BaseException, where: str, *, method: str, returned: object
    ) -> ModelsAPIError:
        """Return the error of a request for one of whose rows something unusable was returned."""


class Rows(ABC):
    """The rows of one request.

    They can be made anew from what the client sent, since a call of the model that failed may have
    changed those that it got.
    """

    where = ""
    """Begins the message of an error; `{}` in it stands for the index of the row."""

    def __init__(self, rows: list[object | None]) -> None:
        """Begin with rows as `make` makes them, or with none of them."""
        self._left = rows
        """None in place of each that was taken."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def make(self) -> list[object | None]:
        """Return all rows, as instances of the input schema that nobody has seen yet.

        Raises:
            InvalidInput, TensorError: some row does not fit.
        """

    def take(self, chunk: slice) -> Sequence[object]:
        """Return some of the rows; they are made anew if they were taken before."""
        taken = self._left[chunk]
        # Not `in`, which asks each row whether it equals None.
        if len(self._left) != len(self) or any(row is None for row in taken):
            self._left = self.make()
            taken = self._left[chunk]
        self._left[chunk] = [None] * len(taken)
        return taken

    def values(self) -> list[object]:
        """Return the rows as what their JSON is parsed to."""
        values: list[object] = to_jsonable_python(self.make(), by_alias=True, inf_nan_mode="null")
        return values

    def columns(self) -> Mapping[str, Sliceable] | None:
        """Return an array for each field, rows first; None where only rows can be had."""
        return None


def told_inputs(body: bytes) -> int | None:
    """Return how many rows a batch request has; None where it is no such request."""
    try:
        return len(_INPUTS.validate_json(body)["inputs"])
    except ValueError:
        return None


# Of the rows nothing is made.
_ROW = core_schema.union_schema(
    [core_schema.typed_dict_schema({}), core_schema.any_schema()], mode="left_to_right"
)
_INPUTS = SchemaValidator(
    core_schema.typed_dict_schema(
        {"inputs": core_schema.typed_dict_field(core_schema.list_schema(_ROW))}
    )
)


class SingleRow(Rows):
    """The row of a request for a single prediction, which has been taken already."""

    def __init__(self, body: bytes, schema: type[BaseModel]) -> None:
        super().__init__([])
        self._body = body
        self._schema = schema

    def __len__(self) -> int:
        return 1

    def make(self) -> list[object | None]:
        """Parse the body."""
        return [codec.parse(self._body, self._schema)]


class JSONRows(Rows):
    """The rows of a batch request: `{"inputs": [...]}`."""

    where = "inputs[{}]: "

    def __init__(
        self,
        body: bytes,
        schema: type[BaseModel],
        limit: ValueLimit | None = None,
        columns_of: type[BaseModel] | None = None,
    ) -> None:
        """Parse the body by the schema of the batch.

        Args:
            body: What the client sent.
            schema: That of the batch.
            limit: Of what the rows may hold together.
            columns_of: That of a row, if the model is to be given columns; else None.

        Raises:
            InvalidInput: it does not fit.
            PayloadTooLarge: all rows together hold more than the limit.
        """
        self._body = body
        self._schema = schema
        self._limit = limit
        self._columns: Mapping[str, Sliceable] | None = None
        super().__init__(self.make())
        self._length = len(self._left)
        if columns_of is not None and self._length > 1:
            self._columns = arrays_of_rows(self.take(slice(None)), columns_of)

    def __len__(self) -> int:
        return self._length

    def make(self) -> list[object | None]:
        """Parse the body."""
        try:
            data = codec.parse(self._body, self._schema, self._limit)
        except InvalidInput as error:
            raise InvalidInput(list(map(_with_remedy, error.problems))) from None
        inputs: list[object | None] = data.inputs  # type: ignore[attr-defined]
        return inputs

    def columns(self) -> Mapping[str, Sliceable] | None:
        """Return the arrays, if the model is to be given them."""
        return self._columns


class GivenRows(Rows):
    """Rows that code of this process gives, as `codec.parse_given` takes them."""

    def __init__(self, given: Sequence[object], schema: type[BaseModel], where: str) -> None:
        """Validate them.

        Raises:
            InvalidInput: some row does not fit.
        """
        self.where = where
        self._given = given
        self._schema = schema
        super().__init__(self.make())

    def __len__(self) -> int:
        return len(self._given)

    def make(self) -> list[object | None]:
        """Validate all rows."""
        return [self._make(index, row) for index, row in enumerate(self._given)]

    def values(self) -> list[object]:
        """Return the rows as what their JSON is parsed to."""
        return [
            from_json(row) if isinstance(row, str | bytes | bytearray) else self._value(row)
            for row in self._given
        ]

    def _make(self, index: int, row: object) -> BaseModel:
        try:
            return codec.parse_given(row, self._schema)
        except InvalidInput as error:
            if not self.where:
                raise
            problems = [
                replace(problem, location=("rows", index, *problem.location))
                for problem in error.problems
            ]
            raise InvalidInput(problems) from None

    def _value(self, row: object) -> object:
        by_alias = isinstance(row, BaseModel)
        return to_jsonable_python(
            row if by_alias else plain(row), by_alias=by_alias, inf_nan_mode="null", fallback=str
        )


def _with_remedy(problem: InputProblem) -> InputProblem:
    if (problem.location, problem.type) != (("inputs",), "too_long"):
        return problem
    remedy = "Send fewer at a time, or have MODELHOST_MAX_BATCH_ROWS raised."
    return replace(problem, message=f"{problem.message}. {remedy}")


class Predictions:
    """What a model predicted for some rows of a request."""

    def __init__(
        self,
        predictions: Sequence[object],
        rows: Rows,
        start: int,
        maker: PredictionMaker,
        method: str = "predict",
    ) -> None:
        self._method = method
        self._predictions = predictions
        self._rows = rows
        self._start = start
        self._maker = maker

    def to_json(self) -> bytes:
        """Return the predictions as a JSON array, in their order.

        Raises:
            PredictionFailed: one of them does not fit the output schema.
        """
        with self._maker.instruments.stage("serialise"):
            together = codec.serialise_together(self._predictions, self._maker.schemas.output)
        if together is not None:
            return together
        return b"[" + b",".join(self._each(codec.serialise)) + b"]"

    def to_instances(self) -> list[BaseModel]:
        """Return the predictions as instances of the output schema, in their order.

        Raises:
            PredictionFailed: one of them does not fit it.
        """
        return [*self._each(codec.as_instance)]

    def to_columns(self) -> dict[str, list[object]] | None:
        """Return, by key, the values that their JSON would have; None where JSON must tell."""
        with self._maker.instruments.stage("serialise"):
            return plain_rows.gather_columns(self._predictions, self._maker.schemas.output)

    def _each(self, write: Callable[[object, type[BaseModel]], T]) -> Iterator[T]:
        for index, prediction in enumerate(self._predictions, self._start):
            try:
                with self._maker.instruments.stage("serialise"):
                    yield write(prediction, self._maker.schemas.output)
            except BaseException as error:
                where = self._rows.where.format(index)
                raise self._maker.failure(
                    error, where, method=self._method, returned=prediction
                ) from error


class ColumnPredictions(Predictions):
    """What a model predicted for columns: a list for each field, with a value for each row.

    What the columns alone do not tell is told as if `predict` had returned a dict for each row.
    """

    def __init__(
        self, columns: Mapping[str, list[object]], rows: Rows, chunk: slice, maker: PredictionMaker
    ) -> None:
        super().__init__([], rows, chunk.start, maker)
        self._columns = columns
        self._count = chunk.stop - chunk.start

    def to_json(self) -> bytes:
        """Return the predictions as a JSON array, in their order.

        Raises:
            PredictionFailed: one of them does not fit the output schema.
        """
        written = self.to_columns()
        if written is not None:
            return to_json(_objects(written, self._count))
        with self._maker.instruments.stage("serialise"):
            together = validated_together(
                _objects(self._columns, self._count), self._maker.schemas.output
            )
        # Anew, because validators may change what they are given.
        self._predictions = together or _objects(self._columns, self._count)
        return super().to_json()

    def to_columns(self) -> dict[str, list[object]] | None:
        """Return, by key, the values that their JSON would have; None where JSON must tell."""
        with self._maker.instruments.stage("serialise"):
            return written_columns(self._columns, self._maker.schemas.output)


def _objects(columns: Mapping[str, list[object]], rows: int) -> list[dict[str, object]]:
    values = zip(*columns.values(), strict=True) if columns else [()] * rows
    return [dict(zip(columns, row, strict=True)) for row in values]


def batch_schemas(
    input_schema: type[BaseModel], output_schema: type[BaseModel], maximum_rows: int
) -> ModelSchemas:
    """Return the schemas of a batch, what is taken and what is given, from those of a row."""
    return ModelSchemas(_inputs(input_schema, maximum_rows), _predictions(output_schema))


# One by one, so that models which share a schema share that of its batch.
@cache
def _inputs(schema: type[BaseModel], maximum_rows: int) -> type[BaseModel]:
    inputs = Field(max_length=maximum_rows, description="Rows to predict for.")
    return create_model(f"{schema.__name__}Batch", inputs=(list[schema], inputs))  # type: ignore[valid-type]


@cache
def _predictions(schema: type[BaseModel]) -> type[BaseModel]:
    predictions = Field(description="The prediction for each row, in the same order.")
    return create_model(f"{schema.__name__}Batch", predictions=(list[schema], predictions))  # type: ignore[valid-type]

"""What predicts with one model, wherever that computes: bytes in, bytes out, domain errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, ParamSpec, Protocol, TypeVar

from pydantic import BaseModel

from models_api.prediction.description import ModelSchemas
from models_api.prediction.instruments import Instruments
from models_api.prediction.listener import Audience
from models_api.prediction.rows import Predictions, Rows
from models_api.prediction.value_limit import ValueLimit

P = ParamSpec("P")
T = TypeVar("T")


class Inferred(NamedTuple):
    """The answer to a request of the Open Inference Protocol."""

    body: bytes
    header_length: int | None
    """Bytes of the JSON; None if there is nothing behind it."""
    rows: int
    """That it has."""


class RowPredictor(Protocol):
    """What a protocol uses that has its rows in another form than JSON."""

    schemas: ModelSchemas
    instruments: Instruments
    maximum_rows: int
    """That one request may have."""
    maximum_values: int | None
    """That one request may hold; None for any number."""
    batch_schema: type[BaseModel]
    """Of several rows of the input schema."""
    batch_limit: ValueLimit
    """Of what these may hold together."""
    takes_columns: bool
    audience: Audience
    """Without whom `tell` need not be called."""

    def admit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the work of one request returns, done in a slot of the limiter and in time.

        Raises:
            Overloaded, DeadlineExceeded: see the limiter.
            BaseException: whatever the work raises.
        """

    def predict_rows(self, rows: Rows) -> Iterator[Predictions]:
        """Yield the predictions for rows, of some after the other.

        Raises:
            InvalidInput: some row does not fit, where only the model's own process can tell.
            ModelsAPIError: as for `Backend.predict_batch`; the message says which row it was.
        """

    def tell(self, made: Callable[[], tuple[Sequence[object], Sequence[object]]]) -> None:
        """Tell the listener of the predictions of the current request."""


class Backend(Protocol):
    """Predicts with one model. Safe to call from many threads."""

    schemas: ModelSchemas
    """Those of the decorated model."""
    maximum_values: int | None
    """That one request may hold; None for any number."""
    batch_limit: ValueLimit
    """Of what the rows of one request may hold together."""

    def predict(self, body: bytes) -> bytes:
        """Return the prediction for one row, JSON in and JSON out.

        Raises:
            ModelsAPIError: InvalidInput and PayloadTooLarge, SchemaRejected and Refusal, Overloaded
                and DeadlineExceeded, PredictionFailed and BackendFailed.
        """

    def predict_batch(self, body: bytes) -> bytes:
        """Return predictions for all rows: `{"inputs": [...]}` in, `{"predictions": [...]}` out.

        Raises:
            ModelsAPIError: as for one row; the message says which it was.
        """

    def predict_given(self, given: Sequence[object], where: str = "") -> list[BaseModel]:
        """Return predictions for rows that code of this process gives.

        Args:
            given: As `codec.parse_given` takes them.
            where: Begins the message of an error; `{}` in it stands for the index of the row.

        Raises:
            ModelsAPIError: as for one row.
        """

    def infer(
        self,
        body: bytes,
        header_length: int | None,
        here: Callable[[RowPredictor], Inferred],
    ) -> Inferred:
        """Return the answer to a request of the Open Inference Protocol.

        Args:
            body: The request's.
            header_length: Bytes of its JSON; None if there is nothing behind it.
            here: Answers it by rows, for those who leave that to this process.

        Raises:
            ModelsAPIError: as for one row, and TensorError.
        """

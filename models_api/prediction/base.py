"""What all that predicts with a model for requests has in common, wherever the model computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, ParamSpec, TypeVar

from models_api.prediction.admission import Admission
from models_api.prediction.description import ModelSchemas
from models_api.prediction.instruments import Instruments
from models_api.prediction.limiter import ConcurrencyLimiter
from models_api.prediction.listener import NO_LISTENER, PredictionListener
from models_api.prediction.rows import batch_schemas
from models_api.prediction.value_limit import DEFAULT_MAXIMUM_VALUES, ValueLimit
from models_api.prediction.watchdog import Watchdog
from models_api.schemas.costs import costs_of

P = ParamSpec("P")
T = TypeVar("T")


class PredictionMeans(NamedTuple):
    """What the predictions of one model are made with, besides the model."""

    limiter: ConcurrencyLimiter
    instruments: Instruments
    maximum_rows: int
    """That one request may have."""
    maximum_values: int | None = DEFAULT_MAXIMUM_VALUES
    """That one request may hold, as `ValueLimit` counts them; None for any number."""
    rows_per_call: int | None = None
    """That one call of the model may have, with batching; None without, for any number."""
    watchdog: Watchdog | None = None
    listener: PredictionListener = NO_LISTENER
    """Who is told of those that were made."""


class BasePredictor:
    """Lets requests in and tells of predictions. Safe to call from many threads."""

    takes_columns = False

    def __init__(self, name: str, schemas: ModelSchemas, means: PredictionMeans) -> None:
        """Make it.

        Args:
            name: The model's qualified name, for messages.
            schemas: Those of the decorated model.
            means: What its predictions are made with.
        """
        self.schemas = schemas
        self.maximum_rows = means.maximum_rows
        self.maximum_values = means.maximum_values
        self.instruments = means.instruments
        self.batch_schema = batch_schemas(*schemas, means.maximum_rows).input
        """Of several rows of the input schema."""
        self.batch_limit = ValueLimit(costs_of(self.batch_schema), means.maximum_values)
        """Of what these may hold together."""
        self.audience = means.listener.audience
        """Without whom `tell` need not be called."""
        self._name = name
        self._listener = means.listener
        self._admission = Admission(means.limiter, means.instruments, means.watchdog)

    def tell(self, made: Callable[[], tuple[Sequence[object], Sequence[object]]]) -> None:
        """Tell the listener of the predictions of the current request; see PredictionListener."""
        self._listener.tell(made)

    def admit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the work of one request returns, done in a slot of the limiter and in time.

        Raises:
            Overloaded, DeadlineExceeded: see the limiter.
            BaseException: whatever the work raises.
        """
        return self._admission.admit(work, *args, **kwargs)

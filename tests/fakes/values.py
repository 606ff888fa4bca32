"""A model that gives values of numpy and pandas, one kind for each request."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from ml_base import MLModel
from pydantic import BaseModel, Field, FiniteFloat

FRAME = pd.DataFrame(
    {"when": [pd.Timestamp("2026-01-02T12:00"), pd.NaT], "amount": [1.5, None], "count": [1, 2]}
)
GIVEN: dict[str, Any] = {
    "a duration": {"lasting": np.timedelta64(5_000_000_000, "ns")},
    "a date": {"when": np.datetime64("2026-01-02T12:00", "ns")},
    "a missing date": {"when": pd.NaT},
    "a missing number": {"amount": pd.NA},
    "a longdouble": {"amount": np.longdouble("0.5")},
    "NaN in a list": {"several": np.array([0.5, np.nan])},
    "an unset default": {"count": np.int8(3)},
    "the first row": FRAME.to_dict("records")[0],
    "the last row": next(reversed(list(FRAME.itertuples(index=False)))),
    "an object": SimpleNamespace(anything=[np.timedelta64(1, "m"), pd.NaT]),
    "NaN that may not be": {"exact": np.float64("nan")},
    "a date as a number": {"amount": np.datetime64("2026-01-02", "ns")},
    "nanoseconds": {"when": pd.Timestamp(1)},
    "a duration without length": {"lasting": np.timedelta64(1, "Y")},
    "a missing field": None,
}


class Asked(BaseModel):
    """What the model should give."""

    case: str
    age: int = Field(None, description="Not asked for.")  # type: ignore[assignment]
    limit: float | None = None


class Valued(BaseModel):
    """Fields of many types."""

    when: datetime | None = None
    lasting: timedelta = timedelta(0)
    amount: float = 0.0
    exact: FiniteFloat = 0.0
    several: list[float] = []
    count: int = 0
    anything: Any = 0
    limit: float | None = 0.0


class ValuesModel(MLModel):
    """Gives what it is asked for."""

    display_name, qualified_name, version = "Values", "values", "1.0.0"
    description = "Gives values of numpy and pandas."
    input_schema, output_schema = Asked, Valued

    def __init__(self) -> None:
        pass

    def predict(self, data: Any) -> Any:
        """Give it."""
        if data.case == "nothing":
            return {"limit": data.limit}
        given = GIVEN[data.case]
        if given is None:
            instance = Valued()
            del instance.count
            return instance
        return Valued.model_construct(**given) if data.limit == 1 else given

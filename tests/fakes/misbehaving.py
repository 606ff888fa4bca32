"""A model that does whatever its input asks for, and others that cannot."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from ml_base import MLModel
from ml_base.ml_model import MLModelSchemaValidationException
from pydantic import BaseModel, ConfigDict, Field, computed_field

SECRET = "the password is hunter2"


class ObedientInput(BaseModel):
    """What the model is to do."""

    do: str = "echo"
    x: float = 0.0
    items: list[int] = []
    text: str = ""
    anything: Any = None


class ObedientOutput(BaseModel):
    """What came of it."""

    model_config = ConfigDict(populate_by_name=True, ser_json_inf_nan="constants")

    x: float
    text: str = Field(default="", alias="Text")
    anything: Any = None

    @computed_field(description="Twice x.")  # type: ignore[prop-decorator]
    @property
    def twice(self) -> float:
        """Twice x."""
        return 2 * self.x


class ObedientModel(MLModel):
    """Does what its input says, well or not."""

    display_name = "Obedient"
    qualified_name = "obedient"
    description = "Does what its input says."
    version = "1.2.3"
    input_schema = ObedientInput
    output_schema = ObedientOutput

    def __init__(self) -> None:
        """Nothing to load."""

    def predict(self, data: ObedientInput) -> Any:
        """Do what the input says."""
        return getattr(self, f"_{data.do}")(data)

    def _echo(self, data: ObedientInput) -> Any:
        return ObedientOutput(x=data.x, text=data.text, anything=data.anything)

    def _mapping(self, data: ObedientInput) -> Any:
        return {"x": data.x, "Text": data.text}

    def _numpy(self, data: ObedientInput) -> Any:
        return {"x": np.float32(data.x), "anything": np.arange(3)}

    def _nan(self, data: ObedientInput) -> Any:
        return ObedientOutput(x=math.nan, anything=[math.inf])

    def _raise(self, data: ObedientInput) -> Any:
        raise RuntimeError(SECRET)

    def _exit(self, data: ObedientInput) -> Any:
        raise SystemExit(SECRET)

    def _reject(self, data: ObedientInput) -> Any:
        raise MLModelSchemaValidationException("Irises do not grow in winter.")

    def _surrogate(self, data: ObedientInput) -> Any:
        raise MLModelSchemaValidationException("lone \ud800 surrogate")

    def _nonsense(self, data: ObedientInput) -> Any:
        return "nonsense"

    def _nothing(self, data: ObedientInput) -> Any:
        return None

    def _misfit(self, data: ObedientInput) -> Any:
        return {"x": SECRET}

    def _unwritable(self, data: ObedientInput) -> Any:
        return {"x": 1, "anything": object()}

    def _endless(self, data: ObedientInput) -> Any:
        endless: list[Any] = []
        endless.append(endless)
        return {"x": 1, "anything": endless}

    def _deep(self, data: ObedientInput) -> Any:
        return self._deep(data)


class HiddenModel(ObedientModel):
    """For `create_endpoint: false`."""

    display_name = "Hidden"
    qualified_name = "hidden"


class SlowModel(ObedientModel):
    """Takes long to load."""

    display_name = "Slow"
    qualified_name = "slow"

    def __init__(self) -> None:
        """Take longer than any test looks at it."""
        time.sleep(60)


class BrokenModel(ObedientModel):
    """Fails to load."""

    display_name = "Broken"
    qualified_name = "broken"

    def __init__(self) -> None:
        """Fail."""
        raise RuntimeError(SECRET)


class DottedModel(ObedientModel):
    """Its name holds everything that a qualified name may."""

    display_name = "Dotted"
    qualified_name = "Dotted.model-1_0"

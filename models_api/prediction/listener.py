"""Who is told of the predictions that were made: nobody, unless the service says otherwise."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Protocol

from ml_base import MLModel

from models_api.prediction.description import ModelNames


class Audience(Protocol):
    """Those who want to hear of predictions."""

    @property
    def receivers(self) -> Sized:
        """All of them; looked at after each prediction, so a plain attribute costs the least."""


class _Nobody:
    receivers: Sized = ()


class PredictionListener:
    """Is told of the predictions of one model; by itself for nobody."""

    audience: Audience = _Nobody()
    """Without whom it need not be told anything."""

    def __init__(self, model_class: type[MLModel], names: ModelNames) -> None:
        self.model_class = model_class
        """That of the model itself, without decorators."""
        self.names = names

    def hear(self, inputs: Sequence[object], outputs: Sequence[object], seconds: float) -> None:
        """Hear what one request was answered, on its own thread; nothing that this raises matters.

        Args:
            inputs: Its rows, as what JSON is parsed to.
            outputs: The prediction for each, as its client has it in JSON.
            seconds: From the arrival of the request until all predictions were there.
        """


NO_LISTENER = PredictionListener(MLModel, ModelNames("", "", "", ""))

"""Who is told of the predictions that were made: nobody, unless the service says otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Sized
from typing import Protocol

from ml_base import MLModel

from models_api.logs import SafeLogger
from models_api.prediction.description import ModelNames
from models_api.prediction.request_context import current_request

logger = SafeLogger(__name__)


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

    def tell(self, made: Callable[[], tuple[Sequence[object], Sequence[object]]]) -> None:
        """Tell of the predictions of the current request, which has succeeded.

        Args:
            made: Returns rows and predictions, as what their JSON is parsed to.
        """
        context = current_request.get()
        seconds = 0.0 if context is None else time.monotonic() - context.received
        try:
            self.hear(*made(), seconds)
        except KeyboardInterrupt:
            raise
        except BaseException:
            name = self.names.qualified_name
            logger.exception("A prediction of %s was not told to its receivers", name)

    def hear(self, inputs: Sequence[object], outputs: Sequence[object], seconds: float) -> None:
        """Hear what one request was answered, on its own thread; nothing that this raises matters.

        Args:
            inputs: Its rows, as what JSON is parsed to.
            outputs: The prediction for each, as its client has it in JSON.
            seconds: From the arrival of the request until all predictions were there.
        """


NO_LISTENER = PredictionListener(MLModel, ModelNames("", "", "", ""))

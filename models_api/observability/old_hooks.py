"""Until the predictor calls instruments by itself: the hooks that it has instead."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from models_api.hosting.registry import HostedModel
from models_api.prediction.instruments import Instruments, Stage
from models_api.prediction.request_context import current_request
from models_api.prediction.stages import Stages


class OldHooks:
    """Calls instruments where a ModelObserver is called."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._depth = 0

    def publish(self) -> None:
        self._instruments.publish()

    def measured(self, predict: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any) -> Any:
            with self._instruments.prediction():
                return predict(*arguments)

        return measured

    def observe_batch(self, rows: int) -> None:
        self._instruments.batch(rows)

    def observe_queue(self, depth: int) -> None:
        change, self._depth = depth - self._depth, depth
        self._instruments.queue(change)


def observe_by_instruments(model: HostedModel, instruments: Instruments) -> None:
    model.observer = OldHooks(instruments)
    stages = model.stages

    def staged(name: Stage, stage: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            context = current_request.get()
            before = context.queue_seconds if context else 0.0
            with instruments.stage(name):
                result = stage(*arguments)
                if context and context.queue_seconds != before:
                    waited, context.queue_seconds = context.queue_seconds - before, before

                    instruments.waited(time.monotonic() - waited, waited)
                return result

        return run

    model.stages = Stages(
        parse=staged("parse", stages.parse),
        validate_rows=staged("parse", stages.validate_rows),
        validate_columns=staged("parse", stages.validate_columns),
        predict=staged("predict", stages.predict),
        predict_together=staged("predict", stages.predict_together),
        predict_columns=staged("predict", stages.predict_columns),
        serialise=staged("serialise", stages.serialise),
        serialise_together=staged("serialise", stages.serialise_together),
        gather_columns=staged("serialise", stages.gather_columns),
        written_columns=staged("serialise", stages.written_columns),
    )

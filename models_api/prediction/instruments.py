"""What hears of the predictions of one model: metrics and traces derive from `Instruments`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

from models_api.prediction.request_context import current_request

Stage = Literal["parse", "predict", "serialise"]

_NOTHING = nullcontext()
_NO_TRACE: Mapping[str, str] = {}


class Instruments:
    """Hears of the predictions of one model, and by itself only adds up how long requests wait.

    Derive from it, and override what is of interest. Every method is called from many threads at
    once, those of a batch's followers among them, on the way of each prediction: it has to be
    quick, and must not raise.
    """

    def prediction(self) -> AbstractContextManager[None]:
        """Surround one request for predictions, those that are refused included."""
        return _NOTHING

    def stage(self, name: Stage) -> AbstractContextManager[None]:
        """Surround one stage of a prediction."""
        return _NOTHING

    def took(self, name: Stage, began: float, seconds: float) -> None:
        """Hear of a stage that took place in another process.

        Args:
            name: Which it was.
            began: On the monotonic clock, which all processes of a host share.
            seconds: How long it took.
        """

    def batch(self, rows: int) -> None:
        """Hear that the model is called once for so many rows."""

    def queue(self, change: int) -> None:
        """Hear that so many more requests wait for the model; fewer, if it is negative."""

    def waited(self, began: float, seconds: float) -> None:
        """Hear, on the request's own thread, that it began to wait at a moment, for so long.

        Args:
            began: On the monotonic clock.
            seconds: How long it waited; it may have ended some time ago.
        """
        context = current_request.get()
        if context is not None:
            context.queue_seconds += seconds

    def trace(self) -> Mapping[str, str]:
        """Return headers by which another program goes on with the trace of the current request."""
        return _NO_TRACE

    def publish(self) -> None:
        """Hear that the loading of the model has begun, or ended well or not."""

    def withdraw(self) -> None:
        """Hear that the model is hosted no more; requests that it has in hand go on."""

    def shadowed(self, result: str) -> None:
        """Hear what came of a copy of a request, which the model got as a shadow.

        Args:
            result: agrees, differs, failed or dropped.
        """

    def traffic(self, configured: float, now: float) -> None:
        """Hear which part of the requests for its name the model gets.

        Args:
            configured: In percent, by the configuration.
            now: In percent; 0 where it was taken back.
        """

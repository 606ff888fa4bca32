"""What a process measures of a request, for the worker that has sent it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Sized
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from models_api.prediction.instruments import Instruments, Stage
from models_api.prediction.listener import PredictionListener
from models_api.prediction.request_context import Caller, RequestContext, current_request


class RecordedContext(RequestContext):
    """The context of a request that a worker has sent, with what is measured of it."""

    __slots__ = ("batches", "queued", "stages", "tells", "told")

    def __init__(self, head: Mapping[str, Any]) -> None:
        """Make it of the fields that the worker knows of the request."""
        super().__init__(head.get("id", ""))
        self.received = head.get("received", self.received)
        self.deadline = head.get("deadline")
        self.caller = Caller(head.get("headers", {}))
        self.model, self.version = head.get("model"), head.get("version")
        self.trace_id = head.get("trace_id")
        self.batches: list[int] = []
        self.stages: list[tuple[str, float, float]] = []
        """Name, beginning and duration of each."""
        self.tells: bool = head.get("tells", False)
        """Whether somebody wants to be told of the predictions."""
        self.told: list[tuple[Sequence[object], Sequence[object]]] = []
        """Rows and predictions, once they were made."""
        self.queued: float = head.get("queued", 0.0)
        """When it began to wait, perhaps in its worker; 0 if it did not."""
        if self.queued:
            self.queue_seconds = time.monotonic() - self.queued

    def fields(self) -> dict[str, object]:
        """Return what was measured."""
        return {
            "batches": self.batches,
            "stages": self.stages,
            "told": self.told,
            "queued": self.queued,
            "queue_seconds": self.queue_seconds,
            "rows": self.rows,
            "batch_size": self.batch_size,
        }


class RecordingInstruments(Instruments):
    """Writes into the context of each request what is measured of it."""

    def stage(self, name: Stage) -> AbstractContextManager[None]:
        """Time one stage of a prediction."""
        return _TimedStage(name)

    def took(self, name: Stage, began: float, seconds: float) -> None:
        """Note a stage that has taken place."""
        context = current_request.get()
        if isinstance(context, RecordedContext):
            context.stages.append((name, began, seconds))

    def batch(self, rows: int) -> None:
        """Note that the model is called once for so many rows."""
        context = current_request.get()
        if isinstance(context, RecordedContext):
            context.batches.append(rows)

    def waited(self, began: float, seconds: float) -> None:
        """Note that the request waited."""
        super().waited(began, seconds)
        context = current_request.get()
        if isinstance(context, RecordedContext):
            context.queued = context.queued or began


class _Audience:
    """Whoever the worker knows that wants to hear of predictions."""

    @property
    def receivers(self) -> Sized:
        """Not empty where the current request is to be told of."""
        context = current_request.get()
        return (context,) if isinstance(context, RecordedContext) and context.tells else ()


class RecordingListener(PredictionListener):
    """Writes into the context of each request what was predicted, if its worker wants that."""

    audience = _Audience()

    def hear(self, inputs: Sequence[object], outputs: Sequence[object], seconds: float) -> None:
        """Note rows and predictions."""
        context = current_request.get()
        if isinstance(context, RecordedContext):
            context.told.append((inputs, outputs))


class _TimedStage:
    __slots__ = ("_began", "_name")

    def __init__(self, name: Stage) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        context = current_request.get()
        if isinstance(context, RecordedContext):
            seconds = time.monotonic() - self._began
            context.stages.append((self._name, self._began, seconds))

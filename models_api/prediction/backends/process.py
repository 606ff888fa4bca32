"""Predictions of a model that computes in processes of its own: bytes there, bytes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

from models_api.exceptions import BackendFailed, ModelNotReady
from models_api.prediction.backend import Inferred, RowPredictor
from models_api.prediction.backends.connections import Connections, NoProcess, ProcessEnded
from models_api.prediction.backends.grouping import GroupingSender
from models_api.prediction.backends.json_rows import WrittenPredictions, named_rows, predict_given
from models_api.prediction.backends.messages import Message, error_from
from models_api.prediction.backends.process_group import ProcessGroup
from models_api.prediction.base import BasePredictor, PredictionMeans
from models_api.prediction.description import ModelSchemas
from models_api.prediction.request_context import RequestContext, current_request
from models_api.prediction.rows import Predictions, Rows

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE_SECONDS = 10.0
"""How long a request waits for a process that is started again."""
HEALTH_PATIENCE_SECONDS = 1.0
"""How long the model may be without any process, as when one has crashed, and be healthy still."""
RETRY_AFTER_SECONDS = 1
LINES_PER_PROCESS = 2
"""Groups of requests that a worker has in a process: one is parsed while the other computes."""
GROUPED_OPERATION = "predict"
"""That of requests for one row."""


class ModelProcesses:
    """The processes of one model, as a worker asks them. Safe to use from many threads."""

    def __init__(self, group: ProcessGroup, label: str) -> None:
        self.read_tensors = True
        """Whether they all have numpy, which that takes; known once they are loaded."""
        self._connections = Connections(group)
        self._label = label
        self._lines = LINES_PER_PROCESS * group.size
        self._grouping: GroupingSender | None = None

    def wait_until_loaded(self, *, describes: bool = False) -> Sequence[Mapping[str, Any]]:
        """Return what each process says of itself, once its model is loaded, well or not.

        Args:
            describes: Whether it is to say what its model says of itself, too.

        Raises:
            OSError: the system lets none be started.
        """
        message = Message({"operation": "status", "describes": describes}).pack()
        while True:
            try:
                told = [Message.unpack(each).head for each in self._connections.ask_each(message)]
            except ProcessEnded:
                continue  # it has died while it loaded, and is started again
            self.read_tensors = all(each["reads_tensors"] for each in told)
            rows = min(each["rows_per_message"] for each in told)
            if rows > 1:
                self._grouping = GroupingSender(self._send, self._lines, rows)
            return told

    def fault(self) -> str | None:
        """Return why the model is not healthy: it says so, or no process has it; None if it is."""
        message = Message({"operation": "health"}).pack()
        try:
            answer = self._connections.ask(message, HEALTH_PATIENCE_SECONDS)
        except (NoProcess, ProcessEnded):
            return "its process has ended"
        fault: str | None = Message.unpack(answer).head["fault"]
        return fault

    def ask(self, message: Message, *, retry: bool) -> Message:
        """Return the answer to a request.

        Args:
            message: The request.
            retry: Whether to ask once more, where the process dies under it.

        Raises:
            BackendFailed: it did.
            ModelNotReady: no process takes requests.
        """
        try:
            try:
                return self._ask_first(message)
            except ProcessEnded as ended:
                if not retry:
                    raise
                # Alone, so that what has killed one process takes as few others with it as can be.
                return self._send(message, time.monotonic(), ended)
        except ProcessEnded:
            text = f"The process of the model {self._label} ended under this request."
            raise BackendFailed(self._label, text) from None
        except NoProcess:
            text = f"The process of the model {self._label} is being started again."
            seconds = RETRY_AFTER_SECONDS
            raise ModelNotReady(self._label, text, retry_after_seconds=seconds) from None

    def _ask_first(self, message: Message) -> Message:
        if self._grouping is not None and message.head["operation"] == GROUPED_OPERATION:
            return self._grouping.ask(message)
        return self._send(message, time.monotonic())

    def _send(self, message: Message, began: float, avoided: ProcessEnded | None = None) -> Message:
        patience = max(0.0, began + PATIENCE_SECONDS - time.monotonic())
        return Message.unpack(self._connections.ask(message.pack(), patience, avoided))


class ProcessPredictor(BasePredictor):
    """Predicts with a model that computes in processes. Safe to call from many threads."""

    def __init__(
        self,
        processes: ModelProcesses,
        name: str,
        schemas: ModelSchemas,
        means: PredictionMeans,
        *,
        retry: bool,
    ) -> None:
        """Make it.

        Args:
            processes: Those of the model.
            name: The model's qualified name, for messages.
            schemas: Those of the decorated model.
            means: What its predictions are made with.
            retry: Whether to ask once more, where a process dies under a request.
        """
        super().__init__(name, schemas, means)
        self._processes = processes
        self._retry = retry

    def predict(self, body: bytes) -> bytes:
        """Return the prediction for one row; see Predictor.predict.

        Raises:
            BackendFailed: the process died under the request.
            ModelsAPIError: as Predictor.predict raises it.
        """
        return self.ask("predict", body).body

    def predict_batch(self, body: bytes) -> bytes:
        """Return the predictions for all rows; see Predictor.predict_batch, and `predict`."""
        return self.ask("predict_batch", body).body

    def predict_given(self, given: Sequence[object], where: str = "") -> list[BaseModel]:
        """Return predictions for rows of this process's own code; see Predictor.predict_given."""
        return predict_given(self, self._name, given, where)

    def infer(
        self,
        body: bytes,
        header_length: int | None,
        here: Callable[[RowPredictor], Inferred],
    ) -> Inferred:
        """Return the answer to a request of the Open Inference Protocol; see `Backend`."""
        if not self._processes.read_tensors:
            return here(self)
        told = self.ask("infer", body, header_length=header_length)
        return Inferred(told.body, told.head["header_length"], told.head["answered"])

    def predict_rows(self, rows: Rows) -> Iterator[Predictions]:
        """Yield the predictions for rows; see `RowPredictor`."""
        message = Message(
            {"operation": "predict_batch", "tells": False}, to_json({"inputs": rows.values()})
        )
        with named_rows(rows.where):
            written = self._ask(message).body
        yield WrittenPredictions(written, self.schemas.output)

    def ask(self, operation: str, body: bytes, **fields: object) -> Message:
        """Return what comes of an operation in one of the processes.

        Args:
            operation: Its name.
            body: What it works on.
            fields: What else it needs to know.

        Raises:
            ModelsAPIError: see `predict`.
        """
        tells = bool(self.audience.receivers)
        message = Message({"operation": operation, "tells": tells, **fields}, body)
        answer = self._admission.admit(self._ask, message)
        for told in answer.head["told"]:
            self._listener.tell(lambda told=told: told)  # type: ignore[misc]
        return answer

    def _ask(self, message: Message) -> Message:
        context = current_request.get()
        if context is not None:
            message.head.update(_fields_of(context))
            if trace := self.instruments.trace():
                message.head["trace"] = trace
        answer = self._processes.ask(message, retry=self._retry)
        self._hear(answer.head, context)
        if "error" in answer.head:
            raise error_from(answer.head, self._name)
        return answer

    def _hear(self, head: Mapping[str, Any], context: RequestContext | None) -> None:
        """Tell the instruments what the process has measured."""
        for rows in head["batches"]:
            self.instruments.batch(rows)
        for name, began, seconds in head["stages"]:
            self.instruments.took(name, began, seconds)
        if head["queue_seconds"]:
            self.instruments.waited(head["queued"], head["queue_seconds"])
        if context is not None:
            context.rows, context.batch_size = head["rows"], head["batch_size"]


def _fields_of(context: RequestContext) -> dict[str, object]:
    """Return what the process is to know of a request; its clock is that of this process."""
    return {
        "id": context.id,
        "received": context.received,
        "deadline": context.deadline,
        "headers": dict(context.caller.headers),
        "model": context.model,
        "version": context.version,
        "trace_id": context.trace_id,
    }

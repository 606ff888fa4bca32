"""Predictions of a model that computes in processes of its own: bytes there, bytes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from models_api.exceptions import BackendFailed, ModelNotReady, PredictionFailed
from models_api.prediction.admission import Admission
from models_api.prediction.backends.connections import Connections, NoProcess, ProcessEnded
from models_api.prediction.backends.messages import Message, error_from
from models_api.prediction.backends.process_group import ProcessGroup
from models_api.prediction.description import ModelSchemas
from models_api.prediction.predictor import PredictionMeans
from models_api.prediction.request_context import RequestContext, current_request
from models_api.prediction.rows import GivenRows, batch_schemas
from models_api.prediction.value_limit import ValueLimit
from models_api.schemas.costs import costs_of

PATIENCE_SECONDS = 10.0
"""How long a request waits for a process that is started again."""
RETRY_AFTER_SECONDS = 1


class ModelProcesses:
    """The processes of one model, as a worker asks them. Safe to use from many threads."""

    def __init__(self, group: ProcessGroup, label: str) -> None:
        self._connections = Connections(group)
        self._label = label

    def wait_until_loaded(self) -> list[Mapping[str, Any]]:
        """Return what each process says of itself, once its model is loaded, well or not.

        Raises:
            OSError: the system lets none be started.
        """
        message = Message({"operation": "status"}).pack()
        while True:
            try:
                return [Message.unpack(each).head for each in self._connections.ask_each(message)]
            except ProcessEnded:
                continue  # it has died while it loaded, and is started again

    def fault(self) -> str | None:
        """Return why the model says that it is not healthy; None if it is."""
        try:
            answer = self._connections.ask(Message({"operation": "health"}).pack(), 0)
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
        packed = message.pack()
        try:
            try:
                return Message.unpack(self._connections.ask(packed, PATIENCE_SECONDS))
            except ProcessEnded as ended:
                if not retry:
                    raise
                return Message.unpack(self._connections.ask(packed, PATIENCE_SECONDS, ended))
        except ProcessEnded:
            text = f"The process of the model {self._label} ended under this request."
            raise BackendFailed(self._label, text) from None
        except NoProcess:
            text = f"The process of the model {self._label} is being started again."
            seconds = RETRY_AFTER_SECONDS
            raise ModelNotReady(self._label, text, retry_after_seconds=seconds) from None


class ProcessPredictor:
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
        self.schemas = schemas
        self.maximum_values = means.maximum_values
        batch_schema = batch_schemas(*schemas, means.maximum_rows).input
        self.batch_limit = ValueLimit(costs_of(batch_schema), means.maximum_values)
        """Of what rows may hold together."""
        self._processes = processes
        self._name = name
        self._admission = Admission(means.limiter, means.instruments, means.watchdog)
        self._instruments = means.instruments
        self._listener = means.listener
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
        values = GivenRows(given, self.schemas.input, where).values()
        if where:
            written = from_json(self.predict_batch(to_json({"inputs": values})))["predictions"]
        else:
            written = [from_json(self.predict(to_json(values[0])))]
        try:
            return [self.schemas.output.model_validate(each) for each in written]
        except ValidationError as error:
            text = f"The prediction of {self._name} cannot be read back by its output schema."
            raise PredictionFailed(self._name, text) from error

    def ask(self, operation: str, body: bytes, **fields: object) -> Message:
        """Return what comes of an operation in one of the processes.

        Args:
            operation: Its name.
            body: What it works on.
            fields: What else it needs to know.

        Raises:
            ModelsAPIError: see `predict`.
        """
        tells = bool(self._listener.audience.receivers)
        message = Message({"operation": operation, "tells": tells, **fields}, body)
        answer = self._admission.admit(self._ask, message)
        for told in answer.head["told"]:
            self._listener.tell(lambda told=told: told)  # type: ignore[misc]
        return answer

    def _ask(self, message: Message) -> Message:
        context = current_request.get()
        if context is not None:
            message.head.update(_fields_of(context))
        answer = self._processes.ask(message, retry=self._retry)
        self._hear(answer.head, context)
        if "error" in answer.head:
            raise error_from(answer.head, self._name)
        return answer

    def _hear(self, head: Mapping[str, Any], context: RequestContext | None) -> None:
        """Tell the instruments what the process has measured."""
        for rows in head["batches"]:
            self._instruments.batch(rows)
        for name, began, seconds in head["stages"]:
            self._instruments.took(name, began, seconds)
        if head["queue_seconds"]:
            self._instruments.waited(head["queued"], head["queue_seconds"])
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

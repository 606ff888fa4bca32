"""One process of a model: answers the workers, with a thread for each of their connections."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection, Listener
from pathlib import Path

from models_api.configuration.execution import ExecutionConfiguration
from models_api.configuration.sections import (
    ConcurrencyConfiguration,
    ModelConfiguration,
)
from models_api.fork import flush_output
from models_api.hosting.health import first_fault, health_checks
from models_api.hosting.hosted_model import LOADING_THREAD, HostedModel, LoadState, Resources
from models_api.hosting.model_stack import ModelStack
from models_api.logs import SafeLogger
from models_api.model_processes.heart import Heart
from models_api.model_processes.recording import (
    RecordedContext,
    RecordingInstruments,
    RecordingListener,
)
from models_api.prediction.backends.connections import NUMBER_BYTES
from models_api.prediction.backends.messages import Message, error_fields
from models_api.prediction.backends.process_group import Limits
from models_api.prediction.description import ModelDescription, description_data
from models_api.prediction.grouped_request import GroupedRequest
from models_api.prediction.instruments import Instruments
from models_api.prediction.limiter import WorkerLimiter
from models_api.prediction.request_context import current_request
from models_api.threads import cleaned_up, cleanup

logger = SafeLogger(__name__)

_BACKLOG = 1024
_NO_TRACE = nullcontext()
_ANY_NUMBER = 1_000_000
"""Of requests that may wait: the workers have limiters of their own."""

Operation = Callable[[Message], Message]


class ModelProcess:
    """Hosts one model for others. Its methods may be called from any thread."""

    def __init__(self, configuration: ModelConfiguration, limits: Limits, heart: Heart) -> None:
        self._heart = heart
        self._loaded = threading.Event()
        limiter = WorkerLimiter()
        heart.start(limiter)
        resources = Resources(
            limiter,
            factory=_Recording(),
            maximum_rows=limits.rows,
            maximum_values=limits.values,
            listener=RecordingListener,
        )
        own = _as_hosted_here(configuration)
        self._model = HostedModel(own, ModelStack.from_configuration(own), resources)
        self._operations: Mapping[str, Operation] = {
            "predict": lambda message: Message({}, self._model.predictor.predict(message.body)),
            "predict_batch": lambda message: Message(
                {}, self._model.predictor.predict_batch(message.body)
            ),
            "infer": self._infer,
        }

    def serve(self, address: Path) -> None:
        """Answer whoever connects, and load the model meanwhile; never returns."""
        address.unlink(missing_ok=True)
        # Kept to the end: it removes its file when it goes, which may be another's by then.
        self._listener = listener = Listener(str(address), "AF_UNIX", _BACKLOG)
        threading.Thread(
            target=cleaned_up(partial(self.load, address.with_name("loaded"))),
            name=LOADING_THREAD,
            daemon=True,
        ).start()
        while True:
            connection = listener.accept()
            answer_all = cleaned_up(partial(self._answer_all, connection))
            threading.Thread(target=answer_all, daemon=True).start()

    def answer(self, message: Message) -> Message:
        """Return the answer to a request, errors among them."""
        self._loaded.wait()
        if message.is_joined:
            return Message.joined(self._answer_group(message.parts()))
        if message.head["operation"] == "status":
            return Message(self._status(describes=message.head["describes"]))
        if message.head["operation"] == "health":
            return Message({"fault": self._fault()})
        context = RecordedContext(message.head)
        token = current_request.set(context)
        try:
            with _trace_of(message):
                answer = self._operations[message.head["operation"]](message)
        except BaseException as error:  # noqa: BLE001 (whatever a model raises is an answer)
            answer = Message(error_fields(error))
        finally:
            current_request.reset(token)
        return Message({**answer.head, **context.fields()}, answer.body)

    def _answer_group(self, messages: Sequence[Message]) -> list[Message]:
        """Return the answers to requests for one row each."""
        contexts = [RecordedContext(message.head) for message in messages]
        requests = [
            GroupedRequest(context, message.body)
            for context, message in zip(contexts, messages, strict=True)
        ]
        # A shared call can be in one trace only.
        with _trace_of(messages[0]):
            self._model.predictor.predict_group(requests)
        return [
            Message({**_head(each.error), **context.fields()}, each.written)
            for each, context in zip(requests, contexts, strict=True)
        ]

    def load(self, mark: Path) -> None:
        """Load the model; the file says to those that come after that it could be loaded once."""
        self._model.load()
        if self._model.state is LoadState.READY:
            self._heart.note_ready()
            mark.touch()
        elif mark.exists():
            # What has been loaded before may be loaded again: the supervisor sees to that.
            flush_output()
            os._exit(1)
        self._loaded.set()

    def _status(self, *, describes: bool) -> dict[str, object]:
        failure, model = self._model.failure, self._model
        told: dict[str, object] = {
            "failure": failure,
            "failure_class": model.failure_class,
            "used": model.used_methods,
            "unused": model.unused_methods,
            "reads_tensors": find_spec("numpy") is not None,
            "rows_per_message": 1 if failure else model.predictor.rows_per_group,
        }
        if describes and failure is None:
            told["description"] = description_data(ModelDescription(model.details, model.schemas))
        return told

    def _fault(self) -> str | None:
        if self._model.failure is not None:
            return self._model.failure
        fault = first_fault(health_checks(self._model.ready_model()))
        return None if fault is None else fault.reason

    def _infer(self, message: Message) -> Message:
        # Late, because not every service has numpy.
        from models_api.open_inference.inference import Payload, infer  # noqa: PLC0415

        given = Payload(message.body, message.head["header_length"])
        payload, rows = infer(self._model, given)
        head = {"header_length": payload.header_length, "answered": rows}
        return Message(head, payload.body)

    def _answer_all(self, connection: Connection) -> None:
        with suppress(EOFError, OSError), connection:
            while True:
                received = connection.recv_bytes()
                number, message = received[:NUMBER_BYTES], Message.unpack(received[NUMBER_BYTES:])
                cleanup().between_requests()
                answer = self.answer(message).pack()
                cleanup().between_requests()
                connection.send_bytes(number + answer)


def _trace_of(message: Message) -> AbstractContextManager[None]:
    """Have the spans that the model makes belong to the trace of the request, if it has one."""
    if "trace" in message.head:
        with suppress(ImportError):  # what another Python may lack
            # Late, because it needs OpenTelemetry.
            from models_api.observability.tracing import continued  # noqa: PLC0415

            return continued(message.head["trace"])
    return _NO_TRACE


class _Recording:
    def instruments(self, model: HostedModel) -> Instruments:
        return RecordingInstruments()


def _head(error: BaseException | None) -> dict[str, object]:
    return {} if error is None else error_fields(error)


def _as_hosted_here(configuration: ModelConfiguration) -> ModelConfiguration:
    """Return the configuration of the model where it computes on threads, one at a time."""
    batching = configuration.batching
    running = 1 if batching is None else batching.max_batch_size
    return configuration.model_copy(
        update={
            "execution": ExecutionConfiguration(),
            "concurrency": ConcurrencyConfiguration(
                max_concurrency=running, max_queue_size=_ANY_NUMBER
            ),
            # The workers see to it; this process is ended if it does not come back.
            "timeout_seconds": None,
        }
    )

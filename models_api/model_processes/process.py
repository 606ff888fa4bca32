"""One process of a model: answers the workers that are connected to it, one thread for each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, Listener
from pathlib import Path

from models_api.conf import service_settings
from models_api.configuration.sections import (
    ConcurrencyConfiguration,
    ExecutionConfiguration,
    ModelConfiguration,
)
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
from models_api.prediction.backends.messages import Message, error_fields
from models_api.prediction.instruments import Instruments
from models_api.prediction.limiter import WorkerLimiter
from models_api.prediction.request_context import current_request
from models_api.threads import cleaned_up, cleanup

logger = SafeLogger(__name__)

_BACKLOG = 1024
_ANY_NUMBER = 1_000_000
"""Of requests that may wait: the workers have limiters of their own."""

Operation = Callable[[Message], Message]


class ModelProcess:
    """Hosts one model for others. Its methods may be called from any thread."""

    def __init__(self, configuration: ModelConfiguration, heart: Heart) -> None:
        self._heart = heart
        self._loaded = threading.Event()
        limiter = WorkerLimiter()
        heart.start(limiter)
        settings = service_settings()
        resources = Resources(
            limiter,
            factory=_Recording(),
            maximum_rows=settings.maximum_batch_rows,
            maximum_values=settings.maximum_values,
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
        threading.Thread(target=cleaned_up(self._load), name=LOADING_THREAD, daemon=True).start()
        while True:
            connection = listener.accept()
            answer_all = cleaned_up(partial(self._answer_all, connection))
            threading.Thread(target=answer_all, daemon=True).start()

    def answer(self, message: Message) -> Message:
        """Return the answer to a request, errors among them."""
        self._loaded.wait()
        if message.head["operation"] == "status":
            return Message(self._status())
        if message.head["operation"] == "health":
            return Message({"fault": self._fault()})
        context = RecordedContext(message.head)
        token = current_request.set(context)
        try:
            answer = self._operations[message.head["operation"]](message)
        except BaseException as error:  # noqa: BLE001 (whatever a model raises is an answer)
            answer = Message(error_fields(error))
        finally:
            current_request.reset(token)
        return Message({**answer.head, **context.fields()}, answer.body)

    def _load(self) -> None:
        self._model.load()
        if self._model.state is LoadState.READY:
            self._heart.note_ready()
        self._loaded.set()

    def _status(self) -> dict[str, object]:
        return {
            "failure": self._model.failure,
            "used": self._model.used_methods,
            "unused": self._model.unused_methods,
        }

    def _fault(self) -> str | None:
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
                message = Message.unpack(connection.recv_bytes())
                cleanup().between_requests()
                answer = self.answer(message).pack()
                cleanup().between_requests()
                connection.send_bytes(answer)


class _Recording:
    def instruments(self, model: HostedModel) -> Instruments:
        return RecordingInstruments()


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

"""What a worker and the process of a model say to each other: a head of JSON, and bytes behind it.

Both run the same version of this package: nothing here is a protocol for others.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from models_api import exceptions
from models_api.exceptions import (
    REFUSALS,
    DeadlineExceeded,
    InputProblem,
    InvalidInput,
    ModelError,
    ModelNotReady,
    ModelsAPIError,
    PredictionFailed,
    Refusal,
    SchemaRejected,
)

_LENGTH_BYTES = 4


class Message(NamedTuple):
    """A request or an answer."""

    head: dict[str, Any]
    body: bytes = b""

    def pack(self) -> bytes:
        """Return the bytes that are sent."""
        head = _written(self.head)
        return b"".join((len(head).to_bytes(_LENGTH_BYTES, "little"), head, self.body))

    @classmethod
    def unpack(cls, received: bytes) -> Message:
        """Return what `pack` has packed."""
        end = _LENGTH_BYTES + int.from_bytes(received[:_LENGTH_BYTES], "little")
        return cls(_read(received[_LENGTH_BYTES:end]), received[end:])

    @classmethod
    def joined(cls, messages: Sequence[Message]) -> Message:
        """Return one message that stands for several."""
        heads, bodies = zip(*messages, strict=True)
        return cls({"heads": heads, "lengths": [*map(len, bodies)]}, b"".join(bodies))

    def parts(self) -> list[Message]:
        """Return those that `joined` has put together."""
        ends = [*accumulate(self.head["lengths"], initial=0)]
        bodies = [self.body[begin:end] for begin, end in pairwise(ends)]
        return [*map(Message, self.head["heads"], bodies)]

    @property
    def is_joined(self) -> bool:
        """Whether it stands for several."""
        return "lengths" in self.head


def _written(head: Mapping[str, Any]) -> bytes:
    try:
        return to_json(head)
    except ValueError:
        # Text of a model can hold lone surrogates, for which only escapes can stand; and its rows
        # may be nested deeper. This takes eight times as long.
        return json.dumps(head, separators=(",", ":")).encode()


def _read(head: bytes) -> dict[str, Any]:
    try:
        read: dict[str, Any] = from_json(head)
    except ValueError:
        read = json.loads(head)
    return read


class ModelProcessError(Exception):
    """What went wrong in the process of a model; its text is the traceback there."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def error_fields(error: BaseException) -> dict[str, object]:
    """Describe an error that ends a prediction."""
    fields: dict[str, object] = {
        "error": _kind(error).__name__,
        "message": str(error),
        "reason": getattr(error, "reason", ""),
    }
    if isinstance(error, InvalidInput):
        fields["problems"] = [
            (list(each.location), each.type, each.message, each.hint) for each in error.problems
        ]
    elif isinstance(error, Refusal | ModelNotReady):
        fields["retry_after_seconds"] = error.retry_after_seconds
    elif isinstance(error, DeadlineExceeded):
        fields["timeout_seconds"] = error.timeout_seconds
    elif _kind(error) is PredictionFailed:
        fields["traceback"] = "".join(traceback.format_exception(error.__cause__ or error))
    return fields


def error_from(fields: Mapping[str, Any], qualified_name: str) -> ModelsAPIError:
    """Return the error that `error_fields` has described."""
    kind, message = getattr(exceptions, fields["error"]), fields["message"]
    if issubclass(kind, InvalidInput):
        problems = fields["problems"]
        found: ModelsAPIError = kind([InputProblem(tuple(at), *texts) for at, *texts in problems])
    elif issubclass(kind, Refusal):
        found = kind(message, retry_after_seconds=fields["retry_after_seconds"])
    elif issubclass(kind, DeadlineExceeded):
        found = kind(fields["timeout_seconds"])
    elif issubclass(kind, ModelNotReady):
        seconds = fields["retry_after_seconds"]
        found = kind(qualified_name, message, fields["reason"], retry_after_seconds=seconds)
    else:
        is_models = issubclass(kind, ModelError)
        found = kind(qualified_name, message, fields["reason"]) if is_models else kind(message)
    if "traceback" in fields:
        found.__cause__ = ModelProcessError(fields["traceback"])
    return found


def _kind(error: BaseException) -> type[ModelsAPIError]:
    known: tuple[type[ModelsAPIError], ...] = (
        InvalidInput,
        *REFUSALS,
        ModelNotReady,
        SchemaRejected,
        *_OF_ONE_MESSAGE,
    )
    return next((kind for kind in known if isinstance(error, kind)), PredictionFailed)


_OF_ONE_MESSAGE = (
    exceptions.PayloadTooLarge,
    exceptions.TensorError,
    exceptions.DeadlineExceeded,
    exceptions.Overloaded,
)

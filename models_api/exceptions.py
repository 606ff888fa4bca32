"""Domain errors: what can go wrong between a YAML file and a prediction, with no HTTP in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


class ModelsAPIError(Exception):
    """Base of every error that this package raises on purpose."""


def key_path(keys: Sequence[str | int]) -> str:
    """Write keys and indexes the way that people do: `models[0].class_path`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return text.removeprefix(".")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the configuration: what, where, and how to mend it."""

    id: str
    """Stable identifier of the kind of problem, such as `models_api.E003`."""
    file: str
    line: int | None
    """Counted from 1; None where the problem is the file itself."""
    key_path: str
    """Such as `models[0].class_path`; empty for the document as a whole."""
    message: str
    hint: str

    @property
    def location(self) -> str:
        """Such as `rest_config.yaml:3: models[0].class_path`."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key_path}" if self.key_path else place

    @property
    def fields(self) -> dict[str, object]:
        """What programs read of it in the log; the names are none of a record's own."""
        return {
            "problem": self.id,
            "file": self.file,
            "line": self.line,
            "key": self.key_path,
            "hint": self.hint,
        }

    def __str__(self) -> str:
        return f"{self.location}: {self.message}\n    {self.hint}"


class ConfigurationError(ModelsAPIError):
    """The configuration cannot be served; `problems` holds everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n\n".join([self.heading, *map(str, self.problems)])

    @property
    def heading(self) -> str:
        """How many problems there are."""
        count = len(self.problems)
        return f"The configuration has {count} problem{'s' if count != 1 else ''}:"


class ClassPathError(ModelsAPIError):
    """A class path of the configuration does not lead to a usable class."""

    def __init__(self, message: str, hint: str) -> None:
        self.hint = hint
        super().__init__(message)


class ArtefactError(ClassPathError):
    """The file of a model, or what the configuration says of it, makes no usable class."""

    def __init__(self, message: str, hint: str, *, key: str = "artefact") -> None:
        self.key = key
        """The key of the model's configuration that is to be mended."""
        super().__init__(message, hint)


class DescriptionError(ModelsAPIError):
    """A model says something unusable about itself, such as a version that is no string."""

    def __init__(self, message: str, hint: str, *, key: str = "class_path") -> None:
        self.hint = hint
        self.key = key
        """The key of the model's configuration that is to be mended."""
        super().__init__(message)


class TrafficError(ModelsAPIError):
    """The requests for one name cannot be split among its versions as the configuration says."""

    def __init__(self, message: str, hint: str, *, version: int, key: str = "traffic") -> None:
        self.hint = hint
        self.version = version
        """Which of the versions of that name is to be mended, counted from 0."""
        self.key = key
        """The key of the model's configuration that is to be mended."""
        super().__init__(message)


class DescriptionFailed(ModelsAPIError):
    """A property by which a model or decorator says what it is raised; `__cause__` says what."""

    def __init__(self, message: str, layer: int, *, is_certain: bool = False) -> None:
        self.layer = layer
        """0 for the model, 1 for the decorator around it, and so on."""
        self.is_certain = is_certain
        """Whether it would raise as well once the model is loaded."""
        super().__init__(message)


class ModelError(ModelsAPIError):
    """Base of the errors that concern one model, named by `qualified_name`."""

    def __init__(self, qualified_name: str, message: str, reason: str = "") -> None:
        self.qualified_name = qualified_name
        self.reason = reason
        """What the author of the model did wrong, in one line that is not for every client."""
        super().__init__(message)


class ModelNotFound(ModelError):
    """No model has that qualified name, or the model takes no predictions."""


class ModelNotReady(ModelError):
    """The model is not loaded yet, or failed to load."""

    def __init__(
        self,
        qualified_name: str,
        message: str,
        reason: str = "",
        *,
        retry_after_seconds: int | None,
    ) -> None:
        self.retry_after_seconds = retry_after_seconds
        """None where waiting does not help: nothing loads it again by itself."""
        super().__init__(qualified_name, message, reason)


class ModelLoadFailed(ModelNotReady):
    """The model failed to load; the message says why, as this is for the code of its own team."""


class SchemaRejected(ModelError):
    """The model itself refused the data, by raising MLModelSchemaValidationException."""


class Refusal(ModelsAPIError):
    """Base of what models and decorators raise to answer a request by another status than 400.

    Raise one of the four that derive from it, or derive from those.
    """

    default_message = "The model refuses this request."
    retry_after_seconds: int | None = None

    def __init__(self, message: str = "", *, retry_after_seconds: float | None = None) -> None:
        """Make it.

        Args:
            message: What the client is told.
            retry_after_seconds: For the header Retry-After, rounded up; None for no such header.
        """
        super().__init__(message or self.default_message)
        if retry_after_seconds is not None:
            self.retry_after_seconds = max(0, math.ceil(retry_after_seconds))

    def of_row(self, where: str) -> Refusal:
        """Return the refusal of a request, whose message begins with which row was refused."""
        kind = next(each for each in REFUSALS if isinstance(self, each))
        return kind(f"{where}{self}", retry_after_seconds=self.retry_after_seconds)


class ResourceNotFound(Refusal):
    """What the request asks about does not exist: 404."""

    default_message = "There is nothing of that name."


class Conflict(Refusal):
    """The request does not go with the state of what it asks about: 409."""

    default_message = "The request conflicts with the present state."


class Unprocessable(Refusal):
    """The data fits the schema, and nothing can be made of it: 422."""

    default_message = "Nothing can be predicted for this data."


class TooManyRequests(Refusal):
    """Whoever the request is from has used up what they may have: 429."""

    default_message = "There were too many requests."


REFUSALS: tuple[type[Refusal], ...] = (ResourceNotFound, Conflict, Unprocessable, TooManyRequests)


class NotPredicted(ModelsAPIError):
    """Nothing was predicted, through no fault of the model's or of the request's."""


class Overloaded(NotPredicted):
    """Too many requests are in hand, or waiting for the model."""

    retry_after_seconds = 1

    @classmethod
    def of_worker(cls) -> Overloaded:
        """Describe a process that has as many predictions in hand as it may have."""
        return cls("The service is busy with other predictions already.")

    @classmethod
    def of_model(cls, waiting: int) -> Overloaded:
        """Describe a model for which as many requests wait as may do so."""
        return cls(f"The model is busy, and {waiting} requests are waiting for it already.")


class DeadlineExceeded(NotPredicted):
    """The request waited for its prediction longer than the model's configuration allows."""

    def __init__(self, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        super().__init__(f"The model was busy for more than {timeout_seconds:g} s.")


class PredictionFailed(ModelError):
    """The model raised, or returned what does not fit its output schema; `__cause__` says which."""


class BackendFailed(ModelError):
    """Where the model computes, the process died under the request, or does not answer."""


class BackendSilent(BackendFailed):
    """Another service, where the model computes, gave no answer of its own; it may do so later."""


class BackendRefused(BackendFailed):
    """Another service, where the model computes, answers no request of ours, whatever its rows."""


@dataclass(frozen=True, slots=True)
class InputProblem:
    """One way in which a request's data does not fit the input schema."""

    location: tuple[str | int, ...]
    """Keys and indexes that lead to the value; empty for the body as a whole."""
    type: str
    message: str
    hint: str = field(default="", compare=False)
    """What the client may have meant; empty if nobody knows."""

    @property
    def text(self) -> str:
        """The message, with the location before it if there is one, and the hint behind it."""
        message = f"{self.message}; {self.hint}" if self.hint else self.message
        return f"{key_path(self.location)}: {message}" if self.location else message


class InvalidInput(ModelsAPIError):
    """The data does not fit the input schema, or is no JSON at all."""

    def __init__(self, problems: Sequence[InputProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "; ".join([problem.text for problem in self.problems])


class TensorError(ModelsAPIError):
    """A request of the Open Inference Protocol is malformed; the message says where, and how."""


class LengthRequired(ModelsAPIError):
    """The body is chunked, and the server leaves it to the application to find its end."""

    def __init__(self) -> None:
        super().__init__("Send a Content-Length: this server cannot read chunked bodies.")


class PayloadTooLarge(ModelsAPIError):
    """The body is larger, or holds more values, than this service reads."""

    @classmethod
    def of_bytes(cls, limit: int | None) -> PayloadTooLarge:
        """Name the limit of the body's size."""
        return cls(
            f"The body is larger than the limit of {limit} bytes. Send less at a time, or have "
            "MODELHOST_MAX_BODY_BYTES raised."
        )

    @classmethod
    def of_values(cls, found: str, price: int, limit: int) -> PayloadTooLarge:
        """Say what was found, what it counts, and the limit of that."""
        return cls(
            f"{found}, which count {price} by the model's input schema; the limit is {limit}. Send "
            "less at a time, or have the model's max_values raised, or MODELHOST_MAX_JSON_VALUES."
        )

    @classmethod
    def of_members(cls, limit: int) -> PayloadTooLarge:
        """Name the limit of the parts that a compressed body consists of."""
        return cls(f"The compressed body has more than the limit of {limit} members.")


class UnsupportedMediaType(ModelsAPIError):
    """The body says that it is something else than JSON."""


class UnsupportedEncoding(ModelsAPIError):
    """The body is compressed in a way that this service does not read."""

    accepted = "gzip"

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f'Unsupported content encoding "{encoding}"; send the body uncompressed, or compressed '
            f"by {self.accepted}."
        )


class UnreadableBody(InvalidInput):
    """The body breaks off, or its framing is wrong."""

    def __init__(self) -> None:
        message = "The body could not be read to its end."
        super().__init__([InputProblem((), "parse_error", message)])

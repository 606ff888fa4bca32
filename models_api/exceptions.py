"""Domain errors: what can go wrong between a YAML file and a prediction, with no HTTP in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ModelsAPIError(Exception):
    """Base of every error that this package raises on purpose."""


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

    def __str__(self) -> str:
        return f"{self.location}: {self.message}\n    {self.hint}"


class ConfigurationError(ModelsAPIError):
    """The configuration cannot be served; `problems` holds everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        heading = f"The configuration has {count} problem{'s' if count != 1 else ''}:"
        return "\n\n".join([heading, *map(str, self.problems)])


class ClassPathError(ModelsAPIError):
    """A class path of the configuration does not lead to a usable class."""

    def __init__(self, message: str, hint: str) -> None:
        self.hint = hint
        super().__init__(message)


class DescriptionError(ModelsAPIError):
    """A model says something unusable about itself, such as a version that is no string."""

    def __init__(self, message: str, hint: str, *, key: str = "class_path") -> None:
        self.hint = hint
        self.key = key
        """The key of the model's configuration that is to be mended."""
        super().__init__(message)


class ModelError(ModelsAPIError):
    """Base of the errors that concern one model, named by `qualified_name`."""

    def __init__(self, qualified_name: str, message: str) -> None:
        self.qualified_name = qualified_name
        super().__init__(message)


class ModelNotFound(ModelError):
    """No model has that qualified name, or the model takes no predictions."""


class ModelNotReady(ModelError):
    """The model is not loaded yet, or failed to load."""

    def __init__(self, qualified_name: str, message: str, *, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(qualified_name, message)


class SchemaRejected(ModelError):
    """The model itself refused the data, by raising MLModelSchemaValidationException."""


class Overloaded(ModelsAPIError):
    """Too many requests are in hand, or waiting for the model."""

    retry_after_seconds = 1


class DeadlineExceeded(ModelsAPIError):
    """The request waited for its prediction longer than the model's configuration allows."""

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__(f"The model was busy for more than {timeout_seconds:g} s.")


class PredictionFailed(ModelError):
    """The model raised, or returned what does not fit its output schema; `__cause__` says which."""


@dataclass(frozen=True, slots=True)
class InputProblem:
    """One way in which a request's data does not fit the input schema."""

    location: tuple[str | int, ...]
    """Keys and indexes that lead to the value; empty for the body as a whole."""
    type: str
    message: str


class InvalidInput(ModelsAPIError):
    """The data does not fit the input schema, or is no JSON at all."""

    def __init__(self, problems: Sequence[InputProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)


class TensorError(ModelsAPIError):
    """A request of the Open Inference Protocol is malformed; the message says where, and how."""

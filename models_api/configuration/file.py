"""The configuration file: its keys read and checked, with every problem, and its logging."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from models_api import logs
from models_api.configuration.document import Key, YAMLDocument
from models_api.configuration.explanation import explain
from models_api.configuration.sections import ModelConfiguration, ServiceConfiguration
from models_api.exceptions import Problem

INVALID_LOGGING = "models_api.E007"
CONTRADICTION = "models_api.E009"

# Named, not imported: Python's logging resolves it.
_REQUEST_FILTER = "models_api.log_records.RequestFilter"
_LOGGING_PART = re.compile(
    r"Unable to configure ((?P<kind>formatter|filter|handler|logger) '(?P<name>.+)'|(?P<root>root))"
)


class ConfigurationFile:
    """What a configuration file holds. Reading it never raises: `problems` lists what is wrong."""

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        """Read the file; with `content`, take that for what is in it."""
        self.document = YAMLDocument(path, content)
        self.problems: list[Problem] = list(self.document.problems)
        self.configuration: ServiceConfiguration | None = None
        """None if the keys and values do not fit; problems elsewhere may be there all the same."""
        if self.document.data is not None or not self.problems:
            self._validate()

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the content, as `sha256sum` has them.

        Before values from the environment: secrets are not in it.
        """
        return hashlib.sha256(self.document.content or b"").hexdigest()[:12]

    def models(self) -> Iterator[tuple[int, ModelConfiguration]]:
        """Yield the models without problems, with their indexes."""
        for index, model in enumerate(_items(self.document.data, "models")):
            with suppress(ValidationError):
                yield index, ModelConfiguration.model_validate(model)

    def class_paths(self) -> Iterator[tuple[tuple[Key, ...], str]]:
        """Yield every class path with its keys, also where the file has problems elsewhere."""
        for index, model in enumerate(_items(self.document.data, "models")):
            yield from self._class_path(model, ("models", index))
            for position, decorator in enumerate(_items(model, "decorators")):
                yield from self._class_path(decorator, ("models", index, "decorators", position))

    def apply_logging(self) -> None:
        """Configure Python's logging as the file says; a mistake in it becomes a problem.

        Loggers that exist already stay enabled unless the file says otherwise: the service's own
        would fall silent.
        """
        data = self.document.data
        section = data.get("logging") if isinstance(data, dict) else None
        is_broken = any(problem.key_path.startswith("logging") for problem in self.problems)
        if not isinstance(section, dict) or is_broken:
            return
        applied = {"disable_existing_loggers": False, **_with_request_filter(section)}
        try:
            logs.configure(applied)
        except Exception as error:  # noqa: BLE001 (handlers of any library are made there)
            self.problems.append(self._logging_problem(section, error))

    def _logging_problem(self, section: dict[str, object], error: Exception) -> Problem:
        message = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        hint = "Python's documentation of logging.config has the schema of this mapping."
        if "version" not in section:
            hint = "Add this line: version: 1"
        elif "'NoneType' object has no attribute 'split'" in message:
            hint = "Add the key class, such as class: logging.StreamHandler"
        keys = ("logging", *_logging_keys(str(error)))
        return self.document.problem(INVALID_LOGGING, keys, message, hint)

    def _validate(self) -> None:
        try:
            self.configuration = ServiceConfiguration.model_validate(self.document.data)
        except ValidationError as error:
            self.problems += explain(error, self.document, ServiceConfiguration)
        self.problems += self._contradictions()

    def _contradictions(self) -> Iterator[Problem]:
        for index, model in self.models():
            older, newer = model.batching, model.concurrency
            if older is None or newer is None or newer.max_queue_size is None:
                continue
            is_given = "max_queue_size" in older.model_fields_set
            if is_given and older.max_queue_size != newer.max_queue_size:
                keys = ("models", index, "batching", "max_queue_size")
                message = f"concurrency.max_queue_size is {newer.max_queue_size}, not this"
                hint = "Remove this key: that of concurrency is for models with batching, too."
                yield self.document.problem(CONTRADICTION, keys, message, hint)

    def _class_path(
        self, section: object, keys: tuple[Key, ...]
    ) -> Iterator[tuple[tuple[Key, ...], str]]:
        keys = (*keys, "class_path")
        class_path = section.get("class_path") if isinstance(section, dict) else None
        if isinstance(class_path, str) and not self.document.is_broken(keys):
            yield keys, class_path


def _with_request_filter(section: dict[str, object]) -> dict[str, object]:
    """Return the section with a filter in each handler that gives records their request's id."""
    handlers, filters = section.get("handlers"), section.get("filters", {})
    if not isinstance(handlers, dict) or not isinstance(filters, dict):
        return section
    return {
        **section,
        "filters": {**filters, _REQUEST_FILTER: {"()": _REQUEST_FILTER}},
        "handlers": {name: _filtered(handler) for name, handler in handlers.items()},
    }


def _filtered(handler: object) -> object:
    filters = (handler.get("filters") or []) if isinstance(handler, dict) else None
    if not isinstance(handler, dict) or not isinstance(filters, list):
        return handler
    return {**handler, "filters": [_REQUEST_FILTER, *filters]}


def _logging_keys(message: str) -> tuple[str, ...]:
    """Return the keys in the mapping of what Python could not configure."""
    part = _LOGGING_PART.search(message)
    if part is None:
        return ()
    return ("root",) if part["root"] else (f"{part['kind']}s", part["name"])


def _items(section: object, key: str) -> list[object]:
    items = section.get(key) if isinstance(section, dict) else None
    return items if isinstance(items, list) else []

"""The configuration file: its keys read and checked, with every problem, and its logging."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from models_api import logs
from models_api.configuration.artefact_addresses import can_move
from models_api.configuration.document import Key, YAMLDocument
from models_api.configuration.explanation import explain
from models_api.configuration.sections import (
    FOLDER,
    OF_RUNTIMES,
    ModelConfiguration,
    ServiceConfiguration,
)
from models_api.exceptions import Problem

INVALID_LOGGING = "models_api.E007"
CONTRADICTION = "models_api.E009"

# Named, not imported: Python's logging resolves it.
_REQUEST_FILTER = "models_api.log_records.RequestFilter"
_LOGGING_PART = re.compile(
    r"Unable to configure ((?P<kind>formatter|filter|handler|logger) '(?P<name>.+)'|(?P<root>root))"
)


def fingerprint_of(content: bytes) -> str:
    """Return the fingerprint of a configuration file with this content."""
    return hashlib.sha256(content).hexdigest()[:12]


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
        return fingerprint_of(self.document.content or b"")

    def models(self) -> Iterator[tuple[int, ModelConfiguration]]:
        """Yield the models without problems, with their indexes."""
        for index, model in enumerate(_items(self.document.data, "models")):
            with suppress(ValidationError):
                yield index, ModelConfiguration.model_validate(model, context=self._context)

    def class_paths(self) -> Iterator[tuple[tuple[Key, ...], str]]:
        """Yield every class path that this process imports, with its keys.

        Also where the file has problems elsewhere.
        """
        for index, model in enumerate(_items(self.document.data, "models")):
            if _is_of_another_python(model):
                continue
            keys = ("models", index)
            execution = model.get("execution") if isinstance(model, dict) else None
            if isinstance(execution, dict) and execution.get("kind") == "remote":
                # The class of the model, and those around it, are where it computes.
                for key in ("input_schema", "output_schema"):
                    yield from self._class_path(execution, (*keys, "execution"), key)
                continue
            yield from self._class_path(model, keys)
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
            self.configuration = ServiceConfiguration.model_validate(
                self.document.data, context=self._context
            )
        except ValidationError as error:
            self.problems += explain(error, self.document, ServiceConfiguration)
        self.problems += self._contradictions()

    @property
    def _context(self) -> dict[str, object]:
        return {FOLDER: self.document.path.parent}

    def _contradictions(self) -> Iterator[Problem]:
        yield from self._lacking_sections()
        for index, model in self.models():
            yield from self._misplaced_keys(index, model)
            older, newer = model.batching, model.concurrency
            if older is None or newer is None or newer.max_queue_size is None:
                continue
            is_given = "max_queue_size" in older.model_fields_set
            if is_given and older.max_queue_size != newer.max_queue_size:
                keys = ("models", index, "batching", "max_queue_size")
                message = f"concurrency.max_queue_size is {newer.max_queue_size}, not this"
                hint = "Remove this key: that of concurrency is for models with batching, too."
                yield self.document.problem(CONTRADICTION, keys, message, hint)

    def _lacking_sections(self) -> Iterator[Problem]:
        found = self.configuration
        if found is None or found.open_inference is None or found.reload is not None:
            return
        if found.open_inference.allow_load_unload:
            keys = ("open_inference", "allow_load_unload")
            message = "without the key reload no models are changed while the service runs"
            hint = "Add this line: reload: {}"
            yield self.document.problem(CONTRADICTION, keys, message, hint)

    def _misplaced_keys(self, index: int, model: ModelConfiguration) -> Iterator[Problem]:
        found: list[tuple[str, str, str]] = []
        if not model.is_without_class:
            hint = "Remove it: the class says this. Or remove the class, and name an artefact."
            given = {name.rstrip("_") for name in model.model_fields_set}
            misplaced = sorted(given & OF_RUNTIMES)
            found += [(key, f"{key} does not go with class_path", hint) for key in misplaced]
        elif model.configuration:
            message = "configuration does not go with artefact, unless there is a class_path"
            hint = "Remove it: what is made from a file has no __init__ of yours."
            found.append(("configuration", message, hint))
        if model.class_path and model.artefact is not None and "artefact" in model.configuration:
            hint = "Remove it from configuration: the class gets the one that stands beside."
            found.append(("configuration", "artefact stands here and beside it", hint))
        if isinstance(model.artefact, str) and model.schema_ is not None:
            hint = (
                "Remove it: what an artefact from elsewhere tells is kept beside it in the cache."
            )
            found.append(("schema", "schema goes with the path of an artefact", hint))
        found += _misplaced_keys_of_sources(model)
        for key, message, hint in found:
            yield self.document.problem(CONTRADICTION, ("models", index, key), message, hint)

    def _class_path(
        self, section: object, keys: tuple[Key, ...], key: str = "class_path"
    ) -> Iterator[tuple[tuple[Key, ...], str]]:
        keys = (*keys, key)
        class_path = section.get(key) if isinstance(section, dict) else None
        if isinstance(class_path, str) and not self.document.is_broken(keys):
            yield keys, class_path


def _misplaced_keys_of_sources(model: ModelConfiguration) -> Iterator[tuple[str, str, str]]:
    artefact = model.artefact
    if model.is_remote and artefact is not None:
        hint = "Remove it here, and name it in the configuration of the service that has the model."
        yield "artefact", "a remote model has its artefact elsewhere", hint
    if model.sha256 is not None and artefact is None:
        yield "sha256", "sha256 goes with artefact", "Name the file that has it in artefact."
    if model.poll_seconds is None or model.watch:
        return
    if artefact is None:
        hint = "Name what may change: artefact, or watch, which is a list of paths."
        yield "poll_seconds", "poll_seconds goes with artefact or watch", hint
    elif model.sha256 is not None or (isinstance(artefact, str) and not can_move(artefact)):
        hint = "Remove it, or name what can change, such as an alias, without sha256."
        yield "poll_seconds", "nothing here can change that could be looked for", hint


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


def _is_of_another_python(model: object) -> bool:
    execution = model.get("execution") if isinstance(model, dict) else None
    return isinstance(execution, dict) and execution.get("python") is not None


def _items(section: object, key: str) -> list[object]:
    items = section.get(key) if isinstance(section, dict) else None
    return items if isinstance(items, list) else []

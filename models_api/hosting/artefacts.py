"""The artefact of a model: how it comes to this machine, and to the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from models_api.artefacts.cache import ArtefactCache, Fetched, require_digest
from models_api.artefacts.digests import sha256_of
from models_api.artefacts.revisions import revision
from models_api.artefacts.source import Temporary, name_at
from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import ArtefactError
from models_api.hosting.loading import LoadingMeans, NotYet
from models_api.hosting.model_stack import ModelStack
from models_api.prediction.description import ModelDescription
from models_api.runtimes.artefact_model import UnusableArtefact, name_of_file
from models_api.runtimes.saved_signature import path_beside, read_signature, write_signature


class ArtefactUnreachable(NotYet):
    """The source of the artefact does not answer as it should."""


def named(configuration: ModelConfiguration) -> ModelConfiguration:
    """Return the configuration of a model, with a name if only its artefact's address has one.

    Raises:
        ArtefactError: no model can have that name.
    """
    artefact = configuration.artefact
    is_known = configuration.qualified_name is not None or not configuration.is_without_class
    if is_known or not isinstance(artefact, str):
        return configuration
    name = name_of_file(Path(name_at(artefact)))
    return configuration.model_copy(update={"qualified_name": name})


def stack_of(configuration: ModelConfiguration, artefacts: ArtefactCache) -> ModelStack:
    """Return the classes of a model, of which one may be made from what is here of its artefact.

    Raises:
        ArtefactError: the artefact cannot be used.
        ClassPathError: one of the classes cannot be used.
    """
    artefact = configuration.artefact
    if isinstance(artefact, str) and configuration.is_without_class:
        path = artefacts.cached(artefact, configuration.sha256)
        # What is here may be older than what the file is about: loading will tell.
        with suppress(ArtefactError):
            if path is not None:
                return ModelStack.from_configuration(_at(path, configuration))
    return ModelStack.from_configuration(configuration)


def fetched(configuration: ModelConfiguration, artefacts: ArtefactCache) -> Fetched | None:
    """Return the artefact of a model on this machine, checked; None if it has none.

    Raises:
        ArtefactUnreachable: it cannot be had now, and perhaps later.
        UnusableArtefact: it cannot be had, or is not the one that it has to be.
    """
    artefact, sha256 = configuration.artefact, configuration.sha256
    if artefact is None or configuration.is_remote:
        return None
    with _told_when_loading():
        if isinstance(artefact, str):
            return artefacts.fetch(artefact, sha256)
        _check_path(artefact, configuration)
        return Fetched(artefact, revision(artefact))


def with_artefact(means: LoadingMeans, found: Fetched | None) -> LoadingMeans:
    """Return what a model is loaded with, given its artefact on this machine.

    Raises:
        UnusableArtefact: no model can be made from it as the configuration says.
    """
    if found is None or not isinstance(means.configuration.artefact, str):
        return means
    configuration = _at(found.path, means.configuration)
    stack, profile = means.stack, means.profile
    if stack is not None:
        with _told_when_loading():
            _keep_signature(configuration)
            stack = ModelStack.from_configuration(configuration)
    if configuration.is_without_class:
        # What was told before may have been of another revision.
        profile = profile._replace(description=ModelDescription())
    return means._replace(configuration=configuration, stack=stack, profile=profile)


@contextmanager
def _told_when_loading() -> Iterator[None]:
    try:
        yield
    except Temporary as error:
        raise ArtefactUnreachable(str(error)) from None
    except ArtefactError as error:
        raise UnusableArtefact(f"{error}. {error.hint}") from error


def _at(path: Path, configuration: ModelConfiguration) -> ModelConfiguration:
    """Return the configuration of a model whose artefact is here, and checked."""
    return configuration.model_copy(update={"artefact": path, "sha256": None})


def _check_path(path: Path, configuration: ModelConfiguration) -> None:
    if not path.exists() and not configuration.is_without_class:
        hint = "Write the path of the file or folder, from the folder of the configuration."
        raise ArtefactError(f"there is no {path}", hint)
    if path.exists() and configuration.sha256 is not None:
        require_digest(str(path), sha256_of(path), configuration.sha256)


def _keep_signature(configuration: ModelConfiguration) -> None:
    """Keep beside an artefact what it tells of itself, so that others need not read it."""
    path = configuration.artefact
    if not isinstance(path, Path) or not configuration.is_without_class:
        return
    if not path_beside(path).exists():
        saved = read_signature(path, configuration.runtime, trusted=configuration.trusted)
        with suppress(OSError):
            write_signature(path, saved)

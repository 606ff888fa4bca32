"""The hosted models of this process, found by name and version at each request."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from models_api.configuration.qualified_names import merged_by_clients, quoted
from models_api.configuration.sections import ServiceConfiguration
from models_api.exceptions import ConfigurationError, ModelNotFound, ModelNotReady, Problem
from models_api.hosting.health import ask_all
from models_api.hosting.hosted_model import HostedModel, LoadState, ModelState
from models_api.hosting.loader import ModelLoader
from models_api.logs import SafeLogger
from models_api.prediction.description import ModelNames
from models_api.prediction.limiter import WorkerLimiter

logger = SafeLogger(__name__)

MERGED_NAMES = (
    "In generated clients the models %s become one: "
    "their names differ in punctuation or capital letters only"
)


class OwnsRegistry(Protocol):
    """Whoever owns the registry, as code that knows neither the service nor the app sees it."""

    @property
    def configuration(self) -> ServiceConfiguration:
        """The validated configuration.

        Raises:
            ConfigurationError: the file has problems.
        """

    @property
    def registry(self) -> ModelRegistry:
        """The hosted models.

        Raises:
            ConfigurationError: the configuration has problems.
        """


class ModelRegistry:
    """The hosted models, in the order of the configuration.

    A configuration that has problems hosts none: whoever looks one up is told that it is not ready.
    """

    def __init__(
        self,
        models: Sequence[HostedModel],
        limiter: WorkerLimiter | None = None,
        error: ConfigurationError | None = None,
        defects: Sequence[Problem] = (),
        request_headers: Sequence[str] = (),
    ) -> None:
        """Make it.

        Args:
            models: All of them.
            limiter: That of this process, which knows whether a prediction hangs.
            error: What is wrong with the configuration; None if nothing is.
            defects: What is wrong with single models, without which the others can be served.
            request_headers: Names of the headers that models may read.
        """
        self.loads_on_demand = False
        """Whether each model is loaded when somebody asks for it, and not before: in tests."""
        self.defects = tuple(defects)
        self.request_headers = tuple([name.lower() for name in request_headers])
        """Names of the headers that models may read."""
        self._models = models
        self._limiter = limiter or WorkerLimiter()
        self._error = error
        self._has_logged = threading.Event()
        self._by_name: dict[str, HostedModel] = {}
        self.loader = ModelLoader(models)
        self.loader.after_loading.append(self._warn_of_merged_names)
        self.reserve_names()

    def __iter__(self) -> Iterator[HostedModel]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def __contains__(self, qualified_name: str) -> bool:
        return self._find(qualified_name) is not None

    def __getitem__(self, qualified_name: str) -> HostedModel:
        """Return the model of that qualified name.

        Raises:
            ModelNotFound: there is none of that name.
            ModelNotReady: there is none yet, but some model has yet to say its name.
        """
        model = self._find(qualified_name)
        if model is None:
            raise ModelNotFound(qualified_name, f'There is no model "{qualified_name}".')
        return model

    def __repr__(self) -> str:
        return f"<ModelRegistry {list(self._models)!r}>"

    def reserve_names(self) -> None:
        """Keep each model from taking the name of another one of this registry."""
        for model in self._models:
            model.reserve_names_of([other for other in self._models if other is not model])

    def leave(self) -> None:
        """Take the models out of ml_base's ModelManager, and let their processes go."""
        for model in self._models:
            model.leave_model_manager()
            model.leave_processes()

    def resolve(
        self, qualified_name: str, version: str | None = None, *, hint: str = "."
    ) -> HostedModel:
        """Return the model that takes a request for predictions.

        Args:
            qualified_name: As in the request's path.
            version: That the request names; None if it leaves that to the service.
            hint: Ends the message for clients that name no model of this service.

        Raises:
            ModelNotFound: there is none of that name or version, or it takes no predictions.
            ModelNotReady: nobody knows yet.
        """
        model = self._find(qualified_name)
        if model is None:
            raise ModelNotFound(qualified_name, f'There is no model "{qualified_name}"{hint}')
        if not model.configuration.create_endpoint:
            message = f'The model "{qualified_name}" has no prediction endpoint.'
            raise ModelNotFound(qualified_name, message)
        if self.loads_on_demand:
            model.load()
        return model if version is None else self.require_version(model, version)

    def require_version(self, model: HostedModel, version: str | None) -> HostedModel:
        """Return the model, if it has the version that a request names.

        Raises:
            ModelNotFound: it has another one.
            ModelNotReady: it has yet to say which.
        """
        actual = model.details.version
        if version not in (None, actual):
            message = (
                f'The model "{model.qualified_name}" has no version "{version}", but "{actual}".'
            )
            raise ModelNotFound(model.qualified_name, message)
        return model

    @property
    def has_started(self) -> bool:
        """Whether the loading of every model has ended, well or not."""
        return self._error is None and (self.loads_on_demand or self.loader.has_ended)

    @property
    def is_ready(self) -> bool:
        """Whether the loading has ended, all is well but for what is not required, and none hangs.

        Well are models that are loaded, and do not say that they are unhealthy.
        """
        is_usable = self.has_started and not self.has_failed and not self.is_hung
        return is_usable and not any(
            model.configuration.required for model in _unhealthy(self._models)
        )

    def unhealthy_models(self) -> list[str]:
        """Return the names of the models that do not say that they are healthy.

        They are asked, if that is due, and waited for no longer than a moment.
        """
        return [model.label for model in _unhealthy(self._models)]

    def serving_states(self, models: Iterable[HostedModel]) -> list[ModelState]:
        """Return how some models are; asks for their health as `unhealthy_models` does."""
        models = list(models)
        unhealthy = _unhealthy(models)
        return [
            ModelState.UNHEALTHY if model in unhealthy else model.serving_state for model in models
        ]

    @property
    def has_failed(self) -> bool:
        """Whether a model that is required failed to load, or the configuration has problems."""
        failed = [model for model in self._models if model.state is LoadState.FAILED]
        return self._error is not None or any(model.configuration.required for model in failed)

    @property
    def is_healthy(self) -> bool:
        """Whether no model that is required failed to load, and no prediction hangs."""
        return not (self.has_failed or self.is_hung)

    @property
    def is_hung(self) -> bool:
        """Whether a prediction of this process is taken for one that never ends."""
        return self._limiter.is_hung

    def details(self) -> list[ModelNames]:
        """Return what the models say about themselves.

        Raises:
            ModelNotReady: a model is being loaded in the background, and has yet to say it.
        """
        self._require_models()
        return [model.details for model in self._models]

    def require_descriptions(self) -> None:
        """Make sure that every model has said what it is, or will never do so.

        Raises:
            ModelNotReady: a model is being loaded in the background, and has yet to say it.
        """
        self._require_models()
        for model in self._models:
            model.require_description()

    def endpoints(self) -> list[HostedModel]:
        """Return the models that take predictions, as far as their names are known.

        A model that tells its name only once it is loaded gets loaded, unless that happens in the
        background.
        """
        with_endpoint = [model for model in self._models if model.configuration.create_endpoint]
        for model in with_endpoint:
            if model.known_name is None and not self.loader.has_begun:
                model.load_apart()
        return [model for model in with_endpoint if model.known_name is not None]

    def load(self) -> None:
        """Load every model on this thread; see ModelLoader.load."""
        self.loader.load()

    def start_loading(self) -> None:
        """Begin to load every model in the background; see ModelLoader.start."""
        if self._error is None:
            if not self.loads_on_demand:
                self.loader.start()
        elif not self._has_logged.is_set():
            self._has_logged.set()
            logger.error("No model is served. %s", self._error.heading)
            for problem in self._error.problems:
                logger.error("%s", problem, extra=problem.fields)

    @property
    def merged_names(self) -> list[list[str]]:
        """Groups of names, as far as they are known, of which client generators make one."""
        return merged_by_clients(filter(None, [model.known_name for model in self._models]))

    def _warn_of_merged_names(self) -> None:
        for names in self.merged_names:
            logger.warning(MERGED_NAMES, quoted(names))

    def _find(self, qualified_name: str) -> HostedModel | None:
        found = self._by_name.get(qualified_name)
        if found is not None:
            return found
        self._require_models(qualified_name)
        # A name that is known stays.
        self._by_name = {model.known_name: model for model in self._models if model.known_name}
        if qualified_name in self._by_name:
            return self._by_name[qualified_name]
        for model in self._models:
            if model.known_name is None:
                if model.is_loading:
                    raise model.not_ready()
                if model.qualified_name == qualified_name:
                    return model
        return None

    def _require_models(self, qualified_name: str = "") -> None:
        if self._error is not None:
            raise ModelNotReady(
                qualified_name,
                "The configuration of the models has problems; the log of the service lists them.",
                retry_after_seconds=None,
            )


def _unhealthy(models: Iterable[HostedModel]) -> list[HostedModel]:
    """Ask models for their health, if that is due, and return those that do not say it is good."""
    asked = [(model, model.health) for model in models if model.health is not None]
    ask_all(health for _, health in asked)
    return [model for model, health in asked if not health.is_healthy]

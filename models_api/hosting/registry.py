"""The hosted models of this process, found by name and version at each request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

from models_api.configuration.qualified_names import merged_by_clients, quoted
from models_api.configuration.sections import ServiceConfiguration
from models_api.exceptions import ConfigurationError, ModelNotFound, ModelNotReady, Problem
from models_api.hosting.generation import Generation
from models_api.hosting.health import ask_all
from models_api.hosting.hosted_model import HostedModel, LoadState, ModelState
from models_api.hosting.loader import ModelLoader
from models_api.hosting.release import NamedVersion, Release
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


class LastReload(NamedTuple):
    """How the last try to host other models went, in this process."""

    outcome: Literal["none", "taken", "refused"] = "none"
    time: float | None = None
    """In seconds since 1970."""
    reason: str | None = None
    """Why nothing was changed."""


class ModelRegistry:
    """The hosted models, in the order of the configuration. May be used from many threads.

    It is one for the life of the service, and what it hosts may change: see `replace`.
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
        self.generation = Generation(models)
        """What is hosted now; whoever asks more than once for one request keeps it."""
        self._limiter = limiter or WorkerLimiter()
        self._error = error
        self._has_logged = threading.Event()
        self.last_reload: LastReload | None = None
        """None where the models are not changed while the service runs."""
        self.after_replacing: list[Callable[[], object]] = []
        """Called when other models are hosted than before, on whichever thread saw to that."""
        self.before_requests: list[Callable[[], object]] = []
        """Called when a request has come to this process; often, and so quick."""
        self.loader = ModelLoader(lambda: self.generation.models)
        self.loader.after_loading.append(self._warn_of_merged_names)
        self.loader.after_loading.append(self._settle_traffic)
        self.generation.reserve_names()

    def __iter__(self) -> Iterator[HostedModel]:
        return iter(self.generation.models)

    def __len__(self) -> int:
        return len(self.generation.models)

    def __contains__(self, qualified_name: str) -> bool:
        return self._find(qualified_name) is not None

    def __getitem__(self, qualified_name: str) -> HostedModel:
        """Return the model of that qualified name: of several versions that which is asked.

        Raises:
            ModelNotFound: there is none of that name.
            ModelNotReady: there is none yet, but some model has yet to say its name.
        """
        return self.release(qualified_name).model

    def __repr__(self) -> str:
        return f"<ModelRegistry {list(self)!r}>"

    def replace(self, generation: Generation) -> Generation:
        """Host other models from now on; return those that were hosted, whose requests go on."""
        generation.settle_traffic()
        former, self.generation = self.generation, generation
        generation.reserve_names()
        for call in self.after_replacing:
            call()
        return former

    def take_requests(self) -> None:
        """See to it that models are being loaded, and whatever else a process does that serves."""
        self.start_loading()
        for call in self.before_requests:
            call()

    def reserve_names(self) -> None:
        """Keep each model from taking the name of another one of this registry."""
        self.generation.reserve_names()

    def leave(self) -> None:
        """Take the models out of ml_base's ModelManager, and let their processes go."""
        for model in self:
            model.leave()

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
        return self.resolve_in(self.release(qualified_name, hint=hint), version)

    def resolve_in(self, release: Release, version: str | None = None) -> HostedModel:
        """Return the model of a release that takes a request for predictions; see `resolve`."""
        model = release.model if version is None else release.named(version)
        if not model.configuration.create_endpoint:
            message = f'The model "{release.qualified_name}" has no prediction endpoint.'
            raise ModelNotFound(release.qualified_name, message)
        if self.loads_on_demand:
            model.load()
        return model

    def release(self, qualified_name: str, *, hint: str = ".") -> Release:
        """Return what is hosted under a name.

        Args:
            qualified_name: As in the request's path.
            hint: Ends the message for clients that name no model of this service.

        Raises:
            ModelNotFound: nothing is.
            ModelNotReady: nobody knows yet.
        """
        found = self._find(qualified_name)
        if found is None:
            raise ModelNotFound(qualified_name, f'There is no model "{qualified_name}"{hint}')
        return found

    def version(self, qualified_name: str, version: str | None) -> HostedModel:
        """Return a version of a model; that which is asked where none is named.

        Raises:
            ModelNotFound: there is none of that name or version.
            ModelNotReady: nobody knows yet.
        """
        release = self.release(qualified_name)
        return release.model if version is None else release.named(version)

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
        unusable = [*self._waiting(), *_unhealthy(self)]
        return is_usable and not any(model.configuration.required for model in unusable)

    def unhealthy_models(self) -> list[HostedModel]:
        """Return the models that do not say that they are healthy.

        They are asked, if that is due, and waited for no longer than a moment. Those are among
        them that wait for another service.
        """
        return [*self._waiting(), *_unhealthy(self)]

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
        failed = [model for model in self if model.state is LoadState.FAILED]
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
        return [model.details for model in self]

    def require_descriptions(self) -> None:
        """Make sure that every model has said what it is, or will never do so.

        Raises:
            ModelNotReady: a model is being loaded in the background, and has yet to say it.
        """
        self._require_models()
        for model in self:
            model.require_description()

    def endpoints(self) -> list[HostedModel]:
        """Return the models that take predictions, as far as their names are known.

        A model that tells its name only once it is loaded gets loaded, unless that happens in the
        background.
        """
        with_endpoint = [model for model in self if model.configuration.create_endpoint]
        for model in with_endpoint:
            if model.known_name is None and not self.loader.has_begun:
                model.load_apart()
        return [model for model in with_endpoint if model.known_name is not None]

    def endpoint_names(self) -> list[str]:
        """Return the names under which there are predictions; see `endpoints`."""
        return list(dict.fromkeys(model.qualified_name for model in self.endpoints()))

    def endpoint_versions(self, qualified_name: str) -> Iterator[NamedVersion]:
        """Yield what the versions of a model can be asked by that take predictions."""
        return self.release(qualified_name).endpoint_versions()

    @property
    def has_versions(self) -> bool:
        """Whether a model has several versions."""
        return any(release.has_versions for release in self.generation.releases())

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
        names = dict.fromkeys(model.known_name for model in self)
        return merged_by_clients(filter(None, names))

    def _warn_of_merged_names(self) -> None:
        for names in self.merged_names:
            logger.warning(MERGED_NAMES, quoted(names))

    def _settle_traffic(self) -> None:
        self.generation.settle_traffic()

    def _waiting(self) -> list[HostedModel]:
        return [model for model in self if model.is_waiting]

    def _find(self, qualified_name: str) -> Release | None:
        if self._error is not None:
            self._require_models(qualified_name)
        return self.generation.find(qualified_name)

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

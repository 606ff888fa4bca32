"""A new generation of hosted models, made from a changed file while the one before serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from models_api.configuration.file import ConfigurationFile
from models_api.configuration.sections import ModelConfiguration, ServiceConfiguration
from models_api.exceptions import ConfigurationError
from models_api.hosting.assembly import build_models
from models_api.hosting.departures import Departures
from models_api.hosting.editions import address_of, edition_lately
from models_api.hosting.gate import GateFailed, check_predictions
from models_api.hosting.generation import Generation
from models_api.hosting.hosted_model import HostedModel, LoadState, Resources
from models_api.hosting.registry import ModelRegistry
from models_api.logs import SafeLogger

logger = SafeLogger(__name__)


class ReloadRefused(Exception):
    """Nothing was changed; says why."""

    def __init__(self, reason: str, *, is_for_now: bool = False) -> None:
        self.is_for_now = is_for_now
        """Whether another try may succeed with the same file, as somebody else did not answer."""
        super().__init__(reason)


class Wish(NamedTuple):
    """Which models of a file are to be loaded; by default all, from the files as they are now."""

    unloaded: frozenset[str] = frozenset()
    """Qualified names of those that are not."""
    only: str = ""
    """The one qualified name whose files are looked at, and which is tried again where it failed;
    empty for all."""

    def keeps(self, model: HostedModel) -> bool:
        """Whether a model need not be made anew, whatever has become of its files."""
        is_another = bool(self.only) and model.known_name != self.only
        return is_another or model.known_name in self.unloaded


_ALL = Wish()


class Plan(NamedTuple):
    """What becomes of the hosted models."""

    models: Sequence[HostedModel]
    """In the order of the file."""
    configurations: Sequence[ModelConfiguration]
    """Theirs from now on, which for those that stay may be another in who takes requests."""
    new: Sequence[HostedModel]
    gone: Sequence[HostedModel]

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        pairs = zip(self.models, self.configurations, strict=True)
        return bool(self.new or self.gone) or any(
            model.configuration != configuration for model, configuration in pairs
        )


class Reloader:
    """Puts what a file says in the place of what is hosted. For one thread."""

    def __init__(
        self,
        registry: ModelRegistry,
        resources: Resources,
        configuration: ServiceConfiguration,
    ) -> None:
        """Make it.

        Args:
            registry: The models that are hosted.
            resources: What they share.
            configuration: With which the service has started.
        """
        self._registry = registry
        self._resources = resources
        self._configuration = configuration
        self.departures = Departures(resources.limiter)

    def apply(self, file: ConfigurationFile, wish: Wish = _ALL) -> bool:
        """Host what the file says; return whether that is something else than before.

        Args:
            file: The configuration.
            wish: Which of its models are to be loaded.

        Raises:
            ReloadRefused: the file has problems, or a new model does not load or predict.
        """
        former = self._registry.generation
        plan = self._plan(file, former, wish)
        if not plan.changes and plan.models == former.models:
            return False
        generation = Generation(plan.models, former.number + 1)
        generation.reserve_names()
        try:
            for model in plan.new:
                self._load(model)
        except BaseException:
            former.reserve_names()
            self.departures.add(plan.new)
            raise
        self._replace(generation, plan)
        return True

    def revisions(self) -> dict[str, str]:
        """Return the revision of each artefact that is hosted and may change, by its address."""
        return {
            address: model.artefact.revision
            for model in self._registry.generation.models
            if model.artefact is not None
            and (address := address_of(model.configuration)) is not None
            and model.artefact.revision
        }

    def agree(self, revisions: Mapping[str, str]) -> None:
        """Take these revisions of artefacts, by address, whatever their sources have by now."""
        self._resources.artefacts.revisions.agreed = revisions

    def sections_for_a_restart(self, file: ConfigurationFile) -> list[str]:
        """Return the sections of a file that differ, and are read at a start alone."""
        if file.configuration is None:
            return []
        now, then = dict(file.configuration), dict(self._configuration)
        return [name for name in now if name != "models" and now[name] != then[name]]

    def _plan(self, file: ConfigurationFile, former: Generation, wish: Wish) -> Plan:
        left = [model for model in former.models if _may_stay(model, wish)]
        configurations: list[ModelConfiguration] = []

        def reuse(configuration: ModelConfiguration, edition: str) -> HostedModel | None:
            configurations.append(configuration)
            kept = [model for model in left if wish.keeps(model)]
            same = _same(left, configuration, edition) or _same(kept, configuration, None)
            if same is not None:
                left.remove(same)
            return same

        try:
            built = build_models(file, self._resources, reuse, self._edition, is_hosted=False)
        except ConfigurationError as error:
            raise ReloadRefused(str(error)) from None
        if built.defects:
            raise ReloadRefused(str(ConfigurationError(built.defects)))
        models = tuple([self._wanted(model, former, wish) for model in built.models])
        new = [model for model in models if model not in former.models]
        gone = [model for model in former.models if model not in models]
        return Plan(models, configurations, new, gone)

    def _edition(self, configuration: ModelConfiguration) -> str:
        return edition_lately(configuration, self._resources.artefacts.revisions, 0)

    def edition_lately(self, configuration: ModelConfiguration) -> str:
        """Return what changes when the model of an entry is to be another one; at little cost."""
        known = self._resources.artefacts.revisions
        return edition_lately(configuration, known, configuration.poll_seconds)

    def _wanted(self, model: HostedModel, former: Generation, wish: Wish) -> HostedModel:
        """Return what stands for a model of the file."""
        if model.known_name not in wish.unloaded:
            return self._retried(model, former)
        return model if model.state is LoadState.UNLOADED else model.unloaded()

    def _retried(self, model: HostedModel, former: Generation) -> HostedModel:
        """Return what stands for a model: itself, or the same one that failed, if it fails again.

        So that what could not be loaded at the start keeps no other change out.
        """
        failed = [each for each in former.models if each.state is LoadState.FAILED]
        same = _same(failed, model.configuration, model.edition)
        if same is None or model in former.models:
            return model
        model.load()
        if model.state is LoadState.READY:
            return model
        self.departures.add([model])
        return same

    def _load(self, model: HostedModel) -> None:
        if model.state is LoadState.UNLOADED:
            return
        model.load()
        for call in self._registry.loader.after_each:
            call()
        if model.state is not LoadState.READY:
            reason = f"{model.label} cannot be loaded: {model.failure}"
            raise ReloadRefused(reason, is_for_now=model.may_load_later)
        try:
            check_predictions(model)
        except GateFailed as error:
            raise ReloadRefused(str(error)) from error

    def _replace(self, generation: Generation, plan: Plan) -> None:
        for model, configuration in zip(plan.models, plan.configurations, strict=True):
            model.configuration = configuration
        self._registry.replace(generation)
        self.departures.add(plan.gone)
        for model in plan.new:
            model.enter()
        for model in generation.models:
            model.instruments.publish()  # one that has left may have had its name and version


def _may_stay(model: HostedModel, wish: Wish) -> bool:
    return wish.keeps(model) or model.state not in (LoadState.FAILED, LoadState.UNLOADED)


def _same(
    models: Sequence[HostedModel], configuration: ModelConfiguration, edition: str | None
) -> HostedModel | None:
    """Return the first of some models that is loaded from the very same; None is any edition."""
    wanted = configuration.of_loading()
    for each in models:
        if each.configuration.of_loading() == wanted and edition in (None, each.edition):
            return each
    return None

"""The versions that are hosted under one qualified name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from models_api.exceptions import ModelNotFound, TrafficError
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.traffic import Traffic, traffic_of
from models_api.logs import SafeLogger

logger = SafeLogger(__name__)


class NamedVersion(NamedTuple):
    """What a version can be asked by, in place of the model's name alone."""

    qualified_name: str
    name: str
    """The version, or an alias of it."""
    is_documented: bool
    """Whether the OpenAPI document has operations for it: where there are several."""


class Release:
    """One version of a model, or several, under one qualified name. Does not change."""

    def __init__(self, qualified_name: str, models: Sequence[HostedModel]) -> None:
        self.qualified_name = qualified_name
        self.models = tuple(models)
        """Its versions, in the order of the configuration."""
        with_endpoint = [model for model in models if model.configuration.create_endpoint]
        self._first = [*with_endpoint, *models][0]
        self.traffic = self._traffic()
        """How requests that name no version are split; None if one version takes all of them."""
        self.shadows = tuple([model.shadow for model in models if model.shadow is not None])
        """Who gets a copy of these requests."""

    def __repr__(self) -> str:
        return f"<Release {self.qualified_name}: {list(self.models)!r}>"

    @property
    def model(self) -> HostedModel:
        """That which takes what names no version, or the most of it."""
        if self.traffic is None:
            return self._first
        return max(self.traffic.shares, key=lambda share: share.percent).model

    @property
    def has_versions(self) -> bool:
        """Whether there are several."""
        return len(self.models) > 1

    def endpoint_versions(self) -> Iterator[NamedVersion]:
        """Yield the names of the versions that take predictions, as far as they are known.

        The aliases of all come last.
        """
        with_endpoint = [model for model in self.models if model.configuration.create_endpoint]
        for model in with_endpoint:
            if model.version:
                yield NamedVersion(self.qualified_name, model.version, self.has_versions)
        for model in with_endpoint:
            for alias in model.configuration.aliases:
                yield NamedVersion(self.qualified_name, alias, is_documented=False)

    def percent(self, model: HostedModel) -> float:
        """Return how many of a hundred requests that name no version one of the versions takes."""
        if self.traffic is None:
            return 100.0 if model is self.model else 0.0
        shares = zip(self.traffic.shares, self.traffic.percents(), strict=True)
        return sum(percent for share, percent in shares if share.model is model)

    def why_taken_back(self, model: HostedModel) -> str | None:
        """Return why a version was taken back, so that it gets no requests; None if it was not."""
        return None if self.traffic is None else self.traffic.reasons.get(model.version or "")

    def named(self, version: str) -> HostedModel:
        """Return the version of that name, or of that alias.

        Raises:
            ModelNotFound: there is none.
            ModelNotReady: a model has yet to say which version it is.
        """
        for model in self.models:
            if version == model.version or version in model.configuration.aliases:
                return model
        for model in self.models:
            if model.version is None and version == model.details.version:
                return model
        aliases = [alias for model in self.models for alias in model.configuration.aliases]
        names = [*(model.version for model in self.models), *aliases]
        known = ", ".join(f'"{name}"' for name in names)
        message = f'The model "{self.qualified_name}" has no version "{version}", but {known}.'
        raise ModelNotFound(self.qualified_name, message)

    def _traffic(self) -> Traffic | None:
        try:
            return traffic_of(self.qualified_name, self.models)
        except TrafficError as error:
            # Found when the file was read, unless a model told its name only once it was loaded.
            told = (self.models[0].label, self.models[0].version, error, error.hint)
            logger.error("%s %s takes all requests: %s. %s", *told)
            return None

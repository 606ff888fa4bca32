"""The models that a process hosts at one time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.release import Release


class Generation:
    """Hosted models, in the order of the configuration. Another one takes its place as a whole.

    Which models there are does not change; their names may be known only once they are loaded.
    """

    def __init__(self, models: Sequence[HostedModel], number: int = 1) -> None:
        self.models = tuple(models)
        self.number = number
        """How many there have been in this process, this one among them."""
        self._releases: dict[str, Release] = {}

    def __repr__(self) -> str:
        return f"<Generation {self.number}: {list(self.models)!r}>"

    def releases(self) -> Iterator[Release]:
        """Yield what is hosted under each name, as far as the names are known."""
        self._learn_names()
        yield from self._releases.values()

    def find(self, qualified_name: str) -> Release | None:
        """Return what is hosted under a name; None if nothing is.

        Raises:
            ModelNotReady: nothing is yet, but some model has yet to say its name.
        """
        found = self._releases.get(qualified_name)
        if found is not None:
            return found
        self._learn_names()
        if qualified_name in self._releases:
            return self._releases[qualified_name]
        for model in self.models:
            if model.known_name is None:
                if model.is_loading:
                    raise model.not_ready()
                if model.qualified_name == qualified_name:
                    return Release(qualified_name, [model])
        return None

    def reserve_names(self) -> None:
        """Keep each model from taking the name of another one."""
        for model in self.models:
            model.reserve_names_of([other for other in self.models if other is not model])

    def settle_traffic(self) -> None:
        """Let no version have traffic that cannot take it, now that all that can be is loaded."""
        for release in self.releases():
            if release.traffic is not None:
                release.traffic.settle()

    def _learn_names(self) -> None:
        known: dict[str, list[HostedModel]] = {}
        for model in self.models:
            if model.known_name is not None:
                known.setdefault(model.known_name, []).append(model)
        # A name that is known stays, and so does what stands under it unless there is more now.
        self._releases = {name: self._release(name, models) for name, models in known.items()}

    def _release(self, name: str, models: Sequence[HostedModel]) -> Release:
        former = self._releases.get(name)
        is_same = former is not None and former.models == tuple(models)
        return former if former is not None and is_same else Release(name, models)

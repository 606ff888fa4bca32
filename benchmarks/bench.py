"""What a comparison is given: what is asked for, where things are, and where its figures go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

from benchmarks.results import Comparison, Results
from benchmarks.running import RunningServer, configured
from benchmarks.servers import Server

Say = Callable[[str], None]
Figure = Callable[[], float]

T = TypeVar("T")

CONNECTIONS = 64


@dataclass(frozen=True)
class Plan:
    """Who is measured, how often, how long."""

    servers: Sequence[Server]
    models: tuple[str, ...]
    connections: tuple[int, ...]
    rounds: int
    seconds: int
    warm_up_seconds: int
    workers: int
    logs: Path
    is_quick: bool = False


@dataclass(frozen=True)
class Bench:
    """What a comparison needs."""

    plan: Plan
    environments: Mapping[str, Path]
    results: Results
    say: Say

    def start(self, server: Server, models: Sequence[str]) -> RunningServer:
        """Return a server that waits for these models, as a context manager."""
        return RunningServer(
            server,
            self.environments[server.environment],
            self.plan.logs / f"{server.name}-{models[-1]}.log",
            models=models,
            workers=self.plan.workers,
        )

    def serve(
        self,
        server: Server,
        entries: Sequence[Mapping[str, object]],
        models: Sequence[str],
        **keys: object,
    ) -> RunningServer:
        """Return one with these entries in its YAML file, and these further keys."""
        return self.start(configured(server, self.plan.logs, models[-1], entries, **keys), models)

    def compare(self, name: str, first: list[float], second: list[float], **texts: str) -> None:
        """Add a comparison of what was measured by turns: the ratio of the second to the first.

        The texts are `wanted`, what the ratio should be, and `form`, of a figure.
        """
        ratio = median(two / one for one, two in zip(first, second, strict=True))
        form = texts["form"]
        detail = f"{form.format(median(second))} / {form.format(median(first))}"
        found = Comparison(name, ratio, texts["wanted"], detail)
        self.results.comparisons.append(found)
        self.say(f"{name}: {ratio:.3f}, {found.wanted} ({detail})")


def by_turns(turns: int, *figures: Callable[[], T]) -> list[list[T]]:
    """Measure some figures by turns, each turn in the opposite order to the one before."""
    found: list[list[T]] = [[] for _ in figures]
    for turn in range(turns):
        places = range(len(figures))
        for place in reversed(places) if turn % 2 else places:
            found[place].append(figures[place]())
    return found

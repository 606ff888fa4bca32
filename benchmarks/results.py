"""What a run of the benchmark finds, as plain records that go to JSON and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """One server under one load, once."""

    server: str
    model: str
    connections: int
    round: int
    per_second: float
    """Right predictions."""
    p50_ms: float
    p99_ms: float
    errors: int
    wrong: int
    health_p99_ms: float | None
    """Of the health endpoint meanwhile; None if it was not asked."""


@dataclass(frozen=True)
class Start:
    """One start of one server."""

    server: str
    round: int
    seconds: float
    """From the process's start until each model has given a right answer."""
    memory_mb: float
    """Proportional set size of the whole process tree, after the load."""


@dataclass(frozen=True)
class Comparison:
    """One thing measured two ways, by turns."""

    name: str
    ratio: float
    """The median of the turns' ratios."""
    wanted: str
    """What the ratio should be."""
    detail: str
    """The medians of the two."""


@dataclass(frozen=True)
class Isolation:
    """What others see of a model that many clients hold."""

    server: str
    scenario: str
    alone_p99_ms: float | None
    """Of a fast neighbour without those clients; None where there is no neighbour."""
    beside_p50_ms: float | None
    beside_p99_ms: float | None
    failed: int
    """Requests for the neighbour, health and metrics that had no right answer."""
    health_p99_ms: float
    metrics_p99_ms: float
    held: int
    """The most predictions of the slow model in flight at a time."""
    first_refusal_seconds: float | None
    """Until the first 503; None where there was none."""
    refusal_p99_ms: float | None
    idle_seconds: float | None
    """From when the clients had gone until nothing was computed any more; None: longer than was
    waited."""


@dataclass(frozen=True)
class Overload:
    """What clients see who ask for a multiple of what a server can do."""

    server: str
    multiple: float
    offered_per_second: float
    accepted_per_second: float
    accepted_p50_ms: float
    accepted_p99_ms: float
    refused_per_second: float
    refused_p99_ms: float
    others: int
    """Answers that were neither, and requests without any."""
    health_p99_ms: float
    """Infinite if one of the probes failed."""
    megabytes_before: float
    megabytes_after: float


@dataclass(frozen=True)
class Weighing:
    """The memory of a service of one model, in MB, before it looked at what it holds and after."""

    held: str
    preload: bool
    """Whether the model was loaded before the fork."""
    workers: int
    fresh_total: float
    """Proportional set size of all its processes: what they share counts once."""
    used_total: float
    fresh_private: float
    """What a worker shares with no other process; the mean of the workers."""
    used_private: float


@dataclass
class Results:
    """All of a run."""

    machine: dict[str, str]
    options: dict[str, Any]
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of the packages in each environment."""
    measurements: list[Measurement] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    isolations: list[Isolation] = field(default_factory=list)
    overloads: list[Overload] = field(default_factory=list)
    weighings: list[Weighing] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Why a server has no figures, or not all of them."""

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        for name, kind in _RECORDS.items():
            content[name] = [kind(**one) for one in content.get(name, [])]
        return cls(**content)

    def replace_by(self, later: Results) -> None:
        """Take from a later run, perhaps of less, each kind of figures that it has."""
        for name in _RECORDS:
            setattr(self, name, getattr(later, name) or getattr(self, name))
        self.versions.update(later.versions)


_RECORDS = {
    "measurements": Measurement,
    "starts": Start,
    "comparisons": Comparison,
    "isolations": Isolation,
    "overloads": Overload,
    "weighings": Weighing,
}


def summaries(measurements: Iterable[Measurement]) -> Iterator[Measurement]:
    """Put the rounds of each server, model and number of connections together.

    The figures are medians, what went wrong is added up, and the round is how many there were.
    """
    groups: dict[tuple[str, str, int], list[Measurement]] = {}
    for one in measurements:
        groups.setdefault((one.server, one.model, one.connections), []).append(one)
    for rounds in groups.values():
        yield replace(
            rounds[0],
            round=len(rounds),
            per_second=median(one.per_second for one in rounds),
            p50_ms=median(one.p50_ms for one in rounds),
            p99_ms=median(one.p99_ms for one in rounds),
            errors=sum(one.errors for one in rounds),
            wrong=sum(one.wrong for one in rounds),
            health_p99_ms=_median_of_known(one.health_p99_ms for one in rounds),
        )


def by_server(starts: Iterable[Start], figure: Callable[[Start], float]) -> dict[str, float]:
    """Return the median of a figure of the starts of each server."""
    groups: dict[str, list[float]] = {}
    for start in starts:
        groups.setdefault(start.server, []).append(figure(start))
    return {server: median(values) for server, values in groups.items()}


def _median_of_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None

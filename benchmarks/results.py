"""What a run of the benchmark finds, as plain records that go to JSON and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
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
    left_out: dict[str, str] = field(default_factory=dict)
    """Why a server has no figures, or not all of them."""

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            **content
            | {
                "measurements": [Measurement(**one) for one in content["measurements"]],
                "starts": [Start(**one) for one in content["starts"]],
                "comparisons": [Comparison(**one) for one in content["comparisons"]],
            }
        )


@dataclass(frozen=True)
class Summary:
    """The rounds of one server under one load: medians, and sums of what went wrong."""

    server: str
    model: str
    connections: int
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    wrong: int
    health_p99_ms: float | None


def summaries(measurements: Iterable[Measurement]) -> Iterator[Summary]:
    """Put the rounds of each server, model and number of connections together."""
    groups: dict[tuple[str, str, int], list[Measurement]] = {}
    for one in measurements:
        groups.setdefault((one.server, one.model, one.connections), []).append(one)
    for (server, model, connections), rounds in groups.items():
        yield Summary(
            server=server,
            model=model,
            connections=connections,
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
